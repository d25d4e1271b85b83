//! `notifications`: webhooks.

use std::time::Duration;

use crate::net::after_scheme;
use crate::report::Place;
use crate::secret::Secret;
use crate::section::{empty, none, or, required, section};

section! {
    /// Webhooks.
    pub struct Notifications {
        /// Who is told.
        pub endpoints: Vec<NotificationEndpoint> = empty(),
    }
}

section! {
    /// One receiver of events.
    pub struct NotificationEndpoint {
        /// Its address, `https://` or `http://`. Treated as a secret, because many receivers put a token into it.
        pub url: Secret = required(),
        /// Events it is told of: names, `*`, or names that end in `*`.
        pub events: Vec<String> = required(),
        /// Only subjects that begin with this.
        pub prefix: String = or(""),
        /// Signs each message.
        pub secret: Option<Secret> = none(),
        /// How long it may take to answer.
        pub timeout: Duration = or(Duration::from_secs(5)),
        /// Further attempts after a failure.
        pub max_retries: u32 = or(3_u32),
    }
}

impl Notifications {
    pub(crate) fn check(&self, at: &Place<'_>) {
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let place = at.key("endpoints").item(index);
            if after_scheme(endpoint.url.expose()).is_err() {
                place.key("url").refuse("must be an address that begins with `https://` or `http://`");
            }
            place.key("timeout").above_zero(endpoint.timeout);
            for (number, event) in endpoint.events.iter().enumerate() {
                let stem = event.strip_suffix('*').unwrap_or(event);
                if event.is_empty() || stem.contains('*') {
                    let key = place.key("events").item(number);
                    key.refuse("must be the name of an event, `*`, or a name that ends in `*`");
                }
            }
        }
    }
}
