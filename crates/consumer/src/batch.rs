use std::time::Duration;

use statefun_kinesis_types::{Record, ShardId, StreamArn};

use crate::{Acknowledgement, ConsumerError, InvalidKind};

/// Where a batch comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOrigin {
    stream: StreamArn,
    shard: ShardId,
    behind_latest: Duration,
}

impl BatchOrigin {
    pub(crate) fn new(stream: StreamArn, shard: ShardId, behind_latest: Duration) -> Self {
        Self { stream, shard, behind_latest }
    }

    /// The stream.
    pub fn stream(&self) -> &StreamArn {
        &self.stream
    }

    /// The shard.
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// How far the batch lay behind the newest record of its shard when it was read; zero at the tip.
    pub fn behind_latest(&self) -> Duration {
        self.behind_latest
    }
}

/// Records of one shard, in the shard's order: at least one.
///
/// Dropped as a whole it counts as not processed; see [`Acknowledgement`].
#[derive(Debug)]
#[must_use = "a batch that is dropped counts as not processed"]
pub struct Batch {
    origin: BatchOrigin,
    records: Vec<Record>,
    acknowledgement: Acknowledgement,
}

impl Batch {
    pub(crate) fn new(origin: BatchOrigin, records: Vec<Record>, acknowledgement: Acknowledgement) -> Self {
        Self { origin, records, acknowledgement }
    }

    /// Where the records come from.
    pub fn origin(&self) -> &BatchOrigin {
        &self.origin
    }

    /// The stream that the records come from.
    pub fn stream(&self) -> &StreamArn {
        &self.origin.stream
    }

    /// The shard that the records come from.
    pub fn shard(&self) -> &ShardId {
        &self.origin.shard
    }

    /// How far the batch lay behind the newest record of its shard when it was read; zero at the tip.
    pub fn behind_latest(&self) -> Duration {
        self.origin.behind_latest
    }

    /// The records, by sequence number and sub-sequence number.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// One of the records cannot be used; see [`Acknowledgement::reject`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// When there is no record with this index.
    pub async fn reject(
        &self,
        index: usize,
        kind: InvalidKind,
        message: impl Into<String>,
    ) -> Result<(), ConsumerError> {
        self.acknowledgement.reject(&self.records[index], kind, message).await
    }

    /// The batch was processed: it need not be read again. Short for [`Acknowledgement::done`].
    pub fn done(self) {
        self.acknowledgement.done();
    }

    /// The batch in its parts, for those who acknowledge it elsewhere.
    pub fn into_parts(self) -> (BatchOrigin, Vec<Record>, Acknowledgement) {
        (self.origin, self.records, self.acknowledgement)
    }
}
