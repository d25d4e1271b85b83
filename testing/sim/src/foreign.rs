//! What lies on a provider and is not of our making: how the provider tells one from another, and who may remove it.

use bytes::Bytes;
use types::{ETag, Timestamp};

use crate::provider::Provider;
use crate::world::locked;
use crate::{Deed, Law};

/// Whoever looks and then removes may have what lies there replaced in between, within this time.
const BETWEEN_MS: u64 = 60_000;

/// How a provider tells an object from what comes to lie in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// By an entity tag that is the MD5 of its bytes.
    Md5,
    /// By one that only looks like that.
    LikeMd5,
    /// By one that looks otherwise.
    Other,
    /// By its time.
    Time,
}

/// One object that is not of our making.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    /// Numbers what lay at this path, one after the other.
    version: u64,
    tag: Tag,
    /// The entity tag, where it has one.
    pub(crate) etag: Option<String>,
    pub(crate) modified: Timestamp,
    /// It came in the place of something else.
    pub(crate) replaces: bool,
    /// The process looked at it, and read it since: it may have been imported.
    looked: bool,
    read: bool,
    /// What was seen when it was last looked at, and when.
    seen: Option<(u64, u64)>,
}

impl Provider {
    /// Somebody puts something there. Gives its entity tag, where it has one.
    pub(crate) fn place_foreign(&self, path: &str, bytes: Bytes, tag: Tag) -> Option<String> {
        let mut store = locked(&self.store);
        let before = store.foreign.get(path).cloned();
        store.versions += 1;
        let version = store.versions;
        let etag = match tag {
            Tag::Md5 => Some(ETag::of_md5(engine::md5_of(&bytes)).as_str().to_owned()),
            Tag::LikeMd5 => Some(format!(
                "{:032x}",
                (u128::from(self.world.plan.seed) << 64) + (u128::from(version) << 8) + self.index as u128
            )),
            Tag::Other => Some(format!("{}-{version}-{}", self.index, bytes.len())),
            Tag::Time => None,
        };
        let modified = Timestamp::from_millis(self.world.true_now().as_millis() + version);
        let seen = before.as_ref().and_then(|before| before.seen);
        let replaces = before.is_some() || store.harmed.contains_key(path);
        let etag_kept = etag.clone();
        let foreign =
            Foreign { version, tag, etag: etag_kept, modified, replaces, looked: false, read: false, seen };
        store.foreign.insert(path.to_owned(), foreign);
        store.objects.insert(path.to_owned(), bytes);
        store.deleted.remove(path);
        if before.is_some() {
            store.harmed.insert(path.to_owned(), 0);
        }
        drop(store);
        self.world.event(format_args!("{} has {path}, of somebody else, told by {tag:?}", self.name()));
        etag.map(|etag| format!("\"{etag}\""))
    }

    /// Whose it is takes it away; says whether it was there.
    pub(crate) fn remove_foreign(&self, path: &str) -> bool {
        let mut store = locked(&self.store);
        if store.foreign.remove(path).is_none() {
            return false;
        }
        store.objects.remove(path);
        store.harmed.insert(path.to_owned(), 0);
        drop(store);
        self.world.event(format_args!("{path} is gone from {}", self.name()));
        true
    }

    /// All that is there and not of our making.
    pub(crate) fn foreign(&self) -> Vec<(String, Bytes)> {
        let store = locked(&self.store);
        let of = |path: &String| Some((path.clone(), store.objects.get(path)?.clone()));
        store.foreign.keys().filter_map(of).collect()
    }

    /// As what it would be imported; `None` where nothing of others lies there.
    pub(crate) fn stamp_of(&self, path: &str) -> Option<(u64, String)> {
        let store = locked(&self.store);
        let foreign = store.foreign.get(path)?;
        let by_time = || format!("modified:{}", foreign.modified.as_millis());
        let stamp = foreign.etag.as_ref().map_or_else(by_time, |etag| format!("etag:{etag}"));
        Some((store.objects.get(path)?.len() as u64, stamp))
    }

    /// Whether what lies there came in the place of something else, and was not harmed since.
    pub(crate) fn is_replaced(&self, path: &str) -> bool {
        locked(&self.store).foreign.get(path).is_some_and(|foreign| foreign.replaces)
    }

    pub(crate) fn is_foreign(&self, path: &str) -> bool {
        locked(&self.store).foreign.contains_key(path)
    }

    /// Whether nothing tells that what is read is right.
    pub(crate) fn is_unvouched(&self, path: &str) -> bool {
        let store = locked(&self.store);
        store.foreign.get(path).is_some_and(|foreign| [Tag::Other, Tag::Time].contains(&foreign.tag))
    }

    /// The process looked at it for a purpose of its own.
    pub(crate) fn was_looked_at(&self, path: &str) -> Option<Foreign> {
        let now = self.world.now_ms();
        let mut store = locked(&self.store);
        let foreign = store.foreign.get_mut(path)?;
        foreign.looked = true;
        foreign.seen = Some((foreign.version, now));
        Some(foreign.clone())
    }

    /// The process read it for a purpose of its own.
    pub(crate) fn was_read(&self, path: &str) {
        if let Some(foreign) = locked(&self.store).foreign.get_mut(path) {
            foreign.read |= foreign.looked;
            foreign.seen = None;
        }
    }

    /// The process removes it. It may, where it was imported; and where that was what it saw when it looked just before.
    pub(crate) fn removes_foreign(&self, path: &str, foreign: &Foreign) {
        let now = self.world.now_ms();
        let slipped_in =
            foreign.seen.is_some_and(|(version, at)| version != foreign.version && now < at + BETWEEN_MS);
        if foreign.looked && foreign.read {
            self.world.did(Deed::ImportedDeleted, 1);
        } else if !slipped_in {
            let what = format!("{path} on {} was deleted, and was not ours", self.name());
            self.world.violate(Law::Imported, what);
        }
    }
}
