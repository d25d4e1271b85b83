//! Entrance for a fuzz target: what a provider may answer, or whoever stands in its place.

use crate::answers::{DeleteReader, PageReader, Versioning};
use crate::answers::{Outcome, error_body, outcome};

/// The body of an answer, read as everything that it could be.
///
/// # Panics
/// Where what was read of a stranger's error is longer than belongs into a log line.
pub fn answer(document: &[u8]) {
    let error = error_body(document);
    for text in [error.code, error.message, error.request_id].into_iter().flatten() {
        assert!(text.chars().count() <= 300 && !text.chars().any(char::is_control), "{text:?}");
    }
    if let Ok(Outcome::Done(page)) = outcome::<PageReader>(document, &["ListBucketResult"]) {
        let page = page.finish(Some("token"));
        // A listing that points at itself would never end.
        assert!(page.is_err() || page.is_ok_and(|page| page.next.as_deref() != Some("token")));
    }
    let _ = outcome::<DeleteReader>(document, &["DeleteResult"]);
    let _ = outcome::<Versioning>(document, &["VersioningConfiguration"]);
}
