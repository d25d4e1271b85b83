//! What a signature has to be before it is worth computing: the checks that `s3s` leaves to us.
//!
//! It verifies signature, clock skew and expiry of SigV4. Here: nothing anonymous, nothing of SigV2, a scope
//! that is ours, and every header that matters among the signed ones.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};

use crate::error::{Code, Fault, Outcome};
use crate::query::Query;

/// Longest life of a presigned URL, in seconds: a week.
const EXPIRES_MAX: u64 = 604_800;

/// Checks the form of a request's signature. Browser forms carry theirs in the body and are not for this.
pub(crate) fn check(
    headers: &HeaderMap,
    query: &Query,
    authority: Option<&str>,
    region: &str,
) -> Outcome<()> {
    let in_query =
        query.has("X-Amz-Signature") || query.has("X-Amz-Algorithm") || query.has("X-Amz-Credential");
    let old = query.has("Signature") && query.has("AWSAccessKeyId");
    match (headers.get(AUTHORIZATION), in_query || old) {
        (Some(_), true) => Err(Fault::argument(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query \
             string parameter or the Authorization header should be specified",
        )),
        (None, true) if old => Err(unsupported()),
        (None, true) => check_presigned(headers, query, authority, region),
        (None, false) => Err(Code::AccessDenied.into()),
        (Some(value), false) => {
            let mut all = headers.get_all(AUTHORIZATION).iter();
            let text = value.to_str().map_err(|_| malformed("is not text"))?;
            if all.nth(1).is_some() {
                return Err(malformed("stands twice"));
            }
            check_header(text, headers, authority, region)
        }
    }
}

fn check_header(text: &str, headers: &HeaderMap, authority: Option<&str>, region: &str) -> Outcome<()> {
    let (algorithm, rest) = text.split_once(' ').unwrap_or((text, ""));
    match algorithm {
        "AWS4-HMAC-SHA256" => {}
        "AWS" => return Err(unsupported()),
        _ => return Err(Fault::argument("Unsupported Authorization Type")),
    }
    let field = |name: &str| {
        let mut fields = rest.split(',').map(str::trim);
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let credential = field("Credential").ok_or_else(|| malformed("has no Credential"))?;
    let signed = field("SignedHeaders").ok_or_else(|| malformed("has no SignedHeaders"))?;
    field("Signature").ok_or_else(|| malformed("has no Signature"))?;
    check_scope(credential, region).map_err(|problem| match problem {
        Scope::Region(expected, got) => wrong_region(&expected, &got),
        Scope::Other(problem) => malformed(problem),
    })?;
    check_signed(signed, headers, authority)
}

fn check_presigned(headers: &HeaderMap, query: &Query, authority: Option<&str>, region: &str) -> Outcome<()> {
    let parameter =
        |name: &'static str| query.filled(name).ok_or_else(|| bad_query(format!("{name} is missing")));
    if parameter("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
        return Err(bad_query("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    parameter("X-Amz-Signature")?;
    parameter("X-Amz-Date")?;
    check_scope(parameter("X-Amz-Credential")?, region).map_err(|problem| match problem {
        Scope::Region(expected, got) => wrong_region(&expected, &got),
        Scope::Other(problem) => bad_query(format!("the credential {problem}")),
    })?;
    match parameter("X-Amz-Expires")?.parse::<u64>() {
        Ok(1..=EXPIRES_MAX) => {}
        Ok(0) | Err(_) => return Err(bad_query("X-Amz-Expires should be a positive number")),
        Ok(_) => return Err(bad_query("X-Amz-Expires must be less than a week (in seconds)")),
    }
    check_signed(parameter("X-Amz-SignedHeaders")?, headers, authority)
}

/// What is wrong with a credential's scope.
pub(crate) enum Scope {
    /// Another region: the expected one, the given one.
    Region(String, String),
    /// Something else.
    Other(&'static str),
}

/// `KEY/20130524/us-east-1/s3/aws4_request`. A key may hold slashes.
pub(crate) fn check_scope(credential: &str, region: &str) -> Result<(), Scope> {
    let mut parts = credential.rsplitn(5, '/');
    let (terminator, service, scope_region) = (parts.next(), parts.next(), parts.next());
    let (date, key) = (parts.next(), parts.next());
    if key.is_none_or(str::is_empty) || date.is_none_or(|date| date.len() != 8) {
        return Err(Scope::Other("has a malformed scope"));
    }
    if terminator != Some("aws4_request") {
        return Err(Scope::Other("does not end in aws4_request"));
    }
    if service != Some("s3") {
        return Err(Scope::Other("has a wrong service. This endpoint belongs to \"s3\""));
    }
    match scope_region {
        Some(given) if given == region || given == "us-east-1" || given == "auto" => Ok(()),
        given => Err(Scope::Region(region.to_owned(), given.unwrap_or_default().to_owned())),
    }
}

/// `host` and every `x-amz-*` header that came has to be signed, and every signed one has to have come.
fn check_signed(signed: &str, headers: &HeaderMap, authority: Option<&str>) -> Outcome<()> {
    let is_signed = |name: &str| signed.split(';').any(|one| one == name);
    if !is_signed("host") {
        return Err(unsigned("host"));
    }
    for name in headers.keys().map(http::HeaderName::as_str) {
        if name.starts_with("x-amz-") && !is_signed(name) {
            return Err(unsigned(name));
        }
    }
    for name in signed.split(';') {
        let present = headers.contains_key(name) || (name == HOST.as_str() && authority.is_some());
        if !present {
            return Err(Fault::new(
                Code::SignatureDoesNotMatch,
                "A signed header is missing from the request.",
            )
            .with_detail("HeadersMissing", name));
        }
    }
    Ok(())
}

fn unsigned(name: &str) -> Fault {
    Fault::new(Code::AccessDenied, "There were headers present in the request which were not signed")
        .with_detail("HeadersNotSigned", name)
}

fn unsupported() -> Fault {
    Fault::request(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

fn malformed(problem: &str) -> Fault {
    Fault::new(
        Code::AuthorizationHeaderMalformed,
        format!("The authorization header is malformed: it {problem}"),
    )
}

fn bad_query(problem: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Fault::new(Code::AuthorizationQueryParametersError, problem)
}

/// Clients read the region from here and sign again.
fn wrong_region(expected: &str, given: &str) -> Fault {
    let message = format!(
        "The authorization header is malformed; the region '{given:.64}' is wrong; expecting '{expected}'"
    );
    Fault::new(Code::AuthorizationHeaderMalformed, message).with_detail("Region", expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "KEY/20260101/us-east-1/s3/aws4_request";

    fn header(credential: &str, signed: &str) -> String {
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature=ab")
    }

    fn check_header_auth(authorization: &str, expected: Result<(), Code>) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "x".parse().unwrap());
        headers.insert("x-amz-date", "20260101T000000Z".parse().unwrap());
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        let got = check(&headers, &Query::default(), None, "eu-west-1").map_err(|fault| fault.code);
        assert_eq!(got, expected, "{authorization}");
    }

    #[test]
    fn a_scope_has_to_be_ours() {
        let signed = "host;x-amz-date";
        check_header_auth(&header(SCOPE, signed), Ok(()));
        check_header_auth(&header("KEY/20260101/eu-west-1/s3/aws4_request", signed), Ok(()));
        check_header_auth(&header("KEY/20260101/auto/s3/aws4_request", signed), Ok(()));
        check_header_auth(&header("a/b/KEY/20260101/auto/s3/aws4_request", signed), Ok(()));
        for credential in [
            "KEY/20260101/mars/s3/aws4_request",
            "KEY/20260101//s3/aws4_request",
            "KEY/20260101/us-east-1/sts/aws4_request",
            "KEY/20260101/us-east-1/s3/aws5_request",
            "/20260101/us-east-1/s3/aws4_request",
            "KEY/us-east-1/s3/aws4_request",
            "KEY",
        ] {
            check_header_auth(&header(credential, signed), Err(Code::AuthorizationHeaderMalformed));
        }
    }

    /// N114: headers that change what a request does cannot be added behind the signer's back.
    #[test]
    fn what_matters_has_to_be_signed() {
        check_header_auth(&header(SCOPE, "x-amz-date"), Err(Code::AccessDenied));
        check_header_auth(&header(SCOPE, "host"), Err(Code::AccessDenied));
        check_header_auth(&header(SCOPE, "host;x-amz-date;x-amz-acl"), Err(Code::SignatureDoesNotMatch));
    }

    #[test]
    fn other_mechanisms_are_refused() {
        check_header_auth("AWS KEY:c2ln", Err(Code::InvalidRequest));
        check_header_auth("Basic YTpi", Err(Code::InvalidArgument));
        check_header_auth("AWS4-HMAC-SHA256 nonsense", Err(Code::AuthorizationHeaderMalformed));
        let anonymous = check(&HeaderMap::new(), &Query::default(), None, "us-east-1").unwrap_err();
        assert_eq!(anonymous.code, Code::AccessDenied);
    }

    fn check_query(change: &str, expected: Result<(), Code>) {
        let mut text = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={SCOPE}&X-Amz-Date=20260101T000000Z\
             &X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=ab"
        );
        if let Some((name, value)) = change.split_once('=') {
            let start = text.find(&format!("{name}=")).unwrap() + name.len() + 1;
            let end = text[start..].find('&').map_or(text.len(), |at| start + at);
            text.replace_range(start..end, value);
        }
        let query = Query::parse(Some(&text)).unwrap();
        let got = check(&HeaderMap::new(), &query, Some("x"), "us-east-1").map_err(|fault| fault.code);
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn presigned_urls_are_checked_alike() {
        check_query("", Ok(()));
        check_query("X-Amz-Expires=604800", Ok(()));
        let bad = Err(Code::AuthorizationQueryParametersError);
        check_query("X-Amz-Expires=604801", bad);
        check_query("X-Amz-Expires=0", bad);
        check_query("X-Amz-Expires=-1", bad);
        check_query("X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256", bad);
        check_query("X-Amz-Signature=", bad);
        check_query("X-Amz-SignedHeaders=x-amz-date", Err(Code::AccessDenied));
        check_query(
            "X-Amz-Credential=KEY/20260101/mars/s3/aws4_request",
            Err(Code::AuthorizationHeaderMalformed),
        );
        let old = Query::parse(Some("AWSAccessKeyId=K&Signature=s&Expires=9")).unwrap();
        assert_eq!(check(&HeaderMap::new(), &old, None, "r").unwrap_err().code, Code::InvalidRequest);
    }
}
