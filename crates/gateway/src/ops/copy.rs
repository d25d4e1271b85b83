//! CopyObject and UploadPartCopy.

use std::sync::Arc;

use catalog::{MatchTags, Metadata, ObjectHeaders, Want};
use engine::{CopyObject, CopyPart, EngineError, GetObject, Read, Source};
use types::{ETag, Timestamp};

use super::multipart::upload_id;
use crate::answer::Answer;
use crate::auth::DeclaredBucket;
use crate::error::{Code, Fault, Outcome};
use crate::headers::{self, text};
use crate::route::Verified;
use crate::xml::Writer;
use crate::{checksums, conditions, copy_source, tagging};

/// Copies an object; no byte moves, unless another checksum is asked for.
pub(crate) async fn copy_object(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    let (source_bucket, mut source) = source(&request)?;
    headers::refuse_unsupported(&request.headers)?;
    let key = request.key()?.clone();
    let replace_metadata = replaces(&request, "x-amz-metadata-directive")?;
    let replace_tags = replaces(&request, "x-amz-tagging-directive")?;
    let class = headers::storage_class(&request.headers)?;
    let changes_headers = class.is_some() || request.headers.contains_key("x-amz-website-redirect-location");
    let itself = source_bucket.bucket.id == bucket.bucket.id && source.key == key;
    let names_class = request.headers.contains_key("x-amz-storage-class");
    if itself && !(replace_metadata || replace_tags || changes_headers || names_class) {
        return Err(Fault::request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let new_metadata = if replace_metadata {
        Some((headers::object_headers(&request.headers)?, headers::metadata(&request.headers)?))
    } else if changes_headers {
        Some(with_new_headers(&request, &mut source).await?)
    } else {
        None
    };
    let copy = CopyObject {
        source,
        bucket: bucket.bucket.clone(),
        key,
        precondition: conditions::of_write(&request.headers),
        replace_metadata: new_metadata,
        replace_tags: if replace_tags { Some(tagging::of_headers(&request.headers)?) } else { None },
        checksum: checksums::algorithm(&request.headers)?,
        client: headers::client(&request.identity.access_key, &request.headers),
    };
    let stored = request.shared.engine.copy_object(copy).await?;
    Ok(Answer::xml(Writer::document("CopyObjectResult", 256, |w| {
        w.time("LastModified", stored.modified);
        w.etag("ETag", &stored.etag);
        checksums::into_xml(w, &stored.checksums);
        w.optional("ChecksumType", checksums::type_of(&stored.checksums));
    })))
}

/// Makes a range of an object a part; no byte moves.
pub(crate) async fn upload_part_copy(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    let (_, source) = source(&request)?;
    headers::refuse_unsupported(&request.headers)?;
    let number = request.call.query.part_number()?;
    let copy = CopyPart {
        source,
        range: copy_source::range_of_headers(&request.headers)?,
        bucket: bucket.bucket.clone(),
        key: request.key()?.clone(),
        upload: upload_id(&request)?,
        number: number.ok_or_else(|| Fault::argument("partNumber is missing"))?,
    };
    let part = request.shared.engine.copy_part(copy).await.map_err(|error| match error {
        EngineError::RangeNotSatisfiable { size } => {
            Fault::argument(format!("Range specified is not valid for source object of size: {size}"))
        }
        other => other.into(),
    })?;
    Ok(Answer::xml(part_document(part.modified, &part.etag, &part.checksums)))
}

fn part_document(modified: Timestamp, etag: &ETag, sums: &catalog::Checksums) -> String {
    Writer::document("CopyPartResult", 256, |w| {
        w.time("LastModified", modified);
        w.etag("ETag", etag);
        checksums::into_xml(w, sums);
    })
}

/// The source, where the caller may read it.
fn source(request: &Verified) -> Outcome<(Arc<DeclaredBucket>, Source)> {
    let (name, key) = copy_source::of_headers(&request.headers)?;
    let bucket = request.directory.open(&request.identity, &name)?;
    let conditions = conditions::of_source(&request.headers);
    let source = Source { bucket: bucket.bucket.clone(), key, conditions };
    Ok((bucket, source))
}

/// Whether a directive says `REPLACE`.
fn replaces(request: &Verified, name: &str) -> Outcome<bool> {
    match text(&request.headers, name).as_deref() {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(Fault::argument(format!("Unknown {name}."))),
    }
}

/// The source's own headers and metadata, with the class and redirect that the request names. The source is
/// pinned, for what was read has to be what is copied.
async fn with_new_headers(request: &Verified, source: &mut Source) -> Outcome<(ObjectHeaders, Metadata)> {
    let get = GetObject {
        bucket: source.bucket.clone(),
        key: source.key.clone(),
        want: Want::State,
        conditions: source.conditions.clone(),
    };
    let Read::Found(opened) = request.shared.engine.get_object(get).await? else {
        return Err(Code::PreconditionFailed.into());
    };
    let state = opened.object.state;
    source.conditions.if_match = Some(MatchTags::Tags(vec![state.etag]));
    let asked = headers::object_headers(&request.headers)?;
    let (website_redirect, storage_class) = (asked.website_redirect, asked.storage_class);
    Ok((ObjectHeaders { website_redirect, storage_class, ..state.headers }, state.metadata))
}
