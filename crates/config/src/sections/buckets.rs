//! `buckets` and `auth`: what clients see, and who they are.

use std::collections::HashMap;

use types::BucketName;

use crate::report::Place;
use crate::scalar::choice;
use crate::secret::{AccessKeyId, Secret};
use crate::section::{empty, none, or, required, section};

choice! {
    /// A method that a browser may be allowed to use from another site.
    pub enum HttpMethod ("GET, HEAD, PUT, POST or DELETE") {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// PUT.
        Put = "PUT",
        /// POST.
        Post = "POST",
        /// DELETE.
        Delete = "DELETE",
    }
}

section! {
    /// A bucket as clients see it.
    pub struct Bucket {
        /// Its name. `health`, `ui`, `metrics` and `admin` are taken, as are the first words of ui.path and
        /// telemetry.metrics.path.
        pub name: BucketName = required(),
        /// Multipart uploads that may be open at once; 0 is unlimited.
        pub max_multipart_uploads: u32 = or(0_u32),
        /// Who may use it: at least one.
        pub credentials: Vec<Credential> = required(),
        /// What browsers may do from pages of other sites; the first rule that fits counts.
        pub cors: Vec<CorsRule> = empty(),
    }
}

section! {
    /// A key pair, or a token, that opens the bucket it is listed under. The same pair may be listed under several
    /// buckets and then sees them all.
    pub struct Credential {
        /// Access key id.
        pub access_key_id: Option<AccessKeyId> = none(),
        /// The secret of that key.
        pub secret_access_key: Option<Secret> = none(),
        /// A token for the X-Proxy-Token header, in place of a key pair or beside it.
        pub token: Option<Secret> = none(),
    }
}

section! {
    /// What browsers may do from pages of other sites.
    pub struct CorsRule {
        /// Origins, each with at most one `*`.
        pub allowed_origins: Vec<String> = required(),
        /// Methods.
        pub allowed_methods: Vec<HttpMethod> = required(),
        /// Request headers, each with at most one `*`.
        pub allowed_headers: Vec<String> = empty(),
        /// Answer headers that a script may read.
        pub expose_headers: Vec<String> = empty(),
        /// Seconds for which a browser may remember this.
        pub max_age: u32 = or(0_u32),
    }
}

section! {
    /// Credentials that belong to no bucket.
    pub struct Auth {
        /// The operator's own key pair: everything is allowed to it, the dashboard included.
        pub root: Option<RootCredential> = none(),
    }
}

section! {
    /// The operator's own key pair.
    pub struct RootCredential {
        /// Access key id.
        pub access_key_id: AccessKeyId = required(),
        /// The secret of that key.
        pub secret_access_key: Secret = required(),
    }
}

impl Credential {
    /// The key pair, where this is not a token alone.
    #[must_use]
    pub fn key_pair(&self) -> Option<(&AccessKeyId, &Secret)> {
        Some((self.access_key_id.as_ref()?, self.secret_access_key.as_ref()?))
    }

    fn check(&self, at: &Place<'_>) {
        if !at.sound(&["access_key_id", "secret_access_key", "token"]) {
            return;
        }
        match (&self.access_key_id, &self.secret_access_key) {
            (Some(_), None) => at.key("secret_access_key").refuse("is required with access_key_id"),
            (None, Some(_)) => at.key("access_key_id").refuse("is required with secret_access_key"),
            (None, None) if self.token.is_none() && at.is_sound() => {
                at.refuse("needs access_key_id and secret_access_key");
            }
            _ => {}
        }
    }
}

impl CorsRule {
    fn check(&self, at: &Place<'_>) {
        let patterns =
            [("allowed_origins", &self.allowed_origins), ("allowed_headers", &self.allowed_headers)];
        for (name, list) in patterns {
            for (index, pattern) in list.iter().enumerate() {
                if pattern.matches('*').count() > 1 {
                    at.key(name).item(index).refuse("may hold one `*` at most");
                }
            }
        }
    }
}

/// Checks all buckets: each by itself, and all against each other.
pub(crate) fn check_buckets(buckets: &[Bucket], reserved: &[String], at: &Place<'_>) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, bucket) in buckets.iter().enumerate() {
        let place = at.item(index);
        let name = bucket.name.as_str();
        let key = place.key("name");
        if reserved.iter().any(|reserved| reserved == name) {
            let hint = "choose another name: requests for it would never reach the bucket";
            key.refuse_with(format!("`{name}` is the path of something else"), hint);
        }
        if key.is_sound()
            && let Some(first) = names.insert(name, index)
        {
            key.refuse(format!("`{name}` is the name of buckets[{first}] already"));
        }
        for (index, credential) in bucket.credentials.iter().enumerate() {
            credential.check(&place.key("credentials").item(index));
        }
        for (index, rule) in bucket.cors.iter().enumerate() {
            rule.check(&place.key("cors").item(index));
        }
    }
    check_credentials(buckets, at);
}

/// One access key has one secret, and opens a bucket once.
fn check_credentials(buckets: &[Bucket], at: &Place<'_>) {
    let mut secrets: HashMap<&AccessKeyId, (String, &Secret)> = HashMap::new();
    let mut tokens: HashMap<&str, String> = HashMap::new();
    for (index, bucket) in buckets.iter().enumerate() {
        for (number, credential) in bucket.credentials.iter().enumerate() {
            let place = at.item(index).key("credentials").item(number);
            if let Some((id, secret)) = credential.key_pair()
                && !id.as_str().is_empty()
            {
                let (first, known) = secrets.entry(id).or_insert((place.path().to_owned(), secret));
                let own = format!("buckets[{index}].");
                if *known != secret {
                    let message = format!("{first} has the same access_key_id with another secret");
                    place.key("secret_access_key").refuse(message);
                } else if first != place.path() && first.starts_with(&own) {
                    place.key("access_key_id").refuse(format!("is the same as in {first}"));
                }
            }
            if let Some(token) = &credential.token
                && let Some(first) = tokens.insert(token.expose(), place.path().to_owned())
            {
                place.key("token").refuse(format!("is the same as in {first}"));
            }
        }
    }
}
