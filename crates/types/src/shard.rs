use std::{fmt, str::FromStr, sync::Arc};

use crate::{HashKeyRange, InvalidValue, SequenceNumber, Timestamp};

/// The name of a shard in its stream, such as `shardId-000000000003`. Cheap to clone.
///
/// The service numbers shards in the order of their creation with at least twelve digits, so that text order is
/// creation order; [ListShards pages](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html)
/// rely on it too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(Arc<str>);

impl ShardId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ShardId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let valid = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidValue::new("shard id", text, "1 to 128 letters, digits, `_`, `.` or `-`"))
        }
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A shard as ListShards describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shard {
    /// The shard's name.
    pub id: ShardId,
    /// The shard that was split, or one of the two that were merged, to make this one.
    pub parent: Option<ShardId>,
    /// The other one of the two that were merged.
    pub adjacent_parent: Option<ShardId>,
    /// The part of the hash key space that the shard owns.
    pub hash_range: HashKeyRange,
    /// The sequence number from which on the shard holds records.
    pub starting_sequence_number: SequenceNumber,
    /// The last sequence number that the shard can hold; `None` while the shard is open for writing.
    pub ending_sequence_number: Option<SequenceNumber>,
}

impl Shard {
    /// An open shard without parents. The other fields are public: set what differs.
    pub fn new(id: ShardId, hash_range: HashKeyRange, starting_sequence_number: SequenceNumber) -> Self {
        Self {
            id,
            parent: None,
            adjacent_parent: None,
            hash_range,
            starting_sequence_number,
            ending_sequence_number: None,
        }
    }

    /// The shards that have to be read to their end before this one: none, one (split) or two (merge).
    pub fn parents(&self) -> impl Iterator<Item = &ShardId> {
        self.parent.iter().chain(&self.adjacent_parent)
    }

    /// Whether the shard was made by a split or a merge, and not together with its stream.
    ///
    /// The parents may be gone from listings when their retention is over; the child still names them.
    pub fn is_child(&self) -> bool {
        self.parents().next().is_some()
    }

    /// Whether the shard still takes records.
    pub fn is_open(&self) -> bool {
        self.ending_sequence_number.is_none()
    }
}

/// Where in a shard reading starts: the five iterator types of GetShardIterator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// At the oldest record that is still retained.
    TrimHorizon,
    /// Behind the newest record, at the moment of the call.
    Latest,
    /// At the first record that arrived at this time or later. A time before retention means trim horizon.
    AtTimestamp(Timestamp),
    /// At the record with this sequence number.
    AtSequenceNumber(SequenceNumber),
    /// Behind the record with this sequence number.
    AfterSequenceNumber(SequenceNumber),
}

impl fmt::Display for StartPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrimHorizon => f.write_str("trim horizon"),
            Self::Latest => f.write_str("latest"),
            Self::AtTimestamp(time) => write!(f, "at {time}"),
            Self::AtSequenceNumber(number) => write!(f, "at sequence number {number}"),
            Self::AfterSequenceNumber(number) => write!(f, "after sequence number {number}"),
        }
    }
}

/// Where reading of a stream starts when nothing was stored about it: a module file's `startupPosition`.
///
/// It concerns the shards of the first listing. Shards that appear later are read from trim horizon whatever it says,
/// and a stored position always wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartupPosition {
    /// With the records that arrive from the instant of the first start on.
    #[default]
    Latest,
    /// With the oldest record that is still retained.
    TrimHorizon,
    /// With the first record that arrived at this time or later.
    AtTimestamp(Timestamp),
}

impl fmt::Display for StartupPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::TrimHorizon => f.write_str("trim-horizon"),
            Self::AtTimestamp(time) => write!(f, "at-timestamp {time}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_one_parent_or_two() {
        let id = |text: &str| text.parse::<ShardId>().unwrap();
        let first = Shard::new(id("shardId-000000000000"), HashKeyRange::FULL, 0_u64.into());
        assert!(!first.is_child() && first.parents().next().is_none());

        let of_split = Shard { parent: Some(id("shardId-000000000000")), ..first.clone() };
        assert!(of_split.is_child());
        assert_eq!(of_split.parents().collect::<Vec<_>>(), [&id("shardId-000000000000")]);

        let of_merge = Shard { adjacent_parent: Some(id("shardId-000000000001")), ..of_split };
        assert!(of_merge.is_child());
        let parents = [&id("shardId-000000000000"), &id("shardId-000000000001")];
        assert_eq!(of_merge.parents().collect::<Vec<_>>(), parents);
    }
}
