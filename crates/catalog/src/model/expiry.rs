//! Expiry, the long way.

use super::Model;
use crate::{ExpiredQuery, SeenObject};

impl Model {
    /// All that is old enough, whatever page it is on.
    pub(crate) fn expired(&self, query: &ExpiredQuery) -> Vec<SeenObject> {
        let old = self.objects.values().filter(|object| {
            object.bucket == query.bucket
                && object.key.as_str().starts_with(&query.prefix)
                && object.state.modified < query.before
                && query.tags.iter().all(|tag| object.state.tags.contains(tag))
        });
        old.map(|object| SeenObject { key: object.key.clone(), change: object.change }).collect()
    }

    pub(crate) fn expire(&mut self, bucket: crate::BucketId, seen: &[SeenObject]) -> u32 {
        self.as_a_worker(|model| model.expire_all(bucket, seen))
    }

    fn expire_all(&mut self, bucket: crate::BucketId, seen: &[SeenObject]) -> u32 {
        let mut removed = 0;
        for object in seen {
            let place = (bucket, object.key.clone());
            if self.objects.get(&place).is_some_and(|present| present.change == object.change) {
                self.objects.remove(&place);
                removed += 1;
            }
        }
        self.sweep();
        removed
    }
}
