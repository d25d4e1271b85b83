//! What a request is about: the service, a bucket, or an object.

use types::{BucketName, ObjectKey};

use crate::error::{Code, Fault, Outcome};
use crate::percent;

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// All buckets.
    Service,
    /// A bucket.
    Bucket(BucketName),
    /// An object.
    Object(BucketName, ObjectKey),
}

impl Target {
    /// Reads a path and, where domains are configured, the host.
    pub(crate) fn parse(path: &str, host: Option<&str>, domains: &[String]) -> Outcome<Self> {
        let path = percent::decode(path, false).ok_or(Fault::from(Code::InvalidURI))?;
        let path = path.strip_prefix('/').ok_or(Fault::from(Code::InvalidURI))?;
        if let Some(bucket) = host.and_then(|host| bucket_of_host(host, domains)) {
            return Self::new(bucket, path);
        }
        match path.split_once('/') {
            Some((bucket, key)) => Self::new(bucket, key),
            None if path.is_empty() => Ok(Self::Service),
            None => Self::new(path, ""),
        }
    }

    fn new(bucket: &str, key: &str) -> Outcome<Self> {
        let name = BucketName::parse(bucket).map_err(|_| Fault::from(Code::InvalidBucketName))?;
        if key.is_empty() {
            return Ok(Self::Bucket(name));
        }
        Ok(Self::Object(name, object_key(key)?))
    }

    /// The bucket, where there is one.
    pub(crate) fn bucket(&self) -> Option<&BucketName> {
        match self {
            Self::Service => None,
            Self::Bucket(bucket) | Self::Object(bucket, _) => Some(bucket),
        }
    }

    /// The key, where there is one.
    pub(crate) fn key(&self) -> Option<&ObjectKey> {
        match self {
            Self::Object(_, key) => Some(key),
            _ => None,
        }
    }
}

/// Takes text as a key.
pub(crate) fn object_key(text: &str) -> Outcome<ObjectKey> {
    ObjectKey::parse(text).map_err(|_| {
        Fault::from(Code::KeyTooLongError)
            .with_detail("Size", text.len().to_string())
            .with_detail("MaxSizeAllowed", ObjectKey::BYTES_MAX.to_string())
    })
}

/// The bucket in `bucket.domain`. The longest domain that fits decides.
pub(crate) fn bucket_of_host<'h>(host: &'h str, domains: &[String]) -> Option<&'h str> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    if domains.iter().any(|domain| domain.eq_ignore_ascii_case(host)) {
        return None;
    }
    let fits = |domain: &&String| {
        host.len() > domain.len() + 1
            && host.is_char_boundary(host.len() - domain.len())
            && host[host.len() - domain.len()..].eq_ignore_ascii_case(domain)
            && host.as_bytes()[host.len() - domain.len() - 1] == b'.'
    };
    let domain = domains.iter().filter(fits).max_by_key(|domain| domain.len())?;
    Some(&host[..host.len() - domain.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, host: &str, expected: (Option<&str>, Option<&str>)) {
        let domains = ["s3.example.com".to_owned(), "example.com".to_owned()];
        let target = Target::parse(path, Some(host), &domains).unwrap();
        let got = (target.bucket().map(BucketName::as_str), target.key().map(ObjectKey::as_str));
        assert_eq!(got, expected, "{path} at {host}");
    }

    #[test]
    fn path_style_works_always() {
        check("/", "localhost:9000", (None, None));
        check("/b", "s3.example.com", (Some("b"), None));
        check("/b/", "127.0.0.1:9000", (Some("b"), None));
        check("/b/k/l", "s3.example.com:443", (Some("b"), Some("k/l")));
        check("/My_Bucket/k", "x", (Some("My_Bucket"), Some("k")));
    }

    #[test]
    fn a_host_may_name_the_bucket() {
        check("/", "b.s3.example.com", (Some("b"), None));
        check("/k/l", "b.S3.Example.com:9000", (Some("b"), Some("k/l")));
        check("/k", "a.b.s3.example.com", (Some("a.b"), Some("k")));
    }

    #[test]
    fn keys_reach_us_unchanged() {
        for (path, key) in [
            ("/b//", "/"),
            ("/b//x//y", "/x//y"),
            ("/b/.", "."),
            ("/b/../x", "../x"),
            ("/b/%2e%2e%2fx", "../x"),
            ("/b/a%00b", "a\0b"),
            ("/b/a%0Ab", "a\nb"),
            ("/b/a+b", "a+b"),
            ("/b/%E9%8D%B5", "鍵"),
        ] {
            check(path, "x", (Some("b"), Some(key)));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (path, code) in [
            ("/b/%ff", Code::InvalidURI),
            ("/b/%4", Code::InvalidURI),
            ("//k", Code::InvalidBucketName),
            ("/../k", Code::InvalidBucketName),
            (&format!("/b/{}", "k".repeat(1025)), Code::KeyTooLongError),
        ] {
            assert_eq!(Target::parse(path, None, &[]).unwrap_err().code, code, "{path}");
        }
    }
}
