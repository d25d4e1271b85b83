//! Limits and the grants on them, and the instances that hold them.

use runtime::mutation;
use types::{BackendName, BootId, LimitKind, Timestamp, Traffic};

/// One limit of one backend in one period. The backend goes by its name: it is counted before it has a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey {
    /// The backend.
    pub backend: BackendName,
    /// What is counted.
    pub kind: LimitKind,
    /// When the period begins.
    pub period: Timestamp,
}

/// What a limit allows, at the moment of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The most that may be granted in all.
    pub limit: u64,
    /// Of that, what clients are never granted.
    pub kept: u64,
    /// Up to this total maintenance may go beyond what is kept for it: what the part of the period that has
    /// passed would have allowed to all.
    pub paced: u64,
}

impl Terms {
    /// How much more this traffic may be granted, where so much was granted to each.
    #[must_use]
    pub fn room(&self, traffic: Traffic, client: u64, maintenance: u64) -> u64 {
        let total = client.saturating_add(maintenance);
        let own = match traffic {
            Traffic::Client if mutation::is_on("grant.kept") => self.limit.saturating_sub(client),
            Traffic::Client => self.limit.saturating_sub(self.kept).saturating_sub(client),
            Traffic::Maintenance if mutation::is_on("grant.paced") => self.limit,
            Traffic::Maintenance => {
                self.kept.saturating_sub(maintenance).max(self.paced.saturating_sub(total))
            }
        };
        own.min(self.limit.saturating_sub(total))
    }
}

/// A wish to be granted more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantAsk {
    /// Of which limit.
    pub key: LimitKey,
    /// For whom.
    pub traffic: Traffic,
    /// What its owner was granted of it so far. Where the catalog knows another number, this was asked
    /// before and the answer was lost: nothing more is granted.
    pub had: u64,
    /// Less than this is not worth having.
    pub least: u64,
    /// More than this is not wanted.
    pub want: u64,
    /// What the limit allows.
    pub terms: Terms,
}

/// The answer to a [`GrantAsk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// What its owner is granted in all now.
    pub granted: u64,
    /// How much more could be granted for this traffic.
    pub room: u64,
}

/// What became of a grant so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    /// Of which limit.
    pub key: LimitKey,
    /// For whom.
    pub traffic: Traffic,
    /// What its owner was granted before.
    pub had: u64,
    /// What stays granted; the rest is handed back. Above `had` only where `counted`.
    pub keeps: u64,
    /// What was spent of it.
    pub spent: u64,
    /// Nothing limits it: it is written down, not granted.
    pub counted: bool,
}

/// What all owners together were granted of a limit in a period, and what they said that they spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Granted for clients.
    pub granted_client: u64,
    /// Granted for maintenance.
    pub granted_maintenance: u64,
    /// Spent for clients.
    pub spent_client: u64,
    /// Spent for maintenance.
    pub spent_maintenance: u64,
}

impl Usage {
    /// Granted for all traffic.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted_client.saturating_add(self.granted_maintenance)
    }

    /// Spent for all traffic.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent_client.saturating_add(self.spent_maintenance)
    }
}

/// A living instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    /// Its boot.
    pub boot: BootId,
    /// When it began, by its own clock.
    pub began: Timestamp,
    /// How often its heart has beaten. Whoever sees this stand still for a whole lease may declare it dead.
    pub beats: u64,
    /// The oldest horizon that one of its readers noted, as it last said.
    pub oldest_read: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(traffic: Traffic, granted: (u64, u64), paced: u64, room: u64) {
        let terms = Terms { limit: 100, kept: 5, paced };
        assert_eq!(terms.room(traffic, granted.0, granted.1), room, "{granted:?} at a pace of {paced}");
    }

    #[test]
    fn clients_never_get_what_is_kept() {
        check(Traffic::Client, (0, 0), 0, 95);
        check(Traffic::Client, (94, 0), 100, 1);
        check(Traffic::Client, (95, 0), 100, 0);
        check(Traffic::Client, (50, 50), 100, 0);
        check(Traffic::Client, (50, 48), 100, 2);
    }

    #[test]
    fn maintenance_gets_what_is_kept_and_what_clients_left() {
        check(Traffic::Maintenance, (0, 0), 0, 5);
        check(Traffic::Maintenance, (95, 0), 60, 5);
        check(Traffic::Maintenance, (95, 4), 60, 1);
        check(Traffic::Maintenance, (20, 0), 60, 40);
        check(Traffic::Maintenance, (20, 40), 60, 0);
        check(Traffic::Maintenance, (20, 40), 100, 40);
        check(Traffic::Maintenance, (95, 5), 200, 0);
    }

    #[test]
    fn more_than_all_is_never_granted() {
        for client in 0..120 {
            for maintenance in 0..120 {
                for traffic in Traffic::ALL {
                    let room = Terms { limit: 100, kept: 5, paced: 70 }.room(traffic, client, maintenance);
                    assert!(room == 0 || client + maintenance + room <= 100);
                }
            }
        }
    }
}
