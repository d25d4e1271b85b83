//! ListObjects, both versions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use catalog::{ListPage, ListPosition, ListQuery, Listed, ListedObject};
use types::BucketName;

use crate::answer::Answer;
use crate::checksums;
use crate::error::{Fault, Outcome};
use crate::headers::{self, OWNER};
use crate::percent;
use crate::query::Query;
use crate::route::Verified;
use crate::xml::Writer;

/// Most lines of a page.
const LINES_MAX: u32 = 1000;

/// How keys stand in a page.
#[derive(Clone, Copy)]
pub(super) struct Encoding {
    url: bool,
}

impl Encoding {
    /// What `encoding-type` asks for.
    pub(super) fn of(query: &Query) -> Outcome<Self> {
        match query.filled("encoding-type") {
            None => Ok(Self { url: false }),
            Some("url") => Ok(Self { url: true }),
            Some(_) => Err(Fault::argument("Invalid Encoding Method specified in Request")),
        }
    }

    /// An element with a key in it.
    pub(super) fn text(self, w: &mut Writer, name: &str, text: &str) {
        if self.url {
            w.text(name, &percent::encode(text));
        } else {
            w.text(name, text);
        }
    }

    /// Says that keys are encoded, where they are.
    pub(super) fn announce(self, w: &mut Writer) {
        w.optional("EncodingType", self.url.then_some("url"));
    }
}

/// A page, version 1: goes on behind a marker that is a key or a common prefix.
pub(crate) async fn list_objects(request: Verified) -> Outcome<Answer> {
    let query = &request.call.query;
    let encoding = Encoding::of(query)?;
    let marker = query.get("marker").unwrap_or_default();
    let after = (!marker.is_empty()).then(|| ListPosition::Key(marker.to_owned()));
    let (list, page) = page(&request, after).await?;
    Ok(Answer::xml(Writer::document("ListBucketResult", capacity(&page), |w| {
        head(w, &request, &list, encoding);
        encoding.text(w, "Marker", marker);
        w.flag("IsTruncated", page.truncated);
        // Without a delimiter clients go on behind the last key.
        if let (Some(next), true) = (page.next(), list.delimiter.is_some()) {
            let (ListPosition::Key(text) | ListPosition::Prefix(text)) = next;
            encoding.text(w, "NextMarker", &text);
        }
        lines(w, &page, encoding, true);
    })))
}

/// A page, version 2: goes on at an opaque token.
pub(crate) async fn list_objects_v2(request: Verified) -> Outcome<Answer> {
    let query = &request.call.query;
    let encoding = Encoding::of(query)?;
    let bucket = request.bucket()?.bucket.name.clone();
    let start_after = query.filled("start-after");
    let token = query.get("continuation-token");
    let after = match token {
        Some(token) => Some(read_token(token, &bucket)?),
        None => start_after.map(|key| ListPosition::Key(key.to_owned())),
    };
    let (list, page) = page(&request, after).await?;
    let owner = query.get("fetch-owner").is_some_and(|text| text == "true");
    Ok(Answer::xml(Writer::document("ListBucketResult", capacity(&page), |w| {
        head(w, &request, &list, encoding);
        if let Some(key) = start_after {
            encoding.text(w, "StartAfter", key);
        }
        w.optional("ContinuationToken", token);
        if let Some(next) = page.next() {
            w.text("NextContinuationToken", &token_of(&next, &bucket));
        }
        w.number("KeyCount", page.lines.len() as u64);
        w.flag("IsTruncated", page.truncated);
        lines(w, &page, encoding, owner);
    })))
}

async fn page(request: &Verified, after: Option<ListPosition>) -> Outcome<(ListQuery, ListPage)> {
    let bucket = request.bucket()?;
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    let query = &request.call.query;
    let list = ListQuery {
        bucket: bucket.bucket.id,
        prefix: query.get("prefix").unwrap_or_default().to_owned(),
        delimiter: query.filled("delimiter").map(str::to_owned),
        after,
        limit: query.page_size("max-keys", LINES_MAX)?,
    };
    let page = request.shared.engine.list_objects(&list).await?;
    Ok((list, page))
}

fn capacity(page: &ListPage) -> usize {
    512 + 320 * page.lines.len()
}

fn head(w: &mut Writer, request: &Verified, list: &ListQuery, encoding: Encoding) {
    w.text("Name", request.call.target.bucket().map_or("", BucketName::as_str));
    encoding.text(w, "Prefix", &list.prefix);
    w.number("MaxKeys", list.limit);
    if let Some(delimiter) = &list.delimiter {
        encoding.text(w, "Delimiter", delimiter);
    }
    encoding.announce(w);
}

fn lines(w: &mut Writer, page: &ListPage, encoding: Encoding, owner: bool) {
    for line in &page.lines {
        match line {
            Listed::Object(object) => w.element("Contents", |w| contents(w, object, encoding, owner)),
            Listed::Prefix(prefix) => w.element("CommonPrefixes", |w| encoding.text(w, "Prefix", prefix)),
        }
    }
}

fn contents(w: &mut Writer, object: &ListedObject, encoding: Encoding, owner: bool) {
    encoding.text(w, "Key", object.key.as_str());
    w.time("LastModified", object.modified);
    w.etag("ETag", &object.etag);
    for algorithm in engine::Algorithm::ALL {
        if algorithm.of(&object.checksums).is_some() {
            w.text("ChecksumAlgorithm", algorithm.as_str());
        }
    }
    w.optional("ChecksumType", checksums::type_of(&object.checksums));
    w.number("Size", object.size);
    if owner {
        w.element("Owner", write_owner);
    }
    w.text("StorageClass", object.storage_class.as_deref().unwrap_or("STANDARD"));
}

/// The one owner of everything.
pub(super) fn write_owner(w: &mut Writer) {
    w.text("ID", OWNER);
    w.text("DisplayName", OWNER);
}

/// A position as an opaque token, of use in its bucket only.
fn token_of(position: &ListPosition, bucket: &BucketName) -> String {
    let (kind, text) = match position {
        ListPosition::Key(text) => (b'k', text),
        ListPosition::Prefix(text) => (b'p', text),
    };
    let mut bytes = Vec::with_capacity(text.len() + 9);
    bytes.push(kind);
    bytes.extend_from_slice(text.as_bytes());
    let seal = seal(&bytes, bucket);
    bytes.extend_from_slice(&seal);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read_token(token: &str, bucket: &BucketName) -> Outcome<ListPosition> {
    let bad = || Fault::argument("The continuation token provided is incorrect");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let (body, given) = bytes.split_last_chunk::<8>().ok_or_else(bad)?;
    if *given != seal(body, bucket) {
        return Err(bad());
    }
    let (kind, text) = body.split_first().ok_or_else(bad)?;
    let text = String::from_utf8(text.to_vec()).map_err(|_| bad())?;
    match kind {
        b'k' => Ok(ListPosition::Key(text)),
        b'p' => Ok(ListPosition::Prefix(text)),
        _ => Err(bad()),
    }
}

/// FNV-1a over bucket and position: it finds damage and mix-ups. A made-up token does no harm, for any
/// position is one that its maker could have listed from.
fn seal(bytes: &[u8], bucket: &BucketName) -> [u8; 8] {
    let all = bucket.as_str().bytes().chain([0]).chain(bytes.iter().copied());
    let hash = all.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Code;

    fn name(text: &str) -> BucketName {
        BucketName::parse(text).unwrap()
    }

    proptest! {
        #[test]
        fn a_token_comes_back_in_its_bucket_only(text in any::<String>(), prefix in any::<bool>(), flip in any::<usize>()) {
            let position = if prefix { ListPosition::Prefix(text) } else { ListPosition::Key(text) };
            let token = token_of(&position, &name("a"));
            prop_assert_eq!(read_token(&token, &name("a")).unwrap(), position);
            prop_assert!(read_token(&token, &name("b")).is_err());
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
            let at = flip % bytes.len();
            bytes[at] ^= 1;
            prop_assert!(read_token(&URL_SAFE_NO_PAD.encode(bytes), &name("a")).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(token in any::<String>()) {
            prop_assert_eq!(read_token(&token, &name("a")).unwrap_err().code, Code::InvalidArgument);
        }
    }
}
