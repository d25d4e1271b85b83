//! The catalog: what is where. One truth, in one database.
//!
//! A role trait groups the verbs of one subject; one method is one transaction. [`Catalog`] is all roles
//! together. `sqlite` implements them inside the process. The schema and the state machine that the verbs
//! keep are written down in `docs/catalog.md`; one suite (`suite`) and a small reference model hold every
//! implementation to them. There is no SQL outside this crate and no HTTP inside it.

mod breaker;
mod decorated;
mod error;
mod journal;
#[cfg(test)]
mod model;
mod roles;
pub mod sqlite;
#[cfg(any(test, feature = "suite"))]
#[expect(clippy::unwrap_used, reason = "a broken promise is a panic")]
pub mod suite;
mod words;

pub use breaker::{Breakers, CircuitBreaker};
pub use decorated::{Around, Decorated, Verb};
pub use error::{CatalogError, Refusal};
pub use roles::instances::Instances;
pub use roles::limits::Limits;
pub use roles::shipping::{Rebuilding, Shipping};
pub use roles::{
    Brake, Care, Catalog, Deployment, Expiry, Fleet, FleetWork, Imports, Ledger, Moves, Objects, Reaping,
    Repair, Scrubbing, Strays, Uploads, Writes,
};
pub use words::expiry::{ExpiredPage, ExpiredQuery, SeenObject, StaleUpload};
pub use words::fleet::{DoomedPage, DoomedRow, Drain, Held, HeldPage, OnBackend, Removed, Retire, Retired};
pub use words::imports::{Import, Imported};
pub use words::limit::{GrantAsk, GrantRecord, Granted, Instance, LimitKey, Terms, Usage};
pub use words::list::{ListPage, ListPosition, ListQuery, Listed, ListedObject};
pub use words::moves::{CommitMove, MoveSource};
pub use words::object::{
    Checksums, Client, Content, Located, MatchTags, Metadata, Object, ObjectHeaders, ObjectState, Piece,
    Precondition, ReplicaAt, Unsatisfiable, Want,
};
pub use words::place::{
    BackendId, BackendSpec, BackendTotals, BucketId, Doomed, Identity, ReplicaRow, ReplicaState, Settled,
    SettledOutcome, Totals,
};
pub use words::repair::{
    BrakeSettings, BrakeState, Postponed, ProofAges, ScrubPage, ShortBlob, Shortage, Unproved,
};
pub use words::shipping::{
    Decided, InternalFile, JournalLine, Names, Rebuilt, SnapshotCursor, SnapshotPage, SnapshotTable,
    Unshipped,
};
pub use words::strays::{KnownReplica, Quarantined, RestoreQuarantined, Stray, StrayTimes, TakenIn, ToProve};
pub use words::upload::{
    AbortUpload, CommitPart, CompleteUpload, Completed, Completion, CopyPart, CreateUpload, DecideCompletion,
    ListedUpload, Part, PartsPage, PartsQuery, Upload, UploadsPage, UploadsQuery,
};
pub use words::write::{
    AddReplica, CommitPut, Committed, CopyObject, DeleteAnswer, DeleteItem, DeleteObjects, Fate, NewBlob,
    Reserve, ReserveFor, SetTags, Target, WriteOutcome,
};
