//! One attempt to unseal one node: choose shares, send them, see what became of it.
//!
//! What is remembered from attempt to attempt are hashes of shares, never a share.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use companion::{Share, ShareId};
use vault::{Error, ErrorKind, SealStatus, Vault};

/// What is known of earlier attempts at one node.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The server's name for the attempt that `sent` belongs to.
    nonce: String,
    /// What we gave to this attempt.
    sent: HashSet<ShareId>,
    /// Shares that the node takes for none.
    malformed: HashSet<ShareId>,
    /// Whole sets, all of them ours, that did not open it.
    failed: Vec<HashSet<ShareId>>,
}

/// Shares that opened some node of the cluster: the first choice at the next. (A raft node that joins with a
/// wrong share hangs until it is restarted, so guessing is left to nodes that can bear it.)
#[derive(Debug, Default)]
pub(crate) struct Proved(Mutex<HashSet<ShareId>>);

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is open.
    Opened,
    /// All shares were taken; a raft node joins its cluster now, and opens then.
    Joining,
    /// All that we have is given, and others have to give the rest.
    Waiting,
    /// Sets of shares were tried up to the bound, and none opened it.
    WrongShares,
    /// The hold file appeared.
    Held,
}

/// How an attempt may proceed.
pub(crate) struct Limits<'a> {
    /// Sets tried in one attempt, at most.
    pub sets_max: usize,
    /// Asked before every share.
    pub is_held: &'a (dyn Fn() -> bool + Sync),
}

enum Sent {
    Opened,
    Joining,
    /// Taken, and more are needed.
    All(SealStatus),
    /// This set does not open it; the progress is gone.
    Wrong,
    Held,
}

impl Proved {
    fn add(&self, ids: &HashSet<ShareId>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
    }

    fn snapshot(&self) -> HashSet<ShareId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Memory {
    /// Whether we have given something to the attempt under way.
    pub(crate) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Follows the server: another attempt than the one that we gave to begins with nothing given.
    fn follow(&mut self, status: &SealStatus) {
        if status.progress == 0 || status.nonce != self.nonce {
            self.sent.clear();
        }
        self.nonce.clone_from(&status.nonce);
    }
}

/// Tries to open a node that is sealed as `status` says.
pub(crate) async fn attempt(
    node: &Vault,
    shares: &[Share],
    mut status: SealStatus,
    memory: &mut Memory,
    proved: &Proved,
    limits: &Limits<'_>,
) -> Result<Outcome, Error> {
    // Whatever ends up in a set can end up in no more sets than there are shares and tries.
    for _ in 0..limits.sets_max + shares.len() {
        memory.follow(&status);
        let Some(set) = choose(shares, &status, memory, &proved.snapshot()) else {
            let enough = shares.len() >= status.threshold as usize && status.progress == 0;
            return Ok(if enough { Outcome::WrongShares } else { Outcome::Waiting });
        };
        status = match send(node, &set, status, memory, limits).await? {
            Sent::Opened => {
                proved.add(&memory.sent);
                return Ok(Outcome::Opened);
            }
            Sent::Joining => return Ok(Outcome::Joining),
            Sent::Held => return Ok(Outcome::Held),
            Sent::All(status) => status,
            Sent::Wrong => node.seal_status().await?,
        };
    }
    Ok(Outcome::WrongShares)
}

/// The shares to send now: as many as the attempt lacks, in a set that has not failed yet; or all that are not
/// given yet, where they are too few. None where there is nothing left to try.
fn choose<'a>(
    shares: &'a [Share],
    status: &SealStatus,
    memory: &Memory,
    proved: &HashSet<ShareId>,
) -> Option<Vec<&'a Share>> {
    let fresh = |share: &&Share| !memory.sent.contains(&share.id) && !memory.malformed.contains(&share.id);
    let mut usable: Vec<&Share> = shares.iter().filter(fresh).collect();
    usable.sort_by_key(|share| !proved.contains(&share.id));
    let lacking = status.threshold.saturating_sub(status.progress).max(1) as usize;
    if usable.len() < lacking {
        return (!usable.is_empty()).then_some(usable);
    }
    let has_failed = |set: &[usize]| {
        let ids: HashSet<_> = set.iter().map(|i| usable[*i].id).chain(memory.sent.iter().copied()).collect();
        memory.failed.contains(&ids)
    };
    let set = first_set(usable.len(), lacking, has_failed)?;
    Some(set.into_iter().map(|i| usable[i]).collect())
}

/// The first `size` of `count` numbers, in the order of books, that is not refused.
fn first_set(count: usize, size: usize, refused: impl Fn(&[usize]) -> bool) -> Option<Vec<usize>> {
    let mut set: Vec<usize> = (0..size).collect();
    while refused(&set) {
        // The last one that can still move on does; those behind it follow closely.
        let moves = (0..size).rev().find(|i| set[*i] < count - size + i)?;
        set[moves] += 1;
        for i in moves + 1..size {
            set[i] = set[i - 1] + 1;
        }
    }
    Some(set)
}

async fn send(
    node: &Vault,
    set: &[&Share],
    mut status: SealStatus,
    memory: &mut Memory,
    limits: &Limits<'_>,
) -> Result<Sent, Error> {
    // Where others gave something, a failure says nothing of our shares alone.
    let mut all_ours = status.progress as usize == memory.sent.len();
    for share in set {
        if (limits.is_held)() {
            return Ok(Sent::Held);
        }
        let completes = status.progress + 1 >= status.threshold;
        match node.unseal(&share.text).await {
            Ok(now) if !now.sealed => {
                memory.sent.insert(share.id);
                return Ok(Sent::Opened);
            }
            Ok(now) if completes && now.progress == 0 => return Ok(Sent::Joining),
            Ok(now) => {
                if memory.sent.is_empty() {
                    memory.nonce.clone_from(&now.nonce);
                } else if now.nonce != memory.nonce {
                    // Somebody else began anew: what we gave before is gone.
                    memory.sent.clear();
                    memory.sent.insert(share.id);
                    memory.nonce.clone_from(&now.nonce);
                    return Ok(Sent::All(now));
                }
                // Another holder may have given the same share, or one in between.
                all_ours &= now.progress == status.progress + 1;
                memory.sent.insert(share.id);
                status = now;
            }
            Err(error) if error.kind == ErrorKind::Refused && completes => {
                memory.sent.insert(share.id);
                if all_ours {
                    memory.failed.push(memory.sent.clone());
                }
                memory.sent.clear();
                return Ok(Sent::Wrong);
            }
            // It is refused by itself, before anything is tried: it is no share of this seal.
            Err(error) if error.kind == ErrorKind::Refused => {
                memory.malformed.insert(share.id);
                return Ok(Sent::All(status));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Sent::All(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(count: usize, size: usize) -> Vec<Vec<usize>> {
        let mut seen: Vec<Vec<usize>> = Vec::new();
        while let Some(set) = first_set(count, size, |set| seen.iter().any(|old| old == set)) {
            seen.push(set);
        }
        seen
    }

    #[test]
    fn all_sets_are_tried_once() {
        assert_eq!(sets(3, 2), [[0, 1], [0, 2], [1, 2]]);
        assert_eq!(sets(5, 3).len(), 10);
        assert_eq!(sets(3, 3), [[0, 1, 2]]);
        assert_eq!(sets(4, 1).len(), 4);
    }

    fn status(progress: u32) -> SealStatus {
        let text = format!(
            r#"{{"type":"shamir","initialized":true,"sealed":true,"t":3,"n":5,"progress":{progress},"nonce":"n"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn share(n: u8) -> Share {
        Share { text: format!("{n}").as_str().into(), id: [n; 32] }
    }

    fn check(have: &[u8], progress: u32, memory: &Memory, proved: &[u8], sent: Option<&[u8]>) {
        let shares: Vec<Share> = have.iter().map(|n| share(*n)).collect();
        let proved = proved.iter().map(|n| [*n; 32]).collect();
        let chosen = choose(&shares, &status(progress), memory, &proved);
        let chosen = chosen.map(|set| set.iter().map(|share| share.id[0]).collect::<Vec<_>>());
        assert_eq!(chosen.as_deref(), sent);
    }

    #[test]
    fn as_many_shares_are_sent_as_are_lacking() {
        let fresh = Memory::default();
        check(&[1, 2, 3, 4, 5], 0, &fresh, &[], Some(&[1, 2, 3]));
        check(&[1, 2, 3, 4, 5], 2, &fresh, &[], Some(&[1]));
        check(&[1, 2], 0, &fresh, &[], Some(&[1, 2]));
        check(&[], 0, &fresh, &[], None);
        // Those that opened another node go first.
        check(&[1, 2, 3, 4, 5], 0, &fresh, &[5, 3, 4], Some(&[3, 4, 5]));
    }

    #[test]
    fn nothing_is_sent_twice_into_one_attempt() {
        let memory = Memory { sent: [[1; 32], [2; 32]].into(), ..Memory::default() };
        check(&[1, 2], 2, &memory, &[], None);
        check(&[1, 2, 3], 2, &memory, &[], Some(&[3]));
    }

    #[test]
    fn a_set_that_failed_is_not_tried_again() {
        let failed = vec![[[1; 32], [2; 32], [3; 32]].into(), [[1; 32], [2; 32], [4; 32]].into()];
        let memory = Memory { failed, malformed: [[9; 32]].into(), ..Memory::default() };
        check(&[9, 1, 2, 3, 4], 0, &memory, &[], Some(&[1, 3, 4]));
        check(&[9, 1, 2, 3], 0, &memory, &[], None);
    }
}
