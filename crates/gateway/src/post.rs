//! PostObject: a browser's upload with a policy. The signature is of the policy and stands in the form, so
//! this does not go through `s3s`. The file is held in memory, as its length is not announced.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::{Incoming, PutObject};
use futures::stream;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ring::hmac;
use s3s::post_policy::{PostPolicy, PostPolicyCondition};
use types::{BucketName, ETag, ObjectKey, Timestamp};

use crate::answer::Answer;
use crate::auth::Identity;
use crate::body::Decoded;
use crate::call::Call;
use crate::error::{Code, Fault, Outcome};
use crate::form::{Fields, FormReader};
use crate::service::Shared;
use crate::signing::{self, Scope};
use crate::target::object_key;
use crate::xml::Writer;
use crate::{checksums, conditions, dates, headers, ops, percent, tagging};

/// Bytes that a form may have beside its file.
const FORM_BYTES_MAX: u64 = 128 << 10;
/// How long a form waits for memory.
const MEMORY_WAIT: Duration = Duration::from_secs(5);

/// Stores the file of a form.
pub(crate) async fn post_object(
    shared: &Arc<Shared>,
    call: &Arc<Call>,
    request: &HeaderMap,
    body: s3s::Body,
) -> Outcome<Answer> {
    let length = call.length.ok_or(Fault::from(Code::MissingContentLength))?;
    let file_max = shared.options.form_file_bytes_max;
    if length > file_max as u64 + FORM_BYTES_MAX {
        return Err(Code::EntityTooLarge.into());
    }
    let content_type = headers::text(request, CONTENT_TYPE.as_str()).unwrap_or_default();
    let stream = Decoded::new(body, Arc::clone(call));
    let mut form = FormReader::new(stream, &content_type)?;
    let fields = form.fields().await?;

    // Everything but the file is known: decide before it is read.
    let bucket_name = call.target.bucket().ok_or(Code::InvalidBucketName)?;
    let policy = signed_policy(shared, &fields)?;
    call.note(|note| note.access_key = Some(policy.identity.access_key.clone()));
    let bucket = shared.directory.load().open(&policy.identity, bucket_name)?;
    let sizes = check_policy(&policy.policy, &fields, bucket_name, shared.clock.now())?;
    let (key, put_headers) = (key_of(&fields)?, as_headers(&fields)?);
    headers::refuse_unsupported(&put_headers)?;

    let permits = Arc::clone(&shared.forms).acquire_owned();
    let Ok(Ok(_memory)) = runtime::timeout(MEMORY_WAIT, permits).await else {
        return Err(Fault::slow_down());
    };
    let file = form.file(file_max.min(usize::try_from(sizes.1).unwrap_or(usize::MAX))).await?;
    if (file.len() as u64) < sizes.0 {
        return Err(Code::EntityTooSmall.into());
    }
    let put = PutObject {
        bucket: bucket.bucket.clone(),
        key: key.clone(),
        headers: headers::object_headers(&put_headers)?,
        metadata: headers::metadata(&put_headers)?,
        tags: tags_of(&fields)?,
        precondition: conditions::of_write(&put_headers),
        client: headers::client(&policy.identity.access_key, request),
        body: incoming(file, &put_headers)?,
    };
    let stored = shared.engine.put_object(put).await?;
    call.note(|note| note.backends = stored.backends);
    let location = ops::location_of(shared.options.https, call.host.as_deref(), bucket_name, &key);
    Ok(success(&fields, bucket_name, &key, &stored.etag, &location))
}

struct Signed {
    policy: PostPolicy,
    identity: Arc<Identity>,
}

/// The policy, once its signature is verified.
fn signed_policy(shared: &Shared, fields: &Fields) -> Outcome<Signed> {
    if fields.get("signature").is_some() || fields.get("awsaccesskeyid").is_some() {
        return Err(Fault::request(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ));
    }
    let (Some(policy), Some(signature)) = (fields.get("policy"), fields.get("x-amz-signature")) else {
        return Err(Code::AccessDenied.into());
    };
    if fields.get("x-amz-algorithm") != Some("AWS4-HMAC-SHA256") {
        return Err(Fault::argument("x-amz-algorithm has to be AWS4-HMAC-SHA256"));
    }
    let credential = fields.get("x-amz-credential").unwrap_or_default();
    let region = &shared.options.region;
    signing::check_scope(credential, region).map_err(|problem| match problem {
        Scope::Region(expected, _) => {
            Fault::argument(format!("x-amz-credential is of a wrong region; expecting '{expected}'"))
        }
        Scope::Other(problem) => Fault::argument(format!("x-amz-credential {problem}")),
    })?;
    let date = fields.get("x-amz-date").unwrap_or_default();
    dates::parse_compact(date).ok_or_else(|| Fault::argument("x-amz-date is not a date"))?;
    let mut scope = credential.rsplitn(5, '/').collect::<Vec<_>>();
    scope.reverse();
    let [access_key, day, scope_region, ..] = scope[..] else { return Err(Code::AccessDenied.into()) };
    if !date.starts_with(day) {
        return Err(Fault::argument("x-amz-credential and x-amz-date are of different days"));
    }
    let directory = shared.directory.load();
    let identity = directory.identity(access_key).ok_or(Code::InvalidAccessKeyId)?;
    if !verify(identity.secret().expose(), day, scope_region, policy, signature) {
        return Err(Code::SignatureDoesNotMatch.into());
    }
    let policy = PostPolicy::from_base64(policy).map_err(|error| {
        Fault::new(Code::InvalidPolicyDocument, "Invalid Policy: it cannot be read.")
            .with_log(error.to_string())
    })?;
    Ok(Signed { policy, identity: Arc::clone(identity) })
}

/// Whether the signature of the policy is the key's. In constant time.
fn verify(secret: &str, day: &str, region: &str, policy: &str, signature: &str) -> bool {
    let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let mut tag = sign(format!("AWS4{secret}").as_bytes(), day);
    for part in [region, "s3", "aws4_request"] {
        tag = sign(tag.as_ref(), part);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
    hex::decode(signature).is_ok_and(|given| hmac::verify(&key, policy.as_bytes(), &given).is_ok())
}

/// Checks the form against the policy; gives the least and most bytes that the file may have.
///
/// Every condition has to hold, and every field has to be named by one, so that nothing can be added to a
/// form that its signer did not foresee.
fn check_policy(
    policy: &PostPolicy,
    fields: &Fields,
    bucket: &BucketName,
    now: Timestamp,
) -> Outcome<(u64, u64)> {
    let expiration: time::OffsetDateTime = policy.expiration.clone().into();
    if i128::from(now.as_millis()) * 1_000_000 >= expiration.unix_timestamp_nanos() {
        return Err(denied("Policy expired."));
    }
    let mut sizes = (0, u64::MAX);
    let value = |field: &str| match field {
        "bucket" => Some(bucket.as_str()),
        field => fields.get(field),
    };
    for condition in &policy.conditions {
        let holds = match condition {
            PostPolicyCondition::Eq { field, value: wanted } => value(field) == Some(wanted),
            PostPolicyCondition::StartsWith { field, prefix } => {
                value(field).unwrap_or_default().starts_with(prefix.as_str())
            }
            PostPolicyCondition::ContentLengthRange { min, max } => {
                sizes = (sizes.0.max(*min), sizes.1.min(*max));
                true
            }
        };
        if !holds {
            return Err(denied(&format!("Policy Condition failed: {condition:?}")));
        }
    }
    for (name, given) in fields.iter() {
        let free = matches!(name, "policy" | "x-amz-signature" | "file") || name.starts_with("x-ignore-");
        let named = policy.conditions.iter().any(|condition| match condition {
            PostPolicyCondition::Eq { field, .. } | PostPolicyCondition::StartsWith { field, .. } => {
                field == name
            }
            PostPolicyCondition::ContentLengthRange { .. } => false,
        });
        if !free && !named {
            return Err(denied(&format!("Extra input fields: {name:.64}")));
        }
        if name == "bucket" && given != bucket.as_str() {
            return Err(denied("the field bucket names another bucket"));
        }
    }
    Ok(sizes)
}

fn denied(problem: &str) -> Fault {
    Fault::new(Code::AccessDenied, format!("Invalid according to Policy: {problem}"))
}

fn key_of(fields: &Fields) -> Outcome<ObjectKey> {
    let text =
        fields.get("key").filter(|text| !text.is_empty()).ok_or(Fault::from(Code::UserKeyMustBeSpecified))?;
    object_key(&text.replace("${filename}", &fields.file_name))
}

/// The fields that are headers of a PUT, as headers.
fn as_headers(fields: &Fields) -> Outcome<HeaderMap> {
    let mut map = HeaderMap::new();
    for (field, value) in fields.iter() {
        let name = match field {
            "acl" => "x-amz-acl",
            "cache-control"
            | "content-type"
            | "content-disposition"
            | "content-encoding"
            | "content-language"
            | "content-md5"
            | "expires"
            | "if-match"
            | "if-none-match" => field,
            name if name.starts_with("x-amz-") => name,
            _ => continue,
        };
        let bad = || {
            Fault::argument("A form field cannot be taken as a header.").with_detail("ArgumentName", field)
        };
        let name = HeaderName::try_from(name).map_err(|_| bad())?;
        map.insert(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?);
    }
    if let (false, Some(kind)) = (map.contains_key(CONTENT_TYPE), &fields.file_type) {
        headers::put(&mut map, CONTENT_TYPE, Some(kind));
    }
    Ok(map)
}

/// Tags are an XML document in a form.
fn tags_of(fields: &Fields) -> Outcome<catalog::Metadata> {
    match fields.get("tagging") {
        Some(document) => tagging::parse_xml(document.as_bytes()),
        None => Ok(Vec::new()),
    }
}

fn incoming(file: Bytes, headers: &HeaderMap) -> Outcome<Incoming> {
    let length = file.len() as u64;
    let expected = checksums::expected(headers, None)?;
    Ok(Incoming { length, stream: Box::pin(stream::iter([Ok(file)])), expected })
}

fn success(fields: &Fields, bucket: &BucketName, key: &ObjectKey, etag: &ETag, location: &str) -> Answer {
    let redirect = fields.get("success_action_redirect").or(fields.get("redirect"));
    let mut answer = match (
        redirect.and_then(|url| redirect_to(url, bucket, key, etag)),
        fields.get("success_action_status"),
    ) {
        (Some(url), _) => {
            let mut answer = Answer::empty(StatusCode::SEE_OTHER);
            answer.headers.insert(LOCATION, url);
            return answer.with_etag(etag);
        }
        (None, Some("200")) => Answer::ok(),
        (None, Some("201")) => {
            let mut writer = Writer::new(512);
            writer.element("PostResponse", |w| {
                w.text("Location", location);
                w.text("Bucket", bucket.as_str());
                w.text("Key", key.as_str());
                w.etag("ETag", etag);
            });
            let mut answer = Answer::xml(writer.finish());
            answer.status = StatusCode::CREATED;
            answer
        }
        (None, _) => Answer::empty(StatusCode::NO_CONTENT),
    };
    headers::put(&mut answer.headers, LOCATION, Some(location));
    answer.with_etag(etag)
}

/// Where the browser goes on. What is no address on the web is ignored, as S3 does.
fn redirect_to(url: &str, bucket: &BucketName, key: &ObjectKey, etag: &ETag) -> Option<HeaderValue> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    if rest.is_empty() || url.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return None;
    }
    let (url, fragment) = url.split_once('#').map_or((url, None), |(url, fragment)| (url, Some(fragment)));
    let joint = if url.contains('?') { '&' } else { '?' };
    let key = percent::encode(key.as_str()).replace('/', "%2F");
    let mut text = format!("{url}{joint}bucket={bucket}&key={key}&etag=%22{etag}%22");
    if let Some(fragment) = fragment {
        text.push('#');
        text.push_str(fragment);
    }
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    async fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut body = String::new();
        for (name, value) in pairs {
            body.push_str(&format!(
                "--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            ));
        }
        body.push_str("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.txt\"\r\n\r\n");
        let stream = stream::iter([Ok(Bytes::from(body))]);
        FormReader::new(stream, "multipart/form-data; boundary=B").unwrap().fields().await.unwrap()
    }

    async fn check(conditions: &str, pairs: &[(&str, &str)], expected: Result<(u64, u64), &str>) {
        let json = format!("{{\"expiration\":\"2030-01-01T00:00:00.000Z\",\"conditions\":[{conditions}]}}");
        let policy = PostPolicy::from_base64(&STANDARD.encode(json)).unwrap();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let bucket = BucketName::parse("b").unwrap();
        let got = check_policy(&policy, &fields(pairs).await, &bucket, now);
        match (got, expected) {
            (Ok(sizes), Ok(expected)) => assert_eq!(sizes, expected, "{conditions}"),
            (Err(fault), Err(part)) => {
                assert_eq!(fault.code, Code::AccessDenied);
                assert!(fault.message().contains(part), "{}", fault.message());
            }
            (got, expected) => panic!("{conditions}: {got:?}, not {expected:?}"),
        }
    }

    #[tokio::test]
    async fn every_condition_holds_and_every_field_is_named() {
        let all = (0, u64::MAX);
        check(r#"{"bucket":"b"},["starts-with","$key","u/"]"#, &[("key", "u/x")], Ok(all)).await;
        check(r#"["content-length-range",5,10],["eq","$key","k"]"#, &[("key", "k")], Ok((5, 10))).await;
        check(r#"{"bucket":"other"}"#, &[], Err("Condition failed")).await;
        check(r#"["starts-with","$key","u/"]"#, &[("key", "v/x")], Err("Condition failed")).await;
        check(r#"{"key":"k"},{"acl":"private"}"#, &[("key", "k")], Err("Condition failed")).await;
        check(r#"{"key":"k"}"#, &[("key", "k"), ("acl", "private")], Err("Extra input fields: acl")).await;
        check(r#"{"key":"k"}"#, &[("key", "k"), ("x-amz-meta-a", "1")], Err("Extra input fields")).await;
        check(r#"{"key":"k"}"#, &[("key", "k"), ("x-ignore-me", "1"), ("policy", "p")], Ok(all)).await;
        check(r#"{"key":"k"},{"bucket":"b"}"#, &[("key", "k"), ("bucket", "c")], Err("another bucket")).await;
    }

    #[tokio::test]
    async fn an_expired_policy_allows_nothing() {
        let policy =
            PostPolicy::from_json(r#"{"expiration":"2020-01-01T00:00:00Z","conditions":[]}"#).unwrap();
        let bucket = BucketName::parse("b").unwrap();
        let now = Timestamp::from_millis(1_800_000_000_000);
        assert!(check_policy(&policy, &fields(&[]).await, &bucket, now).is_err());
    }

    /// The example of Amazon's documentation of browser-based uploads.
    #[test]
    fn a_signature_is_verified() {
        let policy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let signature = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";
        assert!(verify(secret, "20151229", "us-east-1", policy, signature));
        assert!(!verify(secret, "20151230", "us-east-1", policy, signature));
        assert!(!verify(secret, "20151229", "us-east-1", policy, "zz"));
    }

    #[tokio::test]
    async fn the_file_name_completes_the_key() {
        assert_eq!(key_of(&fields(&[("key", "u/${filename}")]).await).unwrap().as_str(), "u/f.txt");
        assert_eq!(key_of(&fields(&[]).await).unwrap_err().code, Code::UserKeyMustBeSpecified);
    }

    #[test]
    fn a_redirect_names_the_object() {
        let (bucket, key) = (BucketName::parse("b").unwrap(), ObjectKey::parse("a/b&c").unwrap());
        let to = |url: &str| {
            redirect_to(url, &bucket, &key, &ETag::from_text("e")).map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(to("http://x/y").unwrap(), "http://x/y?bucket=b&key=a%2Fb%26c&etag=%22e%22");
        assert_eq!(to("https://x/y?q=1#f").unwrap(), "https://x/y?q=1&bucket=b&key=a%2Fb%26c&etag=%22e%22#f");
        for url in ["javascript:alert(1)", "http://", "http://x\r\nset-cookie: a", ""] {
            assert_eq!(to(url), None, "{url}");
        }
    }
}
