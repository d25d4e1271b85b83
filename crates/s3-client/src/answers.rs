//! What the bodies of answers say.

use std::collections::HashMap;

use types::Timestamp;

use crate::encode::url_decode;
use crate::xml::{Visitor, XmlError, walk};

/// The body of an error answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    pub code: Option<String>,
    pub message: Option<String>,
    pub request_id: Option<String>,
}

/// Reads an error body, as far as it can be read: half of one still names a code.
pub(crate) fn error_body(document: &[u8]) -> ErrorBody {
    let mut body = ErrorBody::default();
    // Where it breaks off or is HTML, what was found until then is as good as it gets.
    let _ = walk(document, &mut body);
    body
}

impl Visitor for ErrorBody {
    fn close(&mut self, path: &[String], text: &str) {
        let [.., parent, leaf] = path else { return };
        if parent != "Error" {
            return;
        }
        let field = match leaf.as_str() {
            "Code" => &mut self.code,
            "Message" => &mut self.message,
            "RequestId" => &mut self.request_id,
            _ => return,
        };
        let text = text.trim();
        if !text.is_empty() {
            *field = Some(shortened(text));
        }
    }
}

/// As much of a stranger's text as belongs into a log line.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What a 200 answer turned out to hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    Done(T),
    /// An error after all.
    Failed(ErrorBody),
}

/// Reads a 200 answer whose root should be one of `roots`. The server may have begun it before it knew how the
/// operation ends, so an error may stand in it.
pub(crate) fn outcome<V: Visitor + Default>(document: &[u8], roots: &[&str]) -> Result<Outcome<V>, XmlError> {
    let mut both = Either { root: String::new(), value: V::default(), error: ErrorBody::default() };
    walk(document, &mut both)?;
    match both.root.as_str() {
        "Error" => Ok(Outcome::Failed(both.error)),
        root if roots.contains(&root) => Ok(Outcome::Done(both.value)),
        other => Err(XmlError::OtherRoot(shortened(other))),
    }
}

struct Either<V> {
    root: String,
    value: V,
    error: ErrorBody,
}

impl<V: Visitor> Visitor for Either<V> {
    fn open(&mut self, path: &[String]) {
        if let [root] = path {
            self.root.clone_from(root);
        }
        self.value.open(path);
    }

    fn close(&mut self, path: &[String], text: &str) {
        self.value.close(path, text);
        if self.root == "Error" {
            self.error.close(path, text);
        }
    }
}

/// Nothing more than the root.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NoMore;

impl Visitor for NoMore {
    fn close(&mut self, _path: &[String], _text: &str) {}
}

/// Whether a bucket keeps old versions.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    #[default]
    Off,
    /// It does: a delete hides and frees nothing.
    Enabled,
    /// It did: older versions may still be there.
    Suspended,
}

impl Visitor for Versioning {
    fn close(&mut self, path: &[String], text: &str) {
        if path.len() == 2 && path[1] == "Status" {
            *self = match text.trim() {
                "Enabled" => Self::Enabled,
                "Suspended" => Self::Suspended,
                _ => Self::Off,
            };
        }
    }
}

/// One page of a listing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ObjectPage {
    /// What is on it.
    pub objects: Vec<ListedObject>,
    /// What asks for the next page; `None` on the last.
    pub next: Option<String>,
}

/// One line of a listing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its entity tag, without quotes.
    pub etag: Option<String>,
}

/// A page while it is being read.
#[derive(Debug, Default)]
pub(crate) struct PageReader {
    page: ObjectPage,
    line: ListedObject,
    line_has_size: bool,
    truncated: bool,
    url_encoded: bool,
    problem: Option<&'static str>,
}

impl Visitor for PageReader {
    fn close(&mut self, path: &[String], text: &str) {
        match path {
            [_, contents, field] if contents == "Contents" => match field.as_str() {
                "Key" => text.clone_into(&mut self.line.key),
                "ETag" => self.line.etag = Some(text.trim().trim_matches('"').to_owned()),
                "Size" => match text.trim().parse() {
                    Ok(size) => (self.line.size, self.line_has_size) = (size, true),
                    Err(_) => self.problem = Some("a size that is no number"),
                },
                _ => {}
            },
            [_, field] => match field.as_str() {
                "Contents" => self.end_line(),
                "IsTruncated" => self.truncated = text.trim() == "true",
                "NextContinuationToken" => self.page.next = Some(text.to_owned()),
                "EncodingType" => self.url_encoded = text.trim() == "url",
                _ => {}
            },
            _ => {}
        }
    }
}

impl PageReader {
    fn end_line(&mut self) {
        if !std::mem::take(&mut self.line_has_size) || self.line.key.is_empty() {
            self.problem = Some("an object without key or size");
        }
        self.page.objects.push(std::mem::take(&mut self.line));
    }

    /// The page, or what is wrong with it. `token` is what asked for it.
    pub(crate) fn finish(mut self, token: Option<&str>) -> Result<ObjectPage, &'static str> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if !self.truncated {
            self.page.next = None;
        } else if self.page.next.as_deref().is_none_or(str::is_empty) {
            return Err("a page that is not the last, without a token for the next");
        } else if self.page.next.as_deref() == token {
            return Err("a page whose next page is itself");
        }
        if self.url_encoded {
            for object in &mut self.page.objects {
                object.key = url_decode(&object.key).ok_or("a key that is not URL-encoded as announced")?;
            }
        }
        Ok(self.page)
    }
}

/// What became of each key of a multi-delete.
#[derive(Debug, Default)]
pub(crate) struct DeleteReader {
    pub gone: HashMap<String, Gone>,
    pub failed: HashMap<String, ErrorBody>,
    key: String,
    line: Gone,
    error: ErrorBody,
}

/// What a server says of a delete.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// The bucket keeps versions: a mark hides the object, whose bytes are still there.
    pub hidden_only: bool,
}

impl Visitor for DeleteReader {
    fn close(&mut self, path: &[String], text: &str) {
        match path {
            [_, line, field] if line == "Deleted" || line == "Error" => match field.as_str() {
                "Key" => text.clone_into(&mut self.key),
                "DeleteMarker" => self.line.hidden_only = text.trim() == "true",
                _ => self.error.close(&path[1..], text),
            },
            [_, line] if line == "Deleted" => {
                self.error = ErrorBody::default();
                self.gone.insert(std::mem::take(&mut self.key), std::mem::take(&mut self.line));
            }
            [_, line] if line == "Error" => {
                self.line = Gone::default();
                self.failed.insert(std::mem::take(&mut self.key), std::mem::take(&mut self.error));
            }
            _ => {}
        }
    }
}

/// What a HEAD or a GET says of an object besides its bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Size in bytes.
    pub size: u64,
    /// Entity tag, without quotes. Not to be taken for an MD5.
    pub etag: Option<String>,
    /// When it was stored.
    pub modified: Option<Timestamp>,
    /// User metadata, names in lower case without `x-amz-meta-`.
    pub metadata: Vec<(String, String)>,
    /// `content-type` and the others that are stored with an object, names in lower case.
    pub headers: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_is_read_even_when_cut_off() {
        let document = b"<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Easy\nnow</Message><RequestId>r1</Requ";
        let body = error_body(document);
        assert_eq!(body.code.as_deref(), Some("SlowDown"));
        assert_eq!(body.message.as_deref(), Some("Easy now"));
        assert_eq!(body.request_id, None);
        assert_eq!(error_body(b"<html><body>502</body></html>"), ErrorBody::default());
        let long = format!("<Error><Message>{}</Message></Error>", "x".repeat(100_000));
        assert_eq!(error_body(long.as_bytes()).message.unwrap().len(), 300);
    }

    #[test]
    fn an_error_inside_a_200_is_found() {
        let failed =
            outcome::<NoMore>(b"\n \n<Error><Code>InternalError</Code></Error>", &["CopyObjectResult"]);
        assert!(
            matches!(failed, Ok(Outcome::Failed(ErrorBody { code: Some(code), .. })) if code == "InternalError")
        );
        let done =
            outcome::<NoMore>(b"<CopyObjectResult><ETag>x</ETag></CopyObjectResult>", &["CopyObjectResult"]);
        assert_eq!(done.unwrap(), Outcome::Done(NoMore));
        assert!(outcome::<NoMore>(b"<CopyObjectResult><ETag>", &["CopyObjectResult"]).is_err());
        assert!(outcome::<NoMore>(b"", &["CopyObjectResult"]).is_err());
        assert!(outcome::<NoMore>(b"<html></html>", &["CopyObjectResult"]).is_err());
    }

    fn page(inner: &str, token: Option<&str>) -> Result<ObjectPage, &'static str> {
        let document = format!("<ListBucketResult>{inner}</ListBucketResult>");
        match outcome::<PageReader>(document.as_bytes(), &["ListBucketResult"]).unwrap() {
            Outcome::Done(reader) => reader.finish(token),
            Outcome::Failed(_) => unreachable!("the root is a listing"),
        }
    }

    #[test]
    fn a_page_has_its_lines_and_its_next() {
        let inner = "<EncodingType>url</EncodingType><Contents><Key>a+b%2F</Key><Size>7</Size><ETag>\"e\"</ETag></Contents>\
                     <IsTruncated>true</IsTruncated><NextContinuationToken>t2</NextContinuationToken>";
        let read = page(inner, Some("t1")).unwrap();
        let expected = ListedObject { key: "a b/".into(), size: 7, etag: Some("e".into()) };
        assert_eq!((read.objects, read.next.as_deref()), (vec![expected], Some("t2")));
        assert_eq!(page(inner, Some("t2")), Err("a page whose next page is itself"));
    }

    #[test]
    fn a_page_that_lies_is_refused() {
        assert!(page("<IsTruncated>true</IsTruncated>", None).is_err());
        assert!(page("<Contents><Key>a</Key></Contents>", None).is_err());
        assert!(page("<Contents><Key>a</Key><Size>-1</Size></Contents>", None).is_err());
        assert!(
            page("<EncodingType>url</EncodingType><Contents><Key>%</Key><Size>1</Size></Contents>", None)
                .is_err()
        );
    }

    #[test]
    fn a_multi_delete_answers_for_each_key() {
        let document = b"<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted><Key>v</Key><DeleteMarker>true</DeleteMarker></Deleted>\
                         <Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
        let Outcome::Done(read) = outcome::<DeleteReader>(document, &["DeleteResult"]).unwrap() else {
            panic!("the root is a result")
        };
        assert_eq!(read.gone["a"], Gone { hidden_only: false });
        assert_eq!(read.gone["v"], Gone { hidden_only: true });
        assert_eq!(read.failed["b"].code.as_deref(), Some("AccessDenied"));
    }

    proptest! {
        #[test]
        fn no_error_body_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = error_body(&bytes);
        }

        #[test]
        fn no_answer_makes_it_panic(tags in proptest::collection::vec("</?(Error|Contents|Key|Size|Deleted|ListBucketResult)/?>|[0-9a]", 0..40)) {
            let document = tags.concat();
            let _ = outcome::<PageReader>(document.as_bytes(), &["ListBucketResult"]).map(|read| match read {
                Outcome::Done(reader) => reader.finish(None).is_ok(),
                Outcome::Failed(_) => false,
            });
            let _ = outcome::<DeleteReader>(document.as_bytes(), &["Error"]).is_ok();
        }
    }
}
