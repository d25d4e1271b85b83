//! Mutations: guards that a test takes away, to see that it is missed.
//!
//! Each guard of the product that the simulation is to hold (a compare-and-set, a lock, a charge, a hold-back)
//! asks here whether it is switched off. Without the feature `simulation` the answer is a constant; with it,
//! which is only in test builds, a thread has to switch a mutation on before anything changes.
//! `testing/sim` lists all of them and proves that each is caught.

/// Whether this mutation is switched on: the guard that bears the name is to do nothing.
#[inline(always)]
#[must_use]
pub fn is_on(name: &'static str) -> bool {
    switched::is_on(name)
}

#[cfg(not(feature = "simulation"))]
mod switched {
    #[inline(always)]
    pub(super) fn is_on(_: &'static str) -> bool {
        false
    }
}

#[cfg(feature = "simulation")]
mod switched {
    use std::cell::RefCell;

    thread_local! {
        static ON: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn is_on(name: &'static str) -> bool {
        ON.with_borrow(|on| on.contains(&name))
    }

    /// Runs `work` with these mutations switched on, on this thread.
    pub fn with<T>(names: &[&'static str], work: impl FnOnce() -> T) -> T {
        let before = ON.replace(names.to_vec());
        let _restore = Restore(before);
        work()
    }

    struct Restore(Vec<&'static str>);

    impl Drop for Restore {
        fn drop(&mut self) {
            ON.set(std::mem::take(&mut self.0));
        }
    }
}

#[cfg(feature = "simulation")]
pub use switched::with;

#[cfg(all(test, feature = "simulation"))]
mod tests {
    #[test]
    fn a_mutation_is_on_only_where_it_was_switched_on() {
        assert!(!super::is_on("a"));
        super::with(&["a"], || {
            assert!(super::is_on("a") && !super::is_on("b"));
            let elsewhere = std::thread::scope(|scope| scope.spawn(|| super::is_on("a")).join());
            assert_eq!(elsewhere.ok(), Some(false));
        });
        assert!(!super::is_on("a"));
    }
}
