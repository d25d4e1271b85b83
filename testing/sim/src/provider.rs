//! A simulated provider: its own truth of what it stores and bills, and all that real ones do on bad days.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend::Entry;
use bytes::Bytes;
use types::{BackendName, ReplicaPath};

use crate::foreign::Foreign;
use crate::limits::Tally;
use crate::world::{World, locked};
use crate::{BackendPlan, Fault, Law};

/// How long a target of a write may keep silent while others do not, in milliseconds.
pub(crate) const STALL_MS: u64 = 2_000;

/// What a provider is, whoever speaks to it.
pub(crate) struct Provider {
    pub(crate) world: Arc<World>,
    name: BackendName,
    number: Mutex<i64>,
    pub(crate) plan: BackendPlan,
    pub(crate) store: Mutex<Store>,
    /// Its place in the plan.
    pub(crate) index: usize,
    /// What it has counted of what is limited.
    pub(crate) tally: Mutex<Tally>,
    /// How often it did something wrong.
    faults: AtomicU64,
    /// When the puts that are under way began.
    under_way: Mutex<Vec<u64>>,
    unmounted: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<String, Bytes>,
    billed: u64,
    /// Paths whose put has begun.
    pub(crate) begun: BTreeSet<String>,
    /// Paths that were deleted, and nothing came there since.
    pub(crate) deleted: BTreeMap<String, u64>,
    /// Paths whose bytes were changed or lost.
    pub(crate) harmed: BTreeMap<String, u64>,
    /// Paths whose readers were given wrong bytes or told a lie.
    pub(crate) doubtful: BTreeSet<String>,
    /// What a stale listing shows.
    pub(crate) before: Vec<Entry>,
    arriving: u64,
    pub(crate) versions_seen: bool,
    deletes: u64,
    /// Paths that were put by a process that others may have taken for dead.
    from_the_dead: BTreeSet<String>,
    /// What is not of our making, by its path. It is not on the bill, as that is counted here.
    pub(crate) foreign: BTreeMap<String, Foreign>,
    pub(crate) versions: u64,
}

impl Provider {
    pub(crate) fn new(world: &Arc<World>, name: BackendName, (index, plan): (usize, BackendPlan)) -> Self {
        Self {
            world: Arc::clone(world),
            name,
            number: Mutex::default(),
            plan,
            store: Mutex::default(),
            index,
            tally: Mutex::default(),
            faults: AtomicU64::new(0),
            under_way: Mutex::default(),
            unmounted: AtomicBool::new(false),
        }
    }

    /// How often it did something wrong so far; what it leaves without an answer for long counts.
    pub(crate) fn faults(&self) -> u64 {
        let now = self.world.now_ms();
        let silent = |since: &&u64| now >= **since + STALL_MS;
        let silent = locked(&self.under_way).iter().filter(silent).count();
        self.faults.load(Ordering::Relaxed) + silent as u64
    }

    /// A put begins; gives when.
    pub(crate) fn begins_put(&self) -> u64 {
        let now = self.world.now_ms();
        locked(&self.under_way).push(now);
        now
    }

    /// A put that began then is over.
    pub(crate) fn ends_put(&self, began_ms: u64) {
        let mut under_way = locked(&self.under_way);
        if let Some(at) = under_way.iter().position(|since| *since == began_ms) {
            under_way.swap_remove(at);
        }
    }

    /// Whether it was seen without its marker.
    pub(crate) fn was_unmounted(&self) -> bool {
        self.unmounted.load(Ordering::Relaxed)
    }

    /// Its number in the catalog.
    pub(crate) fn number(&self) -> i64 {
        *locked(&self.number)
    }

    pub(crate) fn set_number(&self, number: i64) {
        *locked(&self.number) = number;
    }

    pub(crate) fn name(&self) -> &BackendName {
        &self.name
    }

    pub(crate) fn quota(&self) -> Option<u64> {
        self.plan.quota
    }

    pub(crate) fn name_text(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn hides(&self) -> bool {
        self.plan.hides
    }

    /// Everything that lies there.
    pub(crate) fn stored(&self) -> BTreeMap<String, Bytes> {
        locked(&self.store).objects.clone()
    }

    /// Bytes on the bill.
    pub(crate) fn billed(&self) -> u64 {
        locked(&self.store).billed
    }

    /// Bodies that are still to arrive.
    pub(crate) fn arriving(&self) -> u64 {
        locked(&self.store).arriving
    }

    pub(crate) fn was_harmed(&self, path: &str) -> bool {
        locked(&self.store).harmed.contains_key(path)
    }

    pub(crate) fn was_doubtful(&self, path: &str) -> bool {
        let store = locked(&self.store);
        store.harmed.contains_key(path) || store.doubtful.contains(path)
    }

    /// Bytes that were lost and may still be charged.
    pub(crate) fn harmed_bytes(&self) -> u64 {
        locked(&self.store).harmed.values().sum()
    }

    /// Puts what was there from the beginning.
    pub(crate) fn plant(&self, path: &str) {
        locked(&self.store).objects.insert(path.to_owned(), Bytes::new());
    }

    /// Puts what looks like one of ours and is on the bill.
    pub(crate) fn stray(&self, path: &str, bytes: Bytes) {
        let bill = self.bill(&bytes);
        let mut store = locked(&self.store);
        store.objects.insert(path.to_owned(), bytes);
        store.billed += bill;
    }

    /// The catalog that had this deleted is lost: the next one may be of before that.
    pub(crate) fn forgotten(&self) {
        let mut store = locked(&self.store);
        let mut deleted = std::mem::take(&mut store.deleted);
        store.harmed.append(&mut deleted);
    }

    /// How many puts were begun.
    pub(crate) fn puts(&self) -> u64 {
        locked(&self.store).begun.len() as u64
    }

    /// How many deletes were carried out.
    pub(crate) fn deletes(&self) -> u64 {
        locked(&self.store).deletes
    }

    /// Whether others may have taken the process for dead that put this.
    pub(crate) fn came_from_the_dead(&self, path: &str) -> bool {
        locked(&self.store).from_the_dead.contains(path)
    }

    /// Notes who puts this.
    pub(crate) fn note_sender(&self, path: &str, process: u64) {
        if self.world.stopped.was_silent(process) {
            locked(&self.store).from_the_dead.insert(path.to_owned());
        }
    }

    /// Whether it has been away for so long.
    pub(crate) fn is_gone(&self, long_ms: u64) -> bool {
        let now = self.world.now_ms();
        let long = |window: &crate::Window| (window.from_ms + long_ms..window.until_ms).contains(&now);
        !self.world.is_calm() && self.plan.windows.iter().any(long)
    }

    /// Changes a bit of what lies at a path, or loses it.
    pub(crate) fn harm(&self, path: &str, fault: Fault, at: u64) {
        let mut store = locked(&self.store);
        let Some(bytes) = store.objects.get(path).cloned() else { return };
        if fault == Fault::Vanish || bytes.is_empty() {
            let bill = self.bill(&bytes);
            store.objects.remove(path);
            if store.foreign.remove(path).is_none() {
                store.billed -= bill;
            }
            store.harmed.insert(path.to_owned(), bill);
        } else {
            let mut changed = bytes.to_vec();
            let at = usize::try_from(at % bytes.len() as u64).unwrap_or(0);
            changed[at] ^= 1;
            if let Some(foreign) = store.foreign.get_mut(path) {
                foreign.replaces = false;
            }
            store.objects.insert(path.to_owned(), changed.into());
            store.harmed.insert(path.to_owned(), 0);
        }
        drop(store);
        self.world.count(if bytes.is_empty() { Fault::Vanish } else { fault });
        self.world.event(format_args!("{} harms {path}: {}", self.name, fault.as_str()));
    }

    pub(crate) fn bill(&self, bytes: &Bytes) -> u64 {
        (bytes.len() as u64).max(self.plan.billable_bytes_min)
    }

    /// The bytes are there from now on.
    pub(crate) fn store(&self, path: &str, bytes: Bytes) {
        let bill = self.bill(&bytes);
        let mut store = locked(&self.store);
        store.deleted.remove(path);
        let replaced = store.objects.insert(path.to_owned(), bytes).is_some();
        store.billed += bill;
        let billed = store.billed;
        drop(store);
        self.world.event(format_args!("{} has {path}, bills {billed}", self.name));
        if replaced {
            self.world.violate(Law::OnePut, format!("{path} on {} was written over", self.name));
        }
        if self.plan.quota.is_some_and(|quota| billed > quota) {
            let what = format!("{} bills {billed} bytes, its quota is {:?}", self.name, self.plan.quota);
            self.world.violate(Law::Quota, what);
        }
    }

    /// The bytes will be there within the bound.
    pub(crate) fn store_late(self: &Arc<Self>, path: String, bytes: Bytes) {
        let wait = 1 + self.world.chance.below(self.plan.late_ms.saturating_sub(2).max(1));
        locked(&self.store).arriving += 1;
        self.world.event(format_args!("{} gets {path} in {wait} ms", self.name));
        let provider = Arc::clone(self);
        let arrive = async move {
            runtime::sleep(Duration::from_millis(wait)).await;
            locked(&provider.store).arriving -= 1;
            provider.store(&path, bytes);
        };
        // It arrives whatever becomes of the process.
        runtime::simulation::apart(|| runtime::spawn(arrive)).detach();
    }

    pub(crate) fn remove(&self, path: &str) {
        let mut store = locked(&self.store);
        store.before = listing(&store);
        store.deletes += 1;
        let removed = store.objects.remove(path);
        let foreign = store.foreign.remove(path);
        let bill = removed.as_ref().map_or(0, |bytes| self.bill(bytes));
        store.deleted.entry(path.to_owned()).and_modify(|known| *known += bill).or_insert(bill);
        let hidden = removed.is_some() && self.plan.hides;
        store.versions_seen |= hidden;
        if let Some(bytes) = removed.filter(|_| !hidden && foreign.is_none()) {
            store.billed -= self.bill(&bytes);
        }
        drop(store);
        if hidden {
            self.world.count(Fault::DeleteHides);
        }
        if let Some(foreign) = foreign {
            self.removes_foreign(path, &foreign);
        }
    }

    /// Whether it is away now.
    pub(crate) fn away(&self) -> Option<Fault> {
        let now = self.world.now_ms();
        let away = |window: &&crate::Window| (window.from_ms..window.until_ms).contains(&now);
        let window = self.plan.windows.iter().find(away).filter(|_| !self.world.is_calm())?;
        self.world.count(window.fault);
        self.faults.fetch_add(1, Ordering::Relaxed);
        self.unmounted.fetch_or(window.fault == Fault::Unmounted, Ordering::Relaxed);
        Some(window.fault)
    }

    /// Who finds nothing just before the disk is mounted again may find the marker afterwards, and draw the wrong
    /// conclusion. It costs a repair.
    pub(crate) fn is_back_soon(&self, path: &ReplicaPath) {
        let now = self.world.now_ms();
        let soon = |window: &crate::Window| {
            (window.from_ms..window.until_ms).contains(&now) && window.until_ms < now + 6_000
        };
        if self.plan.windows.iter().any(soon) {
            locked(&self.store).doubtful.insert(path.as_str().to_owned());
        }
    }

    /// What befalls a request, of these.
    pub(crate) fn draw(&self, kinds: &[Fault]) -> Option<Fault> {
        if self.world.is_calm() {
            return None;
        }
        let happens = |fault: &&Fault| {
            self.plan.odds.get(fault).is_some_and(|odds| self.world.chance.below(1_000) < *odds)
        };
        let fault = kinds.iter().find(happens).copied()?;
        self.faults.fetch_add(1, Ordering::Relaxed);
        Some(fault)
    }
}

pub(crate) fn listing(store: &Store) -> Vec<Entry> {
    let entry = |(path, bytes): (&String, &Bytes)| {
        Some(Entry { path: ReplicaPath::parse(path).ok()?, size: bytes.len() as u64 })
    };
    store.objects.iter().filter_map(entry).collect()
}
