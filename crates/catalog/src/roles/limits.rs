//! Limits and grants.

use async_trait::async_trait;
use types::{BootId, Timestamp};

use crate::{CatalogError, GrantAsk, GrantRecord, Granted, LimitKey, Usage};

/// What owners may spend. The sum of what was granted of a limit never exceeds it; what was granted for later
/// periods counts too, for then a clock ran ahead.
///
/// Only the owner changes its grants, one call after the other, and names the number that it knows. So a
/// call whose answer was lost is repeated as it was.
#[async_trait]
pub trait Limits: Send + Sync + 'static {
    /// The catalog's time: periods are counted in it.
    async fn time(&self) -> Result<Timestamp, CatalogError>;

    /// Grants what there is room for, in the order given: all of `want`, or less but at least `least`, or
    /// nothing. Refused: `Changed` where the owner is dead.
    async fn grant(&self, owner: BootId, asks: Vec<GrantAsk>) -> Result<Vec<Granted>, CatalogError>;

    /// Writes down what was spent, and takes back what is not kept. Where the catalog knows another number than
    /// `had`, that record is passed over. Refused: `Changed` where the owner is dead.
    async fn record(&self, owner: BootId, records: Vec<GrantRecord>) -> Result<(), CatalogError>;

    /// What was granted and spent of each, in the order given.
    async fn usage(&self, keys: Vec<LimitKey>) -> Result<Vec<Usage>, CatalogError>;
}
