//! What needs no token: health, seal, leader, init.

use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::client::Vault;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;

/// What a node says of itself. A sealed one names no cluster.
#[derive(Debug, Clone, Deserialize)]
pub struct Health {
    /// Whether the cluster was ever initialised.
    pub initialized: bool,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Whether another node is the active one.
    #[serde(default)]
    pub standby: bool,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The cluster that it belongs to, once it is unsealed.
    pub cluster_id: Option<String>,
    /// Its name.
    pub cluster_name: Option<String>,
}

/// The seal of a node, and how far an attempt to open it has come.
#[derive(Debug, Clone, Deserialize)]
pub struct SealStatus {
    /// `shamir`, or the name of an auto-unseal (`awskms`, `static`, `transit`).
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the cluster was ever initialised. A raft node that has not joined yet says no.
    pub initialized: bool,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Shares needed.
    #[serde(rename = "t")]
    pub threshold: u32,
    /// Shares made.
    #[serde(rename = "n")]
    pub shares: u32,
    /// Different shares taken in this attempt.
    pub progress: u32,
    /// Names this attempt; empty where none is under way.
    #[serde(default)]
    pub nonce: String,
    /// Whether the shares are recovery keys, which open no seal.
    #[serde(default)]
    pub recovery_seal: bool,
    /// Whether a move to another kind of seal is under way.
    #[serde(default)]
    pub migration: bool,
    /// `raft`, `file`, `inmem`.
    #[serde(default)]
    pub storage_type: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The cluster that it belongs to, once it is unsealed.
    pub cluster_id: Option<String>,
    /// Its name.
    pub cluster_name: Option<String>,
}

/// Who leads.
#[derive(Debug, Clone, Deserialize)]
pub struct Leader {
    /// Whether there can be another node.
    #[serde(default)]
    pub ha_enabled: bool,
    /// Whether it is this node.
    #[serde(default)]
    pub is_self: bool,
    /// Where clients reach it; empty where there is none at the moment.
    #[serde(default)]
    pub leader_address: String,
    /// Where other nodes reach it.
    #[serde(default)]
    pub leader_cluster_address: String,
    /// The newest entry of the raft log that is committed, on raft.
    pub raft_committed_index: Option<u64>,
}

/// What a new cluster gives out once.
#[derive(Debug, Deserialize)]
pub struct Initialised {
    /// The shares, in hex.
    #[serde(default)]
    pub keys: Vec<Secret>,
    /// The shares, in base64.
    #[serde(default)]
    pub keys_base64: Vec<Secret>,
    /// A token that may do everything.
    pub root_token: Secret,
}

impl Vault {
    /// What the node says of itself, in whatever state it is.
    ///
    /// # Errors
    /// Where there is no such answer.
    pub async fn health(&self) -> Result<Health, Error> {
        let mut call = Call::get("health", "sys/health");
        // The status tells the state too, differently from version to version: the body is enough.
        let (answer, _) = self.ask(&mut call).await?;
        self.read_json(call.name, &answer)
    }

    /// The seal of the node.
    ///
    /// # Errors
    /// Where there is no such answer.
    pub async fn seal_status(&self) -> Result<SealStatus, Error> {
        self.succeed_with(Call::get("seal status", "sys/seal-status")).await
    }

    /// Sends one share. The one that completes an attempt is answered with success where the seal opens, or
    /// where a raft node begins to join, and with [`crate::ErrorKind::Refused`] where any of the attempt's
    /// shares is wrong: all progress is gone then.
    ///
    /// # Errors
    /// As said; or where the node does not answer.
    pub async fn unseal(&self, share: &Secret) -> Result<SealStatus, Error> {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            key: &'a str,
        }
        let call = Call::post("unseal", "sys/unseal", &Body { key: share.expose() });
        self.succeed_with(call.hiding(share.expose())).await
    }

    /// Throws away the progress of the present attempt, whoever began it.
    ///
    /// # Errors
    /// Where the node refuses it or does not answer.
    pub async fn reset_unseal(&self) -> Result<SealStatus, Error> {
        self.succeed_with(Call::post("reset of the unsealing", "sys/unseal", &json!({"reset": true}))).await
    }

    /// Who leads, as far as this node knows. A sealed one does not.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Sealed`], or where there is no such answer.
    pub async fn leader(&self) -> Result<Leader, Error> {
        self.succeed_with(Call::get("leader", "sys/leader")).await
    }

    /// The node that leads, as this one knows it and as it says itself: a client of it, and the id of its cluster.
    ///
    /// # Errors
    /// [`ErrorKind::Standby`] where nobody leads at the moment, and those of asking both.
    pub async fn find_leader(&self) -> Result<(Self, String), Error> {
        let said = self.leader().await?;
        let nobody = |node: &Self, why: &str| node.error(ErrorKind::Standby { leader: None }, "leader", why);
        let leader = match said.leader_address.as_str() {
            "" if said.ha_enabled && !said.is_self => return Err(nobody(self, "it knows no leader")),
            "" => self.clone(),
            address => self.at(address)?,
        };
        let health = leader.health().await?;
        match health.cluster_id {
            Some(cluster_id) if !health.sealed && !health.standby => Ok((leader, cluster_id)),
            _ => Err(nobody(&leader, "it was said to lead, and does not")),
        }
    }

    /// Initialises a new cluster and gives its shares and root token, which nobody can ask for again. The
    /// node stays sealed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Refused`] where it is initialised already.
    pub async fn init(&self, shares: u32, threshold: u32) -> Result<Initialised, Error> {
        let body = json!({"secret_shares": shares, "secret_threshold": threshold});
        self.succeed_with(Call::post("init", "sys/init", &body)).await
    }
}
