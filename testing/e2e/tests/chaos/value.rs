//! Bodies that can be recognised: what a number and a length decide.

use std::fmt;

use md5::{Digest, Md5};
use runtime::Chance;

/// A run of bytes that its number and length decide. Two with different numbers differ in every stretch of
/// eight bytes, so that no mixture of them passes for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// What decides its bytes.
    pub(crate) number: u64,
    /// How many there are.
    pub(crate) length: usize,
}

impl Run {
    /// The bytes.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let chance = Chance::seeded(self.number);
        let mut bytes = Vec::with_capacity(self.length + 8);
        while bytes.len() < self.length {
            bytes.extend_from_slice(&chance.next_u64().to_le_bytes());
        }
        bytes.truncate(self.length);
        bytes
    }
}

/// What a key holds: one run, or the parts of a multipart upload.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// The runs, in order.
    pub(crate) runs: Vec<Run>,
    /// The entity tag, with its quotes.
    pub(crate) etag: String,
}

impl Value {
    /// What a plain PUT of this run leaves.
    pub(crate) fn of(run: Run) -> Self {
        Self { runs: vec![run], etag: format!("\"{}\"", md5_hex(&run.bytes())) }
    }

    /// What completing these parts leaves.
    pub(crate) fn of_parts(runs: Vec<Run>) -> Self {
        let mut digests = Vec::new();
        for run in &runs {
            digests.extend_from_slice(&Md5::digest(run.bytes()));
        }
        let etag = format!("\"{}-{}\"", md5_hex(&digests), runs.len());
        Self { runs, etag }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.runs.iter().flat_map(|run| run.bytes()).collect()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs: Vec<String> =
            self.runs.iter().map(|run| format!("{}x{}", run.number, run.length)).collect();
        write!(f, "{} {}", self.etag, runs.join("+"))
    }
}

/// The MD5 of bytes, in hex.
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}
