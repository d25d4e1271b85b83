//! The transit engine: keys that never leave the vault.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::call::{Call, encode_path};
use crate::client::{Vault, Wrapped};
use crate::error::{Error, ErrorKind};
use crate::secret::{Secret, SecretBytes};

/// What is known of a key.
#[derive(Debug, Clone, Deserialize)]
pub struct TransitKey {
    /// `aes256-gcm96`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version that encrypts.
    pub latest_version: u32,
    /// The oldest version that still decrypts.
    #[serde(default)]
    pub min_decryption_version: u32,
    /// The oldest version that still encrypts; 0 is the latest.
    #[serde(default)]
    pub min_encryption_version: u32,
    /// Whether it can be deleted, and all that it encrypted lost with it.
    #[serde(default)]
    pub deletion_allowed: bool,
    /// Whether it can leave the vault.
    #[serde(default)]
    pub exportable: bool,
    /// Whether it can encrypt.
    #[serde(default)]
    pub supports_encryption: bool,
}

/// A new key for somebody's data.
#[derive(Debug)]
pub struct DataKey {
    /// The key itself.
    pub plaintext: SecretBytes,
    /// The same encrypted, to be kept: `vault:v1:...`.
    pub ciphertext: String,
}

#[derive(Serialize)]
struct Plaintext<'a> {
    plaintext: &'a str,
}

#[derive(Serialize)]
struct Ciphertext<'a> {
    ciphertext: &'a str,
}

#[derive(Deserialize)]
struct CiphertextAnswer {
    ciphertext: String,
}

#[derive(Deserialize)]
struct PlaintextAnswer {
    plaintext: Secret,
}

#[derive(Deserialize)]
struct DataKeyAnswer {
    plaintext: Secret,
    ciphertext: String,
}

impl Vault {
    /// Encrypts a few bytes: another key, not data.
    ///
    /// # Errors
    /// Where the token may not, or there is no such key.
    pub async fn transit_encrypt(
        &self,
        token: &Secret,
        mount: &str,
        key: &str,
        plaintext: &[u8],
    ) -> Result<String, Error> {
        let encoded = Zeroizing::new(STANDARD.encode(plaintext));
        let body = Plaintext { plaintext: &encoded };
        let call = Call::post("transit encrypt", path(mount, "encrypt", key), &body);
        let answer: Wrapped<CiphertextAnswer> =
            self.succeed_with(call.with_token(token).hiding(&encoded)).await?;
        Ok(answer.data.ciphertext)
    }

    /// Decrypts what [`Self::transit_encrypt`] gave.
    ///
    /// # Errors
    /// Where the token may not, or it is not of this key.
    pub async fn transit_decrypt(
        &self,
        token: &Secret,
        mount: &str,
        key: &str,
        ciphertext: &str,
    ) -> Result<SecretBytes, Error> {
        let call = Call::post("transit decrypt", path(mount, "decrypt", key), &Ciphertext { ciphertext });
        let answer: Wrapped<PlaintextAnswer> = self.succeed_with(call.with_token(token)).await?;
        self.decoded("transit decrypt", &answer.data.plaintext)
    }

    /// Encrypts anew with the latest version of the key, without showing the plaintext.
    ///
    /// # Errors
    /// Where the token may not, or it is not of this key.
    pub async fn transit_rewrap(
        &self,
        token: &Secret,
        mount: &str,
        key: &str,
        ciphertext: &str,
    ) -> Result<String, Error> {
        let call = Call::post("transit rewrap", path(mount, "rewrap", key), &Ciphertext { ciphertext });
        let answer: Wrapped<CiphertextAnswer> = self.succeed_with(call.with_token(token)).await?;
        Ok(answer.data.ciphertext)
    }

    /// What is known of a key.
    ///
    /// # Errors
    /// Where the token may not ask, or there is no such key.
    pub async fn transit_key(&self, token: &Secret, mount: &str, key: &str) -> Result<TransitKey, Error> {
        let call = Call::get("transit key", path(mount, "keys", key)).with_token(token);
        let answer: Wrapped<TransitKey> = self.succeed_with(call).await?;
        Ok(answer.data)
    }

    /// Makes a new key of 256 bits for data.
    ///
    /// # Errors
    /// Where the token may not, or there is no such key to encrypt it with.
    pub async fn transit_data_key(&self, token: &Secret, mount: &str, key: &str) -> Result<DataKey, Error> {
        let call =
            Call::post("transit data key", path(mount, "datakey/plaintext", key), &serde_json::json!({}));
        let answer: Wrapped<DataKeyAnswer> = self.succeed_with(call.with_token(token)).await?;
        let plaintext = self.decoded("transit data key", &answer.data.plaintext)?;
        Ok(DataKey { plaintext, ciphertext: answer.data.ciphertext })
    }

    fn decoded(&self, call: &'static str, text: &Secret) -> Result<SecretBytes, Error> {
        let bytes = STANDARD.decode(text.expose());
        bytes
            .map(SecretBytes::from)
            .map_err(|_| self.error(ErrorKind::Corrupt, call, "the plaintext in the answer is no base64"))
    }
}

fn path(mount: &str, verb: &str, key: &str) -> String {
    format!("{}/{verb}/{}", encode_path(mount), encode_path(key))
}
