//! Multipart uploads: begin, parts, complete, abort.

use catalog::Checksums;
use engine::{Algorithm, CompleteUpload, CreateUpload, ListedPart, PutPart};
use http::{HeaderName, StatusCode};
use types::{BucketName, ETag, ObjectKey, UploadId};

use super::put::incoming;
use super::xml_body::{self, read_xml};
use crate::answer::Answer;
use crate::error::{Code, Fault, Outcome};
use crate::headers::{self, ascii};
use crate::percent;
use crate::route::Verified;
use crate::xml::{Element, Writer};
use crate::{checksums, conditions, tagging};

/// Most parts of an upload.
const PARTS_MAX: usize = 10_000;

/// The upload that the query names. What is no id of ours names none.
pub(super) fn upload_id(request: &Verified) -> Outcome<UploadId> {
    let text = request.call.query.filled("uploadId");
    let text = text
        .ok_or_else(|| Fault::argument("This operation does not accept a query-string without uploadId."))?;
    text.parse().map_err(|_| Fault::from(Code::NoSuchUpload).with_detail("UploadId", text))
}

/// Begins an upload.
pub(crate) async fn create_multipart_upload(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    headers::refuse_unsupported(&request.headers)?;
    let algorithm = ascii(&request.headers, "x-amz-checksum-algorithm");
    let algorithm = algorithm.map(checksums::parse_algorithm).transpose()?;
    let full_object = checksums::full_object(&request.headers)?;
    check_type(algorithm, full_object)?;
    let create = CreateUpload {
        bucket: bucket.bucket.clone(),
        key: request.key()?.clone(),
        headers: headers::object_headers(&request.headers)?,
        metadata: headers::metadata(&request.headers)?,
        tags: tagging::of_headers(&request.headers)?,
        checksum_algorithm: algorithm,
        checksum_full_object: full_object,
        open_max: bucket.multipart_uploads_max,
        client: headers::client(&request.identity.access_key, &request.headers),
    };
    let (name, key) = (create.bucket.name.clone(), create.key.clone());
    let upload = request.shared.engine.create_upload(create).await?;
    let mut answer = Answer::xml(Writer::document("InitiateMultipartUploadResult", 512, |w| {
        w.text("Bucket", name.as_str());
        w.text("Key", key.as_str());
        w.text("UploadId", &upload.to_string());
    }));
    let name = HeaderName::from_static("x-amz-checksum-algorithm");
    headers::put(&mut answer.headers, name, algorithm.map(Algorithm::as_str));
    let kind = full_object.map(|full| if full { "FULL_OBJECT" } else { "COMPOSITE" });
    headers::put(&mut answer.headers, HeaderName::from_static("x-amz-checksum-type"), kind);
    Ok(answer)
}

/// SHA digests cannot be put together to one of the whole; CRC-64 is never put together otherwise.
fn check_type(algorithm: Option<Algorithm>, full_object: Option<bool>) -> Outcome<()> {
    let (kind, name) = match (algorithm, full_object) {
        (None, Some(_)) => {
            return Err(Fault::request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            ));
        }
        (Some(algorithm @ (Algorithm::Sha1 | Algorithm::Sha256)), Some(true)) => ("FULL_OBJECT", algorithm),
        (Some(algorithm @ Algorithm::Crc64Nvme), Some(false)) => ("COMPOSITE", algorithm),
        _ => return Ok(()),
    };
    let name = name.as_str();
    Err(Fault::request(format!(
        "The {kind} checksum type cannot be used with the {name} checksum algorithm."
    )))
}

/// Uploads a part.
pub(crate) async fn upload_part(mut request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    headers::refuse_unsupported(&request.headers)?;
    let number = request.call.query.part_number()?;
    let put = PutPart {
        bucket: bucket.bucket.clone(),
        key: request.key()?.clone(),
        upload: upload_id(&request)?,
        number: number.ok_or_else(|| Fault::argument("partNumber is missing"))?,
        body: incoming(&mut request)?,
    };
    let part = request.shared.engine.put_part(put).await?;
    request.call.note(|note| note.backends = part.backends);
    let mut answer = Answer::ok().with_etag(&part.etag);
    checksums::into_headers(&mut answer.headers, &part.checksums, false);
    Ok(answer)
}

/// Makes the listed parts an object.
pub(crate) async fn complete_multipart_upload(mut request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    headers::refuse_unsupported(&request.headers)?;
    let upload = upload_id(&request)?;
    let precondition = conditions::of_write(&request.headers);
    let (checksums, checksum_full_object) =
        (checksums::of_completion(&request.headers)?, checksums::full_object(&request.headers)?);
    let size = size_of(&request)?;
    // Those headers are of the object, not of this body.
    for algorithm in ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"] {
        request.headers.remove(format!("x-amz-checksum-{algorithm}"));
    }
    let root = read_xml(&mut request, "CompleteMultipartUpload", xml_body::LONG_BYTES_MAX).await?;
    let parts = root.children_named("Part").map(listed_part).collect::<Outcome<Vec<_>>>()?;
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return Err(Code::MalformedXML.into());
    }
    let complete = CompleteUpload {
        bucket: bucket.bucket.clone(),
        key: request.key()?.clone(),
        upload,
        parts,
        precondition,
        checksums,
        checksum_full_object,
        size,
        client: headers::client(&request.identity.access_key, &request.headers),
    };
    let (name, key) = (complete.bucket.name.clone(), complete.key.clone());
    let stored = request.shared.engine.complete_upload(complete).await?;
    Ok(Answer::xml(Writer::document("CompleteMultipartUploadResult", 512, |w| {
        w.text("Location", &location(&request, &name, &key));
        w.text("Bucket", name.as_str());
        w.text("Key", key.as_str());
        w.etag("ETag", &stored.etag);
        checksums::into_xml(w, &stored.checksums);
        w.optional("ChecksumType", checksums::type_of(&stored.checksums));
    })))
}

fn size_of(request: &Verified) -> Outcome<Option<u64>> {
    let Some(text) = ascii(&request.headers, "x-amz-mp-object-size") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Fault::request("Value for x-amz-mp-object-size header is invalid."))
}

fn listed_part(part: &Element) -> Outcome<ListedPart> {
    let malformed = || Fault::from(Code::MalformedXML);
    let number: i64 =
        part.child_text("PartNumber")?.and_then(|text| text.trim().parse().ok()).ok_or_else(malformed)?;
    let number = u32::try_from(number).ok().filter(|number| (1..=10_000).contains(number));
    let number = number
        .ok_or_else(|| Fault::argument("Part number must be an integer between 1 and 10000, inclusive"))?;
    let etag = ETag::from_text(part.child_text("ETag")?.ok_or_else(malformed)?.trim());
    let mut given = Checksums::default();
    for algorithm in Algorithm::ALL {
        if let Some(text) = part.child_text(checksums::element_name(algorithm))? {
            let value = checksums::value_of(algorithm, text)?;
            algorithm.set(&mut given, value);
        }
    }
    Ok(ListedPart { number, etag, checksums: given })
}

/// Where the object is to be found, as the client reached us.
pub(crate) fn location(request: &Verified, bucket: &BucketName, key: &ObjectKey) -> String {
    let options = &request.shared.options;
    location_of(options.https, request.call.host.as_deref(), bucket, key)
}

/// An absolute address in path style.
pub(crate) fn location_of(https: bool, host: Option<&str>, bucket: &BucketName, key: &ObjectKey) -> String {
    let scheme = if https { "https" } else { "http" };
    let mut text = format!("{scheme}://{}/{bucket}/", host.unwrap_or("localhost"));
    percent::encode_into(&mut text, key.as_str());
    text
}

/// Gives an upload up.
pub(crate) async fn abort_multipart_upload(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    let upload = upload_id(&request)?;
    request.shared.engine.abort_upload(&bucket.bucket, request.key()?, upload).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
