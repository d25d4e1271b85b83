//! Reading: GET and HEAD.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, RANGE};
use http::{HeaderMap, Method, StatusCode};
use types::ByteRange;

use crate::answers::ObjectInfo;
use crate::client::{Outgoing, S3Client, text_of};
use crate::encode::http_date;
use crate::error::Error;
use crate::exchange::Download;

/// An object on its way.
pub struct Object {
    /// What is known of the whole of it.
    pub info: ObjectInfo,
    /// Exactly this many bytes follow.
    pub length: u64,
    /// The bytes. Fewer than `length` end in an error.
    pub body: Download,
}

impl S3Client {
    /// Reads an object, or a range of it.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where the server answers with other bytes than
    /// the range that was demanded, or does not say how many will come.
    pub async fn get_object(&self, key: &str, range: Option<ByteRange>) -> Result<Object, Error> {
        let header = range.map(|range| {
            if range.length == 0 {
                Err(Error::invalid("an empty range cannot be asked for"))
            } else {
                Ok(range.to_header())
            }
        });
        let header = header.transpose()?;
        let mut outgoing = Outgoing::new("get", Method::GET, Some(key));
        outgoing.headers.extend(header.as_deref().map(|value| (RANGE, value)));
        let answer = self.inner.send(outgoing).await?;
        let (status, headers) = (answer.status, &answer.headers);
        let length = content_length(headers)?;
        let size = match range {
            None if status == StatusCode::OK => length,
            None => {
                return Err(Error::corrupt("the answer to a get of all bytes is another").with_status(status));
            }
            Some(range) => size_behind(range, status, headers, length)?,
        };
        Ok(Object { info: info(headers, size), length, body: answer.body })
    }

    /// What is known of an object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), also where the bucket is missing: a HEAD has
    /// no body that could tell.
    pub async fn head_object(&self, key: &str) -> Result<ObjectInfo, Error> {
        let outgoing = Outgoing::new("head", Method::HEAD, Some(key));
        let (headers, _) = self.inner.call(outgoing, self.inner.timeouts.small_operation, 0).await?;
        Ok(info(&headers, content_length(&headers)?))
    }

    /// A URL with which anybody can read the object for `expires_s` seconds from now.
    #[must_use]
    pub fn presigned_get_url(&self, key: &str, expires_s: u32) -> String {
        let endpoint = &self.inner.endpoint;
        let mut path = endpoint.key_prefix.clone();
        crate::encode::percent_encode(&mut path, key, crate::encode::Slash::Keep);
        let now = self.inner.clock.now();
        let query = self.inner.signer.presigned_query("GET", &endpoint.host_text, &path, now, expires_s);
        let scheme = if endpoint.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}?{query}", endpoint.host_text)
    }
}

fn content_length(headers: &HeaderMap) -> Result<u64, Error> {
    let text = text_of(headers, CONTENT_LENGTH).ok_or_else(|| Error::corrupt("the answer has no length"))?;
    text.trim().parse().map_err(|_| Error::corrupt("the answer's length is no number"))
}

/// The size of the whole object, from an answer that holds exactly the range demanded.
fn size_behind(range: ByteRange, status: StatusCode, headers: &HeaderMap, length: u64) -> Result<u64, Error> {
    let said = text_of(headers, CONTENT_RANGE).unwrap_or_default();
    let size = (status == StatusCode::PARTIAL_CONTENT && length == range.length)
        .then(|| parse_content_range(&said))
        .flatten()
        .filter(|(got, _)| *got == range)
        .map(|(_, size)| size);
    size.ok_or_else(|| {
        let said = crate::answers::shortened(&said);
        Error::corrupt(format!(
            "{} was demanded, and answered with {length} bytes, content-range {said:?}",
            range.to_header()
        ))
        .with_status(status)
    })
}

/// Reads `bytes 0-9/100`.
fn parse_content_range(text: &str) -> Option<(ByteRange, u64)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) =
        (first.trim().parse().ok()?, last.trim().parse().ok()?, size.trim().parse().ok()?);
    (first <= last && last < size).then(|| (ByteRange::new(first, last - first + 1), size))
}

/// Headers that are stored with an object.
const STORED_HEADERS: [&str; 6] = [
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
];

fn info(headers: &HeaderMap, size: u64) -> ObjectInfo {
    let metadata = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("x-amz-meta-")?;
        Some((name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    let stored =
        STORED_HEADERS.iter().filter_map(|name| Some(((*name).to_owned(), text_of(headers, *name)?)));
    ObjectInfo {
        size,
        etag: text_of(headers, ETAG).map(|etag| etag.trim_matches('"').to_owned()),
        modified: text_of(headers, LAST_MODIFIED).and_then(|text| http_date(&text)),
        metadata: metadata.collect(),
        headers: stored.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        assert_eq!(parse_content_range("bytes 0-9/100"), Some((ByteRange::new(0, 10), 100)));
        for bad in
            ["", "bytes */100", "bytes 0-9/*", "bytes 9-0/100", "bytes 0-100/100", "0-9/100", "bytes 0-9"]
        {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
