//! One file per subject.

pub(crate) mod absent;
pub(crate) mod backends;
pub(crate) mod cleanup;
pub(crate) mod holds;
pub(crate) mod level;
pub(crate) mod locations;
pub(crate) mod quarantine;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod workers;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use types::Timestamp;

/// A time as the API spells it.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    offset(at).format(&Rfc3339).unwrap_or_default()
}

fn offset(at: Timestamp) -> OffsetDateTime {
    let nanos = i128::from(at.as_millis()) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The month of a time.
pub(crate) fn month(at: Timestamp) -> String {
    let at = offset(at);
    format!("{:04}-{:02}", at.year(), u8::from(at.month()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spelled_as_everybody_does() {
        let at = Timestamp::from_millis(1_800_000_000_500);
        assert_eq!(rfc3339(at), "2027-01-15T08:00:00.5Z");
        assert_eq!(month(at), "2027-01");
    }
}
