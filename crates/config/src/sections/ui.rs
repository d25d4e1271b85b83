//! `ui`: the dashboard.

use crate::report::Place;
use crate::secret::Secret;
use crate::section::{none, or, section};

section! {
    /// The dashboard in a browser.
    pub struct Ui {
        /// Whether there is one.
        pub enabled: bool = or(false),
        /// Its path on the listener.
        pub path: String = or("/ui"),
        /// Name to log in with.
        pub admin_key: Option<Secret> = none(),
        /// Secret to log in with, plain or as a bcrypt hash.
        pub admin_secret: Option<Secret> = none(),
        /// Token of the admin API. The Go program falls back to admin_key, a name that it shows in its log; here there is
        /// no fallback.
        pub admin_token: Option<Secret> = none(),
        /// Signs sessions; the same on all instances.
        pub session_secret: Option<Secret> = none(),
        /// Mark session cookies as Secure even where TLS cannot be seen.
        pub force_secure_cookies: bool = or(false),
    }
}

impl Ui {
    pub(crate) fn check(&self, at: &Place<'_>, has_root: bool) {
        let path = &self.path;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !path.starts_with('/') || path.trim_matches('/').is_empty() || !path.chars().all(legal) {
            at.key("path").refuse("must be a path such as `/ui`, and not `/` itself");
        }
        let keys = [
            ("admin_key", &self.admin_key),
            ("admin_secret", &self.admin_secret),
            ("session_secret", &self.session_secret),
        ];
        for (name, value) in keys {
            let key = at.key(name);
            let needed = name == "session_secret" || !has_root;
            if self.enabled && needed && value.is_none() {
                key.refuse("is required when the dashboard is enabled");
            }
        }
    }
}
