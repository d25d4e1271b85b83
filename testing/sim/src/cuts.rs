//! What is cut from a plan, so that a failing one gets small enough to be read.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::{Fault, Plan};

/// Parts of a plan that are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cuts(BTreeSet<Cut>);

/// One part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// All that a client does.
    Client(usize),
    /// One thing that a client does.
    Op(usize, usize),
    /// A kind of fault, everywhere.
    Fault(Fault),
    /// A crash.
    Crash(usize),
    /// An event.
    Event(usize),
    /// The shuffling of tasks.
    Shuffle,
    /// Repair, trimming and scrubbing.
    Upkeep,
    /// Objects that expire.
    Expiry,
    /// Something that an operator asks for.
    Order(usize),
    /// All imports.
    Imports,
    /// A change of the factor.
    Factor(usize),
    /// All limits.
    Limits,
    /// A stop in order.
    Restart(usize),
    /// All breakers.
    Breakers,
    /// An outage of the catalog.
    Outage(usize),
}

impl Cuts {
    /// These and one more.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = Cut>) -> Self {
        Self(self.0.iter().cloned().chain(more).collect())
    }

    /// Leaves them out of a plan. Places keep their numbers.
    pub fn apply(&self, plan: &mut Plan) {
        let mut kept: Vec<Vec<Option<crate::Op>>> =
            plan.clients.drain(..).map(|ops| ops.into_iter().map(Some).collect()).collect();
        for cut in &self.0 {
            match cut {
                Cut::Client(client) => kept[*client].iter_mut().for_each(|op| *op = None),
                Cut::Op(client, op) => kept[*client][*op] = None,
                Cut::Fault(fault) => cut_fault(plan, *fault),
                Cut::Crash(crash) => plan.crashes[*crash].after_points = u64::MAX,
                Cut::Event(event) => plan.events[*event].at_ms = u64::MAX,
                Cut::Shuffle => plan.shuffle = 0,
                Cut::Upkeep => plan.workers.upkeep = None,
                Cut::Expiry => plan.workers.expiry = None,
                Cut::Order(order) => plan.workers.orders[*order].at_ms = u64::MAX,
                Cut::Imports => plan.imports = None,
                Cut::Factor(change) => plan.factors[*change].at_ms = u64::MAX,
                Cut::Limits => plan.limits = None,
                Cut::Restart(restart) => cut_restart(plan, *restart),
                Cut::Breakers => plan.breakers = None,
                Cut::Outage(outage) => plan.outages[*outage].until_ms = 0,
            }
        }
        plan.crashes.retain(|crash| crash.after_points < u64::MAX && !self.has(Fault::Crash));
        plan.events.retain(|event| event.at_ms < u64::MAX && !self.has(event.fault));
        plan.factors.retain(|change| change.at_ms < u64::MAX);
        plan.workers.orders.retain(|order| order.at_ms < u64::MAX);
        plan.clients = kept.into_iter().map(|ops| ops.into_iter().flatten().collect()).collect();
    }

    fn has(&self, fault: Fault) -> bool {
        self.0.contains(&Cut::Fault(fault))
    }

    /// Whether nothing is cut.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn cut_restart(plan: &mut Plan, restart: usize) {
    if let Some(limits) = &mut plan.limits {
        limits.restarts[restart] = u64::MAX;
    }
}

fn cut_fault(plan: &mut Plan, fault: Fault) {
    for backend in &mut plan.backends {
        backend.odds.remove(&fault);
        backend.windows.retain(|window| window.fault != fault);
        backend.hides &= fault != Fault::DeleteHides;
    }
    for op in plan.clients.iter_mut().flatten() {
        if fault == Fault::ClientStops {
            op.patience_ms = None;
        }
        if let crate::Verb::Put { flaw, .. } = &mut op.verb
            && *flaw == Some(fault)
        {
            *flaw = None;
        }
    }
    if fault == Fault::CatalogAnswerLost {
        plan.catalog_loses = 0;
    }
    if fault == Fault::CatalogUnavailable {
        plan.catalog_refuses = 0;
    }
    if fault == Fault::CatalogAway {
        plan.outages.clear();
    }
    if let Some(limits) = plan.limits.as_mut().filter(|_| fault == Fault::ClockSkew) {
        limits.first_skew_ms = 0;
    }
    if let Some(instances) = plan.instances.as_mut().filter(|_| fault == Fault::ClocksDiffer) {
        instances.skews_ms.clear();
    }
    if fault == Fault::ClockSkew {
        plan.crashes.iter_mut().for_each(|crash| crash.skew_ms = 0);
    }
}

impl fmt::Display for Cuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, cut) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match cut {
                Cut::Client(client) => write!(f, "client:{client}"),
                Cut::Op(client, op) => write!(f, "op:{client}.{op}"),
                Cut::Fault(fault) => write!(f, "fault:{}", fault.as_str()),
                Cut::Crash(crash) => write!(f, "crash:{crash}"),
                Cut::Event(event) => write!(f, "event:{event}"),
                Cut::Shuffle => write!(f, "shuffle:all"),
                Cut::Upkeep => write!(f, "upkeep:all"),
                Cut::Expiry => write!(f, "expiry:all"),
                Cut::Order(order) => write!(f, "order:{order}"),
                Cut::Imports => write!(f, "imports:all"),
                Cut::Factor(change) => write!(f, "factor:{change}"),
                Cut::Limits => write!(f, "limits:all"),
                Cut::Restart(restart) => write!(f, "restart:{restart}"),
                Cut::Breakers => write!(f, "breakers:all"),
                Cut::Outage(outage) => write!(f, "outage:{outage}"),
            }?;
        }
        Ok(())
    }
}

impl FromStr for Cuts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts
            .map(|part| parse(part).ok_or_else(|| format!("not a cut: {part}")))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn parse(text: &str) -> Option<Cut> {
    let (kind, value) = text.split_once(':')?;
    Some(match kind {
        "client" => Cut::Client(value.parse().ok()?),
        "op" => {
            let (client, op) = value.split_once('.')?;
            Cut::Op(client.parse().ok()?, op.parse().ok()?)
        }
        "fault" => Cut::Fault(Fault::parse(value)?),
        "crash" => Cut::Crash(value.parse().ok()?),
        "event" => Cut::Event(value.parse().ok()?),
        "shuffle" => Cut::Shuffle,
        "upkeep" => Cut::Upkeep,
        "expiry" => Cut::Expiry,
        "order" => Cut::Order(value.parse().ok()?),
        "imports" => Cut::Imports,
        "factor" => Cut::Factor(value.parse().ok()?),
        "limits" => Cut::Limits,
        "restart" => Cut::Restart(value.parse().ok()?),
        "breakers" => Cut::Breakers,
        "outage" => Cut::Outage(value.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_read_as_they_are_written() {
        let text = "client:1,op:0.3,fault:rot,crash:0,event:2,shuffle:all,upkeep:all,expiry:all,order:1,imports:all,factor:0,limits:all,restart:0,breakers:all,outage:1";
        assert_eq!(text.parse::<Cuts>().unwrap().to_string(), text);
        assert!("client:x".parse::<Cuts>().is_err());
    }

    #[test]
    fn what_is_cut_is_gone_and_the_rest_is_as_it_was() {
        let whole = Plan::new(7, &Cuts::default());
        let cut = Plan::new(7, &Cuts::default().with([Cut::Op(0, 1), Cut::Client(1)]));
        assert_eq!(cut.clients[0].len(), whole.clients[0].len() - 1);
        assert!(cut.clients[1].is_empty());
        assert_eq!(cut.clients[0][1].seed, whole.clients[0][2].seed);
    }
}
