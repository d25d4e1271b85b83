//! Who may ask: whoever shows the token. Guessing is slow.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use ring::hmac;
use runtime::Instant;
use sha2::{Digest, Sha256};
use types::Timestamp;

use crate::answer::Refused;

/// Carries the token.
pub const TOKEN_HEADER: &str = "x-admin-token";

/// Wrong tokens that one client may show before it has to wait.
const FAILURES_MAX: u32 = 10;
/// How long it has to wait then, and how long a wrong token is remembered.
const LOCKED_FOR: Duration = Duration::from_secs(60);
/// Clients whose wrong tokens are remembered.
const CLIENTS_MAX: usize = 4096;

/// Checks tokens.
pub(crate) struct Guard {
    /// Digests are compared, so the time that it takes tells nothing of the token.
    token: [u8; 32],
    failures: Mutex<HashMap<u128, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Guard {
    pub(crate) fn new(token: &str) -> Self {
        Self { token: Sha256::digest(token.as_bytes()).into(), failures: Mutex::default() }
    }

    /// Refuses whoever does not show the token, and whoever tried too often, right or wrong.
    pub(crate) fn check(&self, headers: &HeaderMap, client: IpAddr) -> Result<(), Refused> {
        let (key, now) = (client_key(client), runtime::instant_now());
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failures.get(&key).copied().filter(|failed| now - failed.last < LOCKED_FOR);
        if before.is_some_and(|failed| failed.count >= FAILURES_MAX) {
            return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens: wait a minute"));
        }
        if headers.get(TOKEN_HEADER).is_some_and(|shown| self.is_token(shown.as_bytes())) {
            failures.remove(&key);
            return Ok(());
        }
        if failures.len() >= CLIENTS_MAX {
            make_room(&mut failures, now);
        }
        let count = before.map_or(0, |failed| failed.count) + 1;
        failures.insert(key, Failures { count, last: now });
        Err(Refused::new(StatusCode::UNAUTHORIZED, "unauthorized"))
    }

    /// What confirms something that was shown a moment ago: nobody without the token can make it up.
    pub(crate) fn confirmation(&self, what: &str, until: Timestamp) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.token);
        let until = until.as_secs();
        let tag = hmac::sign(&key, format!("{what}|{until}").as_bytes());
        format!("{until}.{}", hex::encode(tag))
    }

    /// Whether this is the confirmation of that, and not too old.
    pub(crate) fn is_confirmed(&self, what: &str, shown: &str, now: Timestamp) -> bool {
        let Some((until, tag)) = shown.split_once('.') else { return false };
        let (Ok(until), Ok(tag)) = (until.parse::<u64>(), hex::decode(tag)) else { return false };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.token);
        until >= now.as_secs() && hmac::verify(&key, format!("{what}|{until}").as_bytes(), &tag).is_ok()
    }

    fn is_token(&self, shown: &[u8]) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        shown.iter().zip(&self.token).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// Forgets who has waited long enough; where nobody has, every other one.
fn make_room(failures: &mut HashMap<u128, Failures>, now: Instant) {
    failures.retain(|_, failed| now - failed.last < LOCKED_FOR);
    if failures.len() >= CLIENTS_MAX {
        let mut keep = false;
        failures.retain(|_, _| {
            keep = !keep;
            keep
        });
    }
}

/// An IPv4 address, or the /64 of an IPv6 one: a household has all of that.
fn client_key(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64 | 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(TOKEN_HEADER.parse().unwrap(), token.parse().unwrap())])
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_token_opens() {
        let guard = Guard::new("a secret");
        assert!(guard.check(&shown("a secret"), ip(1)).is_ok());
        for wrong in ["", "a secre", "a secret ", "A secret"] {
            assert!(guard.check(&shown(wrong), ip(1)).is_err(), "{wrong:?}");
        }
        assert!(guard.check(&HeaderMap::new(), ip(1)).is_err());
        assert!(guard.check(&shown("a secret"), ip(1)).is_ok(), "a few slips lock nobody out");
    }

    #[tokio::test(start_paused = true)]
    async fn n117_guessing_is_slow() {
        let guard = Guard::new("a secret");
        let status =
            |token: &str, client| guard.check(&shown(token), client).map_err(|r| r.into_response().status());
        for _ in 0..FAILURES_MAX {
            assert_eq!(status("guess", ip(1)), Err(StatusCode::UNAUTHORIZED));
        }
        assert_eq!(status("guess", ip(1)), Err(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(
            status("a secret", ip(1)),
            Err(StatusCode::TOO_MANY_REQUESTS),
            "the right one says nothing"
        );
        assert_eq!(status("a secret", ip(2)), Ok(()), "nobody else has to wait");
        runtime::sleep(LOCKED_FOR).await;
        assert_eq!(status("a secret", ip(1)), Ok(()));
    }

    #[test]
    fn a_confirmation_is_of_one_thing_for_a_while() {
        let (guard, at) = (Guard::new("a secret"), |secs: u64| Timestamp::from_millis(secs * 1000));
        let shown = guard.confirmation("purge|disk", at(60));
        assert!(guard.is_confirmed("purge|disk", &shown, at(60)));
        assert!(!guard.is_confirmed("purge|disk", &shown, at(61)), "too old");
        assert!(!guard.is_confirmed("purge|other", &shown, at(0)));
        assert!(!Guard::new("another").is_confirmed("purge|disk", &shown, at(0)));
        let later = shown.replacen("60.", "99.", 1);
        for wrong in ["", "60", "60.", "x.y", &later] {
            assert!(!guard.is_confirmed("purge|disk", wrong, at(0)), "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_addresses_do_not_grow_the_table() {
        let guard = Guard::new("a secret");
        for number in 0..20_000_u32 {
            let _ = guard.check(&HeaderMap::new(), IpAddr::V4(number.into()));
        }
        assert!(guard.failures.lock().unwrap().len() <= CLIENTS_MAX);
    }
}
