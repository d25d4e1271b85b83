//! Against the reference program, and against everything that may happen to stored bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::path::Path;
use std::process::{Command, Stdio};

use age::{Identity, KeyError, OpenError, Opener, Recipient, Sealer};
use proptest::prelude::*;
use testkit::system_tool;

/// Sizes at which chunks begin and end.
const SIZES: [usize; 7] = [0, 1, 65_535, 65_536, 65_537, 131_072, 300_000];

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| u8::try_from((i * 31 + i / 251) % 251).unwrap()).collect()
}

fn seal(recipients: &[Recipient], plain: &[u8], step: usize) -> Vec<u8> {
    let mut sealer = Sealer::new(recipients);
    let mut stored = Vec::new();
    for piece in plain.chunks(step) {
        stored.extend(sealer.push(piece));
    }
    stored.extend(sealer.finish());
    stored
}

fn open(identity: &Identity, stored: &[u8], step: usize) -> Result<Vec<u8>, OpenError> {
    let mut opener = Opener::new(vec![identity.clone()]);
    let mut plain = Vec::new();
    for piece in stored.chunks(step) {
        plain.extend(opener.push(piece)?);
    }
    plain.extend(opener.finish()?);
    Ok(plain)
}

/// A key pair, made by the reference program; and the file that holds it.
fn key_pair(folder: &Path, name: &str) -> (Identity, String, String) {
    let file = folder.join(name).display().to_string();
    run("age-keygen", &["-o", &file]);
    let text = std::fs::read_to_string(&file).unwrap();
    let public = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    (Identity::parse_file(&text).unwrap().remove(0), public, file)
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(system_tool(program)).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_reference_program_opens_what_is_sealed_here() {
    let folder = tempfile::tempdir().unwrap();
    let (identity, public, file) = key_pair(folder.path(), "key");
    let (_, other, _) = key_pair(folder.path(), "other");
    assert_eq!(Recipient::parse(&public).unwrap(), identity.recipient());
    let recipients = [Recipient::parse(&other).unwrap(), Recipient::parse(&public).unwrap()];
    let (stored, opened) = (folder.path().join("stored.age"), folder.path().join("opened"));
    for size in SIZES {
        std::fs::write(&stored, seal(&recipients, &pattern(size), 10_007)).unwrap();
        let _ = std::fs::remove_file(&opened);
        run("age", &["-d", "-i", &file, "-o", opened.to_str().unwrap(), stored.to_str().unwrap()]);
        // For empty content it makes no file.
        assert!(
            std::fs::read(&opened).unwrap_or_default() == pattern(size),
            "{size} bytes came back changed"
        );
    }
}

#[test]
fn what_the_reference_program_seals_is_opened_here() {
    let folder = tempfile::tempdir().unwrap();
    let (identity, public, _) = key_pair(folder.path(), "key");
    let (_, other, _) = key_pair(folder.path(), "other");
    let (plain, stored) = (folder.path().join("plain"), folder.path().join("stored.age"));
    for size in SIZES {
        std::fs::write(&plain, pattern(size)).unwrap();
        let (plain, stored) = (plain.to_str().unwrap(), stored.to_str().unwrap());
        run("age", &["-r", &other, "-r", &public, "-o", stored, plain]);
        let opened = open(&identity, &std::fs::read(stored).unwrap(), 9_973).unwrap();
        assert!(opened == pattern(size), "{size} bytes came back changed");
    }
}

fn identity(byte: u8) -> Identity {
    // No spelling of our own: keys of the reference program, from fixed randomness.
    let text = match byte {
        0 => "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX",
        _ => "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0",
    };
    Identity::parse(text).unwrap()
}

#[test]
fn other_keys_open_nothing() {
    let stored = seal(&[identity(0).recipient()], b"content", 7);
    assert_eq!(open(&identity(1), &stored, 10), Err(OpenError::NoMatch));
    assert_eq!(open(&identity(0), b"\x1f\x8bgzip", 10), Err(OpenError::NotAge));
    assert_eq!(open(&identity(0), b"age-encryption.org/v2\n", 100), Err(OpenError::NotAge));
}

#[test]
fn a_private_key_in_place_of_a_public_one_is_told_apart_and_not_repeated() {
    let secret = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    assert_eq!(Recipient::parse(secret), Err(KeyError::IdentityAsRecipient));
    for error in [Recipient::parse(secret).unwrap_err(), Identity::parse(&secret[..70]).unwrap_err()] {
        assert!(!error.to_string().contains("GFPYY"), "{error}");
    }
    assert!(!format!("{:?}", identity(0)).contains("GFPYY"));
}

/// Whatever is cut off, changed, swapped or added: never a success with other content.
#[test]
fn damage_is_noticed() {
    let plain = pattern(200_000);
    let stored = seal(&[identity(0).recipient()], &plain, 65_536);
    let header = stored.len() - (200_000 + 4 * 16);
    for cut in [0, 1, header - 1, header, header + 15, header + 65_552, header + 131_104, stored.len() - 1] {
        let error = open(&identity(0), &stored[..cut], 50_000).unwrap_err();
        assert!(matches!(error, OpenError::Truncated(_)), "cut at {cut}: {error}");
    }
    for at in (0..stored.len()).step_by(997).chain([header - 20, header - 1, header, stored.len() - 1]) {
        let mut changed = stored.clone();
        changed[at] ^= 1;
        assert!(open(&identity(0), &changed, 50_000).is_err(), "a change at {at} went unnoticed");
    }
    let mut swapped = stored.clone();
    swapped[header..header + 2 * 65_552].rotate_left(65_552);
    assert!(matches!(open(&identity(0), &swapped, 50_000), Err(OpenError::Changed(0))));
    let longer = [&stored[..], b"x"].concat();
    assert!(open(&identity(0), &longer, 50_000).is_err());
}

#[test]
fn a_removed_recipient_is_noticed() {
    let stored = seal(&[identity(0).recipient(), identity(1).recipient()], b"content", 7);
    let text = String::from_utf8_lossy(&stored).into_owned();
    let second = text.match_indices("-> X25519").nth(1).unwrap().0;
    let code = text.find("\n--- ").unwrap();
    let without = [&stored[..second], &stored[code + 1..]].concat();
    assert_eq!(open(&identity(0), &without, 10), Err(OpenError::HeaderChanged));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_steps_lead_to_the_same_content(size in 0_usize..200_000, into in 1_usize..70_000, out in 1_usize..70_000) {
        let plain = pattern(size);
        let stored = seal(&[identity(0).recipient()], &plain, into);
        prop_assert!(open(&identity(0), &stored, out).unwrap() == plain);
    }

    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1_usize..50) {
        let _ = open(&identity(0), &bytes, step);
        let _ = open(&identity(0), &[b"age-encryption.org/v1\n".as_slice(), &bytes].concat(), step);
    }
}
