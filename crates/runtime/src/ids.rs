//! Where identifiers come from.

use types::{BlobId, BootId, ChangeId, DeploymentId, ManifestId, ReplicaId, UploadId};

use crate::{Chance, Clock};

/// Makes identifiers out of the clock and chance.
#[derive(Debug, Clone)]
pub struct Ids {
    clock: Clock,
    chance: Chance,
}

macro_rules! make {
    ($($(#[$doc:meta])* $method:ident -> $id:ident;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $method(&self) -> $id {
            $id::from_parts(self.clock.now(), self.chance.next_u128())
        })*
    };
}

impl Ids {
    /// Identifiers from this clock and this chance.
    #[must_use]
    pub fn new(clock: Clock, chance: Chance) -> Self {
        Self { clock, chance }
    }

    make! {
        /// A new blob.
        blob -> BlobId;
        /// A new replica.
        replica -> ReplicaId;
        /// A new manifest.
        manifest -> ManifestId;
        /// A new multipart upload.
        upload -> UploadId;
        /// A new change.
        change -> ChangeId;
        /// A new start of a process.
        boot -> BootId;
        /// A new deployment.
        deployment -> DeploymentId;
    }
}
