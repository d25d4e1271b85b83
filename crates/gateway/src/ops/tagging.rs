//! Tags of an object: get, put, delete.

use catalog::{Metadata, Want};
use engine::{GetObject, Read, ReadConditions};
use http::StatusCode;

use super::xml_body::{self, read_bytes};
use crate::answer::Answer;
use crate::error::{Code, Outcome};
use crate::headers;
use crate::route::Verified;
use crate::tagging;

/// Tells the tags.
pub(crate) async fn get_object_tagging(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    let get = GetObject {
        bucket: bucket.bucket.clone(),
        key: request.key()?.clone(),
        want: Want::State,
        conditions: ReadConditions::default(),
    };
    let read = request.shared.engine.get_object(get).await?;
    request.note_read(&read);
    match read {
        Read::Found(opened) => Ok(Answer::xml(tagging::to_xml(&opened.object.state.tags))),
        Read::NotModified { .. } => Err(Code::InternalError.into()),
    }
}

/// Replaces the tags.
pub(crate) async fn put_object_tagging(mut request: Verified) -> Outcome<Answer> {
    // Before the body: a stranger's is not read at all.
    request.bucket()?;
    let bytes = read_bytes(&mut request, xml_body::SHORT_BYTES_MAX).await?;
    let tags = tagging::parse_xml(&bytes)?;
    set(&request, tags).await?;
    Ok(Answer::ok())
}

/// Removes the tags.
pub(crate) async fn delete_object_tagging(request: Verified) -> Outcome<Answer> {
    set(&request, Metadata::new()).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

async fn set(request: &Verified, tags: Metadata) -> Outcome<()> {
    let bucket = request.bucket()?;
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    Ok(request.shared.engine.set_tags(&bucket.bucket, request.key()?, tags).await?)
}
