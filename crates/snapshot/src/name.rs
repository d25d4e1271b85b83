//! The names of files: `NAME-CLUSTER-TIME-INDEX.snap[.age]`, and what lies beside them.

use std::fmt;

use time::OffsetDateTime;
use time::macros::format_description;
use types::Timestamp;

/// Snapshots of one cluster under one name: their indexes rise, and they are thinned out together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line(String);

impl Line {
    /// The line of a cluster. `cluster_id` is Vault's: it outlives a restore, which the cluster's name does not always.
    #[must_use]
    pub fn new(name: &str, cluster_id: &str) -> Self {
        let legal = cluster_id.chars().filter(char::is_ascii_alphanumeric).take(8);
        let short: String = legal.map(|c| c.to_ascii_lowercase()).collect();
        Self(format!("{name}-{}", if short.is_empty() { "unknown" } else { &short }))
    }

    /// The file that holds the name of the newest verified snapshot.
    #[must_use]
    pub fn latest_file(&self) -> String {
        format!("{self}.latest")
    }

    /// The file that holds the index which an operator accepted.
    #[must_use]
    pub fn acknowledged_file(&self) -> String {
        format!("{self}.acknowledged")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a snapshot. In one line, the order of names is that of time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    /// What it belongs to.
    pub line: Line,
    /// When it was taken, down to the second.
    pub time: Timestamp,
    /// The raft index that it goes up to.
    pub index: u64,
    /// Whether it was encrypted before it was stored.
    pub encrypted: bool,
}

impl SnapshotName {
    /// Reads the name of a file; `None` for everything that is not ours.
    #[must_use]
    pub fn parse(name: &str, file: &str) -> Option<Self> {
        let (stem, encrypted) = match file.strip_suffix(".snap.age") {
            Some(stem) => (stem, true),
            None => (file.strip_suffix(".snap")?, false),
        };
        let mut parts = stem.strip_prefix(name)?.strip_prefix('-')?.split('-');
        let (cluster, time, index) = (parts.next()?, parts.next()?, parts.next()?);
        let parsed = Self {
            line: Line(format!("{name}-{cluster}")),
            time: parse_time(time)?,
            index: index.parse().ok()?,
            encrypted,
        };
        // Only what would be written the same: a name is deleted by, and must lead back to its file.
        (parts.next().is_none() && parsed.to_string() == file).then_some(parsed)
    }

    /// The file that says what is known of this snapshot.
    #[must_use]
    pub fn record_file(&self) -> String {
        format!("{self}.json")
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = if self.encrypted { ".age" } else { "" };
        write!(f, "{}-{}-{}.snap{age}", self.line, print_time(self.time), self.index)
    }
}

/// A moment as a calendar has it, in UTC.
#[must_use]
pub fn utc(moment: Timestamp) -> OffsetDateTime {
    let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `20261125T091710Z`.
#[must_use]
pub fn print_time(moment: Timestamp) -> String {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    utc(moment).format(form).unwrap_or_default()
}

/// `3d 4h`, `17m`.
#[must_use]
pub fn print_age(now: Timestamp, moment: Timestamp) -> String {
    let seconds = now.as_secs().saturating_sub(moment.as_secs());
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let moment = time::PrimitiveDateTime::parse(text, form).ok()?.assume_utc();
    Some(Timestamp::from_millis(u64::try_from(moment.unix_timestamp()).ok()?.checked_mul(1000)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_says_everything() {
        let line = Line::new("prod_eu", "7136FC76-d6eb-5a9a-9ba2-e8baa52a8e54");
        let time = Timestamp::from_millis(1_795_598_230_000);
        let name = SnapshotName { line, time, index: 42, encrypted: true };
        assert_eq!(name.to_string(), "prod_eu-7136fc76-20261125T091710Z-42.snap.age");
        assert_eq!(SnapshotName::parse("prod_eu", &name.to_string()), Some(name));
    }

    #[test]
    fn an_age_is_read_at_a_glance() {
        let at = |seconds: u64| print_age(Timestamp::from_millis(seconds * 1000), Timestamp::from_millis(0));
        assert_eq!([at(59), at(3_599), at(7_260), at(270_000)], ["59s", "59m", "2h 1m", "3d 3h"]);
        assert_eq!(print_age(Timestamp::from_millis(0), Timestamp::from_millis(9_000)), "0s");
    }

    #[test]
    fn what_is_not_ours_has_no_name() {
        for file in [
            "",
            "vault-a-20261125T091710Z-42.snap.json",
            "vault-a-20261125T091710Z-42.snap.age.json",
            "vault-a-20261125T091710Z-42.tar",
            "vault-a-20261125T091710Z-042.snap",
            "vault-a-20261125T091710Z-+42.snap",
            "vault-a-20261325T091710Z-42.snap",
            "vault-a-b-20261125T091710Z-42.snap",
            "vault-20261125T091710Z-42.snap",
            "other-a-20261125T091710Z-42.snap",
            ".vault-a-20261125T091710Z-42.snap.partial",
            "vault2-a-20261125T091710Z-42.snap",
        ] {
            assert_eq!(SnapshotName::parse("vault", file), None, "{file}");
        }
    }

    proptest! {
        #[test]
        fn names_are_read_back_and_sort_by_time(seconds in 0_u64..4_000_000_000, index: u64, encrypted: bool, later in 1_u64..9_000) {
            let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
            let line = Line::new("vault", "7136fc76");
            let name = SnapshotName { line, time: at(seconds), index, encrypted };
            prop_assert_eq!(SnapshotName::parse("vault", &name.to_string()), Some(name.clone()));
            let next = SnapshotName { time: at(seconds + later), ..name.clone() };
            prop_assert!(name.to_string() < next.to_string() && name < next);
        }
    }
}
