//! Randomness from one seed.

use std::sync::{Arc, Mutex, PoisonError};

/// A source of random numbers. Clones share one stream, so a seed decides all of it.
///
/// This is SplitMix64 (Steele, Lea, Flood 2014): good enough for identifiers and jitter, never for
/// secrets.
#[derive(Debug, Clone)]
pub struct Chance {
    state: Arc<Mutex<u64>>,
}

impl Chance {
    /// The stream that this seed names.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(seed)) }
    }

    /// A stream that nobody can foretell, seeded by the operating system.
    #[must_use]
    pub fn from_os() -> Self {
        use std::hash::{BuildHasher, Hasher};
        // RandomState is keyed by the operating system's randomness once per thread and differs each time.
        let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let pid = u64::from(std::process::id());
        Self::seeded(seed ^ pid.rotate_left(32))
    }

    /// 64 random bits.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        drop(state);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 128 random bits.
    #[must_use]
    pub fn next_u128(&self) -> u128 {
        u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())
    }

    /// A number below `bound`; 0 where the bound is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the product of two 64-bit numbers, shifted by 64, fits 64 bits")
    }

    /// True with the given probability, 0.0 to 1.0.
    #[must_use]
    pub fn happens(&self, probability: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let unit = (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        unit < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_one_stream() {
        let (a, b) = (Chance::seeded(7), Chance::seeded(7));
        let draw = |c: &Chance| (0..5).map(|_| c.next_u64()).collect::<Vec<_>>();
        assert_eq!(draw(&a), draw(&b));
        assert_ne!(draw(&Chance::seeded(8)), draw(&Chance::seeded(7)));
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let chance = Chance::seeded(1);
        assert!((0..1000).all(|_| chance.below(6) < 6));
        assert_eq!(chance.below(0), 0);
    }
}
