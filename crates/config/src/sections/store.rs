//! What a backend is: a bucket at a provider, or a directory.

use std::path::PathBuf;
use std::time::Duration;

use crate::keys::KeyRow;
use crate::net::HttpUrl;
use crate::report::Place;
use crate::scalar::{Scalar, choice};
use crate::secret::{AccessKeyId, Secret};
use crate::section::{Map, Section, Value, nested, none, or, required, section};
use crate::show::Shown;

choice! {
    /// The kind of a backend.
    pub enum StoreType ("s3 or directory") {
        /// A bucket at a provider.
        S3 = "s3",
        /// A directory on disk.
        Directory = "directory",
    }
}

choice! {
    /// Where the key pair for a provider comes from.
    pub enum CredentialSource ("static or default_chain") {
        /// From this file.
        Static = "static",
        /// From the environment, as the AWS tools find it.
        DefaultChain = "default_chain",
    }
}

/// A bucket at a provider, or a directory: `backends[].type` says which.
#[derive(Debug, Clone, PartialEq)]
pub enum Store {
    /// A bucket at a provider.
    S3(S3Store),
    /// A directory on disk.
    Directory(DirectoryStore),
}

section! {
    /// A bucket at a provider that speaks S3.
    pub struct S3Store {
        /// Address of the provider, `https://` or `http://`.
        pub endpoint: HttpUrl = required(),
        /// The bucket there.
        pub bucket: String = required(),
        /// Region that requests are signed for; many providers take `auto` or any. Empty stands for `us-east-1`.
        pub region: String = or(""),
        /// static takes the key pair below; default_chain finds one as the AWS tools do.
        pub credential_source: CredentialSource = or(CredentialSource::Static),
        /// Access key id at the provider.
        pub access_key_id: Option<AccessKeyId> = none(),
        /// The secret of that key.
        pub secret_access_key: Option<Secret> = none(),
        /// Address the bucket as `endpoint/bucket` rather than as `bucket.endpoint`.
        pub force_path_style: bool = or(false),
        /// Send bodies without a hash of their own in the signature; TLS and our checksums guard them. The default
        /// is true for https and false for http.
        pub unsigned_payload: bool = or(endpoint.is_https()),
        /// For providers that refuse checksum headers.
        pub disable_checksum: bool = or(false),
        /// For providers that refuse the headers of the AWS SDK.
        pub strip_sdk_headers: bool = or(false),
        /// Connections to it.
        pub http: HttpPool = nested(),
    }
}

section! {
    /// Connections to a provider. 0 stands for the default.
    pub struct HttpPool {
        /// Idle connections that are kept.
        pub max_idle_conns: u32 = or(100_u32),
        /// Idle connections that are kept for one host. A backend has one host, so the smaller of the two counts.
        pub max_idle_conns_per_host: u32 = or(100_u32),
        /// Connections at once.
        pub max_conns_per_host: u32 = or(200_u32),
        /// How long it may take to begin its answer once a request is sent.
        pub response_header_timeout: Duration = or(Duration::from_secs(30)),
        /// Speak HTTP/2 where the provider does. Some providers are many times slower with it, so it is off by default.
        pub force_http2: bool = or(false),
    }
}

section! {
    /// A directory on disk.
    pub struct DirectoryStore {
        /// The directory, made at the first start.
        pub path: PathBuf = required(),
    }
}

const S3_KEYS: [&str; 11] = [
    "endpoint",
    "bucket",
    "region",
    "credential_source",
    "access_key_id",
    "secret_access_key",
    "force_path_style",
    "unsigned_payload",
    "disable_checksum",
    "strip_sdk_headers",
    "http",
];
const DIRECTORY_KEYS: [&str; 1] = ["path"];

impl Section for Store {
    fn read_keys(map: &Map<'_>) -> Self {
        match map.take("type", or(StoreType::S3)) {
            StoreType::S3 => {
                for name in DIRECTORY_KEYS {
                    map.refuse_foreign(
                        name,
                        "is a key of directories",
                        "add `type: directory`, or remove it",
                    );
                }
                Self::S3(S3Store::read_keys(map).with_pool_defaults())
            }
            StoreType::Directory => {
                for name in S3_KEYS {
                    map.refuse_foreign(name, "is a key of S3 backends", "write `type: s3`, or remove it");
                }
                Self::Directory(DirectoryStore::read_keys(map))
            }
        }
    }

    fn shown_keys(&self) -> Vec<(String, Shown)> {
        let (kind, mut keys) = match self {
            Self::S3(store) => (StoreType::S3, store.shown_keys()),
            Self::Directory(store) => (StoreType::Directory, store.shown_keys()),
        };
        keys.insert(0, ("type".to_owned(), Value::show(&kind)));
        keys
    }

    fn describe_keys(path: &str, rows: &mut Vec<KeyRow>) {
        let doc = ["s3 for a bucket at a provider, directory for a directory on disk."];
        let row = KeyRow::new(path, "type", &doc, &Scalar::show(&StoreType::S3), &[]);
        StoreType::describe(row, rows);
        S3Store::describe_keys(path, rows);
        DirectoryStore::describe_keys(path, rows);
    }
}

impl Store {
    /// How long a write may arrive late, where nothing else is said.
    pub(crate) fn late_arrival_default(&self) -> Duration {
        match self {
            Self::S3(_) => Duration::from_secs(15 * 60),
            Self::Directory(_) => Duration::ZERO,
        }
    }

    /// What two backends must not share, and the key to blame where they do.
    pub(crate) fn identity(&self, prefix: &str) -> Option<(&'static str, String)> {
        match self {
            Self::S3(s3) if s3.bucket.is_empty() || s3.endpoint.as_str().is_empty() => None,
            Self::S3(s3) => Some(("bucket", format!("{} {} {prefix}", s3.endpoint, s3.bucket))),
            Self::Directory(directory) if directory.path.as_os_str().is_empty() => None,
            Self::Directory(directory) => Some(("path", format!("{} {prefix}", directory.path.display()))),
        }
    }

    pub(crate) fn check(&self, at: &Place<'_>) {
        if let Self::S3(s3) = self {
            s3.check(at);
        }
    }
}

impl S3Store {
    fn check(&self, at: &Place<'_>) {
        let keys = [
            ("access_key_id", self.access_key_id.as_ref().map(AccessKeyId::as_str)),
            ("secret_access_key", self.secret_access_key.as_ref().map(Secret::expose)),
        ];
        for (name, value) in keys {
            let key = at.key(name);
            match (self.credential_source, value) {
                (CredentialSource::Static, None) => key.refuse("is required for an S3 backend"),
                (CredentialSource::DefaultChain, Some(_)) => {
                    key.refuse_with("does not go together with default_chain", "remove it");
                }
                _ => {}
            }
        }
        if self.bucket.contains(['/', '?', '#', ' ']) {
            at.key("bucket").refuse_with("is not the name of a bucket", "put a folder into `prefix`");
        }
    }

    /// 0 is documented to stand for the default.
    fn with_pool_defaults(mut self) -> Self {
        for (count, default) in [
            (&mut self.http.max_idle_conns, 100),
            (&mut self.http.max_idle_conns_per_host, 100),
            (&mut self.http.max_conns_per_host, 200),
        ] {
            if *count == 0 {
                *count = default;
            }
        }
        if self.http.response_header_timeout.is_zero() {
            self.http.response_header_timeout = Duration::from_secs(30);
        }
        self
    }
}
