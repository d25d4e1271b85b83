//! A thin client of HashiCorp Vault and OpenBao: seals, raft, transit, secrets, logins.
//!
//! A [`Vault`] speaks to one node and does whole calls on it. What it promises:
//!
//! - A call is sent at most once, and follows no redirect: [`ErrorKind::Standby`] names the node to ask, and
//!   whoever calls decides whether the token goes there.
//! - Errors name the node, the call and what to do, never a key, a token or a share: whatever secret a call
//!   carried is taken out of the words that the server answers.
//! - [`Secret`]s are wiped when they are dropped, and so are the bodies that carry them as far as they are
//!   ours. (Buffers of the HTTP and TLS libraries are not.)
//! - Snapshots are streams in both directions and never collected. Every wait has a bound, in [`Timeouts`].
//!
//! [`Session`] keeps a token alive: it renews at two thirds of its life, and logs in again where that ends.

mod auth;
mod call;
mod client;
mod error;
mod link;
mod logical;
mod options;
mod raft;
mod root;
mod secret;
mod session;
mod sys;
mod transit;

pub use auth::{Auth, Credential, Login, TokenInfo};
pub use client::Vault;
pub use error::{BoxError, Error, ErrorKind};
pub use link::Download;
pub use logical::Fields;
pub use options::{Timeouts, VaultOptions};
pub use raft::{AutopilotServer, AutopilotState, RaftServer, Restore, Snapshot, SnapshotBody};
pub use secret::{Secret, SecretBytes};
pub use session::Session;
pub use sys::{Health, Initialised, Leader, SealStatus};
pub use transit::{DataKey, TransitKey};
// What callers fill the options with.
pub use connect::{Identity, Roots, Stage, TlsOptions};
