//! What looks like a loss: a new snapshot beside those before it. Pure.

use types::Timestamp;

use crate::name::{SnapshotName, print_time};

/// Refuses a snapshot whose index is below one that its cluster had before: `baseline`, and since when.
///
/// # Errors
/// Says what may have happened, and what to do.
pub fn refuse_backwards(name: &SnapshotName, baseline: Option<(u64, Timestamp)>) -> Result<(), String> {
    match baseline {
        Some((index, since)) if name.index < index => Err(format!(
            "the raft index went back from {index} ({}) to {}: the cluster lost data, or was restored; \
             `vault-snapshot run -acknowledge` accepts it once",
            print_time(since),
            name.index
        )),
        _ => Ok(()),
    }
}

/// An alarm where a snapshot has less than this share of the bytes of the one before.
#[must_use]
pub fn size_alarm(size: u64, before: u64, share: f64) -> Option<String> {
    #[expect(clippy::cast_precision_loss, reason = "an alarm needs no exact bytes")]
    let is_small = (size as f64) < before as f64 * share;
    is_small.then(|| format!("has {size} bytes, the one before had {before}: look what is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Line;

    #[test]
    fn an_index_may_not_go_back() {
        let name = SnapshotName {
            line: Line::new("vault", "a"),
            time: Timestamp::from_millis(5_000),
            index: 100,
            encrypted: false,
        };
        let at = |index| refuse_backwards(&name, Some((index, Timestamp::from_millis(1_000))));
        assert_eq!(refuse_backwards(&name, None), Ok(()));
        assert_eq!((at(99), at(100)), (Ok(()), Ok(())));
        let refused = at(101).unwrap_err();
        assert!(refused.contains("from 101") && refused.contains("-acknowledge"), "{refused}");
    }

    #[test]
    fn a_sharp_drop_is_an_alarm() {
        assert_eq!(size_alarm(50, 100, 0.5), None);
        assert!(size_alarm(49, 100, 0.5).is_some());
        assert_eq!(size_alarm(0, 100, 0.0), None);
        assert_eq!(size_alarm(1_000, 100, 1.0), None);
    }
}
