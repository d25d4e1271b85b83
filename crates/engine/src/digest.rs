//! Digests of a body while it streams by. Each is computed once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use catalog::Checksums;
use md5::Digest as _;
use types::Md5;

use crate::Algorithm;
use crate::hashers::{Hashers, Hashing};

/// From this length on the MD5 of a body is computed on another thread, together with those of others.
const OWN_THREAD_BYTES: u64 = 1 << 20;

/// The digests of one body.
pub(crate) struct Digests {
    md5: Md5Work,
    sums: Vec<(Algorithm, Sum)>,
}

enum Md5Work {
    Here(md5::Md5),
    Thread(Hashing),
}

enum Sum {
    Crc(crc_fast::Digest, usize),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl Digests {
    /// The MD5, and these, of a body of this length.
    pub(crate) fn new(
        hashers: &Hashers,
        length: u64,
        algorithms: impl IntoIterator<Item = Algorithm>,
    ) -> Self {
        let mut wanted: Vec<Algorithm> = algorithms.into_iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let md5 = if length < OWN_THREAD_BYTES {
            Md5Work::Here(md5::Md5::new())
        } else {
            Md5Work::Thread(hashers.begin())
        };
        Self { md5, sums: wanted.into_iter().map(|algorithm| (algorithm, Sum::new(algorithm))).collect() }
    }

    /// Takes the next bytes.
    pub(crate) async fn update(&mut self, bytes: &Bytes) {
        match &mut self.md5 {
            Md5Work::Here(md5) => md5.update(bytes),
            Md5Work::Thread(hashing) => hashing.update(bytes).await,
        }
        for (_, sum) in &mut self.sums {
            sum.update(bytes);
        }
    }

    /// The MD5 and the checksums. `None` where the thread was lost.
    pub(crate) async fn finish(self) -> Option<(Md5, Checksums)> {
        let mut checksums = Checksums::default();
        for (algorithm, sum) in self.sums {
            algorithm.set(&mut checksums, STANDARD.encode(sum.finish()));
        }
        let md5 = match self.md5 {
            Md5Work::Here(md5) => md5.finalize().into(),
            Md5Work::Thread(hashing) => hashing.finish().await?,
        };
        Some((Md5(md5), checksums))
    }
}

impl Sum {
    fn new(algorithm: Algorithm) -> Self {
        use crc_fast::{CrcAlgorithm, Digest};
        match algorithm {
            Algorithm::Crc32 => Self::Crc(Digest::new(CrcAlgorithm::Crc32IsoHdlc), 4),
            Algorithm::Crc32c => Self::Crc(Digest::new(CrcAlgorithm::Crc32Iscsi), 4),
            Algorithm::Crc64Nvme => Self::Crc(Digest::new(CrcAlgorithm::Crc64Nvme), 8),
            Algorithm::Sha1 => Self::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(digest, _) => digest.update(bytes),
            Self::Sha1(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(digest, bytes) => digest.finalize().to_be_bytes()[8 - bytes..].to_vec(),
            Self::Sha1(digest) => digest.finalize().to_vec(),
            Self::Sha256(digest) => digest.finalize().to_vec(),
        }
    }
}

/// One checksum of a body that is read.
pub(crate) struct ChecksumOf(Algorithm, Sum);

impl ChecksumOf {
    /// Of no bytes yet.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self(algorithm, Sum::new(algorithm))
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.1.update(bytes);
    }

    /// It alone.
    pub(crate) fn finish(self) -> Checksums {
        let mut checksums = Checksums::default();
        self.0.set(&mut checksums, STANDARD.encode(self.1.finish()));
        checksums
    }
}

/// MD5 of bytes at hand.
#[must_use]
pub fn md5_of(bytes: &[u8]) -> Md5 {
    Md5(md5::Md5::digest(bytes).into())
}

/// A digest of bytes at hand, in base64: for composite checksums.
#[must_use]
pub fn checksum_of(algorithm: Algorithm, bytes: &[u8]) -> String {
    let mut sum = Sum::new(algorithm);
    sum.update(bytes);
    STANDARD.encode(sum.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(length: u64) {
        let mut digests = Digests::new(&Hashers::default(), length, Algorithm::ALL);
        digests.update(&Bytes::from_static(b"1234")).await;
        digests.update(&Bytes::from_static(b"56789")).await;
        let (md5, sums) = digests.finish().await.unwrap();
        assert_eq!(md5.to_hex(), "25f9e794323b453885f5181f1b624d0b");
        // Check values of the CRC catalogue, and of FIPS 180-4 tools for the same nine digits.
        assert_eq!(sums.crc32.as_deref(), Some("y/Q5Jg=="));
        assert_eq!(sums.crc32c.as_deref(), Some("4waSgw=="));
        assert_eq!(sums.crc64nvme.as_deref(), Some("rosUhgp5mIg="));
        assert_eq!(sums.sha1.as_deref(), Some("98O8HYCOBHMq32eZZczDTKeuNEE="));
        assert_eq!(sums.sha256.as_deref(), Some("FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="));
    }

    #[tokio::test]
    async fn digests_are_the_published_ones() {
        check(9).await;
    }

    #[tokio::test]
    async fn a_long_body_has_its_md5_from_a_thread() {
        check(OWN_THREAD_BYTES).await;
    }
}
