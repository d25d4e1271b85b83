//! The conformance suite: what every driver must do, in one list.
//!
//! A driver joins by calling [`run_all`] with a function that makes a backend; each case gets a path
//! prefix of its own, so one real server serves them all. Decorators run it too: what they wrap must
//! still be a backend.

mod bench;
mod bodies;
mod failures;
mod listing;
mod paths;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

pub use bench::{Bench, Failure, Outcome};

use crate::Backend;

/// Longest time that one case may take, on a slow machine against a real server.
const CASE_SECONDS_MAX: u64 = 180;

/// What a store cannot do, although the contract asks for it. Said openly by those who join.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// Keeps every path exactly as it was put. A server that normalises `//` and `..` says no, and is then
    /// asked only for the paths that `format::PathGrammar` makes.
    pub any_path: bool,
}

impl Default for Traits {
    fn default() -> Self {
        Self { any_path: true }
    }
}

/// A case on its way.
pub type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// One thing that every backend must do.
pub struct Case {
    /// What it does, as a sentence of one word.
    pub name: &'static str,
    /// Tries it.
    pub run: for<'a> fn(&'a Bench) -> Running<'a>,
}

macro_rules! cases {
    ($($module:ident { $($case:ident),* $(,)? })*) => {
        &[$($(Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            run: |bench| Box::pin($module::$case(bench)),
        },)*)*]
    };
}

/// Everything that a backend must do.
pub const CASES: &[Case] = cases! {
    bodies {
        sizes_round_trip,
        five_mebibytes_round_trip,
        ranges_are_exact,
        a_range_beyond_the_end_is_an_error,
        head_says_size_and_metadata,
        a_missing_path_is_not_found,
        a_copy_has_the_same_bytes,
        many_puts_at_once,
    }
    failures {
        deleting_nothing_succeeds,
        what_was_deleted_is_gone,
        many_are_deleted_at_once,
        a_failed_body_leaves_nothing,
        a_short_body_leaves_nothing,
        a_long_body_leaves_nothing,
        a_dropped_put_leaves_nothing,
        puts_and_deletes_race_in_one_folder,
    }
    listing {
        every_entry_exactly_once,
        a_prefix_may_end_inside_a_segment,
        nothing_there_is_an_empty_listing,
        a_cursor_keeps_its_meaning,
        deleting_while_listing_skips_nothing,
    }
    paths {
        paths_of_our_grammar_round_trip,
        hostile_paths_round_trip,
    }
};

/// Runs every case against a store that can do everything.
///
/// # Panics
/// With the names and reasons of all cases that failed.
pub async fn run_all(make: impl AsyncFn(&str) -> Arc<dyn Backend>) {
    run_with(Traits::default(), make).await;
}

/// Runs every case that the store's traits allow. `make` gets the name of the case.
///
/// # Panics
/// With the names and reasons of all cases that failed.
pub async fn run_with(traits: Traits, make: impl AsyncFn(&str) -> Arc<dyn Backend>) {
    let chance = runtime::Chance::from_os();
    let mut failures = Vec::new();
    for case in CASES {
        let prefix = format!("suite-{:08x}/", chance.next_u64() >> 32);
        let bench = Bench { backend: make(case.name).await, prefix, traits };
        let guarded = AssertUnwindSafe((case.run)(&bench)).catch_unwind();
        let failure = match runtime::timeout(Duration::from_secs(CASE_SECONDS_MAX), guarded).await {
            Ok(Ok(Ok(()))) => continue,
            Ok(Ok(Err(failure))) => failure.to_string(),
            Ok(Err(_)) => "panicked, see above".to_owned(),
            Err(runtime::Elapsed) => format!("took longer than {CASE_SECONDS_MAX} seconds"),
        };
        failures.push(format!("  {}: {failure}", case.name));
    }
    let (failed, of) = (failures.len(), CASES.len());
    assert!(failures.is_empty(), "{failed} of {of} cases failed:\n{}", failures.join("\n"));
}
