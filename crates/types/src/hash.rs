use std::{fmt, str::FromStr};

use md5::{Digest, Md5};

use crate::{InvalidValue, PartitionKey};

/// A place in the space over which a stream's shards divide the records: 0 to 2^128 − 1.
///
/// Its text is decimal, as in the API (`ExplicitHashKey`, `HashKeyRange`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(u128);

impl HashKey {
    /// The lowest hash key.
    pub const MIN: Self = Self(0);
    /// The highest hash key, 2^128 − 1.
    pub const MAX: Self = Self(u128::MAX);

    /// A hash key from its number.
    pub const fn new(value: u128) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u128 {
        self.0
    }

    /// Where the service puts a record of this partition key: the MD5 of its UTF-8 bytes, read big-endian.
    ///
    /// ```
    /// use statefun_kinesis_types::HashKey;
    ///
    /// // MD5("a") = 0cc175b9c0f1b6a831c399e269772661
    /// assert_eq!(HashKey::of(&"a".parse()?).get(), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    /// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
    /// ```
    pub fn of(key: &PartitionKey) -> Self {
        Self::of_id(key.as_str())
    }

    /// Where an address with this id lies: the place of a record whose partition key is the id. Ids may be empty or
    /// longer than partition keys; they have a place too.
    pub fn of_id(id: &str) -> Self {
        Self(u128::from_be_bytes(Md5::digest(id.as_bytes()).into()))
    }
}

impl FromStr for HashKey {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let plain = text == "0" || !text.starts_with(['0', '+']);
        match text.parse() {
            Ok(value) if plain => Ok(Self(value)),
            _ => Err(InvalidValue::new("hash key", text, "a decimal from 0 to 2^128 − 1 without leading zeros")),
        }
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The part of the hash key space that a shard owns, both ends included; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HashKeyRange {
    start: HashKey,
    end: HashKey,
}

impl HashKeyRange {
    /// The whole space, as one shard owns it alone.
    pub const FULL: Self = Self { start: HashKey::MIN, end: HashKey::MAX };

    /// The range from `start` to `end`, or none when `end` lies before `start`.
    pub fn new(start: HashKey, end: HashKey) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// The lowest hash key of the range.
    pub fn start(&self) -> HashKey {
        self.start
    }

    /// The highest hash key of the range.
    pub fn end(&self) -> HashKey {
        self.end
    }

    /// Whether a record with this hash key belongs to the range.
    pub fn contains(&self, key: HashKey) -> bool {
        self.start <= key && key <= self.end
    }

    /// Whether `other` begins right after this range or ends right before it: what MergeShards asks for.
    pub fn is_adjacent_to(&self, other: &Self) -> bool {
        self.end.0.checked_add(1) == Some(other.start.0) || other.end.0.checked_add(1) == Some(self.start.0)
    }
}

impl fmt::Display for HashKeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_plain_decimal() {
        assert_eq!("0".parse::<HashKey>().unwrap(), HashKey::MIN);
        assert_eq!(HashKey::MAX.to_string().parse::<HashKey>().unwrap(), HashKey::MAX);
        for bad in ["", "00", "+1", "-1", "340282366920938463463374607431768211456", "0x1"] {
            assert!(bad.parse::<HashKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_knows_its_members_and_neighbours() {
        let range = |a, b| HashKeyRange::new(HashKey::new(a), HashKey::new(b)).unwrap();
        assert!(HashKeyRange::new(HashKey::new(2), HashKey::new(1)).is_none());
        assert!(range(1, 3).contains(HashKey::new(3)) && !range(1, 3).contains(HashKey::new(4)));
        assert!(range(1, 3).is_adjacent_to(&range(4, 4)) && range(4, 4).is_adjacent_to(&range(1, 3)));
        assert!(!range(1, 3).is_adjacent_to(&range(5, 6)) && !range(1, 3).is_adjacent_to(&range(3, 6)));
        assert!(!HashKeyRange::FULL.is_adjacent_to(&range(0, 0)));
    }
}
