//! `vault`: where the cluster is, and how to log in to it.

use std::path::PathBuf;

use crate::net::HttpUrl;
use crate::report::Place;
use crate::scalar::{Scalar, choice};
use crate::secret::Secret;
use crate::section::{Fallback, Map, nested, none, or, section};

choice! {
    /// How to log in.
    pub enum AuthMethod ("jwt, token, approle or cert") {
        /// With a signed token of somebody whom Vault trusts: Nomad, Kubernetes.
        Jwt = "jwt",
        /// With a token of Vault itself.
        Token = "token",
        /// With a role id and a secret id.
        Approle = "approle",
        /// With the client certificate under `tls`.
        Cert = "cert",
    }
}

section! {
    /// The Vault or OpenBao cluster.
    pub struct Vault |map| {
        /// Addresses of its nodes; the first one that answers is asked for the leader. The default is what
        /// VAULT_ADDR says.
        pub addresses: Vec<HttpUrl> = addresses(map),
        /// How to log in.
        pub auth: Auth = nested(),
        /// How to speak TLS.
        pub tls: Tls = nested(),
        /// Send tokens over plain http to other machines than this one. They can be read on the way.
        pub plain_http: bool = or(false),
    }
}

section! {
    /// How to log in. The policy needs `read` on `sys/storage/raft/snapshot`, and nothing else.
    pub struct Auth |map| {
        /// jwt, token, approle or cert.
        pub method: AuthMethod = or(AuthMethod::Jwt),
        /// Where the method is mounted. The default is its name.
        pub mount: String = or(method.as_str()),
        /// The role to log in as, for jwt and cert.
        pub role: Option<String> = none(),
        /// For jwt. The default is what JWT or else NOMAD_TOKEN says.
        pub jwt: Option<Secret> = from_env(map, &["JWT", "NOMAD_TOKEN"]),
        /// For jwt: a file that holds it, read anew for every login.
        pub jwt_file: Option<PathBuf> = none(),
        /// For token. The default is what VAULT_TOKEN says.
        pub token: Option<Secret> = from_env(map, &["VAULT_TOKEN"]),
        /// For token: a file that holds it, read anew when it changes.
        pub token_file: Option<PathBuf> = none(),
        /// For approle.
        pub role_id: Option<Secret> = none(),
        /// For approle.
        pub secret_id: Option<Secret> = none(),
    }
}

section! {
    /// How to speak TLS.
    pub struct Tls {
        /// Certificate authorities to trust instead of the public ones, as PEM.
        pub ca_file: Option<PathBuf> = none(),
        /// A certificate to show, as PEM.
        pub client_cert_file: Option<PathBuf> = none(),
        /// Its private key, as PEM.
        pub client_key_file: Option<PathBuf> = none(),
        /// The name that the nodes' certificates must have, where it is not that of their addresses.
        pub server_name: Option<String> = none(),
    }
}

/// The value of the first of these variables that is set.
fn from_env(map: &Map<'_>, names: &[&str]) -> Fallback<Option<Secret>> {
    let set = names.iter().find_map(|name| (map.place().report.env)(name).filter(|value| !value.is_empty()));
    Fallback::Is(set.map(Secret::new))
}

fn addresses(map: &Map<'_>) -> Fallback<Vec<HttpUrl>> {
    let named = (map.place().report.env)("VAULT_ADDR").filter(|value| !value.is_empty());
    let parsed = named.and_then(|text| HttpUrl::parse(&text, map.place()).ok());
    Fallback::Is(parsed.into_iter().collect())
}

impl Vault {
    pub(super) fn check(&self, at: &Place<'_>) {
        for (index, address) in self.addresses.iter().enumerate() {
            if !address.is_https() && !self.plain_http && !is_loopback(address) {
                let hint = "use https, or set `vault.plain_http: true` where the network is trusted with your tokens";
                at.key("addresses").item(index).refuse_with("is plain http to another machine", hint);
            }
        }
        if self.tls.client_cert_file.is_some() != self.tls.client_key_file.is_some() {
            let place = at.key("tls").first_set(&["client_cert_file", "client_key_file"]);
            place.refuse("client_cert_file and client_key_file go together");
        }
        self.auth.check(&at.key("auth"), &self.tls);
    }
}

impl Auth {
    /// What is missing is said by whatever logs in: `list`, `verify` and `prune` never do.
    fn check(&self, at: &Place<'_>, tls: &Tls) {
        let belongs = |name: &str, method: AuthMethod| {
            if at.key(name).is_set() && self.method != method {
                at.key(name).refuse_with(
                    format!("is a key of the method {}", method.as_str()),
                    format!(
                        "the method is {}: write `method: {}`, or remove it",
                        self.method.as_str(),
                        method.as_str()
                    ),
                );
            }
        };
        for (name, method) in [
            ("jwt", AuthMethod::Jwt),
            ("jwt_file", AuthMethod::Jwt),
            ("token", AuthMethod::Token),
            ("token_file", AuthMethod::Token),
            ("role_id", AuthMethod::Approle),
            ("secret_id", AuthMethod::Approle),
        ] {
            belongs(name, method);
        }
        for (value, file) in [("jwt", "jwt_file"), ("token", "token_file")] {
            if at.key(value).is_set() && at.key(file).is_set() {
                at.key(file).refuse(format!("does not go together with {value}"));
            }
        }
        if self.method == AuthMethod::Cert && tls.client_cert_file.is_none() {
            at.key("method").refuse("needs `vault.tls.client_cert_file`");
        }
        if self.method == AuthMethod::Jwt && at.is_set() && self.role.is_none() {
            at.key("role").refuse("is required for jwt");
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if self.mount.is_empty() || !self.mount.chars().all(legal) {
            at.key("mount").refuse("is no path of an auth method");
        }
    }
}

/// Whether an address is one of this machine.
fn is_loopback(address: &HttpUrl) -> bool {
    let host = address.as_str().split("://").nth(1).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let host = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => host.rsplit_once(':').map_or(host, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
