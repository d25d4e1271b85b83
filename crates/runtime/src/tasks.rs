//! Spawning.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use crate::simulation;

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
    Task { handle: tokio::spawn(simulation::inherit(future)), detached: false }
}

/// Runs a function that blocks or computes for long on a thread kept for that. It cannot be stopped
/// halfway; dropping the task only forgets its answer. A simulation has one thread: there it runs as a task.
pub fn spawn_blocking<F, T>(work: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if simulation::is_on() {
        return spawn(async move {
            simulation::point("blocking").await;
            work()
        });
    }
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

/// Serves a queue until its last sender is gone. Dropping it leaves a thread to that end, and stops a task.
#[derive(Debug)]
pub struct Server(Serving);

#[derive(Debug)]
enum Serving {
    Thread(std::thread::JoinHandle<()>),
    Task { _task: Task<()> },
}

impl Server {
    /// Waits until the last job is served. In a simulation the process was killed: nothing more is.
    ///
    /// # Errors
    /// What the server panicked with.
    pub fn join(self) -> std::thread::Result<()> {
        match self.0 {
            Serving::Thread(thread) => thread.join(),
            Serving::Task { .. } => Ok(()),
        }
    }
}

/// Serves a queue on a thread of its own: `serve` gets the first job that waits, and may take more from the
/// queue without waiting. In a simulation the same runs as a task.
///
/// # Panics
/// Where the operating system has no thread left, at start-up.
pub fn serve<T: Send + 'static>(
    name: &'static str,
    mut queue: mpsc::Receiver<T>,
    mut serve: impl FnMut(T, &mut mpsc::Receiver<T>) + Send + 'static,
) -> Server {
    if simulation::is_on() {
        let task = spawn(async move {
            while let Some(first) = queue.recv().await {
                simulation::point(name).await;
                serve(first, &mut queue);
            }
        });
        return Server(Serving::Task { _task: task });
    }
    Server(Serving::Thread(spawn_thread(name, move || {
        while let Some(first) = queue.blocking_recv() {
            serve(first, &mut queue);
        }
    })))
}
