//! The cluster: who leads it now, a login, and a snapshot from the leader itself.

use std::time::Duration;

use config::snapshot::{AuthMethod, Vault as Settings};
use runtime::Chance;
use vault::{
    Credential, Identity, Login, Roots, Secret, Session, Snapshot, Timeouts, TlsOptions, Vault, VaultOptions,
};

use crate::trouble::Trouble;

/// An election takes seconds; a cluster that has none after this needs a person.
const LEADER_WAIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct Cluster {
    nodes: Vec<Vault>,
    settings: Settings,
    chance: Chance,
}

/// The node that leads, for as long as it does.
pub(crate) struct Leader {
    pub(crate) vault: Vault,
    pub(crate) cluster_id: String,
    session: Session,
    /// A token that a login made, and that is of no use afterwards.
    is_ours: bool,
}

/// How to speak to a node at this address; `stall`: for how long a stream may stand still.
pub(crate) fn options(settings: &Settings, address: &str, stall: Duration) -> Result<VaultOptions, Trouble> {
    let read = |path: &std::path::Path| {
        std::fs::read(path)
            .map_err(|error| Trouble::lasting(format!("cannot read {}: {error}", path.display())))
    };
    let tls = &settings.tls;
    let identity = match (&tls.client_cert_file, &tls.client_key_file) {
        (Some(certificates), Some(key)) => {
            Some(Identity { certificates: read(certificates)?, key: read(key)? })
        }
        _ => None,
    };
    let roots = tls.ca_file.as_deref().map(read).transpose()?.map_or(Roots::Public, Roots::Only);
    let tls = TlsOptions { roots, server_name: tls.server_name.clone(), identity };
    let timeouts = Timeouts { stall, ..Timeouts::default() };
    Ok(VaultOptions { tls, timeouts, allow_plain_http: settings.plain_http, ..VaultOptions::new(address) })
}

impl Cluster {
    pub(crate) fn new(settings: &Settings, stall: Duration, chance: Chance) -> Result<Self, Trouble> {
        if settings.addresses.is_empty() {
            return Err(Trouble::lasting("no node is known: set vault.addresses, or VAULT_ADDR"));
        }
        let nodes = settings
            .addresses
            .iter()
            .map(|address| Ok(Vault::new(options(settings, address.as_str(), stall)?)?));
        let nodes = nodes.collect::<Result<_, Trouble>>()?;
        Ok(Self { nodes, settings: settings.clone(), chance })
    }

    /// Finds who leads now, asking one node after another for as long as an election takes.
    pub(crate) async fn leader(&self) -> Result<Leader, Trouble> {
        // No election brings a login that is missing.
        let (login, is_ours) = login(&self.settings)?;
        let deadline = runtime::instant_now() + LEADER_WAIT;
        loop {
            let mut reasons = Vec::new();
            for node in &self.nodes {
                match node.find_leader().await {
                    Ok((vault, cluster_id)) => {
                        tracing::info!(node = vault.address(), "leads the cluster");
                        let session = Session::new(vault.clone(), login, self.chance.clone());
                        return Ok(Leader { vault, cluster_id, session, is_ours });
                    }
                    Err(error) => reasons.push(error.to_string()),
                }
            }
            if runtime::instant_now() > deadline {
                return Err(Trouble::lasting(format!("no leader was found: {}", reasons.join("; "))));
            }
            runtime::sleep(LOOK_EVERY).await;
        }
    }
}

impl Leader {
    /// A token that is good now.
    pub(crate) async fn token(&self) -> Result<std::sync::Arc<Secret>, Trouble> {
        Ok(self.session.token().await?)
    }

    /// Begins a snapshot. Where the token is refused, with a new one.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Trouble> {
        let vault = &self.vault;
        Ok(self.session.call(|token| async move { vault.raft_snapshot(&token).await }).await?)
    }

    /// Gives up the token that the login made: nobody needs it until its end.
    pub(crate) async fn log_out(&self) {
        if !self.is_ours {
            return;
        }
        let Ok(token) = self.session.token().await else { return };
        if let Err(error) = self.vault.revoke_token(&token).await {
            tracing::debug!("the token lives on until its end: {error}");
        }
    }
}

/// How to log in, and whether that makes a token of our own.
fn login(settings: &Settings) -> Result<(Login, bool), Trouble> {
    let auth = &settings.auth;
    let credential =
        |value: &Option<config::Secret>, file: &Option<std::path::PathBuf>, what: &str| match (value, file) {
            (_, Some(file)) => Ok(Credential::File(file.clone())),
            (Some(value), None) => Ok(Credential::Value(Secret::from(value.expose()))),
            (None, None) => Err(Trouble::lasting(format!("there is no login: set {what}"))),
        };
    let mount = auth.mount.clone();
    let login = match auth.method {
        AuthMethod::Token => {
            let token =
                credential(&auth.token, &auth.token_file, "vault.auth.token or token_file, or VAULT_TOKEN")?;
            return Ok((Login::Token(token), false));
        }
        AuthMethod::Jwt => Login::Jwt {
            mount,
            role: auth.role.clone().unwrap_or_default(),
            jwt: credential(&auth.jwt, &auth.jwt_file, "vault.auth.jwt or jwt_file, or JWT or NOMAD_TOKEN")?,
        },
        AuthMethod::Approle => Login::AppRole {
            mount,
            role_id: credential(&auth.role_id, &None, "vault.auth.role_id")?,
            secret_id: auth.secret_id.as_ref().map(|id| Credential::Value(Secret::from(id.expose()))),
        },
        AuthMethod::Cert => Login::Cert { mount, name: auth.role.clone() },
    };
    Ok((login, true))
}
