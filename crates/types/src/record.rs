use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;

use crate::{HashKey, InvalidValue, PARTITION_KEY_MAX_CHARS, SequenceNumber, Timestamp};

/// A partition key: 1 to 256 Unicode characters. Cheap to clone, and the same text as an address' id without a copy.
///
/// ```
/// use statefun_kinesis_types::PartitionKey;
///
/// let key = PartitionKey::try_from("customer-17")?;
/// assert_eq!(key, "customer-17".parse()?);
/// assert_eq!(key.as_str(), "customer-17");
/// assert!(PartitionKey::try_from("").is_err());
/// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey(Arc<str>);

impl PartitionKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's size in UTF-8 bytes, as the service counts it towards record and request limits.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    fn check(text: &str) -> Result<(), InvalidValue> {
        // A character has at most four bytes, so that most keys need no counting.
        let short = text.len() <= PARTITION_KEY_MAX_CHARS || text.chars().count() <= PARTITION_KEY_MAX_CHARS;
        if text.is_empty() || !short {
            return Err(InvalidValue::new("partition key", text, "1 to 256 Unicode characters"));
        }
        Ok(())
    }
}

impl FromStr for PartitionKey {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::check(text).map(|()| Self(text.into()))
    }
}

impl TryFrom<&str> for PartitionKey {
    type Error = InvalidValue;

    fn try_from(text: &str) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl TryFrom<String> for PartitionKey {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl TryFrom<Arc<str>> for PartitionKey {
    type Error = InvalidValue;

    fn try_from(text: Arc<str>) -> Result<Self, InvalidValue> {
        Self::check(&text).map(|()| Self(text))
    }
}

impl AsRef<str> for PartitionKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<PartitionKey> for Arc<str> {
    fn from(key: PartitionKey) -> Self {
        key.0
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A record as it was read from a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The place of the record in its shard.
    pub sequence_number: SequenceNumber,
    /// The place of a user record in the aggregated record that carried it; 0 for a plain record.
    pub sub_sequence_number: u64,
    /// The partition key. Streams with the distribution strategy AUTO may deliver records without one.
    pub partition_key: Option<PartitionKey>,
    /// When the service took the record, to the millisecond; approximate, and not ordered within a shard.
    pub approximate_arrival: Timestamp,
    /// The payload, never parsed here.
    pub data: Bytes,
    /// Boxed because hardly any record has one.
    explicit_hash_key: Option<Box<HashKey>>,
}

impl Record {
    /// A plain record: one that was not part of an aggregate.
    pub fn new(
        sequence_number: SequenceNumber,
        partition_key: Option<PartitionKey>,
        approximate_arrival: Timestamp,
        data: Bytes,
    ) -> Self {
        Self {
            sequence_number,
            sub_sequence_number: 0,
            partition_key,
            approximate_arrival,
            data,
            explicit_hash_key: None,
        }
    }

    /// The explicit hash key with which a user record of an aggregate was sent. The service does not say it of other
    /// records.
    pub fn explicit_hash_key(&self) -> Option<HashKey> {
        self.explicit_hash_key.as_deref().copied()
    }

    /// Sets the [explicit hash key](Self::explicit_hash_key).
    pub fn set_explicit_hash_key(&mut self, key: Option<HashKey>) {
        self.explicit_hash_key = key.map(Box::new);
    }

    /// Bytes of data and partition key, as the service counts a record's size.
    pub fn size(&self) -> usize {
        self.data.len() + self.partition_key.as_ref().map_or(0, PartitionKey::size)
    }
}

/// A record to be written with PutRecords.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutRecord {
    /// Decides the shard, unless there is an explicit hash key.
    pub partition_key: PartitionKey,
    /// Decides the shard in place of the partition key's hash.
    pub explicit_hash_key: Option<HashKey>,
    /// The payload.
    pub data: Bytes,
}

impl PutRecord {
    /// A record whose partition key decides the shard.
    pub fn new(partition_key: PartitionKey, data: impl Into<Bytes>) -> Self {
        Self { partition_key, explicit_hash_key: None, data: data.into() }
    }

    /// The same record, put into the shard that owns `key`.
    #[must_use]
    pub fn with_explicit_hash_key(mut self, key: HashKey) -> Self {
        self.explicit_hash_key = Some(key);
        self
    }

    /// The hash key that decides the shard.
    pub fn hash_key(&self) -> HashKey {
        self.explicit_hash_key.unwrap_or_else(|| HashKey::of(&self.partition_key))
    }

    /// Bytes of data and partition key, as the service counts them towards record and request limits.
    pub fn size(&self) -> usize {
        self.data.len() + self.partition_key.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_measured_in_characters() {
        for good in ["a", &"x".repeat(256), &"ü".repeat(256), &"🦀".repeat(256)] {
            assert_eq!(good.parse::<PartitionKey>().unwrap().as_str(), good);
            assert_eq!(PartitionKey::try_from(good).unwrap().as_ref(), good);
            assert_eq!(PartitionKey::try_from(good.to_owned()).unwrap().as_ref(), good);
            assert_eq!(PartitionKey::try_from(Arc::from(good)).unwrap().as_ref(), good);
        }
        for bad in ["", &"x".repeat(257), &"🦀".repeat(257)] {
            assert!(bad.parse::<PartitionKey>().is_err());
            assert!(PartitionKey::try_from(bad).is_err() && PartitionKey::try_from(bad.to_owned()).is_err());
            assert!(PartitionKey::try_from(Arc::from(bad)).is_err());
        }
    }

    #[test]
    fn size_counts_data_and_the_keys_bytes() {
        let record = PutRecord::new("ü".parse().unwrap(), vec![0; 10]);
        assert_eq!(record.size(), 12);
    }
}
