//! The words of the catalog: what its verbs take and give.

pub(crate) mod limit;
pub(crate) mod list;
pub(crate) mod object;
pub(crate) mod place;
pub(crate) mod shipping;
pub(crate) mod upload;
pub(crate) mod write;
