use std::{mem, sync::Arc};

use statefun_kinesis_types::Record;

use crate::{
    ConsumerError, InvalidKind,
    hold::{Hold, ShardProgress},
    invalid_handling::InvalidRecords,
};

/// Says when a [`Batch`](crate::Batch) was processed.
///
/// Batches of a shard may be acknowledged in any order; the shard's position moves over those that follow each other
/// without a gap.
///
/// An acknowledgement that is dropped without [`done`](Self::done) means that its batch was not processed. The position
/// of its shard stays before the batch until the next start, which reads the shard again from there; children of the
/// shard are not read before then. The first drop of a shard is logged as a warning, all are counted in
/// [`ShardMetrics::dropped_batches`](crate::ShardMetrics::dropped_batches), and
/// [`Consumer::close`](crate::Consumer::close) returns an error. Drops after reading has stopped are not reported.
#[derive(Debug)]
#[must_use = "a batch whose acknowledgement is dropped counts as not processed"]
pub struct Acknowledgement {
    hold: Hold,
    invalid: Arc<InvalidRecords>,
}

impl Acknowledgement {
    pub(crate) fn new(hold: Hold, invalid: Arc<InvalidRecords>) -> Self {
        Self { hold, invalid }
    }

    /// Rejects a record of this batch: it is counted and handled as
    /// [`invalid_records`](crate::ConsumerBuilder::invalid_records) says. The caller leaves the record out, and
    /// acknowledges the batch when the other records are processed. The position moves when the batch is acknowledged
    /// *and* the dead letters of its rejected records are stored.
    ///
    /// `record` is one of the batch's; of an aggregated record only this user record is rejected. `message` says for
    /// people what is wrong with it. Waits while too many dead letters are in flight. A future that is dropped before
    /// its end holds the position before the batch, as if the batch were dropped.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::InvalidRecord`] when invalid records are to end reading, which the caller has to do then.
    pub async fn reject(
        &self,
        record: &Record,
        kind: InvalidKind,
        message: impl Into<String>,
    ) -> Result<(), ConsumerError> {
        let Some(shard) = self.hold.shard() else { return Ok(()) };
        // It goes with the dead letter. Whatever drops it there reports an error of its own; a future that the caller
        // drops is reported here.
        let hold = self.hold.another().silent();
        let unfinished = ReportOnDrop(shard);
        let handled = self.invalid.handle(&shard.shard, record, kind, message.into(), hold).await;
        mem::forget(unfinished);
        if handled.is_err() {
            // The caller has its error, and will drop the batch because of it.
            self.hold.silence();
        }
        handled
    }

    /// Waits until [`done`](Self::done) would move the position over this batch at once: until all earlier batches of
    /// the shard are acknowledged, and the dead letters of its own rejected records are stored. Returns `false` when
    /// that cannot happen any more because one of them was dropped; the next start reads the shard from there again.
    ///
    /// For programs that make the results of a batch durable together with its position, both or neither.
    pub async fn ready(&self) -> bool {
        self.hold.ready().await
    }

    /// Acknowledges the batch: it was processed and need not be read again.
    ///
    /// The position is saved within [`checkpoint_interval`](crate::Settings::checkpoint_interval), or by
    /// [`Consumer::close`](crate::Consumer::close) if that comes first.
    pub fn done(self) {
        self.hold.done();
    }
}

/// Reports a rejection whose future was dropped before its end.
struct ReportOnDrop<'a>(&'a ShardProgress);

impl Drop for ReportOnDrop<'_> {
    fn drop(&mut self) {
        self.0.report_dropped();
    }
}
