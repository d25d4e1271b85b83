//! Who may do what: the buckets that are declared, and the keys that see them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3ErrorCode, S3Result};
use types::{BucketName, Timestamp};

use crate::error::{Code, Fault, Outcome};

/// A bucket that the configuration declares.
#[derive(Debug, Clone)]
pub struct DeclaredBucket {
    /// The bucket.
    pub bucket: engine::Bucket,
    /// When it was created, as `ListBuckets` tells.
    pub created: Timestamp,
    /// How many multipart uploads it may have open.
    pub multipart_uploads_max: Option<u64>,
}

/// A key pair, and the buckets that it sees. A key may be listed several times: it sees them all.
#[derive(Clone)]
pub struct Credential {
    /// The access key id.
    pub access_key: String,
    /// The secret.
    pub secret: String,
    /// The buckets.
    pub buckets: Vec<BucketName>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({} for {:?})", self.access_key, self.buckets)
    }
}

/// Declared buckets and credentials that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// One access key with two secrets: it could not be told which one is meant.
    #[error("access key {access_key} is listed with different secrets")]
    TwoSecrets {
        /// The key.
        access_key: String,
    },
    /// A credential for a bucket that is not declared.
    #[error("access key {access_key} is listed for bucket {bucket}, which is not declared")]
    UnknownBucket {
        /// The key.
        access_key: String,
        /// The bucket.
        bucket: BucketName,
    },
}

/// All buckets and keys. Immutable: a change of configuration makes a new one.
#[derive(Debug)]
pub struct Directory {
    buckets: HashMap<BucketName, Arc<DeclaredBucket>>,
    identities: HashMap<String, Arc<Identity>>,
}

/// A key that was found.
pub(crate) struct Identity {
    /// The access key id.
    pub(crate) access_key: String,
    secret: SecretKey,
    visible: HashSet<BucketName>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.access_key)
    }
}

impl Directory {
    /// Puts buckets and keys together.
    ///
    /// # Errors
    /// Where they contradict each other.
    pub fn new(buckets: Vec<DeclaredBucket>, credentials: Vec<Credential>) -> Result<Self, DirectoryError> {
        let buckets: HashMap<_, _> =
            buckets.into_iter().map(|declared| (declared.bucket.name.clone(), Arc::new(declared))).collect();
        let mut merged: HashMap<String, Identity> = HashMap::new();
        for credential in credentials {
            if let Some(bucket) = credential.buckets.iter().find(|name| !buckets.contains_key(name)) {
                let bucket = bucket.clone();
                return Err(DirectoryError::UnknownBucket { access_key: credential.access_key, bucket });
            }
            let identity = merged.entry(credential.access_key.clone()).or_insert_with(|| Identity {
                access_key: credential.access_key.clone(),
                secret: SecretKey::from(credential.secret.as_str()),
                visible: HashSet::new(),
            });
            if identity.secret.expose() != credential.secret {
                return Err(DirectoryError::TwoSecrets { access_key: credential.access_key });
            }
            identity.visible.extend(credential.buckets);
        }
        let identities = merged.into_iter().map(|(key, identity)| (key, Arc::new(identity))).collect();
        Ok(Self { buckets, identities })
    }

    /// The key of that id.
    pub(crate) fn identity(&self, access_key: &str) -> Option<&Arc<Identity>> {
        self.identities.get(access_key)
    }

    /// The bucket, where this key may use it.
    pub(crate) fn open(&self, identity: &Identity, name: &BucketName) -> Outcome<Arc<DeclaredBucket>> {
        let Some(declared) = self.buckets.get(name) else {
            return Err(Fault::from(Code::NoSuchBucket).with_detail("BucketName", name.as_str()));
        };
        if !identity.visible.contains(name) {
            return Err(Code::AccessDenied.into());
        }
        Ok(Arc::clone(declared))
    }

    /// The buckets that this key sees, by name.
    pub(crate) fn visible_to(&self, identity: &Identity) -> Vec<&DeclaredBucket> {
        let mut visible: Vec<_> =
            identity.visible.iter().filter_map(|name| self.buckets.get(name)).map(Arc::as_ref).collect();
        visible.sort_by(|a, b| a.bucket.name.cmp(&b.bucket.name));
        visible
    }
}

impl Identity {
    /// The secret, for signatures.
    pub(crate) fn secret(&self) -> &SecretKey {
        &self.secret
    }
}

/// What `s3s` asks for secrets: always the present directory, so that a rotated secret counts at once.
pub(crate) struct Secrets(pub(crate) Arc<ArcSwap<Directory>>);

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.load().identity(access_key) {
            Some(identity) => Ok(identity.secret.clone()),
            None => Err(S3ErrorCode::InvalidAccessKeyId.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use catalog::BucketId;

    use super::*;

    fn name(text: &str) -> BucketName {
        BucketName::parse(text).unwrap()
    }

    fn declared(id: i64, text: &str) -> DeclaredBucket {
        DeclaredBucket {
            bucket: engine::Bucket { id: BucketId(id), name: name(text) },
            created: Timestamp::default(),
            multipart_uploads_max: None,
        }
    }

    fn credential(key: &str, secret: &str, bucket: &str) -> Credential {
        Credential { access_key: key.into(), secret: secret.into(), buckets: vec![name(bucket)] }
    }

    #[test]
    fn a_key_listed_twice_sees_both_buckets() {
        let keys = vec![credential("K", "s", "a"), credential("K", "s", "b"), credential("L", "t", "c")];
        let directory =
            Directory::new(vec![declared(1, "a"), declared(2, "b"), declared(3, "c")], keys).unwrap();
        let identity = directory.identity("K").unwrap();
        let names: Vec<_> =
            directory.visible_to(identity).iter().map(|d| d.bucket.name.as_str().to_owned()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(directory.open(identity, &name("c")).unwrap_err().code, Code::AccessDenied);
        assert_eq!(directory.open(identity, &name("d")).unwrap_err().code, Code::NoSuchBucket);
    }

    #[test]
    fn contradictions_are_refused() {
        let two = vec![credential("K", "s", "a"), credential("K", "other", "a")];
        let error = Directory::new(vec![declared(1, "a")], two).unwrap_err();
        assert_eq!(error, DirectoryError::TwoSecrets { access_key: "K".into() });
        assert!(Directory::new(vec![], vec![credential("K", "s", "a")]).is_err());
    }

    #[test]
    fn a_secret_is_never_shown() {
        let key = credential("K", "hush", "a");
        assert!(!format!("{key:?}").contains("hush"));
        let directory = Directory::new(vec![declared(1, "a")], vec![key]).unwrap();
        assert!(!format!("{directory:?}").contains("hush"));
    }
}
