//! A token that stays alive.
//!
//! It is renewed when two thirds of its life are over (a little earlier or later, so that many processes do
//! not ask at once). Where renewal ends, whoever can logs in again. While a token is renewed, everybody else
//! goes on with it: only where there is none does anybody wait.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::{Chance, Instant};

use crate::auth::{Auth, Credential, Login};
use crate::client::Vault;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;

/// Shortest and longest pause after a renewal or login that failed.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often [`Session::keep`] looks where nothing is due for long.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A login, and the token that it gave.
pub struct Session {
    vault: Vault,
    login: Login,
    chance: Chance,
    held: Mutex<Option<Held>>,
    /// Who holds it logs in or renews; one at a time.
    working: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Held {
    token: Arc<Secret>,
    life: Life,
    stamp: Option<Stamp>,
}

/// How long a token is good, and when to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Life {
    /// Its length at the login.
    first: Option<Duration>,
    /// `None` is never.
    ends: Option<Instant>,
    due: Option<Instant>,
    renewable: bool,
}

/// What tells a changed file from the one that was read.
type Stamp = (std::time::SystemTime, u64);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Use,
    Renew,
    LogIn,
}

impl Life {
    /// Of a token that was given for `ttl` at `now`. `jitter` is 0.0 to 1.0.
    fn new(now: Instant, ttl: Option<Duration>, renewable: bool, jitter: f64) -> Self {
        // 2/3, give or take a twentieth.
        let due = ttl.map(|ttl| now + ttl.mul_f64(2.0 / 3.0 - 0.05 + 0.1 * jitter));
        Self { first: ttl, ends: ttl.map(|ttl| now + ttl), due, renewable }
    }

    fn step(&self, now: Instant) -> Step {
        match (self.ends, self.due) {
            (Some(ends), _) if now >= ends => Step::LogIn,
            (_, Some(due)) if now >= due && self.renewable => Step::Renew,
            (_, Some(due)) if now >= due => Step::LogIn,
            _ => Step::Use,
        }
    }

    /// The same after a renewal or login that failed: with a pause, and for as long as the token lives.
    fn postponed(self, now: Instant) -> Self {
        let left = self.ends.map_or(AGAIN_AFTER.1, |ends| ends.saturating_duration_since(now));
        Self { due: Some(now + (left / 8).clamp(AGAIN_AFTER.0, AGAIN_AFTER.1)), ..self }
    }

    /// Whether a renewal to `ttl` shows that the token comes to its end all the same.
    fn runs_out(&self, ttl: Option<Duration>) -> bool {
        matches!((self.first, ttl), (Some(first), Some(ttl)) if ttl < first / 2)
    }
}

impl Session {
    /// A session that has not logged in yet.
    #[must_use]
    pub fn new(vault: Vault, login: Login, chance: Chance) -> Self {
        Self { vault, login, chance, held: Mutex::default(), working: tokio::sync::Mutex::default() }
    }

    /// The node that it logs in at.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// A token that is good now. Logs in or renews where that is due.
    ///
    /// # Errors
    /// Where there is none and no login succeeds.
    pub async fn token(&self) -> Result<Arc<Secret>, Error> {
        if let Some(held) = self.usable().await {
            let now = runtime::instant_now();
            if held.life.step(now) == Step::Use {
                return Ok(held.token);
            }
            if held.life.ends.is_none_or(|ends| now < ends) {
                // Due, but good: one renews, the others go on.
                if let Ok(_working) = self.working.try_lock() {
                    self.refresh(&held).await;
                }
                return Ok(self.current().map_or(held.token, |held| held.token));
            }
        }
        let _working = self.working.lock().await;
        // Somebody else may have done it meanwhile.
        if let Some(held) = self.current()
            && held.life.step(runtime::instant_now()) == Step::Use
        {
            return Ok(held.token);
        }
        self.log_in().await
    }

    /// Forgets a token that the server refused, so that the next call logs in again.
    pub fn forget(&self, token: &Secret) {
        let mut held = self.lock();
        if held.as_ref().is_some_and(|held| held.token.expose() == token.expose()) {
            *held = None;
        }
    }

    /// Makes a call with a token; where that is denied, once more with a new one.
    ///
    /// # Errors
    /// Those of the login and of the call.
    pub async fn call<T, F, Fut>(&self, mut call: F) -> Result<T, Error>
    where
        F: FnMut(Arc<Secret>) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let token = self.token().await?;
        match call(Arc::clone(&token)).await {
            Err(error) if error.kind == ErrorKind::Denied => {
                self.forget(&token);
                let new = self.token().await?;
                // The same token would be denied the same.
                if new.expose() == token.expose() { Err(error) } else { call(new).await }
            }
            done => done,
        }
    }

    /// Keeps the token alive for as long as this is polled, also while nobody asks for it.
    pub async fn keep(&self) {
        loop {
            let wait = match self.token().await {
                Ok(_) => self.until_due(),
                Err(error) => {
                    tracing::warn!("no token: {error}");
                    AGAIN_AFTER.1
                }
            };
            runtime::sleep(wait).await;
        }
    }

    fn until_due(&self) -> Duration {
        let due = self.current().and_then(|held| held.life.due);
        let left = due.map_or(LOOK_EVERY, |due| due.saturating_duration_since(runtime::instant_now()));
        left.clamp(AGAIN_AFTER.0, LOOK_EVERY)
    }

    /// What is held, unless the file that it came from has changed.
    async fn usable(&self) -> Option<Held> {
        let held = self.current()?;
        if held.stamp == self.stamp().await {
            return Some(held);
        }
        self.forget(&held.token);
        None
    }

    async fn stamp(&self) -> Option<Stamp> {
        let Login::Token(Credential::File(path)) = &self.login else { return None };
        let metadata = tokio::fs::metadata(path).await.ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    /// Renews or logs in while the old token is good; a failure only postpones.
    async fn refresh(&self, held: &Held) {
        let failed = if held.life.step(runtime::instant_now()) == Step::Renew {
            match self.vault.renew_token(&held.token).await {
                Ok(auth) if !held.life.runs_out(auth.ttl()) || !self.can_log_in() => {
                    self.hold(auth, held.stamp, held.life.first);
                    return;
                }
                Ok(_) => self.log_in().await.err(),
                Err(error) if self.can_log_in() && refused(&error) => self.log_in().await.err(),
                Err(error) => Some(error),
            }
        } else if self.can_log_in() {
            self.log_in().await.err()
        } else {
            None
        };
        if let Some(error) = failed {
            tracing::warn!("the token was not renewed, and is used on as long as it lives: {error}");
        }
        let now = runtime::instant_now();
        let mut current = self.lock();
        if let Some(current) = current.as_mut().filter(|current| current.life == held.life) {
            current.life = held.life.postponed(now);
        }
    }

    /// Whether another login can give another token.
    fn can_log_in(&self) -> bool {
        !matches!(self.login, Login::Token(Credential::Value(_) | Credential::Env(_)))
    }

    async fn log_in(&self) -> Result<Arc<Secret>, Error> {
        // Before the file is read: a change in between is then seen as one.
        let stamp = self.stamp().await;
        let auth = self.vault.log_in(&self.login).await?;
        tracing::debug!(node = self.vault.address(), ttl_seconds = auth.ttl_seconds, "logged in");
        let first = auth.ttl();
        Ok(self.hold(auth, stamp, first))
    }

    fn hold(&self, auth: Auth, stamp: Option<Stamp>, first: Option<Duration>) -> Arc<Secret> {
        #[expect(clippy::cast_precision_loss, reason = "jitter needs no more than 53 bits")]
        let jitter = self.chance.below(1 << 20) as f64 / f64::from(1 << 20);
        let life = Life::new(runtime::instant_now(), auth.ttl(), auth.renewable, jitter);
        let token = Arc::new(auth.token);
        let life = Life { first, ..life };
        *self.lock() = Some(Held { token: Arc::clone(&token), life, stamp });
        token
    }

    fn current(&self) -> Option<Held> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Denied | ErrorKind::Refused)
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session(at {})", self.vault.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn check(life: Life, start: Instant, minutes: u64, step: &Step) {
        assert_eq!(&life.step(start + Duration::from_secs(60 * minutes)), step, "after {minutes} minutes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_at_two_thirds_of_its_life() {
        let start = runtime::instant_now();
        for jitter in [0.0, 0.5, 1.0] {
            let life = Life::new(start, Some(HOUR), true, jitter);
            check(life, start, 36, &Step::Use);
            check(life, start, 44, &Step::Renew);
            check(life, start, 60, &Step::LogIn);
        }
        assert_ne!(Life::new(start, Some(HOUR), true, 0.0).due, Life::new(start, Some(HOUR), true, 1.0).due);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_renewed_is_replaced_before_it_ends() {
        let start = runtime::instant_now();
        check(Life::new(start, Some(HOUR), false, 0.5), start, 44, &Step::LogIn);
        check(Life::new(start, None, false, 0.5), start, 1_000_000, &Step::Use);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_postpones_and_never_beyond_the_end() {
        let start = runtime::instant_now();
        let life = Life::new(start, Some(HOUR), true, 0.5);
        let later = life.postponed(start + Duration::from_secs(45 * 60));
        check(later, start, 45, &Step::Use);
        check(later, start, 47, &Step::Renew);
        check(later, start, 60, &Step::LogIn);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_gives_little_shows_the_end() {
        let life = Life::new(runtime::instant_now(), Some(HOUR), true, 0.5);
        assert!(!life.runs_out(Some(HOUR)));
        assert!(life.runs_out(Some(HOUR / 3)));
        assert!(!life.runs_out(None));
    }
}
