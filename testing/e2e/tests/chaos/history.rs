//! What clients did to a key, and what may therefore be seen there.
//!
//! Each write notes when it began and, where it was acknowledged, when it ended. A value may be seen unless
//! another acknowledged write began after it had ended: then it is certainly replaced. A write that was never
//! acknowledged may be seen, or not, for ever; until it is looked at after a restart, which decides it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use testkit::wire::Answer;

use super::value::Value;

/// What all clients together know.
#[derive(Debug, Default)]
pub(crate) struct History {
    clock: AtomicU64,
    keys: Mutex<BTreeMap<String, Vec<Write>>>,
    acknowledged: AtomicU64,
}

#[derive(Debug, Clone)]
struct Write {
    /// `None` is a delete.
    value: Option<Value>,
    began: u64,
    ended: Option<u64>,
}

/// A write under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    key: String,
    began: u64,
}

impl History {
    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<Write>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next moment. None is 0, at which every key began.
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A write begins: from now on its value may be seen.
    pub(crate) fn begin(&self, key: &str, value: Option<Value>) -> UnderWay {
        let mut keys = self.keys();
        let writes = keys.entry(key.to_owned()).or_insert_with(|| vec![Write::nothing()]);
        // Drawn under the lock, so that no two writes of a key have the same.
        let began = self.tick();
        writes.push(Write { value, began, ended: None });
        UnderWay { key: key.to_owned(), began }
    }

    /// It was acknowledged.
    pub(crate) fn acknowledge(&self, write: &UnderWay) {
        let ended = self.tick();
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
        self.with(write, |found| found.ended = Some(ended));
    }

    fn with(&self, write: &UnderWay, change: impl FnOnce(&mut Write)) {
        let mut keys = self.keys();
        let writes = keys.get_mut(&write.key).expect("it was begun");
        change(writes.iter_mut().find(|found| found.began == write.began).expect("it was begun"));
    }

    /// How many writes were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// All keys.
    pub(crate) fn names(&self) -> Vec<String> {
        self.keys().keys().cloned().collect()
    }

    /// The moment at which a read begins.
    pub(crate) fn now(&self) -> u64 {
        self.tick()
    }

    /// Judges a read that began at `began` and has just ended. Gives what it saw.
    pub(crate) fn judge(&self, key: &str, began: u64, seen: &Answer) -> Result<Option<Value>, String> {
        let writes = self.keys().get(key).cloned().unwrap_or_else(|| vec![Write::nothing()]);
        let tell = |what: &str| {
            let known: Vec<String> = writes
                .iter()
                .map(|write| format!("  {:?} from {} to {:?}", write.value, write.began, write.ended))
                .collect();
            let seen = format!("{} {} with {} bytes", seen.status, seen.etag(), seen.body.len());
            Err(format!(
                "{key}: {what}: a read that began at {began} saw {seen}; writes:\n{}",
                known.join("\n")
            ))
        };
        let may_be_seen = |write: &&Write| {
            let ended = write.ended.unwrap_or(u64::MAX);
            !writes.iter().any(|later| later.began > ended && later.ended.is_some_and(|end| end < began))
        };
        match seen.status {
            404 => match writes.iter().filter(may_be_seen).find(|write| write.value.is_none()) {
                Some(_) => Ok(None),
                None => tell("an acknowledged object is missing"),
            },
            200 => {
                let matching =
                    |write: &&Write| write.value.as_ref().is_some_and(|value| value.etag == seen.etag());
                let Some(known) = writes.iter().filter(matching).find(may_be_seen) else {
                    let once = writes.iter().any(|write| matching(&write));
                    return tell(if once {
                        "a replaced or deleted value came back"
                    } else {
                        "nobody wrote this"
                    });
                };
                let value = known.value.clone().expect("it has an entity tag");
                if value.bytes() != seen.body {
                    return tell("the bytes are not those of the entity tag");
                }
                Ok(Some(value))
            }
            _ => tell("no answer that a read may get"),
        }
    }

    /// After a restart, nothing is under way: what was seen is decided.
    pub(crate) fn settle(&self, key: &str, value: Option<Value>) {
        let began = self.tick();
        let ended = Some(self.tick());
        self.keys().insert(key.to_owned(), vec![Write { value, began, ended }]);
    }
}

impl Write {
    /// How every key begins.
    fn nothing() -> Self {
        Self { value: None, began: 0, ended: Some(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Run;

    fn value(number: u64) -> Value {
        Value::of(Run { number, length: 100 })
    }

    fn answer(value: Option<&Value>) -> Answer {
        let Some(value) = value else { return Answer { status: 404, headers: Vec::new(), body: Vec::new() } };
        let headers = vec![("etag".to_owned(), value.etag.clone())];
        Answer { status: 200, headers, body: value.bytes() }
    }

    fn check(history: &History, seen: Option<&Value>, complaint: &str) {
        let judged = history.judge("k", history.now(), &answer(seen));
        match judged {
            Ok(_) => assert_eq!(complaint, ""),
            Err(text) => assert!(!complaint.is_empty() && text.contains(complaint), "{text}"),
        }
    }

    #[test]
    fn an_acknowledged_write_must_be_seen_and_an_open_one_may() {
        let history = History::default();
        let first = history.begin("k", Some(value(1)));
        check(&history, None, "");
        check(&history, Some(&value(1)), "");
        history.acknowledge(&first);
        check(&history, None, "missing");
        let _open = history.begin("k", Some(value(2)));
        check(&history, Some(&value(1)), "");
        check(&history, Some(&value(2)), "");
        check(&history, Some(&value(3)), "nobody wrote");
    }

    #[test]
    fn what_was_replaced_or_deleted_never_comes_back() {
        let history = History::default();
        for written in [Some(value(1)), Some(value(2))] {
            history.acknowledge(&history.begin("k", written));
        }
        check(&history, Some(&value(1)), "came back");
        history.acknowledge(&history.begin("k", None));
        check(&history, Some(&value(2)), "came back");
        check(&history, None, "");
    }

    #[test]
    fn of_two_writes_at_once_either_may_be_last() {
        let history = History::default();
        let (one, two) = (history.begin("k", Some(value(1))), history.begin("k", Some(value(2))));
        history.acknowledge(&one);
        history.acknowledge(&two);
        check(&history, Some(&value(1)), "");
        check(&history, Some(&value(2)), "");
        check(&history, None, "missing");
    }

    #[test]
    fn a_mixture_is_noticed() {
        let history = History::default();
        history.acknowledge(&history.begin("k", Some(value(1))));
        let mut mixed = answer(Some(&value(1)));
        mixed.body[60..].copy_from_slice(&value(2).bytes()[60..]);
        assert!(history.judge("k", history.now(), &mixed).unwrap_err().contains("not those"));
    }
}
