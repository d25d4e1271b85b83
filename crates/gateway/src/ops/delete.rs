//! DeleteObject and DeleteObjects.

use catalog::{DeleteItem, MatchTags, Precondition};
use engine::DeleteObjects;
use http::StatusCode;
use types::ETag;

use super::xml_body::{self, read_xml};
use crate::answer::Answer;
use crate::conditions;
use crate::error::{Code, Fault, Outcome};
use crate::headers;
use crate::operation::no_such_version;
use crate::route::Verified;
use crate::target::object_key;
use crate::xml::{Element, Writer};

/// Most keys in one request.
const KEYS_MAX: usize = 1000;

/// Removes an object. Where there is none that is a success, too.
pub(crate) async fn delete_object(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    refuse_conditions_of_directories(&request)?;
    let item = DeleteItem {
        key: request.key()?.clone(),
        precondition: Precondition { if_none_match: None, ..conditions::of_write(&request.headers) },
    };
    let delete = DeleteObjects { bucket: bucket.bucket.clone(), items: vec![item] };
    for answer in request.shared.engine.delete_objects(delete).await? {
        answer?;
    }
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

fn refuse_conditions_of_directories(request: &Verified) -> Outcome<()> {
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    for name in ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"] {
        if request.headers.contains_key(name) {
            return Err(Fault::not_implemented(format!("The header {name} is not implemented.")));
        }
    }
    Ok(())
}

/// A line of the request, and what was decided of it before the engine was asked.
struct Line {
    key: String,
    /// `null` was named: the answer names it, too.
    version: bool,
    item: Outcome<DeleteItem>,
}

/// Removes up to 1,000 objects, each with an answer of its own.
pub(crate) async fn delete_objects(mut request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    let root = read_xml(&mut request, "Delete", xml_body::LONG_BYTES_MAX).await?;
    let quiet = root.child_text("Quiet")?.is_some_and(|text| text.trim() == "true");
    let lines = root.children_named("Object").map(read_line).collect::<Outcome<Vec<Line>>>()?;
    if lines.is_empty() || lines.len() > KEYS_MAX {
        return Err(Code::MalformedXML.into());
    }
    let items = lines.iter().filter_map(|line| line.item.as_ref().ok().cloned()).collect::<Vec<_>>();
    let mut answers = match items.is_empty() {
        true => Vec::new(),
        false => {
            let delete = DeleteObjects { bucket: bucket.bucket.clone(), items };
            request.shared.engine.delete_objects(delete).await?
        }
    }
    .into_iter();
    Ok(Answer::xml(Writer::document("DeleteResult", 128 * lines.len(), |w| {
        for line in lines {
            let outcome = line.item.and_then(|_| match answers.next() {
                Some(answer) => answer.map(drop).map_err(Fault::from),
                None => Err(Code::InternalError.into()),
            });
            write_line(w, &line.key, line.version, outcome, quiet);
        }
    })))
}

fn read_line(object: &Element) -> Outcome<Line> {
    let key = object.child_text("Key")?.ok_or(Fault::from(Code::MalformedXML))?;
    let version = object.child_text("VersionId")?;
    let etag = object.child_text("ETag")?.map(|tag| MatchTags::Tags(vec![ETag::from_text(tag.trim())]));
    let conditional =
        object.child_text("LastModifiedTime")?.is_some() || object.child_text("Size")?.is_some();
    let item = || {
        if key.is_empty() {
            return Err(Code::UserKeyMustBeSpecified.into());
        }
        no_such_version(version.unwrap_or_default())?;
        if conditional {
            return Err(Fault::not_implemented("LastModifiedTime and Size are not implemented."));
        }
        let precondition = Precondition { if_match: etag, if_none_match: None };
        Ok(DeleteItem { key: object_key(key)?, precondition })
    };
    Ok(Line { key: key.to_owned(), version: version.is_some_and(|text| text == "null"), item: item() })
}

fn write_line(w: &mut Writer, key: &str, version: bool, outcome: Outcome<()>, quiet: bool) {
    match outcome {
        Ok(()) if quiet => {}
        Ok(()) => w.element("Deleted", |w| {
            w.text("Key", key);
            w.optional("VersionId", version.then_some("null"));
        }),
        Err(fault) => w.element("Error", |w| {
            w.text("Key", key);
            w.text("Code", fault.code.as_str());
            w.text("Message", fault.message());
        }),
    }
}
