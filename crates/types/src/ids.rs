//! Identifiers: ULIDs, each kind a type of its own so that one cannot stand in for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::{NameError, Timestamp};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Makes an identifier from a time and 80 random bits. `runtime::Ids` is where both come from.
            #[must_use]
            pub fn from_parts(at: Timestamp, random: u128) -> Self {
                Self(Ulid::from_parts(at.as_millis(), random).0)
            }

            /// The 16 bytes that are stored, big endian: they sort as the identifiers do.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// Reads what [`Self::to_bytes`] wrote.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }

            /// The millisecond at which the identifier was made.
            #[must_use]
            pub fn timestamp(self) -> Timestamp {
                Timestamp::from_millis(Ulid(self.0).timestamp_ms())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Ulid(self.0).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), Ulid(self.0))
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                // Lower case would decode too, but each identifier has one spelling.
                match Ulid::from_string(text) {
                    Ok(ulid) if ulid.to_string() == text => Ok(Self(ulid.0)),
                    _ => Err(NameError::new(stringify!($name), text, "is not a ULID in upper case")),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// An immutable run of bytes.
    BlobId
);
id!(
    /// One blob on one backend at one path. A path is never used twice, for it ends in this.
    ReplicaId
);
id!(
    /// An immutable sequence of slices of blobs.
    ManifestId
);
id!(
    /// A multipart upload, as the client sees it.
    UploadId
);
id!(
    /// One committed transaction that changes what clients see or where bytes lie. Chosen before
    /// the first attempt, so that a repeated attempt is recognised.
    ChangeId
);
id!(
    /// One start of one process: the owner of `writing` replicas.
    BootId
);
id!(
    /// The installation that a catalog and its backends belong to; made at the first start.
    DeploymentId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_come_back_as_the_same_identifier() {
        let id = BlobId::from_parts(Timestamp::from_millis(1_700_000_000_123), 42);
        assert_eq!(id.to_string().parse::<BlobId>().unwrap(), id);
        assert_eq!(BlobId::from_bytes(id.to_bytes()), id);
        assert_eq!(id.timestamp().as_millis(), 1_700_000_000_123);
    }

    #[test]
    fn there_is_one_spelling_only() {
        let text = BlobId::from_parts(Timestamp::from_millis(1), u128::MAX).to_string();
        assert!(text.to_lowercase().parse::<BlobId>().is_err());
        assert!("".parse::<BlobId>().is_err());
        assert!("../../../../etc/passwd....".parse::<BlobId>().is_err());
    }
}
