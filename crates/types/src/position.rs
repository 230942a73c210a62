use std::collections::BTreeMap;

use crate::{Record, SequenceNumber, ShardId, StartPosition, Timestamp};

/// A place in a shard: that of the last record that was processed.
///
/// Positions order as the shard does. A plain record is processed as a whole, so that its position says
/// [`Extent::All`], and so does that of an aggregated record whose last user record was processed. In between, the
/// position says how far inside the aggregate processing came.
///
/// As text and in a store, an extent of `All` is left out: a sequence number alone is a whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The record's sequence number.
    pub sequence_number: SequenceNumber,
    /// How much of the record was processed.
    pub extent: Extent,
}

/// How much of a record was processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// Of an aggregated record, the user records up to this sub-sequence number, it included. Reading resumes *at* the
    /// record, which comes again, and leaves these out.
    UpTo(u64),
    /// All of the record, plain or aggregated. Reading resumes *behind* it.
    All,
}

impl Position {
    /// Behind all of a record, plain or aggregated.
    pub const fn behind(sequence_number: SequenceNumber) -> Self {
        Self { sequence_number, extent: Extent::All }
    }

    /// Inside an aggregated record, behind the user record with this sub-sequence number.
    pub const fn inside(sequence_number: SequenceNumber, sub_sequence_number: u64) -> Self {
        Self { sequence_number, extent: Extent::UpTo(sub_sequence_number) }
    }

    /// Where a record lies. Everything up to it was processed when a stored position is this or greater; see
    /// [`ShardPosition::covers`].
    pub const fn of(record: &Record) -> Self {
        Self::inside(record.sequence_number, record.sub_sequence_number)
    }

    /// Whether a record lies at this position or before it.
    pub fn covers(self, record: &Record) -> bool {
        Self::of(record) <= self
    }
}

/// How far a shard was processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardPosition {
    /// Nothing of it yet. Reading starts at the start of the stream's checkpoint.
    Unread,
    /// Up to here, this record included.
    At(Position),
    /// To its end: its children may be read.
    Finished,
}

impl ShardPosition {
    /// Whether everything up to `position` was processed.
    pub fn covers(&self, position: Position) -> bool {
        match self {
            Self::Unread => false,
            Self::At(at) => *at >= position,
            Self::Finished => true,
        }
    }
}

/// What is stored about a stream.
///
/// A shard that is not in it is one that appeared after the first start and of which nothing was processed yet; it is
/// read from trim horizon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamCheckpoint {
    /// When the stream was made, which tells it from an earlier one of the same name: its positions mean nothing here.
    pub created: Timestamp,
    /// Where the shards of the first listing start. Never `Latest`: that was pinned to the instant of the first start.
    pub start: StartPosition,
    /// How far each shard was processed.
    pub shards: BTreeMap<ShardId, ShardPosition>,
}

impl StreamCheckpoint {
    /// A checkpoint of a stream that was made at `created`, without shards.
    pub fn new(created: Timestamp, start: StartPosition) -> Self {
        Self { created, start, shards: BTreeMap::new() }
    }
}

/// What has changed of a stream's positions since they were last saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointChanges {
    /// The new positions of shards that moved.
    pub moved: BTreeMap<ShardId, ShardPosition>,
    /// Finished shards that the service does not list any more: nothing asks for them again.
    pub forgotten: Vec<ShardId>,
}

impl CheckpointChanges {
    /// Whether there is nothing to save.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty() && self.forgotten.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_order_as_the_shard_does() {
        let number = SequenceNumber::from(7_u64);
        let next = SequenceNumber::from(8_u64);
        let ascending = [
            Position::inside(number, 0),
            Position::inside(number, 1),
            Position::behind(number),
            Position::inside(next, 0),
        ];
        assert!(ascending.is_sorted_by(|a, b| a < b));
        // A plain record is its own only user record.
        assert!(ShardPosition::At(Position::behind(number)).covers(Position::inside(number, 0)));
        assert!(!ShardPosition::At(Position::inside(number, 0)).covers(Position::inside(number, 1)));
    }
}
