//! The seam of the simulation: points at which it takes a hand in what the code does.
//!
//! Without the feature `simulation` every function here does nothing and costs nothing. With it, which is only
//! in test builds, nothing happens either until a thread enters a simulation: then everything on that thread is
//! directed by it. Tasks of a runtime with one thread stay on that thread.

use std::task::Waker;
use std::time::Duration;

/// How long what passes a point is held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Not at all.
    None,
    /// Until everything else that is ready has had its turn this many times.
    Turns(u32),
    /// For this long.
    Time(Duration),
    /// For ever: the process was killed here.
    Forever,
}

/// Who directs a simulation.
pub trait Director {
    /// How long to hold up what passes this point.
    fn pause(&self, point: &'static str) -> Pause;

    /// Whether the transaction that is asked for cannot happen now.
    fn refuses(&self) -> bool;

    /// Whether the answer of the transaction that just happened gets lost.
    fn loses_answer(&self) -> bool;

    /// Whether a process stands still, as one that got SIGSTOP. Whoever is told so waits for `waker`.
    fn is_stopped(&self, _process: u64, _waker: &Waker) -> bool {
        false
    }
}

/// The number of a process that everything belongs to which belongs to none.
pub const NO_PROCESS: u64 = 0;

/// Which process this task belongs to.
#[must_use]
pub fn process() -> u64 {
    directed::process()
}

/// A point that a simulation may hold up, in a process that it may kill here.
pub async fn point(name: &'static str) {
    match directed::pause(name) {
        Pause::None => {}
        Pause::Turns(turns) => {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        }
        Pause::Time(time) => crate::sleep(time).await,
        Pause::Forever => std::future::pending().await,
    }
}

/// Whether this thread runs a simulation.
#[must_use]
pub fn is_on() -> bool {
    directed::is_on()
}

/// Whether a simulation lets the transaction that is asked for not happen.
#[must_use]
pub fn refuses() -> bool {
    directed::refuses()
}

/// Whether a simulation loses the answer of the transaction that just happened.
#[must_use]
pub fn loses_answer() -> bool {
    directed::loses_answer()
}

#[cfg(not(feature = "simulation"))]
mod directed {
    use super::{NO_PROCESS, Pause};

    #[inline(always)]
    pub(super) fn process() -> u64 {
        NO_PROCESS
    }

    #[inline(always)]
    pub(crate) fn inherit<F>(future: F) -> F {
        future
    }

    /// Lets a future belong to a process.
    #[inline(always)]
    pub fn belonging<F>(_process: u64, future: F) -> F {
        future
    }

    /// Does something for no process, whoever does it.
    #[inline(always)]
    pub fn apart<T>(work: impl FnOnce() -> T) -> T {
        work()
    }

    #[inline(always)]
    pub(super) fn pause(_: &'static str) -> Pause {
        Pause::None
    }

    #[inline(always)]
    pub(super) fn is_on() -> bool {
        false
    }

    #[inline(always)]
    pub(super) fn refuses() -> bool {
        false
    }

    #[inline(always)]
    pub(super) fn loses_answer() -> bool {
        false
    }
}

#[cfg(feature = "simulation")]
mod directed {
    use std::cell::{Cell, RefCell};
    use std::future::Future;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll};

    use super::{Director, NO_PROCESS, Pause};

    thread_local! {
        static PROCESS: Cell<u64> = const { Cell::new(NO_PROCESS) };
        static DIRECTOR: RefCell<Option<Rc<dyn Director>>> = const { RefCell::new(None) };
    }

    /// A future that belongs to a process, as does all that it spawns: it runs while the process does.
    pub struct Belonging<F> {
        process: u64,
        future: Pin<Box<F>>,
    }

    /// Lets a future belong to a process.
    pub fn belonging<F: Future>(process: u64, future: F) -> Belonging<F> {
        Belonging { process, future: Box::pin(future) }
    }

    /// Does something for no process, whoever does it.
    pub fn apart<T>(work: impl FnOnce() -> T) -> T {
        let _back = Back(PROCESS.replace(NO_PROCESS));
        work()
    }

    pub(crate) fn inherit<F: Future>(future: F) -> Belonging<F> {
        belonging(process(), future)
    }

    pub(super) fn process() -> u64 {
        PROCESS.get()
    }

    impl<F: Future> Future for Belonging<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
            let process = self.process;
            if process != NO_PROCESS && director().is_some_and(|to| to.is_stopped(process, cx.waker())) {
                return Poll::Pending;
            }
            let _back = Back(PROCESS.replace(process));
            self.future.as_mut().poll(cx)
        }
    }

    struct Back(u64);

    impl Drop for Back {
        fn drop(&mut self) {
            PROCESS.set(self.0);
        }
    }

    fn director() -> Option<Rc<dyn Director>> {
        DIRECTOR.with_borrow(Clone::clone)
    }

    pub(super) fn pause(name: &'static str) -> Pause {
        director().map_or(Pause::None, |director| director.pause(name))
    }

    pub(super) fn is_on() -> bool {
        DIRECTOR.with_borrow(Option::is_some)
    }

    pub(super) fn refuses() -> bool {
        director().is_some_and(|director| director.refuses())
    }

    pub(super) fn loses_answer() -> bool {
        director().is_some_and(|director| director.loses_answer())
    }

    /// Runs a future to its end on this thread alone, its clock paused, with everything directed.
    ///
    /// # Panics
    /// Where this thread runs a simulation already.
    pub fn run<F: Future>(director: Rc<dyn Director>, future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime of one thread without IO takes nothing from the system");
        let before = DIRECTOR.replace(Some(director));
        assert!(before.is_none(), "one simulation at a time on a thread");
        let _end = End;
        runtime.block_on(future)
    }

    /// Ends the direction, also where the simulation panics.
    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            DIRECTOR.set(None);
        }
    }
}

pub(crate) use directed::inherit;
#[cfg(feature = "simulation")]
pub use directed::{Belonging, run};
pub use directed::{apart, belonging};
