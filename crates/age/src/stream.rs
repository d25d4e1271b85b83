//! The content: chunks of 64 KiB, each sealed with its number and whether it is the last.

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use ring::rand::{SecureRandom, SystemRandom};

use crate::header::{self, OpenError};
use crate::keys::{Identity, Recipient};

const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
/// A header of a thousand recipients is a tenth of this.
const HEADER_BYTES_MAX: usize = 1024 * 1024;

/// Numbers the chunks of one file under one key.
struct Chunks {
    key: LessSafeKey,
    number: u64,
}

impl Chunks {
    fn new(file_key: &header::FileKey, salt: &[u8]) -> Self {
        Self { key: header::aead(&header::derive(&**file_key, salt, b"payload")), number: 0 }
    }

    fn next_nonce(&mut self, last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[3..11].copy_from_slice(&self.number.to_be_bytes());
        nonce[11] = u8::from(last);
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Encrypts a stream that is pushed through it.
pub struct Sealer {
    chunks: Chunks,
    /// Plaintext that is not sealed yet: whether a full chunk is the last is known only by what follows.
    pending: Vec<u8>,
    /// What comes before the first chunk.
    start: Vec<u8>,
}

impl Sealer {
    /// Encrypts for these recipients, each of whom alone can open it.
    #[must_use]
    pub fn new(recipients: &[Recipient]) -> Self {
        let random = SystemRandom::new();
        let (file_key, header) = header::write(recipients, &random);
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt).expect("the operating system gives randomness");
        let mut start = header.into_bytes();
        start.extend_from_slice(&salt);
        Self { chunks: Chunks::new(&file_key, &salt), pending: Vec::new(), start }
    }

    /// Takes plaintext, gives the bytes to store; often none.
    pub fn push(&mut self, mut plain: &[u8]) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.start);
        while !plain.is_empty() {
            if self.pending.len() == CHUNK_BYTES {
                self.seal(false, &mut out);
            }
            let (now, later) = plain.split_at(plain.len().min(CHUNK_BYTES - self.pending.len()));
            self.pending.extend_from_slice(now);
            plain = later;
        }
        out
    }

    /// The bytes that end the file. Without them it counts as truncated.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.start);
        self.seal(true, &mut out);
        out
    }

    fn seal(&mut self, last: bool, out: &mut Vec<u8>) {
        let nonce = self.chunks.next_nonce(last);
        let sealed = self.chunks.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut self.pending);
        sealed.expect("a chunk is not too long");
        out.append(&mut self.pending);
    }
}

/// Opens a stream that is pushed through it.
pub struct Opener {
    state: State,
    pending: Vec<u8>,
    /// Bytes of content given out.
    opened: u64,
}

enum State {
    /// Within the header, or the salt behind it.
    Start(Vec<Identity>),
    Chunks(Box<Chunks>),
}

impl Opener {
    /// Opens with whichever of these keys fits.
    #[must_use]
    pub fn new(identities: Vec<Identity>) -> Self {
        Self { state: State::Start(identities), pending: Vec::new(), opened: 0 }
    }

    /// Takes stored bytes, gives as much of the content as is proved.
    ///
    /// # Errors
    /// Where it is not what was encrypted for one of the keys. Nothing may be pushed afterwards.
    pub fn push(&mut self, stored: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.pending.extend_from_slice(stored);
        if let State::Start(identities) = &self.state {
            let Some(length) = start_length(&self.pending)? else { return Ok(Vec::new()) };
            let (header, salt) = self.pending[..length].split_at(length - SALT_BYTES);
            let header = std::str::from_utf8(header).map_err(|_| OpenError::NotAge)?;
            let chunks = Chunks::new(&header::read(header, identities)?, salt);
            self.state = State::Chunks(Box::new(chunks));
            self.pending.drain(..length);
        }
        let mut out = Vec::new();
        // A chunk is the last only if nothing follows: one byte more must be there.
        let full = CHUNK_BYTES + TAG_BYTES;
        let whole = self.pending.len().saturating_sub(1) / full;
        let rest = self.pending.split_off(whole * full);
        let mut chunks = std::mem::replace(&mut self.pending, rest);
        for chunk in chunks.chunks_mut(full) {
            self.open(chunk, false, &mut out)?;
        }
        Ok(out)
    }

    /// The end of the content. An `Ok` means that all of it was there.
    ///
    /// # Errors
    /// Where something is missing.
    pub fn finish(mut self) -> Result<Vec<u8>, OpenError> {
        if matches!(self.state, State::Start(_)) {
            return Err(OpenError::Truncated(0));
        }
        let mut out = Vec::new();
        let mut last = std::mem::take(&mut self.pending);
        // An empty last chunk stands for empty content only; behind others it would be a second spelling.
        let is_misplaced = last.len() == TAG_BYTES && self.opened > 0;
        if last.len() < TAG_BYTES || is_misplaced || self.open(&mut last, true, &mut out).is_err() {
            return Err(OpenError::Truncated(self.opened));
        }
        Ok(out)
    }

    fn open(&mut self, chunk: &mut [u8], last: bool, out: &mut Vec<u8>) -> Result<(), OpenError> {
        let State::Chunks(chunks) = &mut self.state else { return Err(OpenError::NotAge) };
        let nonce = chunks.next_nonce(last);
        let opened = chunks.key.open_in_place(nonce, Aad::empty(), chunk);
        let opened = opened.map_err(|_| OpenError::Changed(self.opened))?;
        out.extend_from_slice(opened);
        self.opened += opened.len() as u64;
        Ok(())
    }
}

/// The length of header and salt, once both are there.
fn start_length(bytes: &[u8]) -> Result<Option<usize>, OpenError> {
    const VERSION_LINE: &[u8] = b"age-encryption.org/v1\n";
    let common = bytes.len().min(VERSION_LINE.len());
    if bytes[..common] != VERSION_LINE[..common] {
        return Err(OpenError::NotAge);
    }
    let code = bytes.windows(5).position(|window| window == b"\n--- ");
    let end =
        code.and_then(|at| bytes[at + 5..].iter().position(|byte| *byte == b'\n').map(|end| at + 6 + end));
    match end {
        Some(end) if bytes.len() >= end + SALT_BYTES => Ok(Some(end + SALT_BYTES)),
        None if bytes.len() > HEADER_BYTES_MAX => Err(OpenError::NotAge),
        _ => Ok(None),
    }
}
