//! The raft storage: members, health, snapshots.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use futures::Stream;
use http::Method;
use serde::Deserialize;

use crate::call::Call;
use crate::client::{Vault, Wrapped};
use crate::error::{BoxError, Error, ErrorKind};
use crate::link::{Body, BodyStream, Download};
use crate::secret::Secret;

/// One member.
#[derive(Debug, Clone, Deserialize)]
pub struct RaftServer {
    /// Its name.
    pub node_id: String,
    /// Where other members reach it.
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it votes.
    pub voter: bool,
}

/// How healthy the members are, as the leader sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct AutopilotState {
    /// Whether all are.
    pub healthy: bool,
    /// How many may fail before the cluster stands still.
    #[serde(default)]
    pub failure_tolerance: i64,
    /// The name of the leader.
    #[serde(default)]
    pub leader: String,
    /// The members by name.
    #[serde(default)]
    pub servers: BTreeMap<String, AutopilotServer>,
}

/// One member, as the leader sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct AutopilotServer {
    /// Where other members reach it.
    #[serde(default)]
    pub address: String,
    /// Whether it is healthy.
    pub healthy: bool,
    /// `leader`, `voter`, `non-voter`.
    #[serde(default)]
    pub status: String,
    /// The newest entry of the raft log that it has.
    #[serde(default)]
    pub last_index: u64,
}

/// A snapshot on its way.
#[derive(Debug)]
pub struct Snapshot {
    /// The node that answers.
    pub node: String,
    /// The status of its answer.
    pub status: u16,
    /// The length, where the node says it beforehand. It rarely does.
    pub length: Option<u64>,
    /// The bytes: a gzip of a tar, unverified.
    pub body: Download,
}

/// A snapshot to be restored.
pub struct SnapshotBody {
    stream: BodyStream,
    length: Option<u64>,
}

/// Whether a snapshot has to come from this very cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// The keys of the snapshot must be those of the cluster.
    SameCluster,
    /// Whatever cluster it comes from; it is sealed with that cluster's shares afterwards.
    AnyCluster,
}

impl SnapshotBody {
    /// A body of this length.
    pub fn with_length<S>(length: u64, stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    {
        Self { stream: Box::pin(stream), length: Some(length) }
    }

    /// A body whose length is not known; it is sent in chunks.
    pub fn chunked<S>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    {
        Self { stream: Box::pin(stream), length: None }
    }
}

impl fmt::Debug for SnapshotBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotBody({:?} bytes)", self.length)
    }
}

impl Vault {
    /// The members of the cluster.
    ///
    /// # Errors
    /// Where the token may not ask, or the storage is not raft.
    pub async fn raft_servers(&self, token: &Secret) -> Result<Vec<RaftServer>, Error> {
        #[derive(Deserialize)]
        struct Data {
            config: Config,
        }
        #[derive(Deserialize)]
        struct Config {
            servers: Vec<RaftServer>,
        }
        let call = Call::get("raft configuration", "sys/storage/raft/configuration").with_token(token);
        let answer: Wrapped<Data> = self.succeed_with(call).await?;
        Ok(answer.data.config.servers)
    }

    /// How healthy the members are; `None` where this version or storage does not know.
    ///
    /// # Errors
    /// Where the token may not ask.
    pub async fn autopilot_state(&self, token: &Secret) -> Result<Option<AutopilotState>, Error> {
        let call = Call::get("autopilot state", "sys/storage/raft/autopilot/state").with_token(token);
        match self.succeed_with::<Wrapped<Option<AutopilotState>>>(call).await {
            Ok(answer) => Ok(answer.data),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins a snapshot. Its bytes are unverified, and it may break off: a stream that ends has not
    /// necessarily ended well.
    ///
    /// # Errors
    /// [`ErrorKind::Standby`] where this node sends us elsewhere; or where the token may not ask.
    pub async fn raft_snapshot(&self, token: &Secret) -> Result<Snapshot, Error> {
        let call = Call::get("snapshot", "sys/storage/raft/snapshot").with_token(token);
        let (connection, response) = self.open(&call, Body::empty()).await?;
        let (head, incoming) = response.into_parts();
        let length = http_body::Body::size_hint(&incoming).exact();
        let body = Download::new(incoming, connection, self.address(), call.name, self.timeouts().stall);
        Ok(Snapshot { node: self.address().to_owned(), status: head.status.as_u16(), length, body })
    }

    /// Restores a snapshot into the cluster. It loses everything it holds.
    ///
    /// # Errors
    /// Where the node refuses it, or the body fails ([`ErrorKind::Body`]).
    pub async fn raft_restore(
        &self,
        token: &Secret,
        body: SnapshotBody,
        restore: Restore,
    ) -> Result<(), Error> {
        let path = match restore {
            Restore::SameCluster => "sys/storage/raft/snapshot",
            Restore::AnyCluster => "sys/storage/raft/snapshot-force",
        };
        let mut call = Call::get("restore", path).with_token(token);
        call.method = Method::POST;
        self.open(&call, Body::stream(body.stream, body.length)).await.map(|_| ())
    }
}
