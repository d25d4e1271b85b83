//! `destinations`: where snapshots go, and how long they stay.

use std::path::PathBuf;
use std::time::Duration;

use crate::keys::KeyRow;
use crate::net::HttpUrl;
use crate::report::Place;
use crate::scalar::{Scalar, choice};
use crate::secret::{AccessKeyId, Secret};
use crate::section::{Map, Section, Value, none, or, required, section};
use crate::show::Shown;

section! {
    /// Where snapshots go.
    pub struct Destination {
        + /// A bucket, or a directory.
        pub target: Target,
        /// What it is called in logs, metrics and on the command line: letters, digits, `_` and `-`.
        pub name: String = required(),
        /// What `prune` keeps there. Absent: what `retention` says.
        pub retention: Option<Retention> = none(),
    }
}

section! {
    /// What `prune` keeps: a snapshot stays as long as one rule wants it. Times are in UTC. With no rule everything
    /// stays; the newest verified snapshot always does.
    pub struct Retention {
        /// The newest, this many.
        pub last: u32 = or(0_u32),
        /// The newest of an hour, for so many hours that have one.
        pub hourly: u32 = or(0_u32),
        /// The newest of a day, for so many days that have one.
        pub daily: u32 = or(0_u32),
        /// The newest of a week (from Monday), for so many weeks that have one.
        pub weekly: u32 = or(0_u32),
        /// The newest of a month, for so many months that have one.
        pub monthly: u32 = or(0_u32),
        /// The newest of a year, for so many years that have one.
        pub yearly: u32 = or(0_u32),
        /// All that are younger than this.
        pub within: Option<Duration> = none(),
    }
}

choice! {
    /// The kind of a destination.
    pub enum TargetType ("s3 or directory") {
        /// A bucket at a provider.
        S3 = "s3",
        /// A directory on disk.
        Directory = "directory",
    }
}

/// A bucket, or a directory: `destinations[].type` says which.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A bucket at a provider.
    S3(S3Target),
    /// A directory on disk.
    Directory(DirectoryTarget),
}

section! {
    /// A bucket at anybody who speaks S3.
    pub struct S3Target {
        /// Address of the provider, `https://` or `http://`.
        pub endpoint: HttpUrl = required(),
        /// The bucket there.
        pub bucket: String = required(),
        /// What every key begins with, such as `vault/`.
        pub prefix: String = or(""),
        /// Region that requests are signed for.
        pub region: String = or("us-east-1"),
        /// Access key id.
        pub access_key_id: AccessKeyId = required(),
        /// The secret of that key.
        pub secret_access_key: Secret = required(),
        /// Address the bucket as `endpoint/bucket` rather than as `bucket.endpoint`.
        pub force_path_style: bool = or(true),
        /// Certificate authorities to trust besides the public ones, as PEM.
        pub ca_file: Option<PathBuf> = none(),
    }
}

section! {
    /// A directory on disk, best one of another machine.
    pub struct DirectoryTarget {
        /// The directory. It is made where its parent exists.
        pub path: PathBuf = required(),
    }
}

const S3_KEYS: [&str; 8] = [
    "endpoint",
    "bucket",
    "prefix",
    "region",
    "access_key_id",
    "secret_access_key",
    "force_path_style",
    "ca_file",
];

impl Section for Target {
    fn read_keys(map: &Map<'_>) -> Self {
        match map.take("type", required()) {
            TargetType::S3 => {
                map.refuse_foreign(
                    "path",
                    "is a key of directories",
                    "write `type: directory`, or remove it",
                );
                Self::S3(S3Target::read_keys(map))
            }
            TargetType::Directory => {
                for name in S3_KEYS {
                    map.refuse_foreign(name, "is a key of buckets", "write `type: s3`, or remove it");
                }
                Self::Directory(DirectoryTarget::read_keys(map))
            }
        }
    }

    fn shown_keys(&self) -> Vec<(String, Shown)> {
        let (kind, mut keys) = match self {
            Self::S3(target) => (TargetType::S3, target.shown_keys()),
            Self::Directory(target) => (TargetType::Directory, target.shown_keys()),
        };
        keys.insert(0, ("type".to_owned(), Value::show(&kind)));
        keys
    }

    fn describe_keys(path: &str, rows: &mut Vec<KeyRow>) {
        let doc = ["s3 for a bucket, directory for a directory on disk."];
        let row = KeyRow::new(path, "type", &doc, &Scalar::show(&TargetType::S3), &["type".to_owned()]);
        TargetType::describe(row, rows);
        S3Target::describe_keys(path, rows);
        DirectoryTarget::describe_keys(path, rows);
    }
}

impl Destination {
    pub(super) fn check_all(destinations: &[Self], at: &Place<'_>) {
        for (index, destination) in destinations.iter().enumerate() {
            let at = at.item(index);
            let legal = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if !destination.name.chars().all(legal) {
                at.key("name").refuse("must be letters, digits, `_` and `-`");
            }
            let before = &destinations[..index];
            if before.iter().any(|other| other.name == destination.name) {
                at.key("name").refuse("is the name of another destination");
            }
            // Two destinations in one place would prune each other's snapshots.
            if let Some(same) = before.iter().find(|other| other.target.place() == destination.target.place())
            {
                at.refuse(format!("lies in the same place as `{}`", same.name));
            }
            destination.target.check(&at);
        }
    }
}

impl Target {
    fn place(&self) -> String {
        match self {
            Self::S3(s3) => format!("{} {} {}", s3.endpoint, s3.bucket, s3.prefix),
            Self::Directory(directory) => directory.path.display().to_string(),
        }
    }

    fn check(&self, at: &Place<'_>) {
        match self {
            Self::S3(s3) => {
                if s3.bucket.contains(['/', '?', '#', ' ']) {
                    at.key("bucket").refuse_with("is not the name of a bucket", "put a folder into `prefix`");
                }
                if s3.prefix.starts_with('/') {
                    at.key("prefix").refuse("must not begin with `/`");
                }
            }
            Self::Directory(directory) => {
                if directory.path.is_relative() && !directory.path.as_os_str().is_empty() {
                    at.key("path")
                        .refuse_with("must be absolute", "a daemon's working directory is often `/`");
                }
            }
        }
    }
}
