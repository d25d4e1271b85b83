//! The aws-chunked framing, walked ahead of the decoder.
//!
//! The decoder in `s3s` holds a whole client chunk in memory before it gives a byte on. So an unsigned chunk
//! (SDKs send a whole stream as one) is cut into a chunk per buffer that arrives, and a signed chunk, which
//! cannot be cut, is refused above 16 MiB before any of it is read. What the decoder lets pass is refused here
//! too: a body without its last chunk, or with more bytes than announced.
//!
//! Data is sliced, never copied or looked at.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use engine::BodyFault;

/// Largest signed chunk, in bytes.
const SIGNED_CHUNK_BYTES_MAX: u64 = 16 << 20;
/// Longest line that starts a chunk, in bytes.
const LINE_BYTES_MAX: usize = 1024;
/// Longest trailer, in bytes.
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// Most lines of a trailer.
const TRAILER_LINES_MAX: usize = 16;

/// Walks over a framed body, buffer by buffer.
#[derive(Debug)]
pub(crate) struct Reframer {
    signed: bool,
    announced: u64,
    received: u64,
    state: State,
    line: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// In the line that starts a chunk.
    Line,
    /// In a chunk's data.
    Data { left: u64 },
    /// In the line end behind a chunk's data; so many of its two bytes are to come.
    End { left: usize },
    /// Behind the last chunk.
    Trailer { bytes: usize, lines: usize },
}

impl Reframer {
    /// For a body of `announced` decoded bytes, whose chunks are signed or not.
    pub(crate) fn new(signed: bool, announced: u64) -> Self {
        Self { signed, announced, received: 0, state: State::Line, line: Vec::new() }
    }

    /// Takes the next buffer, appends what goes on to the decoder.
    pub(crate) fn push(&mut self, mut input: Bytes, out: &mut VecDeque<Bytes>) -> Result<(), BodyFault> {
        while !input.is_empty() {
            match self.state {
                State::Line => self.take_line(&mut input, out)?,
                State::Data { left } => self.take_data(left, &mut input, out),
                State::End { left } => self.take_end(left, &mut input, out)?,
                State::Trailer { bytes, lines } => {
                    let bytes = bytes + input.len();
                    let lines = lines + input.iter().filter(|b| **b == b'\n').count();
                    // One more line than headers: an empty one may end the trailer.
                    if bytes > TRAILER_BYTES_MAX || lines > TRAILER_LINES_MAX + 1 {
                        return Err(malformed("the trailer is too long"));
                    }
                    self.state = State::Trailer { bytes, lines };
                    out.push_back(std::mem::take(&mut input));
                }
            }
        }
        Ok(())
    }

    /// Says whether the body may end here.
    pub(crate) fn finish(&self) -> Result<(), BodyFault> {
        match self.state {
            State::Trailer { .. } => Ok(()),
            _ => Err(BodyFault::TooShort { expected: self.announced, got: self.received }),
        }
    }

    fn take_line(&mut self, input: &mut Bytes, out: &mut VecDeque<Bytes>) -> Result<(), BodyFault> {
        let end = input.iter().take(LINE_BYTES_MAX + 1).position(|b| *b == b'\n');
        let length = end.map_or(input.len(), |at| at + 1);
        if self.line.len() + length > LINE_BYTES_MAX {
            return Err(malformed("a chunk header is too long"));
        }
        self.line.extend_from_slice(&input.split_to(length));
        if end.is_some() {
            let size = self.chunk_size()?;
            self.begin_chunk(size, out)?;
            self.line.clear();
        }
        Ok(())
    }

    fn chunk_size(&self) -> Result<u64, BodyFault> {
        let line =
            self.line.strip_suffix(b"\r\n").ok_or_else(|| malformed("a chunk header has no line end"))?;
        let digits = line.split(|b| *b == b';').next().unwrap_or_default();
        if !self.signed && digits.len() != line.len() {
            return Err(malformed("an unsigned chunk has an extension"));
        }
        if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(malformed("a chunk size is not a hexadecimal number"));
        }
        let text = std::str::from_utf8(digits).expect("hexadecimal digits are ASCII");
        Ok(u64::from_str_radix(text, 16).expect("16 hexadecimal digits fit 64 bits"))
    }

    fn begin_chunk(&mut self, size: u64, out: &mut VecDeque<Bytes>) -> Result<(), BodyFault> {
        if size > self.announced - self.received {
            return Err(BodyFault::TooLong { expected: self.announced });
        }
        if self.signed && size > SIGNED_CHUNK_BYTES_MAX {
            return Err(malformed("a signed chunk is larger than 16 MiB"));
        }
        if self.signed || size == 0 {
            out.push_back(Bytes::copy_from_slice(&self.line));
        }
        self.state = match size {
            0 => State::Trailer { bytes: 0, lines: 0 },
            left => State::Data { left },
        };
        Ok(())
    }

    fn take_data(&mut self, left: u64, input: &mut Bytes, out: &mut VecDeque<Bytes>) {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let data = input.split_to(length);
        self.received += length as u64;
        let left = left - length as u64;
        if self.signed {
            out.push_back(data);
        } else {
            out.push_back(Bytes::from(format!("{length:x}\r\n")));
            out.push_back(data);
            out.push_back(Bytes::from_static(b"\r\n"));
        }
        self.state = if left == 0 { State::End { left: 2 } } else { State::Data { left } };
    }

    fn take_end(
        &mut self,
        left: usize,
        input: &mut Bytes,
        out: &mut VecDeque<Bytes>,
    ) -> Result<(), BodyFault> {
        let expected = if left == 2 { b'\r' } else { b'\n' };
        if input[0] != expected {
            return Err(malformed("a chunk is longer than its header says"));
        }
        if self.signed {
            out.push_back(input.slice(..1));
        }
        input.advance(1);
        self.state = if left == 1 { State::Line } else { State::End { left: 1 } };
        Ok(())
    }
}

fn malformed(problem: &str) -> BodyFault {
    BodyFault::Malformed(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIGNATURE: &str =
        ";chunk-signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn framed(chunks: &[Vec<u8>], extension: &str, trailer: &str) -> Vec<u8> {
        let mut body = Vec::new();
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            body.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("0{extension}\r\n{trailer}\r\n").as_bytes());
        body
    }

    /// Pushes the body in pieces that end at the cuts; gives what came out.
    fn reframe(body: &[u8], cuts: &[usize], signed: bool, announced: u64) -> Result<Vec<u8>, BodyFault> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let mut reframer = Reframer::new(signed, announced);
        let mut out = VecDeque::new();
        for pair in cuts.windows(2) {
            reframer.push(Bytes::copy_from_slice(&body[pair[0]..pair[1]]), &mut out)?;
        }
        reframer.finish()?;
        Ok(out.into_iter().flatten().collect())
    }

    /// What the chunks add up to, decoded as simply as can be; and the trailer.
    fn decode(mut body: &[u8]) -> (Vec<u8>, String) {
        let mut data = Vec::new();
        loop {
            let end = body.iter().position(|b| *b == b'\n').unwrap();
            let line = std::str::from_utf8(&body[..end - 1]).unwrap();
            let size = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
            body = &body[end + 1..];
            if size == 0 {
                return (data, String::from_utf8(body.to_vec()).unwrap());
            }
            data.extend_from_slice(&body[..size]);
            assert_eq!(&body[size..size + 2], b"\r\n");
            body = &body[size + 2..];
        }
    }

    proptest! {
        #[test]
        fn any_split_carries_the_same_bytes(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
            cuts in prop::collection::vec(any::<usize>(), 0..20),
            signed in any::<bool>(),
        ) {
            let whole: Vec<u8> = chunks.concat();
            let body = framed(&chunks, if signed { SIGNATURE } else { "" }, "x-amz-checksum-crc32:AAAAAA==\r\n");
            let out = reframe(&body, &cuts, signed, whole.len() as u64).unwrap();
            if signed {
                prop_assert_eq!(&out, &body, "signed chunks pass unchanged");
            }
            let (data, trailer) = decode(&out);
            prop_assert_eq!(data, whole);
            prop_assert_eq!(trailer, "x-amz-checksum-crc32:AAAAAA==\r\n\r\n");
        }

        #[test]
        fn no_bytes_make_it_panic(body in any::<Vec<u8>>(), cuts in any::<Vec<usize>>(), signed in any::<bool>()) {
            let _ = reframe(&body, &cuts, signed, 1000);
        }

        #[test]
        fn a_body_that_stops_anywhere_is_too_short(stop in 0usize..100) {
            let body = framed(&[vec![7; 50], vec![8; 50]], "", "");
            let end = body.len() - "0\r\n\r\n".len();
            let got = reframe(&body[..stop % end], &[], false, 100);
            prop_assert!(matches!(got, Err(BodyFault::TooShort { .. })), "{:?}", got);
        }
    }

    fn check(body: &str, signed: bool, announced: u64, problem: &str) {
        let fault = reframe(body.as_bytes(), &[], signed, announced).unwrap_err();
        assert!(fault.to_string().contains(problem), "{body:.60}: {fault}");
    }

    #[test]
    fn absurd_framing_is_refused_before_it_costs_anything() {
        check("ffffffffffffffff\r\n", false, 10, "more than the 10 bytes");
        check(&format!("1000001{SIGNATURE}\r\n"), true, 1 << 40, "larger than 16 MiB");
        check("11111111111111111\r\n", false, 10, "not a hexadecimal");
        check("-1\r\n", false, 10, "not a hexadecimal");
        check("\r\n", false, 10, "not a hexadecimal");
        check("3\nabc", false, 10, "no line end");
        check("3\r\nabcd\r\n", false, 10, "longer than its header");
        check("3;x=y\r\nabc\r\n", false, 10, "extension");
        check(&"1".repeat(2000), false, 10, "header is too long");
        check(&format!("0\r\n{}", "a:b\r\n".repeat(2000)), false, 0, "trailer is too long");
        check(&format!("0\r\n{}", "a:b\r\n".repeat(18)), false, 0, "trailer is too long");
    }

    #[test]
    fn one_huge_unsigned_chunk_is_cut_as_it_arrives() {
        let mut reframer = Reframer::new(false, 5 << 40);
        let mut out = VecDeque::new();
        reframer.push(Bytes::from(format!("{:x}\r\n", 5u64 << 40)), &mut out).unwrap();
        assert!(out.is_empty());
        reframer.push(Bytes::from_static(b"abc"), &mut out).unwrap();
        assert_eq!(out, ["3\r\n", "abc", "\r\n"].map(Bytes::from));
    }
}
