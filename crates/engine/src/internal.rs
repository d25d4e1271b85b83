//! Objects of the internal bucket: the journal on its way to the backends.
//!
//! They are written, charged, repaired and deleted like any object; what they change is not shipped.

use bytes::Bytes;
use catalog::{BucketId, DeleteItem, ListQuery, Listed, ListedObject, Metadata, Precondition};
use futures::stream;
use types::{BucketName, ObjectKey, Traffic};

use crate::engine::{Engine, Shared};
use crate::{Bucket, DeleteObjects, EngineError, Expected, Incoming, PutObject, Stored};

/// On how many backends they lie, or on all there are.
const REPLICAS: u32 = 2;
/// Lines of one page, and objects of one delete.
const PAGE: u32 = 1000;

impl Bucket {
    /// The bucket of what we keep for ourselves.
    #[must_use]
    pub fn internal() -> Self {
        let name = BucketName::parse(format::INTERNAL_BUCKET).expect("the constant is a legal name");
        Self { id: BucketId::INTERNAL, name }
    }
}

impl Engine {
    /// Stores an internal object.
    ///
    /// # Errors
    /// See [`Engine::put_object`].
    pub async fn put_internal(&self, key: &str, bytes: Bytes) -> Result<Stored, EngineError> {
        let put = PutObject {
            bucket: Bucket::internal(),
            key: internal_key(key)?,
            body: Incoming {
                length: bytes.len() as u64,
                stream: Box::pin(stream::iter([Ok(bytes)])),
                expected: Expected::default(),
            },
            headers: catalog::ObjectHeaders::default(),
            metadata: Metadata::new(),
            tags: Metadata::new(),
            precondition: Precondition::default(),
            client: catalog::Client::default(),
        };
        self.put_object(put).await
    }

    /// All internal objects whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn list_internal(&self, prefix: &str) -> Result<Vec<ListedObject>, EngineError> {
        let mut query = ListQuery {
            bucket: BucketId::INTERNAL,
            prefix: prefix.to_owned(),
            delimiter: None,
            after: None,
            limit: PAGE,
        };
        let mut found = Vec::new();
        loop {
            let page = self.list_objects(&query).await?;
            query.after = page.next();
            found.extend(page.lines.into_iter().filter_map(|line| match line {
                Listed::Object(object) => Some(object),
                Listed::Prefix(_) => None,
            }));
            if query.after.is_none() {
                return Ok(found);
            }
        }
    }

    /// Removes internal objects.
    ///
    /// # Errors
    /// Where the catalog does not answer; some may be removed then.
    pub async fn delete_internal(&self, keys: Vec<ObjectKey>) -> Result<(), EngineError> {
        for keys in keys.chunks(PAGE as usize) {
            let item =
                |key: &ObjectKey| DeleteItem { key: key.clone(), precondition: Precondition::default() };
            let items = keys.iter().map(item).collect();
            self.delete_objects(DeleteObjects { bucket: Bucket::internal(), items }).await?;
        }
        Ok(())
    }
}

impl Shared {
    /// How many replicas an object of this bucket should have.
    pub(crate) fn factor_of(&self, bucket: &Bucket) -> u32 {
        if bucket.id != BucketId::INTERNAL {
            return self.settings.factor;
        }
        REPLICAS.min(u32::try_from(self.places.len()).unwrap_or(u32::MAX)).max(1)
    }

    /// How many of them a write waits for: as many as the settings say, and never more than it should have.
    pub(crate) fn ack_replicas_of(&self, bucket: &Bucket) -> u32 {
        self.settings.ack_replicas.min(self.factor_of(bucket))
    }
}

/// On which share of the limits writes of this bucket draw: the journal is our own work.
pub(crate) fn traffic_of(bucket: &BucketName) -> Traffic {
    if bucket.as_str() == format::INTERNAL_BUCKET {
        return Traffic::Maintenance;
    }
    Traffic::Client
}

fn internal_key(key: &str) -> Result<ObjectKey, EngineError> {
    ObjectKey::parse(key).map_err(|error| EngineError::Internal(error.to_string()))
}
