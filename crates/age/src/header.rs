//! The header: who may open, each with the file key wrapped for it, and a code that none of it was changed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::hmac;
use ring::rand::SecureRandom;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::keys::{Identity, Recipient};

const VERSION: &str = "age-encryption.org/v1";
const X25519: &str = "X25519";
const WRAP_INFO: &[u8] = b"age-encryption.org/v1/X25519";
/// Letters on a full line of a body.
const BODY_LINE: usize = 64;
const TAG_BYTES: usize = 16;

/// What all recipients of a file share.
pub(crate) type FileKey = Zeroizing<[u8; 16]>;

/// Why something cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not such a file.
    #[error("it is not encrypted in the format of age")]
    NotAge,
    /// None of the keys fits.
    #[error("it is encrypted, but for other keys than those given")]
    NoMatch,
    /// The header was changed.
    #[error("its header was changed after it was encrypted")]
    HeaderChanged,
    /// A chunk is not what was encrypted.
    #[error("the bytes around offset {0} are not those that were encrypted")]
    Changed(u64),
    /// It ends too early.
    #[error("it is truncated: it ends after {0} bytes of content, in the middle")]
    Truncated(u64),
}

/// A key for everything in a file: derived, used, gone.
pub(crate) fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = Zeroizing::new([0; 32]);
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret);
    let info = [info];
    let expanded = extracted.expand(&info, Length).expect("32 bytes are no more than HKDF can give");
    expanded.fill(&mut *key).expect("the length asked for is that of the array");
    key
}

pub(crate) fn aead(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has 32 bytes"))
}

fn random<const N: usize>(random: &dyn SecureRandom) -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    random.fill(&mut *bytes).expect("the operating system gives randomness");
    bytes
}

/// A new file key, and the header that wraps it for the recipients.
pub(crate) fn write(recipients: &[Recipient], source: &dyn SecureRandom) -> (FileKey, String) {
    let file_key = random::<16>(source);
    let mut header = format!("{VERSION}\n");
    for recipient in recipients {
        let ephemeral = StaticSecret::from(*random::<32>(source));
        let share = PublicKey::from(&ephemeral);
        let wrap_key = wrap_key(&ephemeral, &recipient.0, &share, &recipient.0)
            .expect("a recipient that parsed as a key of low order would be the only reason");
        let mut body = file_key.to_vec();
        aead(&wrap_key)
            .seal_in_place_append_tag(zero_nonce(), Aad::empty(), &mut body)
            .expect("sixteen bytes are not too long");
        // 32 bytes are 43 letters: always one line, and never a full one.
        let (share, body) = (STANDARD_NO_PAD.encode(share.as_bytes()), STANDARD_NO_PAD.encode(body));
        header.push_str(&format!("-> {X25519} {share}\n{body}\n"));
    }
    header.push_str("---");
    let code = hmac::sign(&mac_key(&file_key), header.as_bytes());
    header.push_str(&format!(" {}\n", STANDARD_NO_PAD.encode(code)));
    (file_key, header)
}

/// Finds the file key in a whole header, from its first letter to the line end after the code.
pub(crate) fn read(header: &str, identities: &[Identity]) -> Result<FileKey, OpenError> {
    let stanzas = header.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix('\n'));
    let stanzas = stanzas.ok_or(OpenError::NotAge)?;
    let (stanzas, code) = stanzas.rsplit_once("--- ").ok_or(OpenError::NotAge)?;
    let code = decoded(code.trim_end_matches('\n')).ok_or(OpenError::NotAge)?;
    let mut lines = stanzas.lines().peekable();
    let mut found = None;
    while let Some(line) = lines.next() {
        let arguments = line.strip_prefix("-> ").ok_or(OpenError::NotAge)?;
        let mut body = String::new();
        loop {
            // A body ends with a line that is not full, be it an empty one.
            let line = lines.next().ok_or(OpenError::NotAge)?;
            body.push_str(line);
            match line.len() {
                BODY_LINE => {}
                shorter if shorter < BODY_LINE => break,
                _ => return Err(OpenError::NotAge),
            }
        }
        if let (None, Some(share)) = (&found, arguments.strip_prefix("X25519 ")) {
            found = identities.iter().find_map(|identity| unwrapped(share, &body, identity));
        }
    }
    let file_key = found.ok_or(OpenError::NoMatch)?;
    let signed = &header[..header.rfind("--- ").map_or(0, |at| at + 3)];
    hmac::verify(&mac_key(&file_key), signed.as_bytes(), &code).map_err(|_| OpenError::HeaderChanged)?;
    Ok(file_key)
}

fn unwrapped(share: &str, body: &str, identity: &Identity) -> Option<FileKey> {
    let share: [u8; 32] = decoded(share)?.try_into().ok()?;
    let mut body = Zeroizing::new(decoded(body)?);
    if body.len() != 16 + TAG_BYTES {
        return None;
    }
    let share = PublicKey::from(share);
    let wrap_key = wrap_key(&identity.0, &share, &share, &identity.recipient().0)?;
    let opened = aead(&wrap_key).open_in_place(zero_nonce(), Aad::empty(), &mut body).ok()?;
    Some(Zeroizing::new((&*opened).try_into().ok()?))
}

/// `None` where the other side's key is one that leads to the same secret with everybody.
fn wrap_key(
    own: &StaticSecret,
    other: &PublicKey,
    share: &PublicKey,
    recipient: &PublicKey,
) -> Option<Zeroizing<[u8; 32]>> {
    let secret = own.diffie_hellman(other);
    let salt = [share.as_bytes().as_slice(), recipient.as_bytes()].concat();
    secret.was_contributory().then(|| derive(secret.as_bytes(), &salt, WRAP_INFO))
}

fn mac_key(file_key: &FileKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &*derive(&**file_key, b"", b"header"))
}

/// The wrap key is used once, so that its nonce may be fixed.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text).ok()
}
