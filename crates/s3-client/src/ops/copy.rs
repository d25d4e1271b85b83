//! Copying within the server.

use http::{HeaderName, Method, StatusCode};

use crate::answers::{NoMore, Outcome, outcome};
use crate::client::{Outgoing, S3Client};
use crate::encode::{Slash, percent_encode};
use crate::error::{Error, Sent};

const AMZ_COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");

impl S3Client {
    /// Copies an object with its metadata to another key of the bucket. Sent at most once.
    ///
    /// # Errors
    /// [`Error::nothing_happened`] tells whether the copy may be there all the same. An error may stand in
    /// an answer that began with 200; it is found.
    pub async fn copy_object(&self, from: &str, to: &str) -> Result<(), Error> {
        let mut source = format!("/{}/", self.inner.bucket);
        percent_encode(&mut source, from, Slash::Keep);
        let mut outgoing = Outgoing::new("copy", Method::PUT, Some(to));
        outgoing.headers.push((AMZ_COPY_SOURCE, &source));
        let (headers, body) = self.inner.call(outgoing, self.inner.timeouts.copy, 64 * 1024).await?;
        match outcome::<NoMore>(&body, &["CopyObjectResult"]) {
            Ok(Outcome::Done(NoMore)) => Ok(()),
            Ok(Outcome::Failed(said)) => {
                Err(self.inner.failure("copy", StatusCode::OK, &headers, said, Sent::Whole, true))
            }
            Err(error) => Err(Error::no_answer(Sent::Whole, format!("copy: {error}"))),
        }
    }
}
