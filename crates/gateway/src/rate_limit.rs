//! A token bucket per client, in a table of bounded size.
//!
//! A client is an IPv4 address or an IPv6 /64, for one household has all of that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runtime::Instant;

const SHARDS: usize = 16;
/// Clients remembered in all shards together: at 48 bytes each about 3 MB.
const CLIENTS_MAX: usize = 65_536;

/// How many requests one client may make.
#[derive(Debug, Clone)]
pub struct RateLimitOptions {
    /// Requests per second, on average.
    pub requests_per_sec: f64,
    /// Requests at once, after a pause.
    pub burst: u32,
    /// A client that was not seen for this long is forgotten.
    pub forget_after: Duration,
}

/// The table.
pub(crate) struct RateLimit {
    options: RateLimitOptions,
    shards: [Mutex<HashMap<u128, Allowance>>; SHARDS],
}

struct Allowance {
    tokens: f64,
    at: Instant,
}

impl RateLimit {
    pub(crate) fn new(options: RateLimitOptions) -> Self {
        Self { options, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Takes one request from the client's allowance; `false` where there is none left.
    pub(crate) fn allow(&self, client: IpAddr, now: Instant) -> bool {
        let key = client_key(client);
        let burst = f64::from(self.options.burst.max(1));
        let mut shard = self.shards[shard_of(key)].lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= CLIENTS_MAX / SHARDS && !shard.contains_key(&key) {
            make_room(&mut shard, now, self.options.forget_after);
        }
        let allowance = shard.entry(key).or_insert(Allowance { tokens: burst, at: now });
        let since = now.saturating_duration_since(allowance.at).as_secs_f64();
        allowance.tokens = (allowance.tokens + since * self.options.requests_per_sec).min(burst);
        allowance.at = now;
        if allowance.tokens < 1.0 {
            return false;
        }
        allowance.tokens -= 1.0;
        true
    }
}

/// Forgets who was not seen for long; where all were, every other one: a flood of made-up addresses must
/// not grow the table, and whoever is forgotten only starts with a full allowance.
fn make_room(shard: &mut HashMap<u128, Allowance>, now: Instant, forget_after: Duration) {
    shard.retain(|_, allowance| now.saturating_duration_since(allowance.at) < forget_after);
    if shard.len() >= CLIENTS_MAX / SHARDS {
        let mut keep = false;
        shard.retain(|_, _| {
            keep = !keep;
            keep
        });
    }
}

fn client_key(client: IpAddr) -> u128 {
    match client {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        // Never mistaken for an IPv4 address: the upper half of a global address is not 0.
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64 | 1,
    }
}

fn shard_of(key: u128) -> usize {
    let mixed = (key as u64 ^ (key >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 60) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> RateLimit {
        let forget_after = Duration::from_secs(300);
        RateLimit::new(RateLimitOptions { requests_per_sec: 2.0, burst: 3, forget_after })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_the_rate() {
        let (limit, client) = (limit(), ip("192.0.2.1"));
        let now = Instant::now();
        assert_eq!((0..5).filter(|_| limit.allow(client, now)).count(), 3);
        let later = now + Duration::from_millis(1000);
        assert_eq!((0..5).filter(|_| limit.allow(client, later)).count(), 2);
        assert!(limit.allow(ip("192.0.2.2"), now), "another client has its own allowance");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_network_is_one_client() {
        let limit = limit();
        let now = Instant::now();
        let allowed = (0..10).filter(|i| limit.allow(ip(&format!("2001:db8::{i}")), now)).count();
        assert_eq!(allowed, 3);
        assert!(limit.allow(ip("2001:db8:0:1::1"), now));
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_addresses_do_not_grow_the_table() {
        let limit = limit();
        let now = Instant::now();
        for i in 0..200_000u32 {
            limit.allow(IpAddr::V4(i.into()), now);
        }
        let clients: usize = limit.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(clients <= CLIENTS_MAX, "{clients}");
    }
}
