//! The step behind the signature: access to the bucket, then the operation.
//!
//! `s3s` calls this route for every request whose signature it verified. We read headers and write answers
//! ourselves: its own reading refuses what S3 accepts (lists of entity tags, any `Expires`, a `Range` that
//! cannot be parsed, metadata that is not ASCII).

use std::sync::Arc;

use engine::Read;
use futures::future::BoxFuture;
use http::{Extensions, HeaderMap, Method, StatusCode, Uri};
use s3s::route::S3Route;
use s3s::validation::NameValidation;
use s3s::{Body, S3, S3Request, S3Response, S3Result, TrailingHeaders};
use types::ObjectKey;

use crate::answer::Answer;
use crate::auth::{DeclaredBucket, Directory, Identity};
use crate::body::Decoded;
use crate::call::Call;
use crate::error::{Code, Outcome};
use crate::operation::Operation;
use crate::ops;
use crate::service::Shared;

/// The operations of `s3s` itself: none of them is ever called.
pub(crate) struct NoOperation;

impl S3 for NoOperation {}

/// Names were checked before.
pub(crate) struct AnyBucket;

impl NameValidation for AnyBucket {
    fn validate_bucket_name(&self, _name: &str) -> bool {
        true
    }
}

/// A request whose signature was verified.
pub(crate) struct Verified {
    /// What all requests share.
    pub(crate) shared: Arc<Shared>,
    /// What its head tells.
    pub(crate) call: Arc<Call>,
    /// The directory at the time it came.
    pub(crate) directory: Arc<Directory>,
    /// Who signed.
    pub(crate) identity: Arc<Identity>,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body, its framing off.
    pub(crate) body: Body,
    /// What stands behind a framed body, once it was read to its end.
    pub(crate) trailing: Option<TrailingHeaders>,
}

impl Verified {
    /// The bucket that the request is about, where the caller may use it.
    pub(crate) fn bucket(&self) -> Outcome<Arc<DeclaredBucket>> {
        let name = self.call.target.bucket().ok_or(Code::InvalidBucketName)?;
        self.directory.open(&self.identity, name)
    }

    /// The key that the request is about.
    pub(crate) fn key(&self) -> Outcome<&ObjectKey> {
        Ok(self.call.target.key().ok_or(Code::MethodNotAllowed)?)
    }

    /// Notes whether the catalog stood behind a read.
    pub(crate) fn note_read(&self, read: &Read) {
        let degraded = match read {
            Read::NotModified { degraded, .. } => *degraded,
            Read::Found(opened) => opened.degraded,
        };
        self.call.note(|note| note.degraded |= degraded);
    }

    /// The body as a stream.
    pub(crate) fn take_body(&mut self) -> Decoded {
        Decoded::new(std::mem::take(&mut self.body), Arc::clone(&self.call))
    }
}

/// Our way into `s3s`.
pub(crate) struct Router(pub(crate) Arc<Shared>);

#[async_trait::async_trait]
impl S3Route for Router {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        true
    }

    async fn call(&self, mut request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let call = request.extensions.remove::<Arc<Call>>().expect("the gateway puts it into every request");
        let fault = match self.verified(Arc::clone(&call), request) {
            Ok(verified) => match dispatch(verified).await {
                Ok(answer) => return Ok(into_response(answer)),
                Err(fault) => fault,
            },
            Err(fault) => fault,
        };
        // Errors go around `s3s`, which would log each as an error and knows no request id.
        call.note(|note| note.fault = Some(fault));
        Ok(S3Response::new(Body::empty()))
    }
}

impl Router {
    fn verified(&self, call: Arc<Call>, request: S3Request<Body>) -> Outcome<Verified> {
        let credentials = request.credentials.ok_or(Code::AccessDenied)?;
        // The head was checked already; this is what was signed in the end.
        if request.service.as_deref() != Some("s3") {
            return Err(Code::AccessDenied.into());
        }
        let directory = self.0.directory.load_full();
        let identity = directory.identity(&credentials.access_key).ok_or(Code::InvalidAccessKeyId)?;
        let identity = Arc::clone(identity);
        call.note(|note| note.access_key = Some(identity.access_key.clone()));
        Ok(Verified {
            shared: Arc::clone(&self.0),
            call,
            directory,
            identity,
            headers: request.headers,
            body: request.input,
            trailing: request.trailing_headers,
        })
    }
}

fn into_response(answer: Answer) -> S3Response<Body> {
    let status = (answer.status != StatusCode::OK).then_some(answer.status);
    let mut response = S3Response::with_headers(answer.body, answer.headers);
    response.status = status;
    response
}

/// Each operation has a file in `ops`.
fn dispatch(request: Verified) -> BoxFuture<'static, Outcome<Answer>> {
    match request.call.operation {
        Operation::AbortMultipartUpload => Box::pin(ops::abort_multipart_upload(request)),
        Operation::CompleteMultipartUpload => Box::pin(ops::complete_multipart_upload(request)),
        Operation::CopyObject => Box::pin(ops::copy_object(request)),
        Operation::CreateBucket => Box::pin(ops::create_bucket(request)),
        Operation::CreateMultipartUpload => Box::pin(ops::create_multipart_upload(request)),
        Operation::DeleteBucket => Box::pin(ops::delete_bucket(request)),
        Operation::DeleteObject => Box::pin(ops::delete_object(request)),
        Operation::DeleteObjects => Box::pin(ops::delete_objects(request)),
        Operation::DeleteObjectTagging => Box::pin(ops::delete_object_tagging(request)),
        Operation::GetBucketLocation => Box::pin(ops::get_bucket_location(request)),
        Operation::GetBucketVersioning => Box::pin(ops::get_bucket_versioning(request)),
        Operation::GetObject => Box::pin(ops::get_object(request)),
        Operation::GetObjectAttributes => Box::pin(ops::get_object_attributes(request)),
        Operation::GetObjectTagging => Box::pin(ops::get_object_tagging(request)),
        Operation::HeadBucket => Box::pin(ops::head_bucket(request)),
        Operation::HeadObject => Box::pin(ops::head_object(request)),
        Operation::ListBuckets => Box::pin(ops::list_buckets(request)),
        Operation::ListMultipartUploads => Box::pin(ops::list_multipart_uploads(request)),
        Operation::ListObjects => Box::pin(ops::list_objects(request)),
        Operation::ListObjectsV2 => Box::pin(ops::list_objects_v2(request)),
        Operation::ListParts => Box::pin(ops::list_parts(request)),
        // Its signature stands in the form: the gateway answers it without coming here.
        Operation::PostObject => Box::pin(async { Err(Code::MethodNotAllowed.into()) }),
        Operation::PutObject => Box::pin(ops::put_object(request)),
        Operation::PutObjectTagging => Box::pin(ops::put_object_tagging(request)),
        Operation::UploadPart => Box::pin(ops::upload_part(request)),
        Operation::UploadPartCopy => Box::pin(ops::upload_part_copy(request)),
    }
}
