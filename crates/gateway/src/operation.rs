//! Which S3 operation a request means. One table; what is not in it answers 501 or 405 and changes nothing.

use http::{HeaderMap, Method};

use crate::error::{Code, Fault, Outcome};
use crate::query::Query;
use crate::target::Target;

/// An S3 operation that we carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CopyObject,
    CreateBucket,
    CreateMultipartUpload,
    DeleteBucket,
    DeleteObject,
    DeleteObjects,
    DeleteObjectTagging,
    GetBucketLocation,
    GetBucketVersioning,
    GetObject,
    GetObjectAttributes,
    GetObjectTagging,
    HeadBucket,
    HeadObject,
    ListBuckets,
    ListMultipartUploads,
    ListObjects,
    ListObjectsV2,
    ListParts,
    PostObject,
    PutObject,
    PutObjectTagging,
    UploadPart,
    UploadPartCopy,
}

impl Operation {
    /// The name in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::CopyObject => "CopyObject",
            Self::CreateBucket => "CreateBucket",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::DeleteBucket => "DeleteBucket",
            Self::DeleteObject => "DeleteObject",
            Self::DeleteObjects => "DeleteObjects",
            Self::DeleteObjectTagging => "DeleteObjectTagging",
            Self::GetBucketLocation => "GetBucketLocation",
            Self::GetBucketVersioning => "GetBucketVersioning",
            Self::GetObject => "GetObject",
            Self::GetObjectAttributes => "GetObjectAttributes",
            Self::GetObjectTagging => "GetObjectTagging",
            Self::HeadBucket => "HeadBucket",
            Self::HeadObject => "HeadObject",
            Self::ListBuckets => "ListBuckets",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::ListObjects => "ListObjects",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::ListParts => "ListParts",
            Self::PostObject => "PostObject",
            Self::PutObject => "PutObject",
            Self::PutObjectTagging => "PutObjectTagging",
            Self::UploadPart => "UploadPart",
            Self::UploadPartCopy => "UploadPartCopy",
        }
    }

    /// Whether a version id may stand in the query.
    fn takes_version(self) -> bool {
        matches!(
            self,
            Self::GetObject
                | Self::HeadObject
                | Self::DeleteObject
                | Self::GetObjectAttributes
                | Self::GetObjectTagging
                | Self::PutObjectTagging
                | Self::DeleteObjectTagging
        )
    }
}

/// Sub-resources and query verbs of S3 that we know and do not have.
const NOT_IMPLEMENTED: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "append",
    "cors",
    "encryption",
    "events",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "torrent",
    "versions",
    "website",
];

/// Sub-resources that we have. At most one may be named.
const IMPLEMENTED: &[&str] =
    &["attributes", "delete", "location", "tagging", "uploadId", "uploads", "versioning"];

/// Parameters of our operations that may stand without a value.
const PARAMETERS: &[&str] = &[
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "partNumber",
    "prefix",
    "start-after",
    "upload-id-marker",
    "versionId",
    "x-id",
];

/// Decides which operation a request means.
pub(crate) fn resolve(
    method: &Method,
    target: &Target,
    query: &Query,
    headers: &HeaderMap,
) -> Outcome<Operation> {
    let resource = sub_resource(query)?;
    let operation = match target {
        Target::Service => service(method, resource),
        Target::Bucket(_) => bucket(method, resource, query, headers),
        Target::Object(..) => object(method, resource, query, headers),
    };
    let operation = operation.ok_or(Fault::from(Code::MethodNotAllowed))?;
    check_version(operation, query)?;
    Ok(operation)
}

/// The one sub-resource of the query. Anything else that looks like one is not passed over: a request for
/// `?acl` that were taken for a plain PUT would overwrite the object.
fn sub_resource(query: &Query) -> Outcome<Option<&'static str>> {
    let mut found = None;
    for (name, value) in query.iter() {
        if NOT_IMPLEMENTED.contains(&name) {
            return Err(Fault::not_implemented(format!("The sub-resource {name} is not implemented.")));
        }
        if let Some(known) = IMPLEMENTED.iter().find(|known| **known == name) {
            if found.is_some_and(|other| other != *known) {
                return Err(Fault::argument("The query names more than one sub-resource."));
            }
            found = Some(*known);
        } else if value.unwrap_or_default().is_empty() && !is_parameter(name) {
            return Err(Fault::not_implemented(format!("The sub-resource {name:.64} is not implemented.")));
        }
    }
    Ok(found)
}

fn is_parameter(name: &str) -> bool {
    PARAMETERS.contains(&name)
        || name.starts_with("response-")
        || name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

fn service(method: &Method, resource: Option<&str>) -> Option<Operation> {
    (method == Method::GET && resource.is_none()).then_some(Operation::ListBuckets)
}

fn bucket(method: &Method, resource: Option<&str>, query: &Query, headers: &HeaderMap) -> Option<Operation> {
    match (method.as_str(), resource) {
        ("HEAD", None) => Some(Operation::HeadBucket),
        ("GET", None) if query.get("list-type") == Some("2") => Some(Operation::ListObjectsV2),
        ("GET", None) => Some(Operation::ListObjects),
        ("PUT", None) => Some(Operation::CreateBucket),
        ("DELETE", None) => Some(Operation::DeleteBucket),
        ("POST", None) if is_form(headers) => Some(Operation::PostObject),
        ("GET", Some("location")) => Some(Operation::GetBucketLocation),
        ("GET", Some("versioning")) => Some(Operation::GetBucketVersioning),
        ("GET", Some("uploads")) => Some(Operation::ListMultipartUploads),
        ("POST", Some("delete")) => Some(Operation::DeleteObjects),
        _ => None,
    }
}

fn object(method: &Method, resource: Option<&str>, query: &Query, headers: &HeaderMap) -> Option<Operation> {
    let copies = headers.contains_key("x-amz-copy-source");
    let part = query.has("partNumber");
    match (method.as_str(), resource) {
        ("GET", None) => Some(Operation::GetObject),
        ("HEAD", None) => Some(Operation::HeadObject),
        // A part number without an upload must not become a plain PUT.
        ("PUT", None) if part => Some(Operation::UploadPart),
        ("PUT", None) if copies => Some(Operation::CopyObject),
        ("PUT", None) => Some(Operation::PutObject),
        ("DELETE", None) => Some(Operation::DeleteObject),
        ("PUT", Some("uploadId")) if copies => Some(Operation::UploadPartCopy),
        ("PUT", Some("uploadId")) => Some(Operation::UploadPart),
        ("GET", Some("uploadId")) => Some(Operation::ListParts),
        ("POST", Some("uploadId")) => Some(Operation::CompleteMultipartUpload),
        ("DELETE", Some("uploadId")) => Some(Operation::AbortMultipartUpload),
        ("POST", Some("uploads")) => Some(Operation::CreateMultipartUpload),
        ("GET", Some("attributes")) => Some(Operation::GetObjectAttributes),
        ("GET", Some("tagging")) => Some(Operation::GetObjectTagging),
        ("PUT", Some("tagging")) => Some(Operation::PutObjectTagging),
        ("DELETE", Some("tagging")) => Some(Operation::DeleteObjectTagging),
        _ => None,
    }
}

/// Whether the body is a browser's form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type
        .and_then(|text| text.get(..19))
        .is_some_and(|start| start.eq_ignore_ascii_case("multipart/form-data"))
}

/// There are no versions: `null` (or nothing) is the object, any other id names none.
fn check_version(operation: Operation, query: &Query) -> Outcome<()> {
    match query.get("versionId") {
        None => Ok(()),
        Some(_) if !operation.takes_version() => {
            Err(Fault::argument("This operation does not accept a version-id."))
        }
        Some(version) => no_such_version(version),
    }
}

/// Refuses a version id that is not `null`.
pub(crate) fn no_such_version(version: &str) -> Outcome<()> {
    if version.is_empty() || version == "null" {
        return Ok(());
    }
    Err(Fault::from(Code::NoSuchVersion).with_detail("VersionId", version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(request: &str) -> Result<&'static str, &'static str> {
        let (method, uri) = request.split_once(' ').unwrap();
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let mut headers = HeaderMap::new();
        let path = match path.strip_suffix("+copy") {
            Some(path) => {
                headers.insert("x-amz-copy-source", "/b/k".parse().unwrap());
                path
            }
            None => path,
        };
        let target = Target::parse(path, None, &[]).unwrap();
        let query = Query::parse(Some(query)).unwrap();
        let method = method.parse().unwrap();
        resolve(&method, &target, &query, &headers)
            .map(Operation::as_str)
            .map_err(|fault| fault.code.as_str())
    }

    fn check(cases: &[(&str, Result<&'static str, &'static str>)]) {
        for (request, expected) in cases {
            assert_eq!(resolved(request), *expected, "{request}");
        }
    }

    #[test]
    fn each_operation_is_found() {
        check(&[
            ("GET /", Ok("ListBuckets")),
            ("HEAD /b", Ok("HeadBucket")),
            ("GET /b", Ok("ListObjects")),
            ("GET /b?list-type=2&prefix=&delimiter=", Ok("ListObjectsV2")),
            ("GET /b?location", Ok("GetBucketLocation")),
            ("GET /b?location=", Ok("GetBucketLocation")),
            ("GET /b?uploads&prefix=x", Ok("ListMultipartUploads")),
            ("POST /b?delete", Ok("DeleteObjects")),
            ("PUT /b/k", Ok("PutObject")),
            ("PUT /b/k?x-id=PutObject", Ok("PutObject")),
            ("PUT /b/k+copy", Ok("CopyObject")),
            ("GET /b/k?response-content-type=&X-Amz-Signature=x", Ok("GetObject")),
            ("GET /b/k?partNumber=1", Ok("GetObject")),
            ("GET /b/k?versionId=null", Ok("GetObject")),
            ("POST /b/k?uploads", Ok("CreateMultipartUpload")),
            ("PUT /b/k?uploadId=u&partNumber=1", Ok("UploadPart")),
            ("PUT /b/k+copy?uploadId=u&partNumber=1", Ok("UploadPartCopy")),
            ("GET /b/k?uploadId=u", Ok("ListParts")),
            ("POST /b/k?uploadId=u", Ok("CompleteMultipartUpload")),
            ("DELETE /b/k?uploadId=u", Ok("AbortMultipartUpload")),
            ("DELETE /b/k?tagging", Ok("DeleteObjectTagging")),
            ("GET /b/k?attributes", Ok("GetObjectAttributes")),
        ]);
    }

    /// C.9.1: none of these may be taken for the plain operation of its method.
    #[test]
    fn a_sub_resource_is_never_passed_over() {
        check(&[
            ("PUT /b/k?acl", Err("NotImplemented")),
            ("PUT /b/k?retention", Err("NotImplemented")),
            ("PUT /b/k?legal-hold=", Err("NotImplemented")),
            ("GET /b/k?torrent", Err("NotImplemented")),
            ("GET /b?policy", Err("NotImplemented")),
            ("GET /b?versions", Err("NotImplemented")),
            ("PUT /b/k?somethingNew", Err("NotImplemented")),
            ("PUT /b/k?tagging&acl", Err("NotImplemented")),
            ("DELETE /b/k?uploads", Err("MethodNotAllowed")),
            ("PUT /b?versioning", Err("MethodNotAllowed")),
            ("PUT /b/k?attributes", Err("MethodNotAllowed")),
            ("HEAD /b/k?tagging", Err("MethodNotAllowed")),
            ("DELETE /b?location", Err("MethodNotAllowed")),
            ("PUT /b/k?tagging&uploadId=u", Err("InvalidArgument")),
            ("PUT /b/k?partNumber=1", Ok("UploadPart")),
        ]);
    }

    #[test]
    fn versions_are_none() {
        check(&[
            ("GET /b/k?versionId=", Ok("GetObject")),
            ("GET /b/k?versionId=abc", Err("NoSuchVersion")),
            ("DELETE /b/k?versionId=abc", Err("NoSuchVersion")),
            ("PUT /b/k?tagging&versionId=abc", Err("NoSuchVersion")),
            ("PUT /b/k?versionId=abc", Err("InvalidArgument")),
            ("PUT /b/k?versionId=null", Err("InvalidArgument")),
        ]);
    }

    #[test]
    fn other_methods_are_not_allowed() {
        check(&[
            ("PATCH /b/k", Err("MethodNotAllowed")),
            ("OPTIONS /b/k", Err("MethodNotAllowed")),
            ("POST /b/k", Err("MethodNotAllowed")),
            ("POST /b", Err("MethodNotAllowed")),
            ("PUT /", Err("MethodNotAllowed")),
        ]);
    }
}
