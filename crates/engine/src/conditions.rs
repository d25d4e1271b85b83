//! Conditions of a read. Pure.

use catalog::{MatchTags, Object};
use types::ETag;

use crate::{EngineError, ReadConditions};

/// What a conditional read comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Go,
    NotModified,
}

impl ReadConditions {
    /// Decides as RFC 9110 section 13.2.2 says: `If-Match` before `If-Unmodified-Since`, `If-None-Match`
    /// before `If-Modified-Since`.
    ///
    /// # Errors
    /// [`EngineError::PreconditionFailed`].
    pub(crate) fn decide(&self, object: &Object) -> Result<Verdict, EngineError> {
        let state = &object.state;
        let modified = state.modified.as_secs();
        let allowed = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => names(tags, &state.etag),
            (None, Some(since)) => modified <= since.as_secs(),
            (None, None) => true,
        };
        if !allowed {
            return Err(EngineError::PreconditionFailed);
        }
        let known = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => names(tags, &state.etag),
            (None, Some(since)) => modified <= since.as_secs(),
            (None, None) => false,
        };
        Ok(if known { Verdict::NotModified } else { Verdict::Go })
    }

    /// The same for the source of a copy, where "not modified" is a failure as well.
    pub(crate) fn demand(&self, object: &Object) -> Result<(), EngineError> {
        match self.decide(object)? {
            Verdict::Go => Ok(()),
            Verdict::NotModified => Err(EngineError::PreconditionFailed),
        }
    }
}

fn names(tags: &MatchTags, etag: &ETag) -> bool {
    match tags {
        MatchTags::Any => true,
        MatchTags::Tags(tags) => tags.contains(etag),
    }
}

#[cfg(test)]
mod tests {
    use catalog::{BucketId, Checksums, Client, Content, ObjectHeaders, ObjectState};
    use types::{BlobId, ChangeId, ObjectKey, Timestamp};

    use super::*;

    /// The object was written at second 100 with the tag `a`.
    fn check(conditions: ReadConditions, expected: Option<Verdict>) {
        let nothing = Timestamp::default();
        let object = Object {
            bucket: BucketId(1),
            key: ObjectKey::parse("k").unwrap(),
            revision: 1,
            change: ChangeId::from_parts(nothing, 0),
            state: ObjectState {
                size: 1,
                etag: ETag::from_text("a"),
                modified: Timestamp::from_millis(100_700),
                content: Content::Blob(BlobId::from_parts(nothing, 0)),
                headers: ObjectHeaders::default(),
                metadata: Vec::new(),
                tags: Vec::new(),
                checksums: Checksums::default(),
                client: Client::default(),
            },
        };
        assert_eq!(conditions.decide(&object).ok(), expected);
    }

    fn tags(text: &str) -> Option<MatchTags> {
        Some(MatchTags::Tags(vec![ETag::from_text(text)]))
    }

    fn second(n: u64) -> Option<Timestamp> {
        Some(Timestamp::from_millis(n * 1000))
    }

    #[test]
    fn conditions_stand_in_the_order_of_the_rfc() {
        let none = ReadConditions::default;
        check(none(), Some(Verdict::Go));
        check(ReadConditions { if_match: tags("b"), ..none() }, None);
        check(
            ReadConditions { if_match: tags("a"), if_unmodified_since: second(1), ..none() },
            Some(Verdict::Go),
        );
        check(ReadConditions { if_unmodified_since: second(99), ..none() }, None);
        check(ReadConditions { if_unmodified_since: second(100), ..none() }, Some(Verdict::Go));
        check(ReadConditions { if_none_match: tags("a"), ..none() }, Some(Verdict::NotModified));
        check(ReadConditions { if_none_match: Some(MatchTags::Any), ..none() }, Some(Verdict::NotModified));
        check(
            ReadConditions { if_none_match: tags("b"), if_modified_since: second(100), ..none() },
            Some(Verdict::Go),
        );
        check(ReadConditions { if_modified_since: second(100), ..none() }, Some(Verdict::NotModified));
        check(ReadConditions { if_modified_since: second(99), ..none() }, Some(Verdict::Go));
    }
}
