//! Random operations on instances, limits and grants.

use proptest::prelude::*;
use types::{BackendName, BootId, LimitKind, Timestamp, Traffic};

use super::{Drive, alike, pick};
use crate::{GrantAsk, GrantRecord, Instance, LimitKey, Terms};

#[derive(Debug, Clone)]
pub(super) enum LimitOp {
    Join,
    Beat { boot: u8, oldest_read: u8 },
    Die { boot: u8, late: bool },
    Grant { boot: u8, limit: u8, lost: bool, least: u8, ahead: u8, paced: u8 },
    Record { boot: u8, limit: u8, keeps: u8, spent: u8, stale: bool },
}

pub(super) fn limit_ops() -> impl Strategy<Value = LimitOp> {
    prop_oneof![
        2 => Just(LimitOp::Join),
        2 => (any::<u8>(), 0..9_u8).prop_map(|(boot, oldest_read)| LimitOp::Beat { boot, oldest_read }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(boot, late)| LimitOp::Die { boot, late }),
        8 => (any::<u8>(), any::<u8>(), prop::bool::weighted(0.1), 0..40_u8, 0..60_u8, 0..120_u8).prop_map(
            |(boot, limit, lost, least, ahead, paced)|
                LimitOp::Grant { boot, limit, lost, least, ahead, paced }),
        5 => (any::<u8>(), any::<u8>(), 0..40_u8, 0..40_u8, prop::bool::weighted(0.1)).prop_map(
            |(boot, limit, keeps, spent, stale)| LimitOp::Record { boot, limit, keeps, spent, stale }),
    ]
}

/// One of few, so that owners meet.
fn a_limit(number: u8) -> (LimitKey, Traffic) {
    let backend = BackendName::parse(["one", "gone"][usize::from(number & 1)]).unwrap();
    let kind = if number & 2 == 0 { LimitKind::Requests } else { LimitKind::Egress };
    let period = Timestamp::from_millis(u64::from(number >> 2 & 1) * 1_000_000);
    (LimitKey { backend, kind, period }, Traffic::ALL[usize::from(number >> 3 & 1)])
}

impl Drive {
    /// A living one, mostly; now and then a dead one.
    fn a_boot(&self, number: u8) -> BootId {
        let mut known: Vec<BootId> = self.model.living.keys().copied().collect();
        if number.is_multiple_of(7) {
            known.extend(self.model.dead.iter().copied());
        }
        pick(&known, number / 7).copied().unwrap_or(self.w.boot)
    }

    pub(super) async fn limit_step(&mut self, op: &LimitOp) {
        match *op {
            LimitOp::Join => {
                let boot = self.w.ids.boot();
                self.model.join(boot, self.clock).unwrap();
                self.w.catalog.join(boot, self.clock).await.unwrap();
            }
            LimitOp::Beat { boot, oldest_read } => {
                let (boot, oldest_read) = (self.a_boot(boot), u64::from(oldest_read));
                let model = self.model.beat(boot, oldest_read);
                let answers = alike("beat", self.w.catalog.beat(boot, oldest_read).await, model);
                assert!(answers.is_none_or(|(made, expected)| made == expected));
            }
            LimitOp::Die { boot, late } => {
                let boot = self.a_boot(boot);
                let beats = self.model.living.get(&boot).map_or(0, |instance| instance.beats);
                let beats = beats + u64::from(late);
                let expected = self.model.declare_dead(boot, beats, self.clock);
                let died = self.w.catalog.declare_dead(boot, beats, self.clock).await.unwrap();
                assert_eq!(died, expected);
                self.write_on().await;
            }
            LimitOp::Grant { boot, limit, lost, least, ahead, paced } => {
                let (owner, (key, traffic)) = (self.a_boot(boot), a_limit(limit));
                let held = self.model.grants.get(&(key.clone(), traffic, owner)).map_or(0, |grant| grant.0);
                let had = if lost { held.saturating_sub(1) } else { held };
                let (least, ahead) = (u64::from(least), u64::from(ahead));
                let terms = Terms { limit: 100, kept: 5, paced: u64::from(paced) };
                let ask = GrantAsk { key, traffic, had, least, want: least + ahead, terms };
                let model = self.model.grant(owner, &ask);
                let answers = alike("grant", self.w.catalog.grant(owner, vec![ask]).await, model);
                assert!(answers.is_none_or(|(made, expected)| made == [expected]));
            }
            LimitOp::Record { boot, limit, keeps, spent, stale } => {
                let (owner, (key, traffic)) = (self.a_boot(boot), a_limit(limit));
                let held = self.model.grants.get(&(key.clone(), traffic, owner)).map_or(0, |grant| grant.0);
                let had = held + u64::from(stale);
                let (keeps, spent) = (u64::from(keeps).min(held + 1), u64::from(spent).min(held));
                let one = GrantRecord { key, traffic, had, keeps, spent, counted: false };
                let model = self.model.record(owner, &one);
                alike("record", self.w.catalog.record(owner, vec![one]).await, model);
            }
        }
    }

    /// Where the writer of objects died, another one writes on.
    async fn write_on(&mut self) {
        if self.model.living.contains_key(&self.w.boot) {
            return;
        }
        self.w.boot = self.w.ids.boot();
        self.model.join(self.w.boot, self.clock).unwrap();
        self.w.catalog.join(self.w.boot, self.clock).await.unwrap();
    }

    pub(super) async fn compare_limits(&self) {
        let expected: Vec<Instance> = self.model.living.values().copied().collect();
        assert_eq!(self.w.catalog.living().await.unwrap(), expected);
        let keys: Vec<LimitKey> = (0..8).map(|number| a_limit(number).0).collect();
        let expected: Vec<_> = keys.iter().map(|key| self.model.usage(key)).collect();
        assert!(expected.iter().all(|usage| usage.granted() <= 100), "never over a limit");
        assert_eq!(self.w.catalog.usage(keys).await.unwrap(), expected);
    }
}
