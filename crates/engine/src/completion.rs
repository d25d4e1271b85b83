//! What a completion makes of the uploaded parts. Pure: it runs inside the transaction, on the parts as
//! they are under the upload's lock.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catalog::{Checksums, Completion, Content, ObjectState, Part, Refusal, Upload};
use types::{BlobId, ETag, Timestamp};

use crate::digest::{checksum_of, md5_of};
use crate::{Algorithm, CompleteUpload, ListedPart};

/// Limits of a completion.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Least size of a part that is not the last.
    pub(crate) part_bytes_min: u64,
    /// Largest object.
    pub(crate) object_bytes_max: u64,
    /// When the object is made.
    pub(crate) at: Timestamp,
}

/// `x-amz-checksum-type`.
pub(crate) fn type_name(full_object: bool) -> &'static str {
    if full_object { "FULL_OBJECT" } else { "COMPOSITE" }
}

/// What identifies the list of parts.
pub(crate) fn fingerprint(parts: &[ListedPart]) -> String {
    let mut text = String::new();
    for part in parts {
        text.push_str(&format!("{}:{},", part.number, part.etag));
    }
    md5_of(text.as_bytes()).to_hex()
}

/// Decides, as CompleteMultipartUpload of the S3 API reference says.
pub(crate) fn decide(
    rules: &Rules,
    request: &CompleteUpload,
    upload: &Upload,
    uploaded: &[Part],
) -> Result<Completion, Refusal> {
    if !request.parts.is_sorted_by(|a, b| a.number < b.number) {
        return Err(Refusal::InvalidPartOrder);
    }
    let parts = listed(&request.parts, uploaded)?;
    check_sizes(rules, &parts)?;
    let size = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.size));
    let size_max = rules.object_bytes_max;
    if size > size_max {
        let message = format!("the parts add up to {size} bytes, more than the {size_max} allowed");
        return Err(Refusal::BadCompletion { code: "EntityTooLarge", message });
    }
    if request.size.is_some_and(|announced| announced != size) {
        let message = format!("the parts add up to {size} bytes, x-amz-mp-object-size says otherwise");
        return Err(Refusal::BadCompletion { code: "InvalidRequest", message });
    }
    let checksums = object_checksums(request, upload, &parts)?;
    let state = ObjectState {
        size,
        etag: multipart_etag(&parts),
        modified: rules.at,
        // The commit knows what the parts make.
        content: Content::Blob(BlobId::from_parts(Timestamp::default(), 0)),
        headers: upload.headers.clone(),
        metadata: upload.metadata.clone(),
        tags: upload.tags.clone(),
        checksums,
        client: request.client.clone(),
    };
    Ok(Completion { numbers: parts.iter().map(|part| part.number).collect(), state })
}

/// The uploaded parts that the client lists, with the tags and checksums that it names.
fn listed<'a>(listed: &[ListedPart], uploaded: &'a [Part]) -> Result<Vec<&'a Part>, Refusal> {
    let find = |wanted: &ListedPart| {
        let index = uploaded.binary_search_by_key(&wanted.number, |part| part.number).ok()?;
        let part = &uploaded[index];
        let same_sums = Algorithm::ALL.into_iter().all(|algorithm| {
            let (given, known) = (algorithm.of(&wanted.checksums), algorithm.of(&part.checksums));
            given.is_none() || given == known
        });
        (part.etag == wanted.etag && same_sums).then_some(part)
    };
    listed.iter().map(|wanted| find(wanted).ok_or(Refusal::InvalidPart { number: wanted.number })).collect()
}

fn check_sizes(rules: &Rules, parts: &[&Part]) -> Result<(), Refusal> {
    let Some((_, all_but_last)) = parts.split_last() else {
        let message = "no parts are listed".to_owned();
        return Err(Refusal::BadCompletion { code: "MalformedXML", message });
    };
    match all_but_last.iter().find(|part| part.size < rules.part_bytes_min) {
        Some(part) => {
            let (number, size, least) = (part.number, part.size, rules.part_bytes_min);
            Err(Refusal::PartTooSmall { number, size, least })
        }
        None => Ok(()),
    }
}

/// The MD5 of the parts' MD5s, and their number.
fn multipart_etag(parts: &[&Part]) -> ETag {
    let mut all = Vec::with_capacity(parts.len() * 16);
    for part in parts {
        // A part's tag is 32 hexadecimal digits, of an MD5 or opaque.
        all.extend(part.etag.md5().map_or([0; 16], |md5| md5.0));
    }
    ETag::from_text(&format!("{}-{}", md5_of(&all).to_hex(), parts.len()))
}

fn object_checksums(
    request: &CompleteUpload,
    upload: &Upload,
    parts: &[&Part],
) -> Result<Checksums, Refusal> {
    let full = upload.checksum_type.as_deref() == Some(type_name(true));
    if request.checksum_full_object.is_some_and(|asked| upload.checksum_type.is_some() && asked != full) {
        let message = "x-amz-checksum-type is not that of the upload".to_owned();
        return Err(Refusal::BadCompletion { code: "InvalidRequest", message });
    }
    let mut checksums = Checksums { composite: !full, ..Checksums::default() };
    let mut any = false;
    for algorithm in Algorithm::ALL {
        let asked = upload.checksum_algorithm.as_deref() == Some(algorithm.as_str());
        let value = if full { combined(algorithm, parts) } else { composite(algorithm, parts) };
        if let Some(given) = algorithm.of(&request.checksums)
            && value.as_deref().is_some_and(|value| value != given)
        {
            let message = format!("the {} of the object is not the one given", algorithm.as_str());
            return Err(Refusal::BadCompletion { code: "BadDigest", message });
        }
        if let Some(value) = value.filter(|_| asked || algorithm.of(&request.checksums).is_some()) {
            algorithm.set(&mut checksums, value);
            any = true;
        }
    }
    Ok(if any { checksums } else { Checksums::default() })
}

/// The checksum of the parts' checksums, with their number; `None` unless all parts have one.
fn composite(algorithm: Algorithm, parts: &[&Part]) -> Option<String> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(STANDARD.decode(algorithm.of(&part.checksums)?).ok()?);
    }
    Some(format!("{}-{}", checksum_of(algorithm, &all), parts.len()))
}

/// The checksum of the whole object out of those of its parts; CRCs only, `None` unless all parts have one.
fn combined(algorithm: Algorithm, parts: &[&Part]) -> Option<String> {
    use crc_fast::CrcAlgorithm;
    let (crc, bytes) = match algorithm {
        Algorithm::Crc32 => (CrcAlgorithm::Crc32IsoHdlc, 4),
        Algorithm::Crc32c => (CrcAlgorithm::Crc32Iscsi, 4),
        Algorithm::Crc64Nvme => (CrcAlgorithm::Crc64Nvme, 8),
        Algorithm::Sha1 | Algorithm::Sha256 => return None,
    };
    let mut whole: Option<u64> = None;
    for part in parts {
        let mut wide = [0; 8];
        let sum = STANDARD.decode(algorithm.of(&part.checksums)?).ok()?;
        wide[8 - bytes..].copy_from_slice(sum.get(..bytes)?);
        let sum = u64::from_be_bytes(wide);
        whole = Some(whole.map_or(sum, |before| crc_fast::checksum_combine(crc, before, sum, part.size)));
    }
    Some(STANDARD.encode(&whole?.to_be_bytes()[8 - bytes..]))
}

#[cfg(test)]
mod tests {
    use catalog::{BucketId, Client, ObjectHeaders, Precondition};
    use types::{BucketName, ObjectKey, UploadId};

    use super::*;
    use crate::Bucket;

    const NOTHING: fn() -> Timestamp = Timestamp::default;

    fn upload(algorithm: Option<Algorithm>, full: bool) -> Upload {
        Upload {
            upload: UploadId::from_parts(NOTHING(), 1),
            bucket: BucketId(1),
            key: ObjectKey::parse("k").unwrap(),
            initiated: NOTHING(),
            headers: ObjectHeaders::default(),
            metadata: Vec::new(),
            tags: Vec::new(),
            checksum_algorithm: algorithm.map(|algorithm| algorithm.as_str().to_owned()),
            checksum_type: algorithm.map(|_| type_name(full).to_owned()),
            client: Client::default(),
        }
    }

    fn part(number: u32, bytes: &[u8], algorithm: Option<Algorithm>) -> Part {
        let mut checksums = Checksums::default();
        if let Some(algorithm) = algorithm {
            algorithm.set(&mut checksums, checksum_of(algorithm, bytes));
        }
        let (etag, size) = (ETag::of_md5(md5_of(bytes)), bytes.len() as u64);
        Part { number, size, etag, modified: NOTHING(), checksums }
    }

    fn request(parts: &[&Part]) -> CompleteUpload {
        let list = |part: &&Part| ListedPart {
            number: part.number,
            etag: part.etag.clone(),
            checksums: Checksums::default(),
        };
        CompleteUpload {
            bucket: Bucket { id: BucketId(1), name: BucketName::parse("b").unwrap() },
            key: ObjectKey::parse("k").unwrap(),
            upload: UploadId::from_parts(NOTHING(), 1),
            parts: parts.iter().map(list).collect(),
            precondition: Precondition::default(),
            checksums: Checksums::default(),
            checksum_full_object: None,
            size: None,
            client: Client::default(),
        }
    }

    fn rules(part_bytes_min: u64) -> Rules {
        Rules { part_bytes_min, object_bytes_max: u64::MAX, at: NOTHING() }
    }

    #[test]
    fn the_tag_is_the_md5_of_md5s_and_their_number() {
        let parts = [part(1, b"hello ", None), part(7, b"world", None)];
        let made =
            decide(&rules(0), &request(&[&parts[0], &parts[1]]), &upload(None, false), &parts).unwrap();
        assert_eq!(made.state.etag.as_str(), "e09e4fd6265b36115fe3db32df945d84-2");
        assert_eq!((made.state.size, made.numbers), (11, vec![1, 7]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let parts = [part(1, b"aa", None), part(2, b"bb", None)];
        let (first, second) = (&parts[0], &parts[1]);
        let run = |least, request: &CompleteUpload| {
            decide(&rules(least), request, &upload(None, false), &parts).unwrap_err()
        };
        assert_eq!(run(0, &request(&[second, first])), Refusal::InvalidPartOrder);
        assert_eq!(run(0, &request(&[first, first])), Refusal::InvalidPartOrder);
        let other = part(2, b"cc", None);
        assert_eq!(run(0, &request(&[first, &other])), Refusal::InvalidPart { number: 2 });
        assert_eq!(run(0, &request(&[&part(3, b"", None)])), Refusal::InvalidPart { number: 3 });
        assert_eq!(
            run(3, &request(&[first, second])),
            Refusal::PartTooSmall { number: 1, size: 2, least: 3 }
        );
        assert!(matches!(run(0, &request(&[])), Refusal::BadCompletion { code: "MalformedXML", .. }));
        let wrong_size = CompleteUpload { size: Some(5), ..request(&[first, second]) };
        assert!(matches!(run(0, &wrong_size), Refusal::BadCompletion { code: "InvalidRequest", .. }));
    }

    #[test]
    fn full_object_checksums_are_those_of_the_bytes() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let parts = [part(1, b"1234", Some(algorithm)), part(2, b"56789", Some(algorithm))];
            let listed = request(&[&parts[0], &parts[1]]);
            let made = decide(&rules(0), &listed, &upload(Some(algorithm), true), &parts).unwrap();
            let expected = checksum_of(algorithm, b"123456789");
            assert_eq!(algorithm.of(&made.state.checksums), Some(expected.as_str()), "{algorithm:?}");
            assert!(!made.state.checksums.composite);
        }
    }

    #[test]
    fn composite_checksums_carry_the_number_of_parts() {
        let sha = Some(Algorithm::Sha256);
        let parts = [part(1, b"1234", sha), part(2, b"56789", sha)];
        let listed = request(&[&parts[0], &parts[1]]);
        let made = decide(&rules(0), &listed, &upload(sha, false), &parts).unwrap();
        assert!(made.state.checksums.composite);
        assert!(made.state.checksums.sha256.unwrap().ends_with("=-2"));
        let wrong = Checksums { sha256: Some("AAAA-2".to_owned()), ..Checksums::default() };
        let wrong = CompleteUpload { checksums: wrong, ..listed };
        let refused = decide(&rules(0), &wrong, &upload(sha, false), &parts).unwrap_err();
        assert!(matches!(refused, Refusal::BadCompletion { code: "BadDigest", .. }));
    }
}
