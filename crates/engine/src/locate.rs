//! Locating what a reader wants: in the catalog, or, while that is gone, among what was located lately.

use std::sync::Arc;

use catalog::{CatalogError, Object, Piece, Unsatisfiable};
use runtime::mutation;
use types::ByteRange;

use crate::engine::Shared;
use crate::recent::Ticket;
use crate::{EngineError, GetObject};

/// An object, and where the wanted bytes lie.
pub(crate) struct Found {
    pub(crate) object: Object,
    pub(crate) range: Result<ByteRange, Unsatisfiable>,
    pub(crate) parts: Option<u32>,
    pub(crate) pieces: Vec<Arc<Piece>>,
    /// The catalog did not answer: this is what was known before, and may be as old as the outage.
    pub(crate) degraded: bool,
}

impl Shared {
    /// Finds an object and the bytes that are wanted of it.
    ///
    /// # Errors
    /// [`EngineError::NoSuchKey`] only where the catalog said so; where it does not answer and nothing is
    /// known, [`EngineError::Unavailable`].
    pub(crate) async fn find(&self, request: &GetObject) -> Result<(Found, Ticket), EngineError> {
        let (bucket, key, want) = (request.bucket.id, &request.key, request.want);
        let ticket = self.recent.ticket();
        let error = match self.catalog.locate(bucket, key, want).await {
            Ok(Some(located)) => {
                let pieces: Vec<Arc<Piece>> = located.pieces.into_iter().map(Arc::new).collect();
                self.recent.found(ticket, &located.object, &pieces);
                let (object, range, parts) = (located.object, located.range, located.parts);
                return Ok((Found { object, range, parts, pieces, degraded: false }, ticket));
            }
            Ok(None) => {
                self.recent.missed(bucket, key);
                return Err(EngineError::NoSuchKey);
            }
            Err(error) => error,
        };
        let gone = matches!(error, CatalogError::Unavailable(_) | CatalogError::Unknown(_));
        match self.recent.find(bucket, key, want).filter(|_| gone) {
            Some(found) => Ok((found, ticket)),
            None if gone && mutation::is_on("locate.unknown") => Err(EngineError::NoSuchKey),
            None => Err(error.into()),
        }
    }
}
