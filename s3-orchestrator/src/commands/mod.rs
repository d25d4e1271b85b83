//! One file per command.

pub(crate) mod admin;
pub(crate) mod demo;
pub(crate) mod rebuild;
pub(crate) mod serve;
pub(crate) mod sync;
pub(crate) mod validate;
pub(crate) mod version;
