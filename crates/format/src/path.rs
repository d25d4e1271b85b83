//! The grammar of replica paths: `{prefix}{bucket}/{key}~{blob}.{replica}`.
//!
//! What is neither in this grammar nor named by a replica row is not ours and is never deleted. Bytes that
//! servers or file systems treat specially are spelled `=XX`; a key that would get too long is replaced
//! by its hash.

use sha2::{Digest, Sha256};
use types::{BlobId, BucketName, ObjectKey, ReplicaId, ReplicaPath};

/// Longest path segment of the key part: 255, what file systems take, less the identifiers' 54.
const SEGMENT_BYTES_MAX: usize = 200;
/// Longest path that we make. Most providers end at 1,024 bytes.
const PATH_BYTES_MAX: usize = 1000;
/// The bucket of what we keep for ourselves: segments and snapshots of the journal. No client's bucket may
/// have this name.
pub const INTERNAL_BUCKET: &str = ".s3-orchestrator";
/// First segment of everything of ours that no client wrote. No other bucket's name is spelled like this.
const RESERVED: &str = ".s3-orchestrator/";

/// Makes and reads the paths of one backend.
#[derive(Debug, Clone)]
pub struct PathGrammar {
    prefix: String,
}

/// What the path of a replica says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaName {
    /// The blob.
    pub blob: BlobId,
    /// The replica.
    pub replica: ReplicaId,
    /// Bucket and key, unless the key was too long to be spelled.
    pub object: Option<(BucketName, ObjectKey)>,
}

impl PathGrammar {
    /// The grammar under a prefix (may be empty; used as it is, so it usually ends in `/`).
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The prefix under which all of ours lies.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where what is not a replica lies: markers, the journal.
    #[must_use]
    pub fn reserved(&self) -> String {
        format!("{}{RESERVED}", self.prefix)
    }

    /// The path of a new replica.
    #[must_use]
    pub fn replica(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        blob: BlobId,
        replica: ReplicaId,
    ) -> ReplicaPath {
        // Markers lie beside what the internal bucket holds, so that one listing shows all of it.
        let internal = bucket.as_str() == INTERNAL_BUCKET;
        let bucket = if internal { INTERNAL_BUCKET.to_owned() } else { escape(bucket.as_str()) };
        let spelled = escape(key.as_str());
        let room = PATH_BYTES_MAX.saturating_sub(self.prefix.len() + bucket.len() + 1 + 54);
        let fits =
            spelled.len() <= room && spelled.split('/').all(|segment| segment.len() <= SEGMENT_BYTES_MAX);
        let key_part = if fits { spelled } else { hash_of(key) };
        let path = format!("{}{bucket}/{key_part}~{blob}.{replica}", self.prefix);
        ReplicaPath::parse(&path).expect("a path that ends in two identifiers is not empty")
    }

    /// The path of another replica of a blob, which lies at `path` in the grammar of `other`: named after the
    /// same key, also where that was too long to be spelled. `None` where `path` is not in that grammar.
    #[must_use]
    pub fn beside(&self, other: &Self, path: &str, replica: ReplicaId) -> Option<ReplicaPath> {
        let name = other.parse(path)?;
        if let Some((bucket, key)) = &name.object {
            return Some(self.replica(bucket, key, name.blob, replica));
        }
        let (named, _) = path.strip_prefix(&other.prefix)?.rsplit_once('~')?;
        let path = format!("{}{named}~{}.{replica}", self.prefix, name.blob);
        ReplicaPath::parse(&path).ok()
    }

    /// Reads a path; `None` where it is not in the grammar.
    #[must_use]
    pub fn parse(&self, path: &str) -> Option<ReplicaName> {
        let rest = path.strip_prefix(&self.prefix)?;
        let (bucket, rest) = rest.split_once('/')?;
        let bucket = BucketName::parse(&unescape(bucket)?).ok()?;
        let (key, ids) = rest.rsplit_once('~')?;
        let (blob, replica) = ids.split_once('.')?;
        let (blob, replica) = (blob.parse().ok()?, replica.parse().ok()?);
        if is_hash(key) {
            return Some(ReplicaName { blob, replica, object: None });
        }
        let key = ObjectKey::parse(&unescape(key)?).ok()?;
        let name = ReplicaName { blob, replica, object: Some((bucket.clone(), key.clone())) };
        // Only the one spelling that we write is ours.
        (self.replica(&bucket, &key, blob, replica).as_str() == path).then_some(name)
    }
}

/// Spells text so that no store changes it: no empty, `.` or `..` segment, visible ASCII only.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (i, segment) in text.split('/').enumerate() {
        if i > 0 {
            out.push('/');
        }
        if segment.is_empty() {
            // `=` and no digits: an empty segment.
            out.push('=');
        }
        for (j, byte) in segment.bytes().enumerate() {
            let plain =
                byte.is_ascii_alphanumeric() || b"-_!(),@+".contains(&byte) || (byte == b'.' && j > 0);
            if plain {
                out.push(char::from(byte));
            } else {
                out.push('=');
                out.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    out
}

/// Reads what [`escape`] wrote; `None` where it cannot have written it.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    for (i, segment) in text.split('/').enumerate() {
        if i > 0 {
            out.push(b'/');
        }
        if segment == "=" {
            continue;
        }
        let mut bytes = segment.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'=' {
                out.push(byte);
                continue;
            }
            let pair = [bytes.next()?, bytes.next()?];
            let mut decoded = [0; 1];
            hex::decode_to_slice(pair, &mut decoded).ok()?;
            out.push(decoded[0]);
        }
    }
    String::from_utf8(out).ok()
}

/// Stands in for a key that is too long. Escaped text never begins with `=h`: escapes are upper-case hex.
fn hash_of(key: &ObjectKey) -> String {
    format!("=h{}", hex::encode(Sha256::digest(key.as_str().as_bytes())))
}

fn is_hash(key: &str) -> bool {
    key.len() == 66 && key.starts_with("=h") && key[2..].bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::Timestamp;

    use super::*;

    fn ids() -> (BlobId, ReplicaId) {
        let at = Timestamp::from_millis(1_700_000_000_000);
        (BlobId::from_parts(at, 1), ReplicaId::from_parts(at, 2))
    }

    fn path_of(key: &str) -> String {
        let (blob, replica) = ids();
        let bucket = BucketName::parse("photos").unwrap();
        let key = ObjectKey::parse(key).unwrap();
        PathGrammar::new("p/").replica(&bucket, &key, blob, replica).as_str().to_owned()
    }

    fn check(key: &str, spelled: &str) {
        let (blob, replica) = ids();
        assert_eq!(path_of(key), format!("p/photos/{spelled}~{blob}.{replica}"));
    }

    #[test]
    fn plain_keys_stay_readable() {
        check("2026/summer-01.jpg", "2026/summer-01.jpg");
    }

    #[test]
    fn what_stores_normalise_is_escaped() {
        check("../x", "=2E./x");
        check("a//b", "a/=/b");
        check("/", "=/=");
        check(".", "=2E");
        check("a b~c=\0\n", "a=20b=7Ec=3D=00=0A");
        check("é", "=C3=A9");
    }

    #[test]
    fn a_long_key_is_hashed_and_still_ours() {
        let path = path_of(&"k".repeat(1024));
        assert!(path.len() <= PATH_BYTES_MAX);
        let name = PathGrammar::new("p/").parse(&path).unwrap();
        assert_eq!((name.blob, name.replica), ids());
        assert_eq!(name.object, None);
    }

    #[test]
    fn another_replica_is_named_after_the_same_key() {
        let (blob, _) = ids();
        let another = ReplicaId::from_parts(Timestamp::from_millis(1_700_000_000_001), 3);
        let (here, there) = (PathGrammar::new("p/"), PathGrammar::new("elsewhere/"));
        for key in ["cat.jpg", "a//b", &"k".repeat(1024)] {
            let path = there.beside(&here, &path_of(key), another).unwrap();
            let name = there.parse(path.as_str()).unwrap();
            assert_eq!((name.blob, name.replica), (blob, another));
            let bucket = BucketName::parse("photos").unwrap();
            let fresh = there.replica(&bucket, &ObjectKey::parse(key).unwrap(), blob, another);
            assert_eq!(path, fresh, "as if it had been written there");
        }
        assert_eq!(there.beside(&here, "p/photos/cat.jpg", another), None);
    }

    #[test]
    fn what_we_did_not_write_is_not_ours() {
        let (blob, replica) = ids();
        let grammar = PathGrammar::new("p/");
        for path in [
            "p/photos/cat.jpg".to_owned(),
            format!("photos/cat.jpg~{blob}.{replica}"),
            format!("p/photos/a//b~{blob}.{replica}"),
            format!("p/photos/=61~{blob}.{replica}"),
            format!("p/photos/cat.jpg~{blob}"),
            "p/.s3-orchestrator/marker".to_owned(),
            format!("p/=2Es3-orchestrator/journal~{blob}.{replica}"),
        ] {
            assert_eq!(grammar.parse(&path), None, "{path}");
        }
    }

    #[test]
    fn what_is_internal_lies_beside_the_markers() {
        let (blob, replica) = ids();
        let grammar = PathGrammar::new("p/");
        let bucket = BucketName::parse(INTERNAL_BUCKET).unwrap();
        let key = ObjectKey::parse("journal/0000000001/0000000000000002").unwrap();
        let path = grammar.replica(&bucket, &key, blob, replica);
        assert_eq!(path.as_str(), format!("{}{key}~{blob}.{replica}", grammar.reserved()));
        assert_eq!(grammar.parse(path.as_str()).unwrap().object, Some((bucket, key)));
    }

    proptest! {
        #[test]
        fn every_key_round_trips_and_stays_in_its_place(key in "\\PC{1,300}|[./~=\\x00-\\x20]{1,40}") {
            prop_assume!(key.len() <= 1024);
            let path = path_of(&key);
            let name = PathGrammar::new("p/").parse(&path).unwrap();
            if let Some((_, parsed)) = name.object {
                prop_assert_eq!(parsed.as_str(), key.as_str());
            }
            prop_assert!(path.is_ascii() && path.len() <= PATH_BYTES_MAX);
            for segment in path.split('/') {
                prop_assert!(!segment.is_empty() && !segment.starts_with('.') && segment.len() <= 255);
            }
        }
    }
}
