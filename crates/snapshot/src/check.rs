//! Whether a snapshot is whole: a tar in gzip with four members, the checksums of two of them in the third, and the
//! fourth there. Reads everything and keeps next to nothing.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use ring::digest::{Context, SHA256};
use serde::Deserialize;

/// Larger than any member but the state is.
const SMALL_BYTES_MAX: u64 = 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// What a snapshot says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Meta {
    /// The raft index that it goes up to.
    #[serde(rename = "Index")]
    pub index: u64,
    /// The raft term of its last entry.
    #[serde(rename = "Term")]
    pub term: u64,
}

/// How the cluster is sealed. Vault keeps it readable, for it is needed before unsealing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SealConfig {
    /// `shamir`, or what opens it by itself.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many shares there are.
    #[serde(rename = "secret_shares")]
    pub shares: u32,
    /// How many of them open it.
    #[serde(rename = "secret_threshold")]
    pub threshold: u32,
}

/// A snapshot that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What it says of itself.
    pub meta: Meta,
    /// Absent where this version of Vault keeps it otherwise.
    pub seal: Option<SealConfig>,
}

/// Why it is not.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Its bytes end early, or were changed.
    #[error("it is truncated or damaged: {0}")]
    Damaged(#[from] io::Error),
    /// It is something else.
    #[error("it is no snapshot of Vault: {0}")]
    Foreign(String),
    /// A part is missing.
    #[error("{0} is missing in it")]
    Missing(&'static str),
    /// A part is not what it says of it.
    #[error("the checksum of {0} in it is wrong")]
    Checksum(String),
    /// Nobody can tell: the check itself came to an end.
    #[error("the check broke down: {0}")]
    Unchecked(String),
}

/// Reads a snapshot to its very end. `on_meta` is told what it says of itself as soon as that is known.
///
/// # Errors
/// Where it is not whole.
pub fn check(reader: impl Read, on_meta: impl FnOnce(Meta)) -> Result<Checked, Broken> {
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::with_capacity(READ_BYTES, reader)));
    let mut sums: BTreeMap<String, String> = BTreeMap::new();
    let (mut on_meta, mut meta, mut seal) = (Some(on_meta), None, None);
    let (mut said, mut is_sealed) = (None, false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if sums.contains_key(&name) {
            return Err(Broken::Foreign(format!("{name} is in it twice")));
        }
        let mut digest = Context::new(&SHA256);
        match name.as_str() {
            "meta.json" => {
                let text = small(&mut entry)?;
                digest.update(&text);
                let read: Meta = serde_json::from_slice(&text)
                    .map_err(|error| Broken::Foreign(format!("meta.json cannot be read: {error}")))?;
                meta = Some(read);
                if let Some(on_meta) = on_meta.take() {
                    on_meta(read);
                }
            }
            // Who waits for what meta.json says must not wait for all of the state.
            "state.bin" if meta.is_none() => return Err(Broken::Missing("meta.json at the beginning")),
            "state.bin" => seal = state(&mut entry, &mut digest)?,
            "SHA256SUMS" => said = Some(small(&mut entry)?),
            "SHA256SUMS.sealed" => is_sealed = !small(&mut entry)?.is_empty(),
            other => return Err(Broken::Foreign(format!("{:?} does not belong in one", shortened(other)))),
        }
        sums.insert(name, hex::encode(digest.finish()));
    }
    end(archive.into_inner())?;
    let meta = meta.ok_or(Broken::Missing("meta.json"))?;
    let said = said.ok_or(Broken::Missing("SHA256SUMS"))?;
    compare(&String::from_utf8_lossy(&said), &sums)?;
    if is_sealed { Ok(Checked { meta, seal }) } else { Err(Broken::Missing("SHA256SUMS.sealed")) }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

fn small(entry: &mut impl Read) -> Result<Vec<u8>, Broken> {
    let mut text = Vec::new();
    entry.take(SMALL_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > SMALL_BYTES_MAX {
        return Err(Broken::Foreign("a small member is large".to_owned()));
    }
    Ok(text)
}

/// Whatever follows the last member: the end of the tar, the checksum of the gzip, and nothing more.
fn end(mut gzip: GzDecoder<BufReader<impl Read>>) -> Result<(), Broken> {
    let mut rest = [0; 8 * 1024];
    loop {
        let length = gzip.read(&mut rest)?;
        if length == 0 {
            break;
        }
        if rest[..length].iter().any(|byte| *byte != 0) {
            return Err(Broken::Foreign("something follows its end".to_owned()));
        }
    }
    if gzip.into_inner().fill_buf()?.is_empty() {
        return Ok(());
    }
    Err(Broken::Foreign("something follows its end".to_owned()))
}

/// Compares what the snapshot says of its members with what they are.
fn compare(said: &str, sums: &BTreeMap<String, String>) -> Result<(), Broken> {
    let lines: BTreeMap<&str, &str> =
        said.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect();
    for name in ["meta.json", "state.bin"] {
        let sum = sums.get(name).ok_or(Broken::Missing(name))?;
        if lines.get(name).is_none_or(|said| said != sum) {
            return Err(Broken::Checksum(name.to_owned()));
        }
    }
    Ok(())
}

/// Where the state says how the cluster is sealed: the length of a key, the key, a tag, a length, and JSON.
const SEAL_CONFIG: &[u8] = b"\x10core/seal-config\x12";
const SEAL_CONFIG_BYTES_MAX: usize = 1024;

/// Reads the state, and finds in passing how the cluster is sealed.
fn state(entry: &mut impl Read, digest: &mut Context) -> Result<Option<SealConfig>, Broken> {
    let mut found = None;
    let mut window: Vec<u8> = Vec::with_capacity(READ_BYTES + SEAL_CONFIG_BYTES_MAX);
    loop {
        let kept = window.len();
        window.resize(kept + READ_BYTES, 0);
        let length = entry.read(&mut window[kept..])?;
        window.truncate(kept + length);
        digest.update(&window[kept..]);
        if found.is_none() {
            found = seal_config(&window);
        }
        if length == 0 {
            return Ok(found);
        }
        // What may be the beginning of it is looked at again with what follows.
        let overlap = window.len().saturating_sub(SEAL_CONFIG_BYTES_MAX);
        window.drain(..overlap);
    }
}

fn seal_config(window: &[u8]) -> Option<SealConfig> {
    let at = window.windows(SEAL_CONFIG.len()).position(|part| part == SEAL_CONFIG)?;
    let value = &window[at + SEAL_CONFIG.len()..];
    let json = value.iter().take(4).position(|byte| *byte == b'{')?;
    serde_json::Deserializer::from_slice(&value[json..]).into_iter().next()?.ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    const META: &str = r#"{"Version":1,"ID":"bolt-snapshot","Index":35,"Term":3,"Peers":null,"Size":9}"#;

    fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn sum(bytes: &[u8]) -> String {
        hex::encode(ring::digest::digest(&SHA256, bytes))
    }

    fn sums(meta: &str, state: &[u8]) -> String {
        format!("{}  meta.json\n{}  state.bin\n", sum(meta.as_bytes()), sum(state))
    }

    fn snapshot(meta: &str, state: &[u8]) -> Vec<u8> {
        let sums = sums(meta, state);
        gzip(&tar_of(&[
            ("meta.json", meta.as_bytes()),
            ("state.bin", state),
            ("SHA256SUMS", sums.as_bytes()),
            ("SHA256SUMS.sealed", b"sealed"),
        ]))
    }

    fn judge(bytes: &[u8]) -> Result<Checked, Broken> {
        check(bytes, |_| {})
    }

    #[test]
    fn a_whole_snapshot_is_whole() {
        let mut told = None;
        let checked = check(&snapshot(META, b"some state")[..], |meta| told = Some(meta)).unwrap();
        assert_eq!(checked, Checked { meta: Meta { index: 35, term: 3 }, seal: None });
        assert_eq!(told, Some(checked.meta));
    }

    #[test]
    fn how_it_is_sealed_is_found_wherever_it_stands() {
        let entry = b"\x0a\x10core/seal-config\x12b{\"type\":\"shamir\",\"secret_shares\":5,\"secret_threshold\":3,\"nonce\":\"\"}T";
        let seal = SealConfig { kind: "shamir".to_owned(), shares: 5, threshold: 3 };
        for before in [0, 100, READ_BYTES - entry.len(), READ_BYTES - 60, READ_BYTES - 5, READ_BYTES, 200_001]
        {
            let state = [&vec![b'x'; before], &entry[..], &[b'y'; 70_000]].concat();
            let checked = judge(&snapshot(META, &state)).unwrap();
            assert_eq!(checked.seal, Some(seal.clone()), "after {before} bytes");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let sums = sums(META, b"state");
        let members: [(&str, &[u8]); 4] = [
            ("meta.json", META.as_bytes()),
            ("state.bin", b"state"),
            ("SHA256SUMS", sums.as_bytes()),
            ("SHA256SUMS.sealed", b"sealed"),
        ];
        for (at, (name, _)) in members.iter().enumerate() {
            let mut others = members.to_vec();
            others.remove(at);
            let broken = judge(&gzip(&tar_of(&others))).unwrap_err();
            assert!(broken.to_string().starts_with(name), "without {name}: {broken}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |members: &[(&str, &[u8])], expected: &str| {
            let broken = judge(&gzip(&tar_of(members))).unwrap_err().to_string();
            assert!(broken.contains(expected), "{broken}");
        };
        let sums = sums(META, b"state");
        let meta = ("meta.json", META.as_bytes());
        let said = ("SHA256SUMS", sums.as_bytes());
        let sealed: (&str, &[u8]) = ("SHA256SUMS.sealed", b"sealed");
        check(&[meta, ("state.bin", b"other"), said, sealed], "checksum of state.bin");
        let other = META.replace("35", "36");
        check(
            &[("meta.json", other.as_bytes()), ("state.bin", b"state"), said, sealed],
            "checksum of meta.json",
        );
        check(&[("meta.json", b"{}"), ("state.bin", b"state"), said, sealed], "meta.json cannot be read");
        check(
            &[meta, ("state.bin", b"state"), said, ("SHA256SUMS.sealed", b"")],
            "SHA256SUMS.sealed is missing",
        );
        check(&[meta, ("evil", b"x")], "does not belong");
        check(&[meta, meta], "twice");
        check(&[("state.bin", b"state"), meta, said, sealed], "meta.json at the beginning");
        assert!(judge(b"not a gzip").is_err());
        assert!(judge(&gzip(b"not a tar, but long enough to be taken for one")).is_err());
    }

    #[test]
    fn nothing_may_follow() {
        let whole = snapshot(META, b"state");
        for more in [&b"x"[..], &whole] {
            let broken = judge(&[&whole[..], more].concat()).unwrap_err();
            assert!(broken.to_string().contains("follows"), "{broken}");
        }
    }

    /// Wherever it is cut off.
    #[test]
    fn a_truncated_snapshot_is_never_whole() {
        let state: Vec<u8> =
            (0..9_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let whole = snapshot(META, &state);
        for cut in (0..whole.len()).step_by(487).chain(whole.len() - 20..whole.len()) {
            assert!(judge(&whole[..cut]).is_err(), "cut at {cut} of {}", whole.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A changed byte is noticed, unless it stands where gzip keeps what changes no content.
        #[test]
        fn a_changed_snapshot_is_never_taken_for_another(at in 0_usize..10_000, bit in 0_u32..8) {
            let whole = snapshot(META, &(0..9_000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect::<Vec<_>>());
            let mut changed = whole.clone();
            let at = at % changed.len();
            changed[at] ^= 1 << bit;
            if let Ok(checked) = judge(&changed) {
                prop_assert_eq!(checked, judge(&whole).unwrap());
            }
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = judge(&bytes);
            let _ = judge(&gzip(&bytes));
        }
    }
}
