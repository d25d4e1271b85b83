//! The operations, one file per subject.

mod bucket;
mod copy;
mod delete;
mod get;
mod list;
mod multipart;
mod put;

pub use get::Object;
pub use multipart::{OpenUpload, StoredPart, UploadPart};
pub use put::{PutObject, Stored};
