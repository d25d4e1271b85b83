//! The bucket itself.

use http::{Method, StatusCode};

use crate::answers::{Outcome, Versioning, outcome};
use crate::client::{Outgoing, S3Client};
use crate::error::{Error, Sent};

/// What AWS calls it, and what others do.
const VERSIONING_ROOTS: [&str; 2] = ["VersioningConfiguration", "GetBucketVersioningResponse"];

impl S3Client {
    /// Whether the bucket is there and ours to use.
    ///
    /// # Errors
    /// `NotFound` or `Denied` where it is not.
    pub async fn head_bucket(&self) -> Result<(), Error> {
        let outgoing = Outgoing::new("head_bucket", Method::HEAD, None);
        self.inner.call(outgoing, self.inner.timeouts.small_operation, 0).await.map(|_| ())
    }

    /// Makes the bucket.
    ///
    /// # Errors
    /// `Refused` where it exists already.
    pub async fn create_bucket(&self) -> Result<(), Error> {
        let outgoing = Outgoing::new("create_bucket", Method::PUT, None);
        self.inner.call(outgoing, self.inner.timeouts.small_operation, 64 * 1024).await.map(|_| ())
    }

    /// Whether the bucket keeps old versions.
    ///
    /// # Errors
    /// `Unsupported` where the server does not know of versions at all.
    pub async fn get_bucket_versioning(&self) -> Result<Versioning, Error> {
        let mut query = [("versioning", "")];
        let outgoing =
            Outgoing { query: &mut query, ..Outgoing::new("get_bucket_versioning", Method::GET, None) };
        let limit = self.inner.timeouts.small_operation;
        let (headers, body) = self.inner.call(outgoing, limit, 64 * 1024).await?;
        match outcome::<Versioning>(&body, &VERSIONING_ROOTS) {
            Ok(Outcome::Done(versioning)) => Ok(versioning),
            Ok(Outcome::Failed(said)) => {
                let operation = "get_bucket_versioning";
                Err(self.inner.failure(operation, StatusCode::OK, &headers, said, Sent::Whole, false))
            }
            Err(error) => {
                Err(Error::corrupt(format!("the versioning of the bucket cannot be read: {error}")))
            }
        }
    }
}
