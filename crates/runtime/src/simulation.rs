//! The seam of the simulation: points at which it takes a hand in what the code does.
//!
//! Without the feature `simulation` every function here does nothing and costs nothing. With it, which is only
//! in test builds, nothing happens either until a thread enters a simulation: then everything on that thread is
//! directed by it. Tasks of a runtime with one thread stay on that thread.

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
    use super::Pause;

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
    use std::cell::RefCell;
    use std::future::Future;
    use std::rc::Rc;

    use super::{Director, Pause};

    thread_local! {
        static DIRECTOR: RefCell<Option<Rc<dyn Director>>> = const { RefCell::new(None) };
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

#[cfg(feature = "simulation")]
pub use directed::run;
