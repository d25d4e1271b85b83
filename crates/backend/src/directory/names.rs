//! How paths are spelled as names of files. Pure, and reversible: a listing gives back what was put.
//!
//! Paths of our own grammar keep their spelling, so that people find their way on the disk. For all others:
//! - a byte that is not in [`PLAIN`] becomes `%XX`; so does a dot that begins a segment (only
//!   `.s3-orchestrator` keeps its own), hence no name is `.` or `..` and none collides with a driver's file;
//! - an empty segment is `%e`;
//! - a segment longer than [`NAME_BYTES_MAX`] is cut into pieces, each but the last a folder that ends in `%+`;
//! - `a` and `a/b` may both exist, so no file may be named like a folder: a file's name holds a `~` (as in our
//!   grammar) or ends in `%f`, a folder's name holds none or ends in `%d`.
//!
//! Metadata lies beside its object under a name that ends in `%m`. Real escapes are upper-case
//! hexadecimal, so none of these endings can come out of a path.

/// Longest name without an ending: file systems stop at 255 bytes, and an ending has two.
const NAME_BYTES_MAX: usize = 253;
/// Longest piece of a segment that has to be cut.
const PIECE_BYTES_MAX: usize = 240;
/// What keeps its spelling besides letters and digits.
const PLAIN: &[u8] = b"-_!(),@+.=~";
/// Reserved by our grammar; harmless on a disk.
const OWN_SEGMENT: &str = ".s3-orchestrator";
/// Some file systems have a folder of this name in their root that only root may read.
const LOST_AND_FOUND: &str = "lost+found";

const EMPTY: &str = "%e";
const FILE: &str = "%f";
const FOLDER: &str = "%d";
const SIDECAR: &str = "%m";
const PIECE: &str = "%+";

/// Where an object lies below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spelled {
    /// The folders, outermost first.
    pub(super) folders: Vec<String>,
    base: String,
}

impl Spelled {
    /// Spells a path.
    pub(super) fn new(path: &str) -> Self {
        let mut segments = path.split('/').peekable();
        let mut folders = Vec::new();
        while let Some(segment) = segments.next() {
            let base = push_pieces(segment, &mut folders);
            if segments.peek().is_none() {
                return Self { folders, base };
            }
            folders.push(folder_name(base));
        }
        unreachable!("splitting text yields at least one segment")
    }

    /// The name of the file that holds the bytes.
    pub(super) fn data(&self) -> String {
        if self.base.contains('~') { self.base.clone() } else { format!("{}{FILE}", self.base) }
    }

    /// The name of the file that holds the metadata.
    pub(super) fn sidecar(&self) -> String {
        format!("{}{SIDECAR}", self.base)
    }
}

/// The folders of all segments that a prefix holds whole, and those segments as text.
pub(super) fn folders_of_prefix(prefix: &str) -> (Vec<String>, &str) {
    let Some(last) = prefix.rfind('/') else {
        return (Vec::new(), "");
    };
    let mut folders = Vec::new();
    for segment in prefix[..last].split('/') {
        let base = push_pieces(segment, &mut folders);
        folders.push(folder_name(base));
    }
    (folders, &prefix[..=last])
}

/// What a folder's name adds to a path; `None` where we cannot have written it.
pub(super) fn read_folder(name: &str) -> Option<Vec<u8>> {
    if let Some(piece) = name.strip_suffix(PIECE) {
        return unescape(piece);
    }
    let mut text = match name.strip_suffix(FOLDER) {
        Some(base) => unescape(base)?,
        None => unescape(name)?,
    };
    text.push(b'/');
    Some(text)
}

/// What the name of a file with an object's bytes adds to a path; `None` where we cannot have written it.
pub(super) fn read_file(name: &str) -> Option<Vec<u8>> {
    match name.strip_suffix(FILE) {
        Some(base) => unescape(base),
        None => name.contains('~').then(|| unescape(name)).flatten(),
    }
}

fn folder_name(base: String) -> String {
    if base.contains('~') { format!("{base}{FOLDER}") } else { base }
}

/// Spells a segment; all but its last piece are appended to the folders.
fn push_pieces(segment: &str, folders: &mut Vec<String>) -> String {
    let short = escape(segment, false);
    if short.len() <= NAME_BYTES_MAX {
        return short;
    }
    // A piece may begin anywhere, so here no dot stays a dot.
    let mut rest = escape(segment, true);
    while rest.len() > PIECE_BYTES_MAX {
        let mut cut = PIECE_BYTES_MAX;
        // Never inside an escape.
        while rest.as_bytes()[cut - 1] == b'%' || rest.as_bytes()[cut - 2] == b'%' {
            cut -= 1;
        }
        let tail = rest.split_off(cut);
        folders.push(format!("{rest}{PIECE}"));
        rest = tail;
    }
    rest
}

fn escape(segment: &str, all_dots: bool) -> String {
    if segment.is_empty() {
        return EMPTY.to_owned();
    }
    if segment == OWN_SEGMENT {
        return segment.to_owned();
    }
    let mut out = String::with_capacity(segment.len() + 8);
    for (i, byte) in segment.bytes().enumerate() {
        let plain = match byte {
            b'.' => i > 0 && !all_dots,
            b'+' => segment != LOST_AND_FOUND,
            _ => byte.is_ascii_alphanumeric() || PLAIN.contains(&byte),
        };
        if plain {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

fn unescape(name: &str) -> Option<Vec<u8>> {
    if name == EMPTY {
        return Some(Vec::new());
    }
    let foreign = name.is_empty() || name == LOST_AND_FOUND || (name.starts_with('.') && name != OWN_SEGMENT);
    if foreign {
        return None;
    }
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let pair = [bytes.next()?, bytes.next()?];
        let mut decoded = [0; 1];
        hex::decode_to_slice(pair, &mut decoded).ok()?;
        out.push(decoded[0]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(path: &str, on_disk: &str) {
        let spelled = Spelled::new(path);
        assert_eq!([spelled.folders.clone(), vec![spelled.data()]].concat().join("/"), on_disk);
        assert_eq!(read(&spelled), path);
    }

    /// Reads a place on the disk as a listing does.
    fn read(spelled: &Spelled) -> String {
        let mut path = Vec::new();
        for folder in &spelled.folders {
            path.extend(read_folder(folder).unwrap());
        }
        path.extend(read_file(&spelled.data()).unwrap());
        String::from_utf8(path).unwrap()
    }

    #[test]
    fn our_own_paths_keep_their_spelling() {
        let path = "p/photos/2026/summer-01.jpg~01HF00000000000000000000ZZ.01HF00000000000000000000YY";
        check(path, path);
    }

    #[test]
    fn a_marker_can_be_found_by_people() {
        check(".s3-orchestrator/marker/D/b2/1", ".s3-orchestrator/marker/D/b2/1%f");
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        check("../x", "%2E./x%f");
        check("..", "%2E.%f");
        check("./a", "%2E/a%f");
        check("/lead", "%e/lead%f");
        check("a//b", "a/%e/b%f");
        check("trailing/", "trailing/%e%f");
        check("nul\0\n", "nul%00%0A%f");
    }

    #[test]
    fn files_and_folders_never_share_a_name() {
        check("a", "a%f");
        check("a/b", "a/b%f");
        check("x~y", "x~y");
        check("x~y/z", "x~y%d/z%f");
        check("a%f", "a%25f%f");
    }

    #[test]
    fn the_drivers_own_files_are_out_of_reach() {
        check(".s3-orchestrator-tmp/x", "%2Es3-orchestrator-tmp/x%f");
        check("lost+found/x", "lost%2Bfound/x%f");
        for foreign in
            [".s3-orchestrator-tmp", ".s3-orchestrator-lock", "lost+found", "", ".", "..", "%zz", "%"]
        {
            assert_eq!(read_folder(foreign), None, "{foreign}");
        }
        for foreign in ["cat.jpg", "a~b%m", "a%m", ".a~b"] {
            assert_eq!(read_file(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_prefix_leads_to_its_folder() {
        assert_eq!(folders_of_prefix("a/b~/c"), (vec!["a".to_owned(), "b~%d".to_owned()], "a/b~/"));
        assert_eq!(folders_of_prefix("abc"), (vec![], ""));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_path_round_trips_in_names_that_file_systems_take(
            path in "\\PC{1,400}|[./~%=+\\x00-\\x20a]{1,60}|[.]{1,900}|[a.]{200,900}|(é|\\.|a){100,400}",
        ) {
            let spelled = Spelled::new(&path);
            prop_assert_eq!(read(&spelled), path.as_str());
            let files = [spelled.data(), spelled.sidecar()];
            for name in spelled.folders.iter().chain(&files) {
                prop_assert!(!name.is_empty() && name.len() <= 255, "{name:?}");
                prop_assert!(!name.starts_with('.') || name.starts_with(".s3-orchestrator"), "{name:?}");
                prop_assert!(name != "." && name != ".." && name.is_ascii());
                prop_assert!(!name.bytes().any(|byte| byte == b'/' || byte < b' '));
            }
            prop_assert!(!spelled.folders.iter().any(|name| read_file(name).is_some()));
            prop_assert!(files.iter().all(|name| read_file(name).is_some() == (*name == files[0])));
        }
    }
}
