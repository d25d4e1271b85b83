//! The history of a key as its clients saw it, and whether it is one that a store may show.
//!
//! Each call has a moment at which it began and one at which it was answered, and took effect at one moment between
//! the two. A history is right where such moments can be chosen so that every answer follows from what was before
//! it: linearizability (Herlihy and Wing 1990), searched for as Wing and Gong did, remembering which sets of calls
//! in which state led nowhere (Lowe 2017). What was never answered may have happened at any time, or not at all.

use std::collections::HashSet;
use std::fmt;

/// Calls of one key that a search can hold.
const CALLS_MAX: usize = 256;
/// Steps of a search, above which it gives up.
const STEPS_MAX: usize = 400_000;

/// A call that was never answered.
pub const NEVER: u64 = u64::MAX;

/// One call of a client on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: u8,
    /// The client.
    pub client: usize,
    /// When it began.
    pub invoke: u64,
    /// When it was answered; [`NEVER`] where it was not.
    pub answer: u64,
    /// What it did.
    pub effect: Effect,
}

/// On which condition a call had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// None.
    None,
    /// There is no object.
    Absent,
    /// There is one.
    Present,
    /// Its content is this.
    Is(u32),
    /// Its content is not this, or there is none.
    IsNot(u32),
}

/// What a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It was done.
    Done,
    /// A condition does not hold.
    PreconditionFailed,
    /// There is no such object.
    NoSuchKey,
    /// There is no such upload.
    NoSuchUpload,
    /// Nothing.
    Nothing,
}

/// What a call does. Contents are numbers: equal numbers, equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Stores. All attempts of one call of an SDK have the same `call`.
    Write {
        /// What.
        content: u32,
        /// By which call.
        call: u32,
        /// If.
        condition: Condition,
        /// The answer.
        told: Told,
    },
    /// Reads.
    Read {
        /// What was there.
        content: Option<u32>,
    },
    /// Learns that there is something else than this.
    ReadOther {
        /// What is not there.
        content: u32,
    },
    /// Removes.
    Delete {
        /// If.
        condition: Condition,
        /// The answer.
        told: Told,
        /// Whether there was one, where it was done.
        existed: bool,
    },
    /// Changes what is not content.
    Touch {
        /// The answer.
        told: Told,
    },
    /// Stores what another key holds; where nothing was told, any of these.
    Copy {
        /// What it may have been.
        contents: Vec<u32>,
        /// By which call.
        call: u32,
        /// If.
        condition: Condition,
        /// The answer.
        told: Told,
    },
    /// Makes an upload the object.
    Complete {
        /// The upload, numbered within its key.
        upload: u8,
        /// What it makes.
        content: u32,
        /// By which call.
        call: u32,
        /// If.
        condition: Condition,
        /// The answer.
        told: Told,
    },
    /// Gives an upload up.
    Abort {
        /// The upload.
        upload: u8,
        /// The answer.
        told: Told,
    },
}

impl Effect {
    /// The answer.
    #[must_use]
    pub fn told(&self) -> Told {
        match self {
            Self::Write { told, .. }
            | Self::Delete { told, .. }
            | Self::Touch { told }
            | Self::Copy { told, .. }
            | Self::Complete { told, .. }
            | Self::Abort { told, .. } => *told,
            Self::Read { .. } | Self::ReadOther { .. } => Told::Done,
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, client, invoke, answer, effect } = self;
        write!(f, "client {client} key {key} [{invoke}, ")?;
        if *answer == NEVER {
            f.write_str("never")?
        } else {
            write!(f, "{answer}")?
        }
        write!(f, "] {effect:?}")
    }
}

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct State {
    /// Content, and the call that stored it.
    object: Option<(u32, u32)>,
    completed: u32,
    aborted: u32,
}

/// What came of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains all answers.
    Right,
    /// There is none. The calls of the longest order that was found, and the rest.
    Wrong(String),
    /// The search was too long.
    Unknown,
}

/// Judges the history of one key.
#[must_use]
pub fn judge(records: &[Record]) -> Verdict {
    if records.len() > CALLS_MAX {
        return Verdict::Unknown;
    }
    let mut records = records.to_vec();
    records.sort_by_key(|record| (record.invoke, record.answer));
    let mut search =
        Search { records, seen: HashSet::new(), steps: 0, longest: Vec::new(), order: Vec::new() };
    match search.go(Set::default(), State::default()) {
        Some(true) => Verdict::Right,
        Some(false) => Verdict::Wrong(search.explain()),
        None => Verdict::Unknown,
    }
}

/// Which calls took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Set([u64; CALLS_MAX / 64]);

impl Set {
    fn has(self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    fn with(mut self, index: usize) -> Self {
        self.0[index / 64] |= 1 << (index % 64);
        self
    }
}

struct Search {
    records: Vec<Record>,
    seen: HashSet<(Set, State)>,
    steps: usize,
    longest: Vec<usize>,
    order: Vec<usize>,
}

impl Search {
    /// Whether the rest can be put in order; `None` where that would take too long.
    fn go(&mut self, mut done: Set, state: State) -> Option<bool> {
        let before = self.order.len();
        // What only looks, fits and may come now, may come first: it changes nothing for the others.
        while let Some(index) = self.looks_now(done, state) {
            done = done.with(index);
            self.order.push(index);
        }
        if self.order.len() > self.longest.len() {
            self.longest = self.order.clone();
        }
        let answer = self.branch(done, state);
        self.order.truncate(before);
        answer
    }

    fn branch(&mut self, done: Set, state: State) -> Option<bool> {
        if (0..self.records.len()).all(|index| done.has(index) || self.records[index].answer == NEVER) {
            return Some(true);
        }
        if !self.seen.insert((done, state)) {
            return Some(false);
        }
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return None;
        }
        let until = self.first_answer(done);
        for index in 0..self.records.len() {
            if done.has(index) || self.records[index].invoke > until {
                continue;
            }
            for next in steps(&self.records[index].effect, state) {
                self.order.push(index);
                let answer = self.go(done.with(index), next);
                self.order.pop();
                match answer {
                    Some(false) => {}
                    answer => return answer,
                }
            }
        }
        Some(false)
    }

    fn looks_now(&self, done: Set, state: State) -> Option<usize> {
        let until = self.first_answer(done);
        (0..self.records.len()).find(|&index| {
            let record = &self.records[index];
            let open = !done.has(index) && record.answer != NEVER && record.invoke <= until;
            open && steps(&record.effect, state) == [state]
        })
    }

    /// The earliest answer of a call that is not in the order: whatever began later comes later.
    fn first_answer(&self, done: Set) -> u64 {
        let left = self.records.iter().enumerate().filter(|(index, _)| !done.has(*index));
        left.map(|(_, record)| record.answer).min().unwrap_or(NEVER)
    }

    fn explain(&self) -> String {
        let mut text = String::from("no order explains all answers; the longest that was found:\n");
        for &index in &self.longest {
            text.push_str(&format!("  {}\n", self.records[index]));
        }
        text.push_str("and none of these fits behind it:\n");
        for (index, record) in self.records.iter().enumerate() {
            if !self.longest.contains(&index) {
                text.push_str(&format!("  {record}\n"));
            }
        }
        text
    }
}

/// The states to which a call with this answer may lead; none where it cannot have been given.
fn steps(effect: &Effect, state: State) -> Vec<State> {
    match effect {
        Effect::Read { content } => keep(state, state.object.map(|(held, _)| held) == *content),
        Effect::ReadOther { content } => keep(state, state.object.is_some_and(|(held, _)| held != *content)),
        Effect::Touch { told } => match told {
            Told::Done => keep(state, state.object.is_some()),
            Told::NoSuchKey => keep(state, state.object.is_none()),
            _ => keep(state, true),
        },
        Effect::Write { content, call, condition, told } => {
            write(state, &[*content], *call, *condition, *told)
        }
        Effect::Copy { contents, call, condition, told } => write(state, contents, *call, *condition, *told),
        Effect::Delete { condition, told, existed } => delete(state, *condition, *told, *existed),
        Effect::Complete { upload, content, call, condition, told } => {
            complete(state, 1 << upload, (*content, *call), *condition, *told)
        }
        Effect::Abort { upload, told } => abort(state, 1 << upload, *told),
    }
}

fn keep(state: State, fits: bool) -> Vec<State> {
    if fits { vec![state] } else { Vec::new() }
}

/// What a condition says of a state.
fn holds(condition: Condition, state: State) -> Told {
    let held = state.object.map(|(content, _)| content);
    match (condition, held) {
        (Condition::Absent, Some(_)) => Told::PreconditionFailed,
        (Condition::Present | Condition::Is(_), None) => Told::NoSuchKey,
        (Condition::Is(wanted), Some(held)) if wanted != held => Told::PreconditionFailed,
        (Condition::IsNot(unwanted), Some(held)) if unwanted == held => Told::PreconditionFailed,
        _ => Told::Done,
    }
}

fn write(state: State, contents: &[u32], call: u32, condition: Condition, told: Told) -> Vec<State> {
    let would = holds(condition, state);
    // Of a call whose earlier attempt had won, the later one is told so.
    let already = would == Told::PreconditionFailed && state.object.is_some_and(|(_, by)| by == call);
    match told {
        Told::Done if already => vec![state],
        Told::Done | Told::Nothing if would == Told::Done => {
            contents.iter().map(|content| State { object: Some((*content, call)), ..state }).collect()
        }
        Told::Done | Told::Nothing => Vec::new(),
        told => keep(state, told == would && !already),
    }
}

fn delete(state: State, condition: Condition, told: Told, existed: bool) -> Vec<State> {
    let would = holds(condition, state);
    let gone = State { object: None, ..state };
    match told {
        Told::Done => keep(gone, would == Told::Done && state.object.is_some() == existed),
        Told::Nothing => keep(gone, would == Told::Done && state.object.is_some()),
        told => keep(state, told == would),
    }
}

fn complete(
    state: State,
    upload: u32,
    (content, call): (u32, u32),
    condition: Condition,
    told: Told,
) -> Vec<State> {
    let completed = state.completed & upload != 0;
    let aborted = state.aborted & upload != 0;
    let would = holds(condition, state);
    let made = State { object: Some((content, call)), completed: state.completed | upload, ..state };
    match told {
        Told::Done if completed => vec![state],
        Told::Done | Told::Nothing => keep(made, !completed && !aborted && would == Told::Done),
        Told::NoSuchUpload => keep(state, aborted),
        told => keep(state, !completed && !aborted && told == would),
    }
}

fn abort(state: State, upload: u32, told: Told) -> Vec<State> {
    let settled = (state.completed | state.aborted) & upload != 0;
    match told {
        Told::NoSuchUpload => keep(state, settled),
        _ => keep(State { aborted: state.aborted | upload, ..state }, !settled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(invoke: u64, answer: u64, effect: Effect) -> Record {
        Record { key: 0, client: 0, invoke, answer, effect }
    }

    fn put(content: u32, told: Told) -> Effect {
        Effect::Write { content, call: content, condition: Condition::None, told }
    }

    fn create(content: u32, call: u32, told: Told) -> Effect {
        Effect::Write { content, call, condition: Condition::Absent, told }
    }

    fn read(content: Option<u32>) -> Effect {
        Effect::Read { content }
    }

    fn is_right(records: &[Record]) -> bool {
        match judge(records) {
            Verdict::Right => true,
            Verdict::Wrong(_) => false,
            Verdict::Unknown => panic!("a small history is judged"),
        }
    }

    #[test]
    fn a_read_after_a_write_sees_it() {
        let write = record(1, 2, put(1, Told::Done));
        assert!(is_right(&[write.clone(), record(3, 4, read(Some(1)))]));
        assert!(!is_right(&[write.clone(), record(3, 4, read(None))]));
        assert!(
            is_right(&[record(1, 4, put(1, Told::Done)), record(2, 3, read(None))]),
            "while it runs, either"
        );
        assert!(!is_right(&[write, record(3, 4, put(2, Told::Done)), record(5, 6, read(Some(1)))]));
    }

    #[test]
    fn two_reads_agree_on_the_order() {
        let writes = [record(1, 10, put(1, Told::Done)), record(1, 10, put(2, Told::Done))];
        let reads = |a, b| [record(11, 12, read(Some(a))), record(13, 14, read(Some(b)))];
        assert!(is_right(&[&writes[..], &reads(1, 1)].concat()));
        assert!(!is_right(&[&writes[..], &reads(1, 2)].concat()));
    }

    #[test]
    fn what_was_never_answered_may_have_happened_late_or_not_at_all() {
        let lost = record(1, NEVER, put(1, Told::Nothing));
        assert!(is_right(&[lost.clone(), record(2, 3, read(None)), record(4, 5, read(Some(1)))]));
        assert!(is_right(&[lost.clone(), record(2, 3, read(None)), record(4, 5, read(None))]));
        assert!(!is_right(&[lost, record(2, 3, read(Some(1))), record(4, 5, read(None))]), "but once");
    }

    #[test]
    fn one_of_two_creates_wins() {
        let both = |a, b| [record(1, 9, create(1, 1, a)), record(2, 8, create(2, 2, b))];
        assert!(is_right(&both(Told::Done, Told::PreconditionFailed)));
        assert!(!is_right(&both(Told::Done, Told::Done)));
        assert!(!is_right(&both(Told::PreconditionFailed, Told::PreconditionFailed)));
    }

    #[test]
    fn a_retry_of_a_create_that_won_is_a_success() {
        let first = record(1, NEVER, create(1, 1, Told::Nothing));
        let read = record(2, 3, read(Some(1)));
        assert!(is_right(&[first.clone(), read.clone(), record(4, 5, create(1, 1, Told::Done))]));
        assert!(!is_right(&[first, read, record(4, 5, create(1, 1, Told::PreconditionFailed))]));
    }

    #[test]
    fn a_completion_happens_once_and_is_told_twice() {
        let complete =
            |told| Effect::Complete { upload: 0, content: 1, call: 1, condition: Condition::None, told };
        let first = record(1, 2, complete(Told::Done));
        let over = record(3, 4, put(2, Told::Done));
        let again = record(5, 6, complete(Told::Done));
        assert!(is_right(&[first.clone(), over.clone(), again.clone(), record(7, 8, read(Some(2)))]));
        assert!(!is_right(&[first.clone(), over, again, record(7, 8, read(Some(1)))]));
        assert!(!is_right(&[first.clone(), record(3, 4, complete(Told::NoSuchUpload))]));
        assert!(!is_right(&[first, record(3, 4, Effect::Abort { upload: 0, told: Told::Done })]));
    }

    #[test]
    fn a_delete_says_whether_there_was_one() {
        let delete = |existed| Effect::Delete { condition: Condition::None, told: Told::Done, existed };
        assert!(is_right(&[record(1, 2, delete(false))]));
        assert!(!is_right(&[record(1, 2, delete(true))]));
        assert!(!is_right(&[record(1, 2, put(1, Told::Done)), record(3, 4, delete(false))]));
    }
}
