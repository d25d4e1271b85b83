//! Spawning.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::{JoinError, JoinHandle};

/// A running task. Dropping it stops the task: nothing runs that nobody owns.
#[derive(Debug)]
pub struct Task<T> {
    handle: JoinHandle<T>,
    detached: bool,
}

impl<T> Task<T> {
    /// Lets the task run on by itself until it ends.
    pub fn detach(mut self) {
        self.detached = true;
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if !self.detached {
            self.handle.abort();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(cx)
    }
}

/// Starts a task on the present runtime.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task { handle: tokio::spawn(future), detached: false }
}

/// Runs a function that blocks or computes for long on a thread kept for that. It cannot be stopped
/// halfway; dropping the task only forgets its answer.
pub fn spawn_blocking<F, T>(work: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Task { handle: tokio::task::spawn_blocking(work), detached: false }
}

/// Starts a thread with a name for work that lasts as long as the process.
///
/// # Panics
/// Where the operating system has no thread left, at start-up.
pub fn spawn_thread<F>(name: &str, work: F) -> std::thread::JoinHandle<()>
where
    F: FnOnce() + Send + 'static,
{
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .expect("the operating system grants a thread at start-up")
}
