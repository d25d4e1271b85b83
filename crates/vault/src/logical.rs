//! Reading secrets, and writing by path.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::call::{Call, encode_path};
use crate::client::{Vault, Wrapped};
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;

/// The fields of a secret, by name. What is no text stands there as JSON.
pub type Fields = BTreeMap<String, Secret>;

impl Vault {
    /// Reads a secret of a KV engine of version 2.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none or it was deleted; or where the token may not.
    pub async fn kv2_read(&self, token: &Secret, mount: &str, path: &str) -> Result<Fields, Error> {
        #[derive(Deserialize)]
        struct Data {
            data: Option<BTreeMap<String, Value>>,
        }
        let path = format!("{}/data/{}", encode_path(mount), encode_path(path));
        let call = Call::get("read of a secret", path).with_token(token);
        let answer: Wrapped<Data> = self.succeed_with(call).await?;
        let fields = answer.data.data.ok_or_else(|| {
            self.error(ErrorKind::NotFound, "read of a secret", "the latest version of it was deleted")
        })?;
        Ok(fields.into_iter().map(|(name, value)| (name, secret(value))).collect())
    }

    /// Reads any path that answers fields.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is nothing; or where the token may not.
    pub async fn read(&self, token: &Secret, path: &str) -> Result<Fields, Error> {
        let call = Call::get("read", encode_path(path)).with_token(token);
        let answer: Wrapped<BTreeMap<String, Value>> = self.succeed_with(call).await?;
        Ok(answer.data.into_iter().map(|(name, value)| (name, secret(value))).collect())
    }

    /// Writes to any path, and gives what it answers. Logs no value.
    ///
    /// # Errors
    /// Where the node refuses it, or the token may not.
    pub async fn write(&self, token: &Secret, path: &str, body: &Value) -> Result<Value, Error> {
        let answer = self.succeed(Call::post("write", encode_path(path), body).with_token(token)).await?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        self.read_json("write", &answer)
    }
}

fn secret(value: Value) -> Secret {
    match value {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}
