use std::time::Duration;

use statefun_kinesis_types::{Record, ShardId, StreamArn};

use crate::{Acknowledgement, ConsumerError, InvalidKind};

/// The stream and shard of a batch.
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

    /// How far the batch was behind the newest record of its shard when it was read (`MillisBehindLatest`); zero for the
    /// newest records.
    pub fn behind_latest(&self) -> Duration {
        self.behind_latest
    }
}

/// Records of one shard in the shard's order, at least one.
///
/// Call [`done`](Self::done) when they are processed. A batch that is dropped counts as not processed, and keeps the
/// position of its shard where it is until the next start; see [`Acknowledgement`].
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

    /// The stream and shard that the records come from.
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

    /// How far the batch was behind the newest record of its shard when it was read (`MillisBehindLatest`); zero for the
    /// newest records.
    pub fn behind_latest(&self) -> Duration {
        self.origin.behind_latest
    }

    /// The records, ordered by sequence number and sub-sequence number.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Rejects the record at `index`; see [`Acknowledgement::reject`].
    ///
    /// # Errors
    ///
    /// [`ConsumerError::InvalidRecord`] when invalid records are to end reading.
    ///
    /// # Panics
    ///
    /// When `index` is out of bounds.
    pub async fn reject(
        &self,
        index: usize,
        kind: InvalidKind,
        message: impl Into<String>,
    ) -> Result<(), ConsumerError> {
        self.acknowledgement.reject(&self.records[index], kind, message).await
    }

    /// Acknowledges the batch: it was processed and need not be read again. See [`Acknowledgement::done`].
    pub fn done(self) {
        self.acknowledgement.done();
    }

    /// Takes the batch apart, so that the records can be moved and the batch acknowledged elsewhere.
    pub fn into_parts(self) -> (BatchOrigin, Vec<Record>, Acknowledgement) {
        (self.origin, self.records, self.acknowledgement)
    }
}
