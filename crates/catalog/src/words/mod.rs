//! The words of the catalog: what its verbs take and give.

pub(crate) mod expiry;
pub(crate) mod fleet;
pub(crate) mod imports;
pub(crate) mod limit;
pub(crate) mod list;
pub(crate) mod moves;
pub(crate) mod object;
pub(crate) mod place;
pub(crate) mod repair;
pub(crate) mod shipping;
pub(crate) mod strays;
pub(crate) mod upload;
pub(crate) mod write;
