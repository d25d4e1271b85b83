//! Uploads in parts: for bodies whose length is not known beforehand. Completing one is what makes the object.

use http::header::{CONTENT_TYPE, ETAG};
use http::{Method, StatusCode};
use types::Timestamp;

use crate::answers::{Outcome, outcome, shortened};
use crate::body::PutBody;
use crate::client::{Outgoing, S3Client, text_of};
use crate::encode::iso_date;
use crate::error::{Error, Sent};
use crate::ops::Stored;
use crate::xml::{Visitor, escape};

/// An answer about 1,000 uploads, each with a key of 1,024 bytes and an id of as many, is half of this.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One part to be stored.
#[derive(Debug)]
pub struct UploadPart<'a> {
    /// The object that the upload is for.
    pub key: &'a str,
    /// What [`S3Client::create_multipart_upload`] gave.
    pub upload: &'a str,
    /// 1 to 10,000; a part that is sent again replaces the one of the same number.
    pub number: u32,
    /// The bytes: at least 5 MiB at most providers, unless it is the last.
    pub body: PutBody,
}

/// A stored part, as the completion names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// Its number.
    pub number: u32,
    /// Its entity tag, as the server said it, without quotes.
    pub etag: String,
}

/// An upload that was neither completed nor aborted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// The object that it is for.
    pub key: String,
    /// Its id.
    pub upload: String,
    /// When it was begun, where the server says so.
    pub begun: Option<Timestamp>,
}

impl S3Client {
    /// Begins an upload and gives its id.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where the answer names no upload.
    pub async fn create_multipart_upload(&self, key: &str) -> Result<String, Error> {
        let operation = "create_multipart_upload";
        let mut query = [("uploads", "")];
        let outgoing = Outgoing {
            query: &mut query,
            headers: vec![(CONTENT_TYPE, "application/octet-stream")],
            ..Outgoing::new(operation, Method::POST, Some(key))
        };
        let limit = self.inner.timeouts.small_operation;
        let (headers, body) = self.inner.call(outgoing, limit, 64 * 1024).await?;
        match outcome::<Begun>(&body, &["InitiateMultipartUploadResult"]) {
            Ok(Outcome::Done(Begun(upload))) if !upload.is_empty() => Ok(upload),
            Ok(Outcome::Done(_)) => Err(Error::corrupt("the answer names no upload")),
            Ok(Outcome::Failed(said)) => {
                Err(self.inner.failure(operation, StatusCode::OK, &headers, said, Sent::Whole, true))
            }
            Err(error) => Err(Error::corrupt(format!("the answer to {operation} cannot be read: {error}"))),
        }
    }

    /// Stores a part. Sent at most once; sending it again is safe at any time before the completion.
    ///
    /// # Errors
    /// Where the part may not be there.
    pub async fn upload_part(&self, part: UploadPart<'_>) -> Result<StoredPart, Error> {
        let number = part.number.to_string();
        let mut query = [("partNumber", number.as_str()), ("uploadId", part.upload)];
        let outgoing = Outgoing {
            query: &mut query,
            body: part.body,
            ..Outgoing::new("upload_part", Method::PUT, Some(part.key))
        };
        let answer = self.inner.send(outgoing).await?;
        let etag = text_of(&answer.headers, ETAG).map(|etag| etag.trim_matches('"').to_owned());
        let etag = etag.ok_or_else(|| Error::corrupt("the answer to upload_part has no entity tag"))?;
        Ok(StoredPart { number: part.number, etag })
    }

    /// Makes the object out of these parts, which stand in the order of their numbers.
    ///
    /// # Errors
    /// [`Error::nothing_happened`] tells whether the object may be there all the same. An error may stand in
    /// an answer that began with 200; it is found.
    pub async fn complete_multipart_upload(
        &self,
        key: &str,
        upload: &str,
        parts: &[StoredPart],
    ) -> Result<Stored, Error> {
        let operation = "complete_multipart_upload";
        let mut query = [("uploadId", upload)];
        let outgoing = Outgoing {
            query: &mut query,
            headers: vec![(CONTENT_TYPE, "application/xml")],
            body: PutBody::Bytes(complete_document(parts).into()),
            ..Outgoing::new(operation, Method::POST, Some(key))
        };
        // A provider may put the parts together for as long as it would copy them.
        let (headers, body) = self.inner.call(outgoing, self.inner.timeouts.copy, 64 * 1024).await?;
        match outcome::<Completed>(&body, &["CompleteMultipartUploadResult"]) {
            Ok(Outcome::Done(Completed(etag))) => {
                let version = text_of(&headers, "x-amz-version-id").filter(|id| id != "null");
                Ok(Stored { etag, version })
            }
            Ok(Outcome::Failed(said)) => {
                Err(self.inner.failure(operation, StatusCode::OK, &headers, said, Sent::Whole, true))
            }
            Err(error) => Err(Error::no_answer(Sent::Whole, format!("{operation}: {error}"))),
        }
    }

    /// Gives an upload up, with all parts that it has. One that is gone already is a success.
    ///
    /// # Errors
    /// Where the parts may still be there, and cost money.
    pub async fn abort_multipart_upload(&self, key: &str, upload: &str) -> Result<(), Error> {
        let mut query = [("uploadId", upload)];
        let operation = "abort_multipart_upload";
        let outgoing = Outgoing { query: &mut query, ..Outgoing::new(operation, Method::DELETE, Some(key)) };
        match self.inner.call(outgoing, self.inner.timeouts.small_operation, 64 * 1024).await {
            Ok(_) => Ok(()),
            Err(error) if error.code.as_deref() == Some("NoSuchUpload") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The first 1,000 uploads of keys with this prefix that are still open.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where the answer cannot be such a list.
    pub async fn list_multipart_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, Error> {
        let operation = "list_multipart_uploads";
        let mut query = vec![("uploads", "")];
        if !prefix.is_empty() {
            query.push(("prefix", prefix));
        }
        let outgoing = Outgoing { query: &mut query, ..Outgoing::new(operation, Method::GET, None) };
        let limit = self.inner.timeouts.small_operation;
        let (headers, body) = self.inner.call(outgoing, limit, ANSWER_BYTES_MAX).await?;
        match outcome::<UploadReader>(&body, &["ListMultipartUploadsResult"]) {
            Ok(Outcome::Done(reader)) => Ok(reader.uploads),
            Ok(Outcome::Failed(said)) => {
                Err(self.inner.failure(operation, StatusCode::OK, &headers, said, Sent::Whole, false))
            }
            Err(error) => Err(Error::corrupt(format!(
                "the list of uploads cannot be read: {}",
                shortened(&error.to_string())
            ))),
        }
    }
}

fn complete_document(parts: &[StoredPart]) -> String {
    let mut document = String::with_capacity(128 + parts.len() * 128);
    document.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    document.push_str("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for part in parts {
        document.push_str("<Part><PartNumber>");
        document.push_str(&part.number.to_string());
        document.push_str("</PartNumber><ETag>&quot;");
        escape(&mut document, &part.etag);
        document.push_str("&quot;</ETag></Part>");
    }
    document.push_str("</CompleteMultipartUpload>");
    document
}

#[derive(Default)]
struct Begun(String);

impl Visitor for Begun {
    fn close(&mut self, path: &[String], text: &str) {
        if path.len() == 2 && path[1] == "UploadId" {
            text.trim().clone_into(&mut self.0);
        }
    }
}

#[derive(Default)]
struct Completed(Option<String>);

impl Visitor for Completed {
    fn close(&mut self, path: &[String], text: &str) {
        if path.len() == 2 && path[1] == "ETag" {
            self.0 = Some(text.trim().trim_matches('"').to_owned());
        }
    }
}

#[derive(Default)]
struct UploadReader {
    uploads: Vec<OpenUpload>,
    line: OpenUpload,
}

impl Visitor for UploadReader {
    fn close(&mut self, path: &[String], text: &str) {
        match path {
            [_, upload, field] if upload == "Upload" => match field.as_str() {
                "Key" => text.clone_into(&mut self.line.key),
                "UploadId" => text.trim().clone_into(&mut self.line.upload),
                "Initiated" => self.line.begun = iso_date(text.trim()),
                _ => {}
            },
            [_, upload] if upload == "Upload" => self.uploads.push(std::mem::take(&mut self.line)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_names_its_parts_in_order() {
        let part = |number, etag: &str| StoredPart { number, etag: etag.to_owned() };
        let document = complete_document(&[part(1, "a&b"), part(2, "c")]);
        assert!(document.ends_with(
            "<Part><PartNumber>1</PartNumber><ETag>&quot;a&amp;b&quot;</ETag></Part>\
             <Part><PartNumber>2</PartNumber><ETag>&quot;c&quot;</ETag></Part></CompleteMultipartUpload>"
        ));
    }

    #[test]
    fn open_uploads_are_read_with_their_age() {
        let document = "<ListMultipartUploadsResult><Bucket>b</Bucket><Upload><Key>k 1</Key>\
            <UploadId>u1</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated><Owner><ID>x</ID></Owner></Upload>\
            <Upload><Key>k2</Key><UploadId>u2</UploadId></Upload></ListMultipartUploadsResult>";
        let Ok(Outcome::Done(read)) =
            outcome::<UploadReader>(document.as_bytes(), &["ListMultipartUploadsResult"])
        else {
            panic!("it is a list")
        };
        let upload =
            |key: &str, upload: &str, begun| OpenUpload { key: key.into(), upload: upload.into(), begun };
        let begun = Some(Timestamp::from_millis(1_767_323_045_000));
        assert_eq!(read.uploads, [upload("k 1", "u1", begun), upload("k2", "u2", None)]);
    }
}
