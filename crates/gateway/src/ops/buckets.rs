//! Buckets. They are declared in the configuration; clients can only look.

use catalog::ListQuery;
use http::{HeaderName, HeaderValue, StatusCode};

use super::list::write_owner;
use super::xml_body::{self, read_xml};
use crate::answer::Answer;
use crate::auth::DeclaredBucket;
use crate::error::{Code, Fault, Outcome};
use crate::headers;
use crate::route::Verified;
use crate::xml::Writer;

const REGION_HEADER: HeaderName = HeaderName::from_static("x-amz-bucket-region");
/// Most buckets of a page.
const BUCKETS_MAX: u32 = 10_000;

/// The buckets that the caller sees.
pub(crate) async fn list_buckets(request: Verified) -> Outcome<Answer> {
    let query = &request.call.query;
    let prefix = query.get("prefix").unwrap_or_default();
    let after = query.filled("continuation-token");
    let limit = query.page_size("max-buckets", BUCKETS_MAX)? as usize;
    let region = &request.shared.options.region;
    let elsewhere = query.filled("bucket-region").is_some_and(|wanted| wanted != region);
    let mut buckets: Vec<&DeclaredBucket> = request.directory.visible_to(&request.identity);
    buckets.retain(|declared| {
        let name = declared.bucket.name.as_str();
        !elsewhere && name.starts_with(prefix) && after.is_none_or(|after| name > after)
    });
    let truncated = buckets.len() > limit;
    buckets.truncate(limit);
    Ok(Answer::xml(Writer::document("ListAllMyBucketsResult", 256 + 128 * buckets.len(), |w| {
        w.element("Owner", write_owner);
        w.element("Buckets", |w| {
            for declared in &buckets {
                w.element("Bucket", |w| {
                    w.text("Name", declared.bucket.name.as_str());
                    w.time("CreationDate", declared.created);
                    w.text("BucketRegion", region);
                });
            }
        });
        w.optional("Prefix", query.filled("prefix"));
        if let (true, Some(last)) = (truncated, buckets.last()) {
            w.text("ContinuationToken", last.bucket.name.as_str());
        }
    })))
}

/// Whether the bucket is there and the caller's.
pub(crate) async fn head_bucket(request: Verified) -> Outcome<Answer> {
    request.bucket()?;
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    let region = HeaderValue::try_from(request.shared.options.region.as_str());
    let region = region.unwrap_or(HeaderValue::from_static("us-east-1"));
    Ok(Answer::empty(StatusCode::OK).with(REGION_HEADER, region))
}

/// The region; S3 writes its first one as nothing.
pub(crate) async fn get_bucket_location(request: Verified) -> Outcome<Answer> {
    request.bucket()?;
    let region = request.shared.options.region.as_str();
    let region = if region == "us-east-1" { "" } else { region };
    Ok(Answer::xml(Writer::document_with_text("LocationConstraint", region)))
}

/// There are no versions.
pub(crate) async fn get_bucket_versioning(request: Verified) -> Outcome<Answer> {
    request.bucket()?;
    Ok(Answer::xml(Writer::document("VersioningConfiguration", 128, |_| {})))
}

/// Creates nothing: a bucket of the caller's is there already, any other has to be declared.
pub(crate) async fn create_bucket(mut request: Verified) -> Outcome<Answer> {
    headers::refuse_unsupported(&request.headers)?;
    if request.call.length.unwrap_or_default() > 0 {
        read_xml(&mut request, "CreateBucketConfiguration", xml_body::SHORT_BYTES_MAX).await?;
    }
    match request.bucket() {
        Ok(declared) => {
            let location = HeaderValue::try_from(format!("/{}", declared.bucket.name));
            let location = location.unwrap_or(HeaderValue::from_static("/"));
            Ok(Answer::ok().with(http::header::LOCATION, location))
        }
        Err(fault) if fault.code == Code::AccessDenied => Err(Code::BucketAlreadyExists.into()),
        Err(fault) if fault.code == Code::NoSuchBucket => Err(Fault::new(
            Code::AccessDenied,
            "Buckets are declared in the server's configuration. Ask the operator to declare this one.",
        )),
        Err(fault) => Err(fault),
    }
}

/// Removes nothing: a full bucket says so, an empty one has to be taken out of the configuration.
pub(crate) async fn delete_bucket(request: Verified) -> Outcome<Answer> {
    let declared = request.bucket()?;
    let list = ListQuery {
        bucket: declared.bucket.id,
        prefix: String::new(),
        delimiter: None,
        after: None,
        limit: 1,
    };
    if !request.shared.engine.list_objects(&list).await?.lines.is_empty() {
        return Err(Code::BucketNotEmpty.into());
    }
    Err(Fault::new(
        Code::AccessDenied,
        "Buckets are declared in the server's configuration. Ask the operator to remove this one.",
    ))
}
