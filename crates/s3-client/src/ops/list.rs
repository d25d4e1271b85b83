//! Listing.

use http::{Method, StatusCode};

use crate::answers::{ObjectPage, Outcome, PageReader, outcome};
use crate::client::{Outgoing, S3Client};
use crate::error::{Error, Sent};

/// A page of 1,000 keys of 1,024 bytes, each spelled with three characters, is half of this.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

impl S3Client {
    /// One page (at most 1,000 objects) of what lies under a prefix, in the order of the keys' bytes.
    /// `token` is what the page before gave.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where the answer cannot be a page.
    pub async fn list_objects(&self, prefix: &str, token: Option<&str>) -> Result<ObjectPage, Error> {
        let mut query = vec![("list-type", "2"), ("encoding-type", "url"), ("max-keys", "1000")];
        if !prefix.is_empty() {
            query.push(("prefix", prefix));
        }
        query.extend(token.map(|token| ("continuation-token", token)));
        let outgoing = Outgoing { query: &mut query, ..Outgoing::new("list", Method::GET, None) };
        let limit = self.inner.timeouts.small_operation;
        let (headers, body) = self.inner.call(outgoing, limit, PAGE_BYTES_MAX).await?;
        let unreadable =
            |why: &dyn std::fmt::Display| Error::corrupt(format!("the listing cannot be read: {why}"));
        match outcome::<PageReader>(&body, &["ListBucketResult"]).map_err(|error| unreadable(&error))? {
            Outcome::Done(reader) => reader.finish(token).map_err(|problem| unreadable(&problem)),
            Outcome::Failed(said) => {
                Err(self.inner.failure("list", StatusCode::OK, &headers, said, Sent::Whole, false))
            }
        }
    }
}
