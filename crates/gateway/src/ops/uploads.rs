//! ListMultipartUploads and ListParts.

use catalog::{ListedUpload, PartsQuery, Upload, UploadsPage, UploadsQuery};
use types::UploadId;

use super::list::{Encoding, write_owner};
use super::multipart::upload_id;
use crate::answer::Answer;
use crate::checksums;
use crate::error::{Fault, Outcome};
use crate::headers;
use crate::route::Verified;
use crate::xml::Writer;

/// Most lines of a page.
const LINES_MAX: u32 = 1000;

/// A page of a bucket's open uploads.
pub(crate) async fn list_multipart_uploads(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    let query = &request.call.query;
    let encoding = Encoding::of(query)?;
    let key_marker = query.filled("key-marker");
    // Without a key the other marker means nothing.
    let upload_marker = query.filled("upload-id-marker").filter(|_| key_marker.is_some());
    let after_upload = upload_marker.map(str::parse::<UploadId>).transpose();
    let uploads = UploadsQuery {
        bucket: bucket.bucket.id,
        prefix: query.get("prefix").unwrap_or_default().to_owned(),
        delimiter: query.filled("delimiter").map(str::to_owned),
        after_key: key_marker.map(str::to_owned),
        after_upload: after_upload.map_err(|_| Fault::argument("Invalid uploadId marker"))?,
        limit: query.page_size("max-uploads", LINES_MAX)?,
    };
    let page = request.shared.engine.list_uploads(&uploads).await?;
    Ok(Answer::xml(Writer::document("ListMultipartUploadsResult", 512 + 384 * page.lines.len(), |w| {
        w.text("Bucket", bucket.bucket.name.as_str());
        encoding.text(w, "KeyMarker", key_marker.unwrap_or_default());
        w.text("UploadIdMarker", upload_marker.unwrap_or_default());
        next_markers(w, &page, encoding);
        encoding.text(w, "Prefix", &uploads.prefix);
        if let Some(delimiter) = &uploads.delimiter {
            encoding.text(w, "Delimiter", delimiter);
        }
        encoding.announce(w);
        w.number("MaxUploads", uploads.limit);
        w.flag("IsTruncated", page.truncated);
        for line in &page.lines {
            match line {
                ListedUpload::Upload(upload) => w.element("Upload", |w| write_upload(w, upload, encoding)),
                ListedUpload::Prefix(prefix) => {
                    w.element("CommonPrefixes", |w| encoding.text(w, "Prefix", prefix));
                }
            }
        }
    })))
}

fn next_markers(w: &mut Writer, page: &UploadsPage, encoding: Encoding) {
    if !page.truncated {
        return;
    }
    match page.lines.last() {
        Some(ListedUpload::Upload(upload)) => {
            encoding.text(w, "NextKeyMarker", upload.key.as_str());
            w.text("NextUploadIdMarker", &upload.upload.to_string());
        }
        Some(ListedUpload::Prefix(prefix)) => encoding.text(w, "NextKeyMarker", prefix),
        None => {}
    }
}

fn write_upload(w: &mut Writer, upload: &Upload, encoding: Encoding) {
    encoding.text(w, "Key", upload.key.as_str());
    w.text("UploadId", &upload.upload.to_string());
    write_common(w, upload);
    w.time("Initiated", upload.initiated);
}

/// What both listings tell of an upload.
fn write_common(w: &mut Writer, upload: &Upload) {
    w.element("Initiator", write_owner);
    w.element("Owner", write_owner);
    w.text("StorageClass", upload.headers.storage_class.as_deref().unwrap_or("STANDARD"));
    w.optional("ChecksumAlgorithm", upload.checksum_algorithm.as_deref());
    w.optional("ChecksumType", upload.checksum_type.as_deref());
}

/// A page of an upload's parts.
pub(crate) async fn list_parts(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    let query = &request.call.query;
    let encoding = Encoding::of(query)?;
    let parts = PartsQuery {
        upload: upload_id(&request)?,
        bucket: bucket.bucket.id,
        key: request.key()?.clone(),
        after: query.number("part-number-marker")?.unwrap_or_default(),
        limit: query.page_size("max-parts", LINES_MAX)?,
    };
    let page = request.shared.engine.list_parts(&parts).await?;
    Ok(Answer::xml(Writer::document("ListPartsResult", 512 + 256 * page.parts.len(), |w| {
        w.text("Bucket", bucket.bucket.name.as_str());
        encoding.text(w, "Key", parts.key.as_str());
        encoding.announce(w);
        w.text("UploadId", &parts.upload.to_string());
        w.number("PartNumberMarker", parts.after);
        if let (true, Some(last)) = (page.truncated, page.parts.last()) {
            w.number("NextPartNumberMarker", last.number);
        }
        w.number("MaxParts", parts.limit);
        w.flag("IsTruncated", page.truncated);
        write_common(w, &page.upload);
        for part in &page.parts {
            w.element("Part", |w| {
                w.number("PartNumber", part.number);
                w.time("LastModified", part.modified);
                w.etag("ETag", &part.etag);
                w.number("Size", part.size);
                checksums::into_xml(w, &part.checksums);
            });
        }
    })))
}
