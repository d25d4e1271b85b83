//! Digests that a client gives with a body, and checksums in answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catalog::Checksums;
use engine::{Algorithm, BodyFault, Expected, TrailerChecksums};
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::TrailingHeaders;
use types::Md5;

use crate::error::{Code, Fault, Outcome};
use crate::headers::ascii;
use crate::xml::Writer;

const TYPE_HEADER: HeaderName = HeaderName::from_static("x-amz-checksum-type");

/// Header and XML element of an algorithm, and the bytes of its values.
fn names(algorithm: Algorithm) -> (&'static str, &'static str, usize) {
    match algorithm {
        Algorithm::Crc32 => ("x-amz-checksum-crc32", "ChecksumCRC32", 4),
        Algorithm::Crc32c => ("x-amz-checksum-crc32c", "ChecksumCRC32C", 4),
        Algorithm::Crc64Nvme => ("x-amz-checksum-crc64nvme", "ChecksumCRC64NVME", 8),
        Algorithm::Sha1 => ("x-amz-checksum-sha1", "ChecksumSHA1", 20),
        Algorithm::Sha256 => ("x-amz-checksum-sha256", "ChecksumSHA256", 32),
    }
}

/// The element of an algorithm in XML.
pub(crate) fn element_name(algorithm: Algorithm) -> &'static str {
    names(algorithm).1
}

/// What a client says of its body. Values that could not be right are refused before it is read.
pub(crate) fn expected(headers: &HeaderMap, trailing: Option<TrailingHeaders>) -> Outcome<Expected> {
    let md5 = content_md5(headers)?;
    let checksums = given(headers)?;
    let announced = announced(headers)?;
    if checksums.len() + announced.len() > 1 {
        return Err(Fault::request(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ));
    }
    let compute = match ascii(headers, "x-amz-sdk-checksum-algorithm") {
        Some(name) => vec![parse_algorithm(name)?],
        None => Vec::new(),
    };
    let trailer = match (announced.is_empty(), trailing) {
        (true, _) => None,
        (false, Some(trailing)) => Some(read_trailer(trailing, announced.clone())),
        (false, None) => {
            return Err(Fault::request("x-amz-trailer needs a body of STREAMING-...-TRAILER form."));
        }
    };
    Ok(Expected { md5, checksums, trailer, trailer_algorithms: announced, compute })
}

/// `Content-MD5`.
fn content_md5(headers: &HeaderMap) -> Outcome<Option<Md5>> {
    let Some(value) = headers.get("content-md5") else { return Ok(None) };
    parse_md5(value.to_str().unwrap_or_default()).map(Some)
}

/// An MD5 in base64.
pub(crate) fn parse_md5(text: &str) -> Outcome<Md5> {
    let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    bytes
        .map(Md5)
        .ok_or_else(|| Fault::new(Code::InvalidDigest, "The Content-MD5 you specified is not valid."))
}

/// The name of an algorithm.
pub(crate) fn parse_algorithm(name: &str) -> Outcome<Algorithm> {
    Algorithm::parse(name).ok_or_else(|| {
        Fault::request("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
    })
}

/// `x-amz-checksum-algorithm`.
pub(crate) fn algorithm(headers: &HeaderMap) -> Outcome<Option<Algorithm>> {
    ascii(headers, "x-amz-checksum-algorithm").map(parse_algorithm).transpose()
}

/// `x-amz-checksum-*` headers, checked for form.
fn given(headers: &HeaderMap) -> Outcome<Vec<(Algorithm, String)>> {
    let mut found = Vec::new();
    for algorithm in Algorithm::ALL {
        let name = names(algorithm).0;
        if let Some(value) = headers.get(name) {
            found.push((algorithm, value_of(algorithm, value.to_str().unwrap_or_default())?));
        }
    }
    Ok(found)
}

/// A value of an algorithm, checked for form. That of a composite checksum may carry `-N`.
pub(crate) fn value_of(algorithm: Algorithm, text: &str) -> Outcome<String> {
    let (header, _, length) = names(algorithm);
    let text = text.trim();
    if STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == length) {
        return Ok(text.to_owned());
    }
    Err(Fault::request(format!("Value for {header} header is invalid.")))
}

/// Algorithms that `x-amz-trailer` announces.
fn announced(headers: &HeaderMap) -> Outcome<Vec<Algorithm>> {
    let mut found = Vec::new();
    for value in headers.get_all("x-amz-trailer") {
        for name in value.to_str().unwrap_or("?").split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let known = Algorithm::ALL.into_iter().find(|one| names(*one).0.eq_ignore_ascii_case(name));
            found.push(known.ok_or_else(|| {
                Fault::request("The value specified in the x-amz-trailer header is not supported")
            })?);
        }
    }
    Ok(found)
}

fn read_trailer(trailing: TrailingHeaders, announced: Vec<Algorithm>) -> TrailerChecksums {
    Box::new(move || {
        let map = trailing.take().unwrap_or_default();
        let read = |algorithm: Algorithm| {
            let name = names(algorithm).0;
            let value = map.get(name).and_then(|value| value.to_str().ok());
            let value =
                value.ok_or_else(|| BodyFault::Malformed(format!("the trailer {name} is missing")))?;
            value_of(algorithm, value)
                .map(|value| (algorithm, value))
                .map_err(|_| BodyFault::Malformed(format!("the trailer {name} is not a checksum")))
        };
        announced.into_iter().map(read).collect()
    })
}

/// Proves a small body that was read whole.
pub(crate) fn prove(bytes: &[u8], mut expected: Expected) -> Outcome<()> {
    if expected.md5.is_some_and(|md5| md5 != engine::md5_of(bytes)) {
        return Err(BodyFault::BadDigest("Content-MD5").into());
    }
    if let Some(trailer) = expected.trailer.take() {
        expected.checksums.extend(trailer()?);
    }
    for (algorithm, value) in expected.checksums {
        if engine::checksum_of(algorithm, bytes) != value {
            return Err(BodyFault::BadDigest(algorithm.as_str()).into());
        }
    }
    Ok(())
}

/// Checksums of the whole object in the headers of a completion.
pub(crate) fn of_completion(headers: &HeaderMap) -> Outcome<Checksums> {
    let mut checksums = Checksums::default();
    for algorithm in Algorithm::ALL {
        let Some(text) = ascii(headers, names(algorithm).0) else { continue };
        // A composite one carries the number of parts.
        let (digest, _) = text.rsplit_once('-').unwrap_or((text, ""));
        value_of(algorithm, digest)?;
        algorithm.set(&mut checksums, text.to_owned());
    }
    Ok(checksums)
}

/// `x-amz-checksum-type`: whether the checksum is of the full object.
pub(crate) fn full_object(headers: &HeaderMap) -> Outcome<Option<bool>> {
    match ascii(headers, TYPE_HEADER.as_str()) {
        None => Ok(None),
        Some("FULL_OBJECT") => Ok(Some(true)),
        Some("COMPOSITE") => Ok(Some(false)),
        Some(_) => Err(Fault::request("Value for x-amz-checksum-type header is invalid.")),
    }
}

/// The type of stored checksums, where there are some.
pub(crate) fn type_of(checksums: &Checksums) -> Option<&'static str> {
    let any = Algorithm::ALL.into_iter().any(|algorithm| algorithm.of(checksums).is_some());
    any.then_some(if checksums.composite { "COMPOSITE" } else { "FULL_OBJECT" })
}

/// Puts checksums into headers; the type as well, but for parts, which have none.
pub(crate) fn into_headers(out: &mut HeaderMap, checksums: &Checksums, with_type: bool) {
    for algorithm in Algorithm::ALL {
        if let Some(Ok(value)) = algorithm.of(checksums).map(HeaderValue::try_from) {
            out.insert(HeaderName::from_static(names(algorithm).0), value);
        }
    }
    if let Some(kind) = type_of(checksums).filter(|_| with_type) {
        out.insert(TYPE_HEADER, HeaderValue::from_static(kind));
    }
}

/// Puts checksums into XML.
pub(crate) fn into_xml(writer: &mut Writer, checksums: &Checksums) {
    for algorithm in Algorithm::ALL {
        writer.optional(names(algorithm).1, algorithm.of(checksums));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn check(pairs: &[(&'static str, &'static str)], expected_code: Result<(), Code>) {
        let got = expected(&headers(pairs), None).map(drop).map_err(|fault| fault.code);
        assert_eq!(got, expected_code, "{pairs:?}");
    }

    #[test]
    fn values_that_cannot_be_right_are_refused_early() {
        check(&[], Ok(()));
        check(&[("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")], Ok(()));
        check(&[("content-md5", "AAAA")], Err(Code::InvalidDigest));
        check(&[("content-md5", "")], Err(Code::InvalidDigest));
        check(&[("content-md5", "not base64")], Err(Code::InvalidDigest));
        check(&[("x-amz-checksum-crc32", "y/Q5Jg==")], Ok(()));
        check(&[("x-amz-checksum-crc32", "y/Q5JgAA")], Err(Code::InvalidRequest));
        check(&[("x-amz-checksum-sha256", "y/Q5Jg==")], Err(Code::InvalidRequest));
        check(&[("x-amz-sdk-checksum-algorithm", "MD4")], Err(Code::InvalidRequest));
        check(&[("x-amz-sdk-checksum-algorithm", "crc32c")], Ok(()));
        check(&[("x-amz-trailer", "x-amz-meta-x")], Err(Code::InvalidRequest));
        check(&[("x-amz-trailer", "x-amz-checksum-crc32")], Err(Code::InvalidRequest));
        check(
            &[("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-crc32c", "4waSgw==")],
            Err(Code::InvalidRequest),
        );
    }

    #[test]
    fn a_small_body_is_proved() {
        let proved = |pairs: &[(&'static str, &'static str)]| {
            prove(b"123456789", expected(&headers(pairs), None).unwrap()).map_err(|fault| fault.code)
        };
        assert_eq!(proved(&[("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")]), Ok(()));
        assert_eq!(proved(&[("x-amz-checksum-crc64nvme", "rosUhgp5mIg=")]), Ok(()));
        assert_eq!(proved(&[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")]), Err(Code::BadDigest));
        assert_eq!(proved(&[("x-amz-checksum-crc32", "AAAAAA==")]), Err(Code::BadDigest));
    }

    #[test]
    fn a_composite_checksum_may_stand_in_a_completion() {
        let pairs = headers(&[("x-amz-checksum-crc32", "y/Q5Jg==-3"), ("x-amz-checksum-type", "COMPOSITE")]);
        assert_eq!(of_completion(&pairs).unwrap().crc32.as_deref(), Some("y/Q5Jg==-3"));
        assert_eq!(full_object(&pairs).unwrap(), Some(false));
        assert!(of_completion(&headers(&[("x-amz-checksum-crc32", "x-3")])).is_err());
    }
}
