//! A root token, made out of the shares of a seal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::client::Vault;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;

#[derive(Deserialize)]
struct Begun {
    nonce: String,
    /// What the token is hidden with.
    otp: Secret,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    complete: bool,
    #[serde(default)]
    encoded_token: Secret,
}

impl Vault {
    /// Makes a root token. Whoever asks has to revoke it, or throw the server away.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] where the shares are wrong or too few, or where another attempt is under way.
    pub async fn generate_root(&self, shares: &[Secret]) -> Result<Secret, Error> {
        let call = "root token";
        let begin = Call::post(call, "sys/generate-root/attempt", &json!({}));
        let begun: Begun = self.succeed_with(begin).await?;
        for share in shares {
            let body = json!({"key": share.expose(), "nonce": begun.nonce});
            let update = Call::post(call, "sys/generate-root/update", &body).hiding(share.expose());
            let step: Step = self.succeed_with(update).await?;
            if step.complete {
                let unreadable = || self.error(ErrorKind::Corrupt, call, "the token cannot be read");
                return reveal(&step.encoded_token, &begun.otp).ok_or_else(unreadable);
            }
        }
        Err(self.error(ErrorKind::Refused, call, "the shares are too few"))
    }
}

fn reveal(encoded: &Secret, otp: &Secret) -> Option<Secret> {
    let hidden = STANDARD_NO_PAD.decode(encoded.expose()).ok()?;
    let token = hidden.iter().zip(otp.expose().bytes()).map(|(byte, pad)| byte ^ pad).collect();
    String::from_utf8(token).ok().map(Secret::from)
}
