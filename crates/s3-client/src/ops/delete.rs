//! Deleting: one, or many at once.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use md5::{Digest as _, Md5};

use crate::answers::{DeleteReader, Gone, Outcome, outcome};
use crate::body::PutBody;
use crate::client::{Outgoing, S3Client, text_of};
use crate::error::{Error, ErrorKind, Sent};
use crate::xml::{escape, survives};

/// As many keys as S3 deletes at once.
const KEYS_MAX: usize = 1_000;
/// An answer for 1,000 keys of 1,024 bytes, with an error for each.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Single deletes that stand in for one of many keys run so many at a time.
const SINGLES_AT_ONCE: usize = 8;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

impl S3Client {
    /// Deletes an object. Deleting none is a success.
    ///
    /// # Errors
    /// [`Error::nothing_happened`] tells whether it may be gone all the same.
    pub async fn delete_object(&self, key: &str) -> Result<Gone, Error> {
        let outgoing = Outgoing::new("delete", Method::DELETE, Some(key));
        let called = self.inner.call(outgoing, self.inner.timeouts.small_operation, 64 * 1024).await;
        match called {
            Ok((headers, body)) => {
                self.error_inside(&headers, &body)?;
                let hidden_only = text_of(&headers, "x-amz-delete-marker").is_some_and(|text| text == "true");
                Ok(Gone { hidden_only })
            }
            // Only where the server names the key: a bare 404 may come from anyone on the way.
            Err(error) if error.code.as_deref() == Some("NoSuchKey") => Ok(Gone::default()),
            Err(error) => Err(error),
        }
    }

    fn error_inside(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Error> {
        match outcome::<crate::answers::NoMore>(body, &["DeleteResult"]) {
            Ok(Outcome::Failed(said)) => {
                Err(self.inner.failure("delete", StatusCode::OK, headers, said, Sent::Whole, true))
            }
            _ => Ok(()),
        }
    }

    /// Deletes many objects, at most 1,000. Each has its own answer, in the order given.
    ///
    /// # Errors
    /// Where the request as a whole failed: any of them may or may not be gone. Where the server turns out to
    /// lack the operation ([`Error::deletes_singly`]), nothing is: asked again, they are deleted one by one.
    pub async fn delete_objects(&self, keys: &[&str]) -> Result<Vec<Result<Gone, Error>>, Error> {
        if keys.len() > KEYS_MAX {
            return Err(Error::invalid(format!("{} keys are more than {KEYS_MAX} at once", keys.len())));
        }
        let singly = self.inner.single_deletes.load(Ordering::Relaxed);
        let mut together: Vec<&str> = Vec::with_capacity(keys.len());
        together.extend(keys.iter().filter(|key| !singly && survives(key)));
        let mut answer = None;
        if !together.is_empty() {
            match self.delete_together(&together).await {
                Ok(read) => answer = Some(read),
                Err(error) => {
                    if error.deletes_singly() {
                        self.inner.single_deletes.store(true, Ordering::Relaxed);
                    }
                    return Err(error);
                }
            }
        }
        let mut each = Vec::with_capacity(keys.len());
        for key in keys {
            each.push(self.settle(key, answer.as_ref().filter(|_| survives(key))));
        }
        Ok(stream::iter(each).buffered(SINGLES_AT_ONCE).collect().await)
    }

    /// How many requests [`S3Client::delete_objects`] of these sends.
    #[must_use]
    pub fn delete_requests(&self, keys: &[&str]) -> u64 {
        let singly = self.inner.single_deletes.load(Ordering::Relaxed);
        let together = keys.iter().filter(|key| !singly && survives(key)).count();
        (keys.len() - together + usize::from(together > 0)) as u64
    }

    /// What the answer for many says of a key, or a delete of its own.
    async fn settle(&self, key: &str, answer: Option<&DeleteReader>) -> Result<Gone, Error> {
        match answer {
            Some(answer) => self.answer_for(key, answer),
            None => self.delete_object(key).await,
        }
    }

    async fn delete_together(&self, keys: &[&str]) -> Result<DeleteReader, Error> {
        let document = delete_document(keys);
        let md5 = base64::engine::general_purpose::STANDARD.encode(Md5::digest(document.as_bytes()));
        let mut query = [("delete", "")];
        let outgoing = Outgoing {
            query: &mut query,
            headers: vec![(CONTENT_MD5, &md5), (CONTENT_TYPE, "application/xml")],
            body: PutBody::Bytes(Bytes::from(document)),
            ..Outgoing::new("delete_many", Method::POST, None)
        };
        let limit = self.inner.timeouts.small_operation;
        let (headers, body) = self.inner.call(outgoing, limit, ANSWER_BYTES_MAX).await?;
        match outcome::<DeleteReader>(&body, &["DeleteResult"]) {
            Ok(Outcome::Done(read)) => Ok(read),
            Ok(Outcome::Failed(said)) => {
                Err(self.inner.failure("delete_many", StatusCode::OK, &headers, said, Sent::Whole, true))
            }
            Err(error) => Err(Error::no_answer(Sent::Whole, format!("delete_many: {error}"))),
        }
    }

    /// What the answer for many says of one key.
    fn answer_for(&self, key: &str, answer: &DeleteReader) -> Result<Gone, Error> {
        if let Some(said) = answer.failed.get(key) {
            if said.code.as_deref() == Some("NoSuchKey") {
                return Ok(Gone::default());
            }
            let said = said.clone();
            let none = HeaderMap::new();
            return Err(self.inner.failure("delete_many", StatusCode::OK, &none, said, Sent::Whole, true));
        }
        answer.gone.get(key).copied().ok_or_else(|| {
            Error::no_answer(Sent::Whole, "the answer to delete_many says nothing of this key")
        })
    }
}

impl Error {
    /// Whether the server lacks the operation that deletes many, rather than disliking an argument.
    #[must_use]
    pub fn deletes_singly(&self) -> bool {
        let says_so =
            matches!(self.status, Some(405 | 501)) || self.code.as_deref() == Some("NotImplemented");
        self.kind == ErrorKind::Unsupported && says_so
    }
}

fn delete_document(keys: &[&str]) -> String {
    let length: usize = keys.iter().map(|key| key.len() + 32).sum();
    let mut document = String::with_capacity(length + 128);
    document.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    document.push_str("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for key in keys {
        document.push_str("<Object><Key>");
        escape(&mut document, key);
        document.push_str("</Key></Object>");
    }
    document.push_str("<Quiet>false</Quiet></Delete>");
    document
}
