//! GetObject and HeadObject.

use catalog::{Object, Want};
use engine::{GetObject, Opened, Read, ReadConditions};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, ETAG, EXPIRES, IF_RANGE, LAST_MODIFIED};
use http::{HeaderName, HeaderValue, StatusCode};
use types::{ByteRange, ETag};

use crate::answer::Answer;
use crate::auth::DeclaredBucket;
use crate::body::ObjectBody;
use crate::error::{Code, Fault, Outcome};
use crate::headers::{self, ascii};
use crate::route::Verified;
use crate::{checksums, conditions};

const PARTS_COUNT: HeaderName = HeaderName::from_static("x-amz-mp-parts-count");

/// Gives an object's bytes, or a range of them.
pub(crate) async fn get_object(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    let want = wanted(&request)?;
    let read = match (ascii(&request.headers, IF_RANGE.as_str()), want) {
        (Some(validator), Want::From { .. } | Want::Last(_)) => {
            open_if_range(&request, &bucket, want, validator).await?
        }
        _ => open(&request, &bucket, want, conditions::of_read(&request.headers)).await?,
    };
    let opened = match read {
        (Read::NotModified { object, .. }, _) => return Ok(not_modified(&object)),
        (Read::Found(opened), want) => (*opened, want),
    };
    let (Opened { object, range, parts, body, .. }, want) = opened;
    let mut answer = describe(&request, &object, range, parts, want)?;
    if let Some(body) = body {
        request.call.note(|note| note.backends = body.backend.into_iter().collect());
        answer.body = s3s::Body::http_body_unsync(ObjectBody::new(body.stream, range.length));
    }
    Ok(answer)
}

/// Tells an object's state. No backend is touched.
pub(crate) async fn head_object(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    let want = wanted(&request)?;
    let conditions = conditions::of_read(&request.headers);
    let object = match open(&request, &bucket, Want::State, conditions).await? {
        (Read::NotModified { object, .. }, _) => return Ok(not_modified(&object)),
        (Read::Found(opened), _) => opened.object,
    };
    let size = object.state.size;
    let want = match ascii(&request.headers, IF_RANGE.as_str()) {
        Some(value) if !conditions::if_range_holds(value, &object.state.etag, object.state.modified) => {
            Want::Whole
        }
        _ => want,
    };
    if let Want::Part(number) = want {
        let (range, parts) = part_range(&request, &object, number).await?;
        return describe(&request, &object, range, parts, want);
    }
    let range = conditions::resolve(want, size).ok_or_else(|| Fault::range(size))?;
    describe(&request, &object, range, None, want)
}

fn wanted(request: &Verified) -> Outcome<Want> {
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    let range = request.headers.contains_key(http::header::RANGE);
    match request.call.query.part_number()? {
        Some(_) if range => {
            Err(Fault::request("Cannot specify both Range header and partNumber query parameter"))
        }
        Some(number) => Ok(Want::Part(number)),
        None => Ok(conditions::range(&request.headers).unwrap_or(Want::Whole)),
    }
}

async fn open(
    request: &Verified,
    bucket: &DeclaredBucket,
    want: Want,
    conditions: ReadConditions,
) -> Outcome<(Read, Want)> {
    let get = GetObject { bucket: bucket.bucket.clone(), key: request.key()?.clone(), want, conditions };
    let read = request.shared.engine.get_object(get).await?;
    request.note_read(&read);
    Ok((read, want))
}

/// `If-Range` is decided on the state; the range is then demanded of that very state.
async fn open_if_range(
    request: &Verified,
    bucket: &DeclaredBucket,
    want: Want,
    validator: &str,
) -> Outcome<(Read, Want)> {
    let asked = conditions::of_read(&request.headers);
    let (read, _) = open(request, bucket, Want::State, asked.clone()).await?;
    let Read::Found(opened) = &read else { return Ok((read, want)) };
    let state = &opened.object.state;
    if conditions::if_range_holds(validator, &state.etag, state.modified) {
        let same = ReadConditions { if_match: Some(only(&state.etag)), ..asked.clone() };
        match open(request, bucket, want, same).await {
            // Replaced meanwhile: the validator names it no longer.
            Err(fault) if fault.code == Code::PreconditionFailed => {}
            answer => return answer,
        }
    }
    open(request, bucket, Want::Whole, asked).await
}

fn only(etag: &ETag) -> catalog::MatchTags {
    catalog::MatchTags::Tags(vec![etag.clone()])
}

/// Where a part lies, for HEAD.
async fn part_range(request: &Verified, object: &Object, number: u32) -> Outcome<(ByteRange, Option<u32>)> {
    let Some((parts, count)) = request.shared.engine.object_parts(object, 0, number).await? else {
        // Not a multipart object: all of it is part 1.
        return match number {
            1 => Ok((ByteRange::whole(object.state.size), None)),
            _ => Err(Code::InvalidPartNumber.into()),
        };
    };
    // Parts of an object keep the numbers that they were uploaded under, gaps and all.
    let mut start = 0;
    for part in parts {
        if part.number == number {
            return Ok((ByteRange::new(start, part.size), Some(count)));
        }
        start += part.size;
    }
    Err(Code::InvalidPartNumber.into())
}

fn describe(
    request: &Verified,
    object: &Object,
    range: ByteRange,
    parts: Option<u32>,
    want: Want,
) -> Outcome<Answer> {
    let size = object.state.size;
    let mut answer = Answer::empty(StatusCode::OK);
    headers::describe(&mut answer.headers, object);
    headers::override_from(&mut answer.headers, &request.call.query)?;
    answer.headers.insert(CONTENT_LENGTH, HeaderValue::from(range.length));
    let whole = matches!(want, Want::Whole | Want::State);
    // The one part of an empty object has no range that a header could tell.
    if !whole && range.length > 0 {
        answer.status = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {}-{}/{size}", range.start, range.end() - 1);
        headers::put(&mut answer.headers, CONTENT_RANGE, Some(&text));
    }
    if let Some(count) = parts {
        answer.headers.insert(PARTS_COUNT, HeaderValue::from(count));
    }
    let asked = ascii(&request.headers, "x-amz-checksum-mode")
        .is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED"));
    if asked && range == ByteRange::whole(size) {
        checksums::into_headers(&mut answer.headers, &object.state.checksums, true);
    }
    Ok(answer)
}

/// 304: what a cache has to know, and no body.
fn not_modified(object: &Object) -> Answer {
    let mut answer = Answer::empty(StatusCode::NOT_MODIFIED);
    headers::describe(&mut answer.headers, object);
    let kept = [ETAG, LAST_MODIFIED, CACHE_CONTROL, EXPIRES];
    let mut all = std::mem::take(&mut answer.headers);
    for name in kept {
        if let Some(value) = all.remove(&name) {
            answer.headers.insert(name, value);
        }
    }
    answer
}
