//! Which backends a new blob may go to, and in which order. Pure.

use types::Timestamp;

use crate::Strategy;

/// A backend as placement sees it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// Bytes charged at present. May lag: the reservation decides exactly.
    pub(crate) charged: u64,
    /// Bytes that may be charged; `None` is unlimited.
    pub(crate) quota: Option<u64>,
    /// Largest body of one put.
    pub(crate) put_bytes_max: u64,
    /// Largest object it takes.
    pub(crate) object_bytes_max: Option<u64>,
    /// Until when its limits keep it from taking the blob, where they are known to.
    pub(crate) shut_until: Option<Timestamp>,
    /// Whether it failed lately. It is tried last, not never: nothing else may be left.
    pub(crate) doubtful: bool,
    /// Whether its breaker is open: a request would be refused.
    pub(crate) gone: bool,
}

impl Candidate {
    fn takes(&self, object: u64, blob: u64) -> bool {
        self.shut_until.is_none()
            && self.object_bytes_max.is_none_or(|max| object <= max)
            && blob <= self.put_bytes_max
    }

    fn fill(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a ratio for ordering only")]
        match self.quota {
            None => 0.0,
            Some(0) => 1.0,
            Some(quota) => self.charged as f64 / quota as f64,
        }
    }
}

/// Indices of the backends that may take a blob of an object, best first.
///
/// Those that look full stay in, at the end: the ledger, not this guess, decides whether there is room.
pub(crate) fn order(candidates: &[Candidate], strategy: Strategy, object: u64, blob: u64) -> Vec<usize> {
    let mut open: Vec<usize> =
        (0..candidates.len()).filter(|&index| candidates[index].takes(object, blob)).collect();
    // Sorting is stable: equals keep their configured order.
    if strategy == Strategy::Spread {
        open.sort_by(|&a, &b| candidates[a].fill().total_cmp(&candidates[b].fill()));
    }
    open.sort_by_key(|&index| candidates[index].doubtful);
    open
}

/// Leaves out the backends that are gone, as long as `least` others are left. The blob is still wanted on as
/// many: repair makes what is missing.
pub(crate) fn without_gone(candidates: &[Candidate], order: Vec<usize>, least: u32) -> Vec<usize> {
    let there: Vec<usize> = order.iter().copied().filter(|&index| !candidates[index].gone).collect();
    let enough = there.len() >= usize::try_from(least.max(1)).unwrap_or(usize::MAX);
    if enough { there } else { order }
}

/// How large the blobs of an object may be so that `factor` backends (or all that take it) can hold each.
/// `None` where no backend takes an object of that size at all.
pub(crate) fn blob_bytes_max(candidates: &[Candidate], object: u64, factor: u32) -> Option<u64> {
    let taking =
        candidates.iter().filter(|candidate| candidate.object_bytes_max.is_none_or(|max| object <= max));
    held_by(factor, taking.map(|candidate| candidate.put_bytes_max))
}

/// How large an object that is one blob may be so that `factor` backends (or all that take any) can hold it.
pub(crate) fn whole_bytes_max(candidates: &[Candidate], factor: u32) -> Option<u64> {
    let most = |candidate: &Candidate| {
        candidate.object_bytes_max.map_or(candidate.put_bytes_max, |max| max.min(candidate.put_bytes_max))
    };
    held_by(factor, candidates.iter().map(most))
}

/// What `factor` of those that take anything can hold, or all of them.
fn held_by(factor: u32, most: impl Iterator<Item = u64>) -> Option<u64> {
    let mut largest: Vec<u64> = most.filter(|&max| max > 0).collect();
    largest.sort_unstable_by(|a, b| b.cmp(a));
    let needed = usize::try_from(factor.max(1)).unwrap_or(usize::MAX).min(largest.len());
    needed.checked_sub(1).map(|index| largest[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name=charged/quota`, `!` for doubtful, `x` for gone, `#` for shut, `<n` for the largest object, `^n` for
    /// the largest put.
    fn parse(text: &str) -> Vec<(&str, Candidate)> {
        text.split_whitespace()
            .map(|word| {
                let (name, rest) = word.split_once('=').unwrap();
                let shut = rest.ends_with('#');
                let rest = rest.trim_end_matches('#');
                let (doubtful, gone) = (rest.ends_with('!'), rest.ends_with('x'));
                let rest = rest.trim_end_matches(['!', 'x']);
                let (rest, put) = rest.split_once('^').unwrap_or((rest, "1000000"));
                let (rest, object) = rest.split_once('<').map_or((rest, None), |(r, o)| (r, Some(o)));
                let (charged, quota) = rest.split_once('/').unwrap();
                let candidate = Candidate {
                    charged: charged.parse().unwrap(),
                    quota: quota.parse().ok(),
                    put_bytes_max: put.parse().unwrap(),
                    object_bytes_max: object.map(|o| o.parse().unwrap()),
                    shut_until: shut.then(Timestamp::default),
                    doubtful,
                    gone,
                };
                (name, candidate)
            })
            .collect()
    }

    fn check(strategy: Strategy, backends: &str, size: u64, expected: &str) {
        let (names, candidates): (Vec<_>, Vec<_>) = parse(backends).into_iter().unzip();
        let chosen: Vec<_> = order(&candidates, strategy, size, size).into_iter().map(|i| names[i]).collect();
        assert_eq!(chosen.join(" "), expected);
    }

    #[test]
    fn pack_keeps_the_configured_order() {
        check(Strategy::Pack, "oci=9/10 b2=0/10", 1, "oci b2");
    }

    #[test]
    fn spread_takes_the_least_full_first_and_unlimited_counts_as_empty() {
        check(Strategy::Spread, "oci=9/10 b2=5/10 disk=99/-", 1, "disk b2 oci");
        check(Strategy::Spread, "a=0/10 b=0/10", 1, "a b");
    }

    #[test]
    fn what_is_too_large_for_a_backend_does_not_go_there() {
        check(Strategy::Pack, "oci=0/100<5 b2=0/100^4 disk=0/100", 6, "disk");
        check(Strategy::Pack, "oci=0/100<5", 6, "");
    }

    #[test]
    fn a_doubtful_backend_is_tried_last() {
        check(Strategy::Pack, "oci=0/10! b2=0/10", 1, "b2 oci");
    }

    #[test]
    fn a_backend_that_is_gone_is_left_out_unless_nothing_else_is_left() {
        let check = |backends, least, expected: &str| {
            let (names, candidates): (Vec<_>, Vec<_>) = parse(backends).into_iter().unzip();
            let order = without_gone(&candidates, order(&candidates, Strategy::Pack, 1, 1), least);
            assert_eq!(order.into_iter().map(|i| names[i]).collect::<Vec<_>>().join(" "), expected);
        };
        check("oci=0/10x b2=0/10 disk=0/10", 1, "b2 disk");
        check("oci=0/10x b2=0/10 disk=0/10", 3, "oci b2 disk");
        check("oci=0/10x b2=0/10x", 1, "oci b2");
    }

    #[test]
    fn one_whose_limits_are_reached_is_not_tried() {
        check(Strategy::Pack, "oci=0/10# b2=0/10!", 1, "b2");
        check(Strategy::Spread, "oci=0/10#", 1, "");
    }

    #[test]
    fn blobs_are_small_enough_for_as_many_backends_as_are_wanted() {
        let candidates: Vec<_> =
            parse("a=0/-^100 b=0/-^50 c=0/-<10^20").into_iter().map(|(_, c)| c).collect();
        assert_eq!(blob_bytes_max(&candidates, 500, 1), Some(100));
        assert_eq!(blob_bytes_max(&candidates, 500, 2), Some(50));
        assert_eq!(blob_bytes_max(&candidates, 500, 3), Some(50));
        assert_eq!(blob_bytes_max(&candidates, 5, 3), Some(20));
        assert_eq!(blob_bytes_max(&candidates[2..], 500, 1), None);
    }

    #[test]
    fn what_is_never_split_is_small_enough_for_as_many_backends_as_are_wanted() {
        let candidates: Vec<_> =
            parse("a=0/-^100 b=0/-<30^50 c=0/-<10^20 d=0/-^0").into_iter().map(|(_, c)| c).collect();
        let most = [1, 2, 3, 4].map(|factor| whole_bytes_max(&candidates, factor));
        assert_eq!(most, [Some(100), Some(30), Some(10), Some(10)]);
        assert_eq!(whole_bytes_max(&candidates[3..], 1), None);
    }
}
