//! `encryption`: whether stored bytes are encrypted, and where the key comes from.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::net::HttpUrl;
use crate::report::Place;
use crate::secret::Secret;
use crate::section::{empty, none, or, required, section};
use crate::units::ByteSize;

section! {
    /// Encryption of stored bytes with AES-256-GCM, each blob under a key of its own.
    pub struct Encryption {
        /// Whether new blobs are encrypted. Blobs that are encrypted already need the key to be read.
        pub enabled: bool = or(false),
        /// Bytes encrypted as one piece: a power of two from 4096 to 1048576. A range costs whole pieces.
        pub chunk_size: ByteSize = or(ByteSize::kib(64)),
        /// The key that wraps all others: 32 bytes in base64. Exactly one of master_key, master_key_file and vault.
        pub master_key: Option<Secret> = none(),
        /// File with the 32 raw bytes of that key.
        pub master_key_file: Option<PathBuf> = none(),
        /// Vault Transit as the keeper of that key.
        pub vault: Option<Vault> = none(),
        /// Former master keys, 32 bytes in base64 each: they unwrap, they never wrap.
        pub previous_keys: Vec<Secret> = empty(),
    }
}

section! {
    /// Vault Transit: it sees keys, never bytes of objects.
    pub struct Vault {
        /// Address of Vault.
        pub address: HttpUrl = required(),
        /// Name of the Transit key.
        pub key_name: String = required(),
        /// A token. Exactly one of token and token_file.
        pub token: Option<Secret> = none(),
        /// File with a token, read again at each renew_interval; any permissions will do.
        pub token_file: Option<PathBuf> = none(),
        /// Path of the Transit engine.
        pub mount_path: String = or("transit"),
        /// PEM file with the authority of Vault's certificate; absent trusts the system's.
        pub ca_cert: Option<PathBuf> = none(),
        /// Pause between two renewals of the token; a failing renewal is no failure.
        pub renew_interval: Duration = or(Duration::from_secs(300)),
    }
}

impl Encryption {
    pub(crate) fn check(&self, at: &Place<'_>) {
        let chunk = self.chunk_size.0;
        if !(4096..=1 << 20).contains(&chunk) || !chunk.is_power_of_two() {
            at.key("chunk_size").refuse("must be a power of two from 4096 to 1048576");
        }
        check_key(self.master_key.as_ref(), &at.key("master_key"));
        for (index, key) in self.previous_keys.iter().enumerate() {
            check_key(Some(key), &at.key("previous_keys").item(index));
        }
        if let Some(vault) = &self.vault {
            vault.check(&at.key("vault"));
        }
        let sources = [self.master_key.is_some(), self.master_key_file.is_some(), self.vault.is_some()];
        let present = sources.iter().filter(|present| **present).count();
        if self.enabled && present != 1 && at.sound(&["master_key", "master_key_file", "vault"]) {
            let message = "needs exactly one of master_key, master_key_file and vault";
            at.key("enabled").refuse(format!("{message}, found {present}"));
        }
    }
}

/// The key is 32 bytes in base64. Its text is never repeated.
fn check_key(key: Option<&Secret>, at: &Place<'_>) {
    let Some(key) = key else { return };
    if STANDARD.decode(key.expose().trim()).is_ok_and(|bytes| bytes.len() == 32) {
        return;
    }
    at.refuse_with("must be 32 bytes in base64", "`openssl rand -base64 32` makes one");
}

impl Vault {
    fn check(&self, at: &Place<'_>) {
        at.key("renew_interval").above_zero(self.renew_interval);
        for (name, value) in [("key_name", &self.key_name), ("mount_path", &self.mount_path)] {
            let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            if value.split('/').any(|part| part == ".." || part == ".") || !value.chars().all(legal) {
                at.key(name).refuse("is not a path in Vault");
            }
        }
        at.key("mount_path").not_empty(Some(&self.mount_path));
        match (self.token.is_some(), self.token_file.is_some()) {
            (false, false) => at.key("token").refuse("is required, or token_file"),
            (true, true) => at.key("token_file").refuse_with("does not go together with token", "remove one"),
            _ => {}
        }
    }
}
