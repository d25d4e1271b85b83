//! Segments and snapshots: the journal as it lies on the backends. `docs/shipping.md` is the specification.
//!
//! Here are names and the envelope; what a line says is the catalog's affair.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use types::{ChangeId, DeploymentId};

/// The form of a file.
const VERSION: u32 = 1;

/// The name of a segment or a piece of a snapshot: its key in the internal bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShippedName {
    /// The epoch of the catalog that wrote it.
    pub epoch: u64,
    /// Its number within the epoch.
    pub number: u64,
    /// What it is.
    pub piece: Piece,
}

/// What lies under a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// A segment of the journal.
    Segment,
    /// A page of a snapshot.
    Page(u32),
    /// The last word of a snapshot.
    Complete,
}

impl ShippedName {
    /// Where segments lie, of all epochs.
    pub const SEGMENTS: &str = "journal/";
    /// Where snapshots lie, of all epochs.
    pub const SNAPSHOTS: &str = "snapshot/";

    /// The key.
    #[must_use]
    pub fn key(&self) -> String {
        let Self { epoch, number, piece } = self;
        match piece {
            Piece::Segment => format!("{}{epoch:010}/{number:016}", Self::SEGMENTS),
            Piece::Page(page) => format!("{}{epoch:010}/{number:016}/{page:010}", Self::SNAPSHOTS),
            Piece::Complete => format!("{}{epoch:010}/{number:016}/complete", Self::SNAPSHOTS),
        }
    }

    /// Reads a key; `None` for anything but the one spelling of a name.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let (kind, rest) = key.split_once('/')?;
        let mut parts = rest.split('/');
        let epoch = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let piece = match (kind, parts.next()) {
            ("journal", None) => Piece::Segment,
            ("snapshot", Some("complete")) => Piece::Complete,
            ("snapshot", Some(page)) => Piece::Page(page.parse().ok()?),
            _ => return None,
        };
        let name = Self { epoch, number, piece };
        (name.key() == key).then_some(name)
    }
}

/// The first line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The form of the file.
    pub s3o: u32,
    /// Whose catalog this is.
    pub deployment: DeploymentId,
    /// Its epoch.
    pub epoch: u64,
    /// The number under which the file is kept.
    pub number: u64,
    /// Number of the first change in it; of a snapshot, of the last change before it was begun.
    pub first: u64,
    /// Number of the last change in it; of a snapshot's last word, of the last one before its end.
    pub last: u64,
    /// Which snapshot a page or a last word is of: one that was begun anew may have the same number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<ChangeId>,
    /// How many pages a snapshot has: in its last word only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// Numbers and names of the buckets.
    pub buckets: Vec<(i64, String)>,
    /// Numbers and names of the backends.
    pub backends: Vec<(i64, String)>,
}

impl Header {
    /// A header of this form.
    #[must_use]
    pub fn new(deployment: DeploymentId, epoch: u64, number: u64) -> Self {
        let (buckets, backends) = (Vec::new(), Vec::new());
        Self {
            s3o: VERSION,
            deployment,
            epoch,
            number,
            first: 0,
            last: 0,
            snapshot: None,
            pages: None,
            buckets,
            backends,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Seal {
    lines: usize,
    sha256: String,
}

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShippedError {
    /// It ends too early, or its seal does not fit what stands before it.
    #[error("is not whole: {0}")]
    Broken(&'static str),
    /// A later release wrote it.
    #[error("has form {0}, this release reads {VERSION}: use the release that wrote it, or a later one")]
    TooNew(u32),
}

/// Puts a file together. Lines hold no line feed, as JSON never does.
#[must_use]
pub fn seal(header: &Header, lines: &[String]) -> Bytes {
    let mut text = to_json(header);
    text.push('\n');
    for line in lines {
        debug_assert!(!line.contains('\n'), "a line of JSON holds no line feed");
        text.push_str(line);
        text.push('\n');
    }
    let sha256 = hex::encode(Sha256::digest(text.as_bytes()));
    text.push_str(&to_json(&Seal { lines: lines.len(), sha256 }));
    text.push('\n');
    Bytes::from(text)
}

/// Reads a file: its header and its lines.
///
/// # Errors
/// [`ShippedError`], where it is not exactly what [`seal`] made.
pub fn open(file: &[u8]) -> Result<(Header, Vec<&str>), ShippedError> {
    use ShippedError::Broken;
    let text = std::str::from_utf8(file).map_err(|_| Broken("it is not text"))?;
    let body = text.strip_suffix('\n').ok_or(Broken("its last line has no end"))?;
    let (sealed, seal) = body.rsplit_once('\n').ok_or(Broken("it has no seal"))?;
    let seal: Seal = serde_json::from_str(seal).map_err(|_| Broken("its last line is no seal"))?;
    let sealed_bytes = &file[..=sealed.len()];
    if hex::encode(Sha256::digest(sealed_bytes)) != seal.sha256 {
        return Err(Broken("its seal does not fit"));
    }
    let mut lines = sealed.split('\n');
    let header = lines.next().unwrap_or_default();
    let header: Header = serde_json::from_str(header).map_err(|_| Broken("its first line is no header"))?;
    if header.s3o != VERSION {
        return Err(ShippedError::TooNew(header.s3o));
    }
    let lines: Vec<&str> = lines.collect();
    if lines.len() != seal.lines {
        return Err(Broken("it does not have the lines that its seal counts"));
    }
    Ok((header, lines))
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("numbers, strings and lists of them have a JSON form")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::Timestamp;

    use super::*;

    fn header() -> Header {
        let deployment = DeploymentId::from_parts(Timestamp::from_millis(5), 6);
        Header { first: 3, last: 4, buckets: vec![(1, "photos".to_owned())], ..Header::new(deployment, 2, 7) }
    }

    fn name(epoch: u64, number: u64, piece: Piece) -> ShippedName {
        ShippedName { epoch, number, piece }
    }

    #[test]
    fn names_are_spelled_one_way_and_sort_by_time() {
        let names = [
            name(1, 2, Piece::Segment),
            name(1, 10, Piece::Segment),
            name(2, 1, Piece::Segment),
            name(1, 2, Piece::Page(9)),
            name(1, 2, Piece::Page(10)),
            name(1, 2, Piece::Complete),
        ];
        let keys: Vec<String> = names.iter().map(ShippedName::key).collect();
        assert_eq!(keys[0], "journal/0000000001/0000000000000002");
        assert_eq!(keys[5], "snapshot/0000000001/0000000000000002/complete");
        assert!(keys.is_sorted());
        for (name, key) in names.iter().zip(&keys) {
            assert_eq!(ShippedName::parse(key), Some(*name));
        }
        for key in ["journal/1/2", "journal/0000000001/0000000000000002/0000000001", "marker/x", "journal/"] {
            assert_eq!(ShippedName::parse(key), None, "{key}");
        }
    }

    #[test]
    fn a_later_form_is_named() {
        let later = Header { s3o: 2, ..header() };
        assert_eq!(open(&seal(&later, &[])), Err(ShippedError::TooNew(2)));
    }

    proptest! {
        #[test]
        fn a_file_is_read_whole_or_not_at_all(
            lines in prop::collection::vec("[ -~]{0,40}", 0..8), at in any::<prop::sample::Index>(), flip in 1..=255u8,
        ) {
            let file = seal(&header(), &lines);
            let (read, found) = open(&file).unwrap();
            prop_assert_eq!(read, header());
            prop_assert_eq!(&found, &lines);
            let at = at.index(file.len());
            prop_assert!(open(&file[..at]).is_err(), "cut at {}", at);
            let mut flipped = file.to_vec();
            flipped[at] ^= flip;
            // Hexadecimal and JSON have several spellings of one seal; what it seals has one.
            if let Ok((read, found)) = open(&flipped) {
                prop_assert_eq!((read, found), (header(), lines.iter().map(String::as_str).collect()));
            }
        }
    }
}
