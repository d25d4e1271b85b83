//! A catalog that is gone at the wish of a test.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::{Around, CatalogError, Decorated, Verb};

/// A catalog that may be gone.
pub type Unreachable = Decorated<Outage>;

/// What is wrong with it at present. Clones share it, so a test holds one.
#[derive(Debug, Clone, Default)]
pub struct Outage(Arc<State>);

#[derive(Debug, Default)]
struct State {
    reads_fail: AtomicBool,
    writes_fail: AtomicBool,
    answers_are_lost: AtomicBool,
    loses: Mutex<Option<&'static str>>,
    hangs: AtomicBool,
    asked: AtomicU64,
}

impl Outage {
    /// Reads fail, without anything having happened.
    pub fn reads_fail(&self, fail: bool) {
        self.0.reads_fail.store(fail, Ordering::Relaxed);
    }

    /// Writes fail, without anything having happened.
    pub fn writes_fail(&self, fail: bool) {
        self.0.writes_fail.store(fail, Ordering::Relaxed);
    }

    /// Nothing is answered but that it is gone.
    pub fn all_fails(&self, fail: bool) {
        self.reads_fail(fail);
        self.writes_fail(fail);
    }

    /// Everything happens, and nobody is told.
    pub fn answers_are_lost(&self, lost: bool) {
        self.0.answers_are_lost.store(lost, Ordering::Relaxed);
    }

    /// The answers of this verb are lost.
    ///
    /// # Panics
    /// Where another thread panicked here.
    pub fn loses(&self, verb: Option<&'static str>) {
        *self.0.loses.lock().unwrap() = verb;
    }

    /// Nothing happens, and nobody is told.
    pub fn hangs(&self, hangs: bool) {
        self.0.hangs.store(hangs, Ordering::Relaxed);
    }

    /// How often it was asked, whatever it answered.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::Relaxed)
    }
}

impl Around for Outage {
    async fn around<T: Send>(
        &self,
        verb: Verb,
        run: impl Future<Output = Result<T, CatalogError>> + Send,
    ) -> Result<T, CatalogError> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        if is(&self.0.hangs) {
            std::future::pending::<()>().await;
        }
        if is(if verb.writes { &self.0.writes_fail } else { &self.0.reads_fail }) {
            return Err(CatalogError::Unavailable(format!("{} fails on purpose", verb.name)));
        }
        let answer = run.await;
        if is(&self.0.answers_are_lost) || *self.0.loses.lock().unwrap() == Some(verb.name) {
            return Err(CatalogError::Unknown(format!("the answer of {} is lost on purpose", verb.name)));
        }
        answer
    }
}
