use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// Chance that can be repeated: each part of a case draws from a source of its own, made of the case's seed and a name.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u64);

impl Seed {
    /// The seed in `STATEFUN_KINESIS_SEED`, or one that no other run has.
    ///
    /// # Panics
    ///
    /// When the variable holds no number.
    #[must_use]
    pub fn read() -> Self {
        Self(number("STATEFUN_KINESIS_SEED").unwrap_or_else(|| RandomState::new().hash_one("seed")))
    }

    /// The number, to repeat the schedules.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The chance of the part of this name.
    pub fn chance(self, part: &str) -> Chance {
        // FNV-1a, which does not change with the version of the standard library.
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Chance(fastrand::Rng::with_seed(part.as_bytes().iter().fold(self.0 ^ 0xcbf2_9ce4_8422_2325, mix)))
    }
}

/// The chance of one part of a case.
#[derive(Debug)]
pub struct Chance(fastrand::Rng);

impl Chance {
    /// A time between two, in milliseconds.
    pub fn time(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.0.u64(from..=to))
    }

    /// A number between two, both included.
    pub fn number(&mut self, from: i64, to: i64) -> i64 {
        self.0.i64(from..=to)
    }

    /// One of some.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn one_of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.0.usize(..some.len())]
    }
}

/// How long a case lasts: the seconds in an environment variable, or `default`.
///
/// # Panics
///
/// When the variable holds no number: a case must not look as if it had lasted as long as was asked.
#[must_use]
pub fn seconds(variable: &str, default: u64) -> Duration {
    Duration::from_secs(number(variable).unwrap_or(default))
}

/// The number in an environment variable, if it is set.
///
/// # Panics
///
/// When it holds anything else.
#[must_use]
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`, not a number")))
}
