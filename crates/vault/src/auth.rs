//! Logins, and what a token knows of itself.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::call::{Call, encode_path};
use crate::client::{Vault, Wrapped};
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;

/// Where a secret for a login comes from. What files and variables hold is read anew for each login.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Given as it is.
    Value(Secret),
    /// The content of a file, without white space around it.
    File(PathBuf),
    /// The value of an environment variable.
    Env(String),
}

/// How to get a token.
#[derive(Debug, Clone)]
pub enum Login {
    /// There is one already.
    Token(Credential),
    /// A signed identity: of a Nomad job, of a Kubernetes service account.
    Jwt {
        /// Where the method is mounted: `jwt`, `jwt-nomad`, `kubernetes`.
        mount: String,
        /// The role; the mount's default one where it is empty.
        role: String,
        /// The identity.
        jwt: Credential,
    },
    /// A role and its secret.
    AppRole {
        /// Where the method is mounted: `approle`.
        mount: String,
        /// Names the role.
        role_id: Credential,
        /// Proves it, where the role asks for proof.
        secret_id: Option<Credential>,
    },
    /// The client certificate of the connection.
    Cert {
        /// Where the method is mounted: `cert`.
        mount: String,
        /// The certificate role; any that fits where there is none.
        name: Option<String>,
    },
}

/// A token, and for how long it is good.
#[derive(Debug, Clone, Deserialize)]
pub struct Auth {
    /// The token.
    #[serde(rename = "client_token")]
    pub token: Secret,
    /// For how many seconds; 0 is for ever.
    #[serde(rename = "lease_duration")]
    pub ttl_seconds: u64,
    /// Whether that can be made longer.
    pub renewable: bool,
    /// What it may do, by the names of policies.
    #[serde(default)]
    pub policies: Vec<String>,
}

impl Auth {
    /// For how long the token is good; `None` is for ever.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        (self.ttl_seconds > 0).then(|| Duration::from_secs(self.ttl_seconds))
    }
}

/// What a token knows of itself.
#[derive(Debug, Clone, Deserialize)]
pub struct TokenInfo {
    /// For how many more seconds it is good; 0 is for ever.
    #[serde(rename = "ttl")]
    pub ttl_seconds: u64,
    /// Whether that can be made longer.
    #[serde(default)]
    pub renewable: bool,
    /// What it may do, by the names of policies.
    #[serde(default)]
    pub policies: Vec<String>,
    /// Who it is.
    #[serde(default)]
    pub display_name: String,
}

/// Why a credential cannot be read. It names the place, never the content.
#[derive(Debug)]
pub(crate) struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Credential {
    pub(crate) async fn read(&self) -> Result<Secret, Unreadable> {
        let (secret, place) = match self {
            Self::Value(secret) => (secret.trimmed(), "the configuration".to_owned()),
            Self::File(path) => {
                let place = format!("the file {}", path.display());
                let bytes =
                    tokio::fs::read(path).await.map_err(|error| Unreadable(format!("{place}: {error}")))?;
                let text = Secret::try_from(crate::secret::SecretBytes::from(bytes));
                (text.map_err(|error| Unreadable(format!("{place}: {error}")))?.trimmed(), place)
            }
            Self::Env(name) => {
                let place = format!("the environment variable {name}");
                let text = std::env::var(name).map_err(|_| Unreadable(format!("{place} is not set")))?;
                (Secret::from(text).trimmed(), place)
            }
        };
        if secret.is_empty() { Err(Unreadable(format!("{place} is empty"))) } else { Ok(secret) }
    }
}

#[derive(Deserialize)]
struct AuthAnswer {
    auth: Auth,
}

impl Vault {
    /// Gets a token.
    ///
    /// For [`Login::Token`] this asks the token for its life; where it may not ask, it counts as endless.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where a credential cannot be read, [`ErrorKind::Refused`] or
    /// [`ErrorKind::Denied`] where it is not accepted.
    pub async fn log_in(&self, login: &Login) -> Result<Auth, Error> {
        match login {
            Login::Token(token) => self.adopt(self.credential(token).await?).await,
            Login::Jwt { mount, role, jwt } => {
                #[derive(Serialize)]
                struct Body<'a> {
                    #[serde(skip_serializing_if = "str::is_empty")]
                    role: &'a str,
                    jwt: &'a str,
                }
                let jwt = self.credential(jwt).await?;
                let body = Body { role, jwt: jwt.expose() };
                self.authenticate(Call::post("login by jwt", at(mount), &body).hiding(jwt.expose())).await
            }
            Login::AppRole { mount, role_id, secret_id } => {
                #[derive(Serialize)]
                struct Body<'a> {
                    role_id: &'a str,
                    #[serde(skip_serializing_if = "str::is_empty")]
                    secret_id: &'a str,
                }
                let role = self.credential(role_id).await?;
                let proof = match secret_id {
                    Some(proof) => self.credential(proof).await?,
                    None => Secret::default(),
                };
                let body = Body { role_id: role.expose(), secret_id: proof.expose() };
                let call = Call::post("login by approle", at(mount), &body);
                self.authenticate(call.hiding(role.expose()).hiding(proof.expose())).await
            }
            Login::Cert { mount, name } => {
                #[derive(Serialize)]
                struct Body<'a> {
                    #[serde(skip_serializing_if = "Option::is_none")]
                    name: Option<&'a str>,
                }
                let body = Body { name: name.as_deref() };
                self.authenticate(Call::post("login by certificate", at(mount), &body)).await
            }
        }
    }

    /// What a token knows of itself.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] where the token has ended or may not ask.
    pub async fn token_info(&self, token: &Secret) -> Result<TokenInfo, Error> {
        let call = Call::get("lookup of the token", "auth/token/lookup-self").with_token(token);
        Ok(self.succeed_with::<Wrapped<TokenInfo>>(call).await?.data)
    }

    /// Makes the life of a token longer, as far as its role allows.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] or [`ErrorKind::Denied`] where it cannot be.
    pub async fn renew_token(&self, token: &Secret) -> Result<Auth, Error> {
        let body = serde_json::json!({});
        let call = Call::post("renewal of the token", "auth/token/renew-self", &body).with_token(token);
        self.authenticate(call).await
    }

    /// Ends a token, by itself.
    ///
    /// # Errors
    /// Where the node refuses it or does not answer.
    pub async fn revoke_token(&self, token: &Secret) -> Result<(), Error> {
        let body = serde_json::json!({});
        let call = Call::post("end of the token", "auth/token/revoke-self", &body).with_token(token);
        self.succeed(call).await.map(drop)
    }

    async fn adopt(&self, token: Secret) -> Result<Auth, Error> {
        let info = match self.token_info(&token).await {
            Ok(info) => info,
            // The token's own policies may forbid it, which says nothing of what else it may do.
            Err(error) if error.kind == ErrorKind::Denied => TokenInfo {
                ttl_seconds: 0,
                renewable: false,
                policies: Vec::new(),
                display_name: String::new(),
            },
            Err(error) => return Err(error),
        };
        let TokenInfo { ttl_seconds, renewable, policies, .. } = info;
        Ok(Auth { token, ttl_seconds, renewable, policies })
    }

    async fn authenticate(&self, call: Call<'_>) -> Result<Auth, Error> {
        Ok(self.succeed_with::<AuthAnswer>(call).await?.auth)
    }

    async fn credential(&self, credential: &Credential) -> Result<Secret, Error> {
        credential.read().await.map_err(|why| self.error(ErrorKind::Invalid, "login", why.to_string()))
    }
}

fn at(mount: &str) -> String {
    format!("auth/{}/login", encode_path(mount))
}
