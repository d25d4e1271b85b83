//! The engine: the only crate that sees both bytes and records.
//!
//! One file per verb. A write is reserve, stream, commit (`put.rs`); a read is locate, stream (`get.rs`);
//! what is no longer needed is removed by the reaper (`reaper.rs`). Decisions are pure functions:
//! `placement.rs` chooses backends, `completion.rs` decides on a multipart upload.

mod engine;
mod error;
mod words;

pub use engine::Engine;
pub use error::{BodyFault, EngineError};
pub use words::{
    Algorithm, Bucket, CompleteUpload, CopyObject, CopyPart, CreateUpload, DeleteObjects, Expected,
    GetObject, Incoming, IncomingStream, ListedPart, Opened, OpenedBody, PutObject, PutPart, Read,
    ReadConditions, Settings, Source, Stored, StoredPart, Strategy, TrailerChecksums,
};
