//! Problems and where they stand: everything that is wrong with a file, reported at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::keys::KeyRow;
use crate::tree::Position;

/// One thing that is wrong with a configuration, or a warning about it. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named on the command line.
    pub file: String,
    /// Line counted from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column counted from 1; 0 where the whole file is meant.
    pub column: usize,
    /// Dotted path such as `backends[1].quota_bytes`; empty for the text as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// All problems of a file in the order of its lines, displayed one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects problems, warnings and the positions of keys while a file is read.
pub(crate) struct Report<'a> {
    file: &'a str,
    lines: usize,
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// Every key that such a file may hold, for hints.
    keys: fn() -> Vec<KeyRow>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    positions: RefCell<BTreeMap<String, Position>>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, text: &str, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            file,
            lines: text.lines().count().max(1),
            env,
            keys: crate::keys::all_keys,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            positions: RefCell::default(),
        }
    }

    /// The same for a file with other keys.
    pub(crate) fn with_keys(self, keys: fn() -> Vec<KeyRow>) -> Self {
        Self { keys, ..self }
    }

    /// Where a key exists that was written in the wrong section.
    pub(crate) fn elsewhere(&self, name: &str) -> Option<String> {
        (self.keys)().into_iter().map(|row| row.key).find(|key| key.rsplit('.').next() == Some(name))
    }

    /// The place of the whole file.
    pub(crate) fn root(&'a self) -> Place<'a> {
        Place { report: self, path: String::new() }
    }

    /// A problem of the text itself, at a position.
    pub(crate) fn refuse_at(&self, position: Position, key: &str, message: String, hint: Option<String>) {
        let problem = self.problem(position, key, message, hint);
        self.problems.borrow_mut().push(problem);
    }

    /// Where each key that was read stands.
    pub(crate) fn lines(&self) -> BTreeMap<String, usize> {
        self.positions.borrow().iter().map(|(path, at)| (path.clone(), at.line)).collect()
    }

    /// Problems and warnings, each in the order of the file.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |list: RefCell<Vec<Problem>>| {
            let mut list = list.into_inner();
            list.sort_by_key(|problem| (problem.line, problem.column));
            list
        };
        (sorted(self.problems), sorted(self.warnings))
    }

    fn problem(&self, at: Position, key: &str, message: String, hint: Option<String>) -> Problem {
        Problem {
            file: self.file.to_owned(),
            // A file that ends too early is at fault in its last line, not behind it.
            line: at.line.min(self.lines),
            column: at.column,
            key: key.to_owned(),
            message,
            hint,
        }
    }

    /// The position of a key, or of the nearest section around it that is written in the file.
    fn position(&self, path: &str) -> Position {
        let positions = self.positions.borrow();
        let mut path = path;
        loop {
            if let Some(position) = positions.get(path) {
                return *position;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return Position { line: 1, column: 1 },
            }
        }
    }
}

/// One key of the file: where problems with it are reported.
#[derive(Clone)]
pub(crate) struct Place<'a> {
    pub(crate) report: &'a Report<'a>,
    path: String,
}

impl Place<'_> {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// A key of this section.
    pub(crate) fn key(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { report: self.report, path }
    }

    /// An item of this list.
    pub(crate) fn item(&self, index: usize) -> Self {
        Self { report: self.report, path: format!("{}[{index}]", self.path) }
    }

    /// The index of this item in its list.
    pub(crate) fn index(&self) -> usize {
        let number = self.path.strip_suffix(']').and_then(|path| path.rsplit('[').next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Remembers where the key stands.
    pub(crate) fn stands_at(&self, position: Position) {
        self.report.positions.borrow_mut().insert(self.path.clone(), position);
    }

    /// Whether the key is written in the file.
    pub(crate) fn is_set(&self) -> bool {
        self.report.positions.borrow().contains_key(&self.path)
    }

    /// Reports a problem, unless the key has one: a value that could not be read is not judged as well.
    pub(crate) fn refuse(&self, message: impl Into<String>) {
        self.report_problem(message.into(), None);
    }

    /// Reports a problem and what to write instead.
    pub(crate) fn refuse_with(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report_problem(message.into(), Some(hint.into()));
    }

    fn report_problem(&self, message: String, hint: Option<String>) {
        if self.is_sound() {
            self.report.refuse_at(self.report.position(&self.path), &self.path, message, hint);
        }
    }

    /// Says something that does not stop the start.
    pub(crate) fn warn(&self, message: impl Into<String>, hint: Option<&str>) {
        let position = self.report.position(&self.path);
        let hint = hint.map(str::to_owned);
        let problem = self.report.problem(position, &self.path, message.into(), hint);
        self.report.warnings.borrow_mut().push(problem);
    }

    /// Whether no problem was reported for this very key.
    pub(crate) fn is_sound(&self) -> bool {
        self.report.problems.borrow().iter().all(|problem| problem.key != self.path)
    }

    /// Whether all these keys were read without a problem, so that they can be compared.
    pub(crate) fn sound(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| self.key(key).is_sound())
    }

    /// The first of these keys that is written in the file: the one to blame when they disagree.
    pub(crate) fn first_set(&self, keys: &[&str]) -> Self {
        let set = keys.iter().map(|key| self.key(key)).find(Place::is_set);
        set.unwrap_or_else(|| self.key(keys[0]))
    }
}

/// The checks that many keys share.
impl Place<'_> {
    /// Refuses a number below `least`.
    pub(crate) fn at_least(&self, number: impl Into<u64>, least: u64) {
        if number.into() < least {
            self.refuse_with(format!("must be at least {least}"), "leave the key out for its default");
        }
    }

    /// Refuses a duration of nothing.
    pub(crate) fn above_zero(&self, duration: Duration) {
        if duration.is_zero() {
            self.refuse_with("must be longer than 0", "leave the key out for its default");
        }
    }

    /// Refuses a share outside of 0 to 1.
    pub(crate) fn share(&self, share: f64) {
        if !(0.0..=1.0).contains(&share) {
            self.refuse("must lie between 0 and 1");
        }
    }

    /// Refuses text that is there but empty.
    pub(crate) fn not_empty(&self, text: Option<&str>) {
        if text.is_some_and(str::is_empty) {
            self.refuse("must not be empty");
        }
    }

    /// Refuses the first of two durations of this section where it is the longer one.
    pub(crate) fn not_above(&self, (low, shorter): (&str, Duration), (high, longer): (&str, Duration)) {
        if shorter > longer && self.sound(&[low, high]) {
            let print = crate::units::print_duration;
            let message = format!("{low} ({}) must not be above {high} ({})", print(shorter), print(longer));
            self.first_set(&[low, high]).refuse(message);
        }
    }
}
