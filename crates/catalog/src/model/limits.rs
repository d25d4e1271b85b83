//! Instances, limits and grants, as the model has them: every grant that ever was, and no sum.

use types::{BootId, Timestamp, Traffic};

use super::{Answer, Model};
use crate::{GrantAsk, GrantRecord, Granted, Instance, LimitKey, Refusal, Usage};

impl Model {
    pub(crate) fn join(&mut self, boot: BootId, at: Timestamp) -> Answer<()> {
        if self.dead.contains(&boot) {
            return Err(Refusal::Changed("the boot"));
        }
        self.living.entry(boot).or_insert(Instance { boot, began: at, beats: 0, oldest_read: 0 });
        Ok(())
    }

    pub(crate) fn beat(&mut self, boot: BootId, oldest_read: u64) -> Answer<u64> {
        let instance = self.living.get_mut(&boot).ok_or(Refusal::Changed("the boot"))?;
        (instance.beats, instance.oldest_read) = (instance.beats + 1, oldest_read);
        Ok(instance.beats)
    }

    pub(crate) fn declare_dead(&mut self, boot: BootId, beats: u64, at: Timestamp) -> bool {
        let dies = self.living.get(&boot).is_some_and(|instance| instance.beats == beats);
        if dies {
            self.die(boot, at);
        }
        dies
    }

    /// Granted to clients and to maintenance, over the periods that a predicate chooses.
    fn granted(&self, key: &LimitKey, counts: impl Fn(Timestamp) -> bool) -> (u64, u64) {
        let of = |traffic: Traffic| {
            let grants = self.grants.iter().filter(|((other, of, _), _)| {
                (&other.backend, other.kind, *of) == (&key.backend, key.kind, traffic) && counts(other.period)
            });
            grants.map(|(_, (granted, _))| granted).sum()
        };
        (of(Traffic::Client), of(Traffic::Maintenance))
    }

    pub(crate) fn grant(&mut self, owner: BootId, ask: &GrantAsk) -> Answer<Granted> {
        self.is_alive(owner)?;
        let (client, maintenance) = self.granted(&ask.key, |period| period >= ask.key.period);
        let room = ask.terms.room(ask.traffic, client, maintenance);
        let at = (ask.key.clone(), ask.traffic, owner);
        let held = self.grants.get(&at).copied().unwrap_or_default();
        let give = if held.0 != ask.had || room < ask.least { 0 } else { ask.want.min(room) };
        if give > 0 {
            self.grants.insert(at, (held.0 + give, held.1));
        }
        Ok(Granted { granted: held.0 + give, room: room - give })
    }

    pub(crate) fn record(&mut self, owner: BootId, record: &GrantRecord) -> Answer<()> {
        self.is_alive(owner)?;
        let at = (record.key.clone(), record.traffic, owner);
        let held = self.grants.get(&at).copied().unwrap_or_default();
        if held.0 != record.had {
            return Ok(());
        }
        if record.spent > record.keeps || (record.keeps > held.0 && !record.counted) {
            return Err(Refusal::Changed("a grant"));
        }
        self.grants.insert(at, (record.keeps, record.spent));
        Ok(())
    }

    pub(crate) fn usage(&self, key: &LimitKey) -> Usage {
        let (granted_client, granted_maintenance) = self.granted(key, |period| period == key.period);
        let spent = |traffic: Traffic| {
            let grants = self.grants.iter().filter(|((other, of, _), _)| (other, *of) == (key, traffic));
            grants.map(|(_, (_, spent))| spent).sum()
        };
        let (spent_client, spent_maintenance) = (spent(Traffic::Client), spent(Traffic::Maintenance));
        Usage { granted_client, granted_maintenance, spent_client, spent_maintenance }
    }
}
