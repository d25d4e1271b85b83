//! Signed identities, as Nomad and Kubernetes give them to their jobs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

/// Who signs them, with a real key (ES256).
pub struct JwtIssuer {
    key: EcdsaKeyPair,
    public_pem: String,
}

impl std::fmt::Debug for JwtIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JwtIssuer")
    }
}

impl Default for JwtIssuer {
    fn default() -> Self {
        Self::new()
    }
}

impl JwtIssuer {
    /// An issuer with a key of its own.
    ///
    /// # Panics
    /// Where the machine has no randomness.
    #[must_use]
    pub fn new() -> Self {
        let pair = KeyPair::generate().expect("a key can be made");
        let (pkcs8, random) = (pair.serialize_der(), SystemRandom::new());
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random);
        Self { key: key.expect("the key is of this kind"), public_pem: pair.public_key_pem() }
    }

    /// The public key, for `jwt_validation_pubkeys`.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Signs claims; `exp`, `iat` and `nbf` have to be among them where the server asks for them.
    ///
    /// # Panics
    /// Where the machine has no randomness.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&json!({"alg": "ES256", "typ": "JWT"})), encode(claims));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("a key can sign");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
