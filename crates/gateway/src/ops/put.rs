//! PutObject.

use engine::{Incoming, PutObject};

use crate::answer::Answer;
use crate::error::{Code, Fault, Outcome};
use crate::route::Verified;
use crate::{checksums, conditions, headers, tagging};

/// Stores the body as an object.
pub(crate) async fn put_object(mut request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    let key = request.key()?.clone();
    headers::refuse_unsupported(&request.headers)?;
    let put = PutObject {
        bucket: bucket.bucket.clone(),
        key,
        headers: headers::object_headers(&request.headers)?,
        metadata: headers::metadata(&request.headers)?,
        tags: tagging::of_headers(&request.headers)?,
        precondition: conditions::of_write(&request.headers),
        client: headers::client(&request.identity.access_key, &request.headers),
        body: incoming(&mut request)?,
    };
    let stored = request.shared.engine.put_object(put).await?;
    request.call.note(|note| note.backends = stored.backends);
    let mut answer = Answer::ok().with_etag(&stored.etag);
    checksums::into_headers(&mut answer.headers, &stored.checksums, true);
    Ok(answer)
}

/// The body of an object or a part, with all that has to be proved of it.
pub(super) fn incoming(request: &mut Verified) -> Outcome<Incoming> {
    let length = request.call.length.ok_or(Fault::from(Code::MissingContentLength))?;
    if let Some(most) = request.shared.options.object_bytes_max.filter(|most| length > *most) {
        return Err(Fault::from(Code::EntityTooLarge)
            .with_detail("ProposedSize", length.to_string())
            .with_detail("MaxSizeAllowed", most.to_string()));
    }
    let expected = checksums::expected(&request.headers, request.trailing.take())?;
    Ok(Incoming { length, stream: Box::pin(request.take_body()), expected })
}
