//! The proof that this catalog is the newest of its deployment: what lies on the backends is all known to it.
//!
//! A row is written before the first byte is sent, so a catalog that wrote a segment knows it; one that went
//! back, was copied or lost its last transactions meets one that it does not know. `docs/shipping.md` has
//! the rules.

use std::collections::HashMap;

use backend::{BackendError, ErrorKind};
use catalog::CatalogError;
use format::shipped::ShippedName;
use format::{INTERNAL_BUCKET, Marker};
use runtime::mutation;
use types::{BackendName, ReplicaId, ReplicaPath};

use crate::EngineError;
use crate::engine::{Engine, Place, Shared};

/// Pages of the reserved folder that are read. Trimming keeps it to one or two.
const PAGES_MAX: u32 = 1000;
/// Replicas that the catalog is asked for at once.
const ASKED_AT_ONCE: usize = 1000;

/// What lies in the reserved folder of a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Markers, of whatever deployment.
    pub markers: Vec<Marker>,
    /// Segments and pieces of snapshots.
    pub shipped: Vec<ShippedFile>,
}

/// A segment or a piece of a snapshot as it lies on a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShippedFile {
    /// Its name.
    pub name: ShippedName,
    /// What its path says.
    pub replica: format::ReplicaName,
    /// Its path.
    pub path: ReplicaPath,
    /// Bytes.
    pub size: u64,
}

/// Reads the reserved folder of a backend: one listing.
///
/// # Errors
/// Where the backend does not answer.
pub(crate) async fn read_reserved(place: &Place) -> Result<Reserved, BackendError> {
    let folder = place.grammar.reserved();
    let (mut reserved, mut cursor) = (Reserved::default(), None);
    for _ in 0..PAGES_MAX {
        let page = place.maintenance.list(&folder, cursor.as_deref()).await?;
        for entry in page.entries {
            let below = entry.path.as_str().strip_prefix(&folder);
            if let Some(marker) = below.and_then(Marker::parse) {
                reserved.markers.push(marker);
            } else if let Some(file) = shipped_file(place, entry) {
                reserved.shipped.push(file);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(reserved);
        }
    }
    let why = format!("more than {PAGES_MAX} pages lie under {folder}");
    Err(BackendError::new(place.name(), "list", ErrorKind::Unsupported, why))
}

fn shipped_file(place: &Place, entry: backend::Entry) -> Option<ShippedFile> {
    let replica = place.grammar.parse(entry.path.as_str())?;
    let (bucket, key) = replica.object.as_ref()?;
    let name = ShippedName::parse(key.as_str()).filter(|_| bucket.as_str() == INTERNAL_BUCKET)?;
    Some(ShippedFile { name, replica, path: entry.path, size: entry.size })
}

impl Engine {
    /// Looks at the reserved folder of each backend that answers, or of those named, and freezes where it holds
    /// what a newer catalog of this deployment left. Says whether it is proved on at least one backend.
    ///
    /// # Errors
    /// Where the catalog does not answer: then nothing is proved.
    pub async fn prove_newest(&self, on: Option<&[BackendName]>) -> Result<bool, EngineError> {
        Ok(self.shared.prove_newest(on).await?)
    }

    /// The same where the last segment lies, unless a delete asked since that was stored.
    ///
    /// # Errors
    /// Where the catalog does not answer: then nothing is proved.
    pub async fn prove_since_segment(&self) -> Result<bool, EngineError> {
        Ok(self.shared.is_newest_still().await?)
    }
}

impl Shared {
    pub(crate) async fn prove_newest(&self, on: Option<&[BackendName]>) -> Result<bool, CatalogError> {
        let asked_at = self.asks_for_proof();
        let identity = self.catalog.identity().await?;
        let mut proved = false;
        let asked = |place: &&Place| on.is_none_or(|names| names.contains(place.name()));
        for place in self.places.iter().filter(asked) {
            let reserved = match read_reserved(place).await {
                Ok(reserved) => reserved,
                Err(error) => {
                    tracing::warn!(%error, "a backend could not say whether this is the newest catalog");
                    continue;
                }
            };
            let later =
                |marker: &&Marker| marker.deployment == identity.deployment && marker.epoch > identity.epoch;
            let later = reserved.markers.iter().find(later);
            if let Some(marker) = later.filter(|_| !mutation::is_on("newest.marker")) {
                self.freeze(&not_newest(place, &format!("carries the marker of epoch {}", marker.epoch)));
            }
            let unknown = self.unknown(place, &reserved.shipped, identity.epoch).await?;
            if let Some(path) = unknown.filter(|_| !mutation::is_on("newest.unknown")) {
                self.freeze(&not_newest(place, &format!("holds {path}, which this catalog did not write")));
            }
            proved = true;
        }
        let proved = proved && !self.is_frozen();
        self.note_proof(asked_at, proved);
        Ok(proved)
    }

    /// A file of this epoch or a later one that the catalog did not write.
    async fn unknown(
        &self,
        place: &Place,
        files: &[ShippedFile],
        epoch: u64,
    ) -> Result<Option<ReplicaPath>, CatalogError> {
        let ours_or_later = files.iter().filter(|file| file.name.epoch >= epoch);
        let paths: HashMap<ReplicaId, &ReplicaPath> =
            ours_or_later.map(|file| (file.replica.replica, &file.path)).collect();
        let mut asked: Vec<ReplicaId> = paths.keys().copied().collect();
        asked.sort_unstable();
        for ids in asked.chunks(ASKED_AT_ONCE) {
            let known = self.catalog.known_replicas(ids).await?;
            for (replica, _) in ids.iter().zip(known).filter(|(_, known)| known.is_none()) {
                let path = paths[replica];
                // It may have been deleted, and its row be gone, since the listing was made.
                match place.maintenance.head(path).await {
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    _ => return Ok(Some(path.clone())),
                }
            }
        }
        Ok(None)
    }
}

fn not_newest(place: &Place, why: &str) -> String {
    format!(
        "this catalog is not the newest of its deployment: backend {} {why}. Put the newest catalog back, or \
         run `s3-orchestrator rebuild` to make one from what lies on the backends",
        place.name()
    )
}
