//! Taking a body in: it is counted, digested, and in the end proved to be what the client said.

use bytes::Bytes;
use catalog::Checksums;
use futures::StreamExt;
use runtime::mutation;
use types::Md5;

use crate::digest::Digests;
use crate::hashers::Hashers;
use crate::{BodyFault, EngineError, Expected, Incoming, IncomingStream};

/// A body that is being taken in.
pub(crate) struct Intake {
    length: u64,
    taken: u64,
    stream: IncomingStream,
    expected: Expected,
    /// Until it is proved.
    digests: Option<Digests>,
    /// What the client sent beyond the end of a blob.
    rest: Bytes,
}

/// What was proved of a body.
pub(crate) struct Proof {
    pub(crate) md5: Md5,
    /// Those that were given, announced or asked for.
    pub(crate) checksums: Checksums,
}

impl Intake {
    pub(crate) fn new(body: Incoming, hashers: &Hashers) -> Self {
        let Incoming { length, stream, expected } = body;
        let algorithms = expected.checksums.iter().map(|(algorithm, _)| *algorithm);
        let algorithms = algorithms.chain(expected.trailer_algorithms.iter().copied());
        let digests = Digests::new(hashers, length, algorithms.chain(expected.compute.iter().copied()));
        Self { length, taken: 0, stream, expected, digests: Some(digests), rest: Bytes::new() }
    }

    /// Bytes that were announced.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The next bytes, at most `bytes_max`; `None` behind the last announced one.
    pub(crate) async fn next(&mut self, bytes_max: u64) -> Result<Option<Bytes>, BodyFault> {
        if self.rest.is_empty() {
            match self.receive().await? {
                Some(bytes) => self.rest = bytes,
                None => return Ok(None),
            }
        }
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Ok(Some(self.rest.split_to(self.rest.len().min(bytes_max))))
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
            let Some(bytes) = self.stream.next().await.transpose()? else {
                if self.taken < self.length {
                    return Err(BodyFault::TooShort { expected: self.length, got: self.taken });
                }
                return Ok(None);
            };
            if bytes.is_empty() {
                continue;
            }
            self.taken += bytes.len() as u64;
            if self.taken > self.length {
                return Err(BodyFault::TooLong { expected: self.length });
            }
            if let Some(digests) = &mut self.digests {
                digests.update(&bytes).await;
            }
            return Ok(Some(bytes));
        }
    }

    /// Reads the stream to its end and proves length, digests and trailer. All announced bytes have to be
    /// taken before.
    pub(crate) async fn prove(&mut self) -> Result<Proof, EngineError> {
        // The end of the stream is what proves signatures and yields the trailer.
        if let Some(bytes) = self.receive().await? {
            return Err(EngineError::Internal(format!("{} bytes were left when proving", bytes.len())));
        }
        let Some(digests) = self.digests.take() else {
            return Err(EngineError::Internal("a body was proved twice".to_owned()));
        };
        let Some((md5, checksums)) = digests.finish().await else {
            return Err(EngineError::Internal("the thread that computes the MD5 was lost".to_owned()));
        };
        let proves = !mutation::is_on("intake.md5");
        if proves && self.expected.md5.is_some_and(|expected| expected != md5) {
            return Err(BodyFault::BadDigest("MD5").into());
        }
        let mut given = std::mem::take(&mut self.expected.checksums);
        if let Some(trailer) = self.expected.trailer.take() {
            given.extend(trailer()?);
        }
        for (algorithm, value) in given {
            if algorithm.of(&checksums) != Some(value.as_str()) {
                return Err(BodyFault::BadDigest(algorithm.as_str()).into());
            }
        }
        Ok(Proof { md5, checksums })
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use types::ETag;

    use super::*;
    use crate::Algorithm;

    fn body(length: u64, chunks: &[&'static [u8]], expected: Expected) -> Incoming {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
        Incoming { length, stream: Box::pin(stream::iter(chunks)), expected }
    }

    async fn take(body: Incoming) -> Result<(Vec<u8>, Proof), String> {
        let mut intake = Intake::new(body, &Hashers::default());
        let mut all = Vec::new();
        while let Some(bytes) = intake.next(3).await.map_err(|e| e.to_string())? {
            assert!(bytes.len() <= 3);
            all.extend_from_slice(&bytes);
        }
        Ok((all, intake.prove().await.map_err(|e| e.to_string())?))
    }

    #[tokio::test]
    async fn a_right_body_is_proved() {
        let expected = Expected {
            md5: ETag::from_text("25f9e794323b453885f5181f1b624d0b").md5(),
            trailer: Some(Box::new(|| Ok(vec![(Algorithm::Crc32, "y/Q5Jg==".to_owned())]))),
            trailer_algorithms: vec![Algorithm::Crc32],
            ..Expected::default()
        };
        let (bytes, proof) = take(body(9, &[b"12345", b"", b"6789"], expected)).await.unwrap();
        assert_eq!(bytes, b"123456789");
        assert_eq!(proof.checksums.crc32.as_deref(), Some("y/Q5Jg=="));
    }

    #[tokio::test]
    async fn a_wrong_length_or_digest_is_found() {
        let fails = |body| async move { take(body).await.err().unwrap() };
        assert!(fails(body(4, &[b"123"], Expected::default())).await.contains("has 3 bytes, 4"));
        assert!(fails(body(2, &[b"123"], Expected::default())).await.contains("more than the 2"));
        let md5 = Expected { md5: Some(Md5([0; 16])), ..Expected::default() };
        assert!(fails(body(3, &[b"123"], md5)).await.contains("MD5"));
        let crc =
            Expected { checksums: vec![(Algorithm::Crc32, "AAAAAA==".to_owned())], ..Expected::default() };
        assert!(fails(body(3, &[b"123"], crc)).await.contains("CRC32"));
        let unannounced = Expected {
            trailer: Some(Box::new(|| Ok(vec![(Algorithm::Sha1, "x".to_owned())]))),
            ..Expected::default()
        };
        assert!(fails(body(3, &[b"123"], unannounced)).await.contains("SHA1"));
    }
}
