use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use slab::Slab;
use statefun_kinesis_client::{Placement, PutOutcome};
use statefun_kinesis_types::{HashKey, PartitionKey, PutRecord};
use tokio::sync::oneshot;

use crate::{
    Delivered, Handling, SendError, Stored,
    delivered::{Location, Run},
    machine::Outcome,
    record_meta::{RecordMetas, Span, Token},
    status::Status,
};

/// Where an outcome is sent to.
type Answer<T> = oneshot::Sender<Result<T, SendError>>;

/// Resolves when a record is stored, to where it is; or when it is certain that the producer will not store it.
///
/// Dropping a receipt changes nothing: the record is sent nevertheless.
#[must_use = "a record that fails is reported here and nowhere else"]
pub struct Receipt(Pending<Stored>);

/// Resolves when all records of a batch are stored, skipped or dead-lettered, to the outcome of each; or as soon as one of
/// them has failed, while the others go on.
///
/// Dropping a receipt changes nothing: the records are sent nevertheless.
#[must_use = "a record that fails is reported here and nowhere else"]
pub struct BatchReceipt(Batched);

enum Batched {
    Ready(Delivered),
    Pending(Pending<Delivered>),
}

/// An outcome that is awaited, and what the error says when the producer ends without it.
struct Pending<T> {
    outcome: oneshot::Receiver<Result<T, SendError>>,
    status: Arc<Status>,
    /// Of the record, or of the first of the batch.
    key: PartitionKey,
    explicit_hash_key: Option<HashKey>,
    size: usize,
}

impl<T> Pending<T> {
    fn new(status: &Arc<Status>, record: &PutRecord) -> (Answer<T>, Self) {
        let (answer, outcome) = oneshot::channel();
        let PutRecord { partition_key, explicit_hash_key, .. } = record;
        let (key, explicit_hash_key) = (partition_key.clone(), *explicit_hash_key);
        (answer, Self { outcome, status: Arc::clone(status), key, explicit_hash_key, size: record.size() })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T, SendError>> {
        let outcome = ready!(Pin::new(&mut self.outcome).poll(context));
        // The sender was dropped without an answer: the producer's task has failed, or its runtime has ended.
        Poll::Ready(
            outcome.unwrap_or_else(|_| Err(self.status.unanswered(&self.key, self.explicit_hash_key, self.size))),
        )
    }
}

impl Receipt {
    pub(crate) fn new(status: &Arc<Status>, record: &PutRecord) -> (ReplyTo, Self) {
        let (answer, pending) = Pending::new(status, record);
        (ReplyTo::Receipt(answer), Self(pending))
    }
}

impl Future for Receipt {
    type Output = Result<Stored, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context)
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("stream", &self.0.status.stream)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

impl BatchReceipt {
    /// The receipt of a batch whose outcome is known.
    pub(crate) fn ready(delivered: Delivered) -> Self {
        Self(Batched::Ready(delivered))
    }

    /// The receipt of a batch of so many records that begins with `first`, and the number of the batch.
    pub(crate) fn new(batches: &mut Batches, status: &Arc<Status>, first: &PutRecord, records: usize) -> (u32, Self) {
        let (answer, pending) = Pending::new(status, first);
        (batches.open(records, answer), Self(Batched::Pending(pending)))
    }
}

impl Future for BatchReceipt {
    type Output = Result<Delivered, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Batched::Ready(delivered) => Poll::Ready(Ok(std::mem::take(delivered))),
            Batched::Pending(pending) => pending.poll(context),
        }
    }
}

impl fmt::Debug for BatchReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = match &self.0 {
            Batched::Ready(_) => None,
            Batched::Pending(pending) => Some(&pending.status.stream),
        };
        f.debug_struct("BatchReceipt").field("stream", &stream).finish_non_exhaustive()
    }
}

/// Where the outcome of a record is sent to.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    /// The receipt of the record.
    Receipt(Answer<Stored>),
    /// The batch with this number, where the record has this position.
    Batch { batch: u32, index: u32 },
}

impl Token for ReplyTo {
    #[inline]
    fn is_of_same_batch(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Batch { batch, .. }, Self::Batch { batch: other, .. }) => batch == other,
            (Self::Receipt(_), _) | (_, Self::Receipt(_)) => false,
        }
    }

    fn advanced_by(&self, records: u32) -> Self {
        match self {
            Self::Batch { batch, index } => Self::Batch { batch: *batch, index: *index + records },
            Self::Receipt(_) => unreachable!("a receipt of one record is followed by none"),
        }
    }
}

/// The batches whose outcome is not known yet. They live under the lock of the queue, so that completing a record of a
/// batch takes no other lock, and wakes nobody before the batch is complete.
#[derive(Debug, Default)]
pub(crate) struct Batches(Slab<Batch>);

#[derive(Debug)]
struct Batch {
    /// Records that are neither completed nor known to be never queued.
    left: usize,
    delivered: Delivered,
    /// `None` once the batch has failed.
    answer: Option<Answer<Delivered>>,
}

impl Batches {
    fn open(&mut self, records: usize, answer: Answer<Delivered>) -> u32 {
        let delivered = Delivered::pending(records);
        self.0.insert(Batch { left: records, delivered, answer: Some(answer) }) as u32
    }

    /// Takes note that a record failed, or was skipped or dead-lettered.
    fn failed(&mut self, batch: u32, index: u32, error: SendError) -> Option<Resolved> {
        let entry = &mut self.0[batch as usize];
        let failed = match error.handling() {
            Handling::Failed => entry.answer.take().map(|answer| Resolved::Batch(answer, Err(error))),
            Handling::Skipped | Handling::DeadLettered => {
                entry.delivered.add_handled(index, error);
                None
            }
        };
        // Never both: a batch that has failed has no answer left to give when it is complete.
        self.count_down(batch, 1).or(failed)
    }

    fn stored(&mut self, batch: u32, run: Run) -> Option<Resolved> {
        let records = run.records;
        self.0[batch as usize].delivered.add_stored(run);
        self.count_down(batch, records as usize)
    }

    /// Counts records of a batch as completed, and returns its outcome if they were the last.
    fn count_down(&mut self, batch: u32, records: usize) -> Option<Resolved> {
        let completed = &mut self.0[batch as usize];
        completed.left -= records;
        if completed.left > 0 {
            return None;
        }
        let Batch { answer, mut delivered, .. } = self.0.remove(batch as usize);
        delivered.sort();
        Some(Resolved::Batch(answer?, Ok(delivered)))
    }

    /// Takes note that the last `records` of a batch will never be queued. `error` is for the receipt, if the caller still
    /// has it.
    pub(crate) fn cancel_rest(&mut self, batch: u32, records: usize, error: Option<SendError>) {
        // There is no such batch when all were forgotten, because the runtime or the driver has ended.
        let Some(cancelled) = self.0.get_mut(batch as usize) else { return };
        if let Some((answer, error)) = cancelled.answer.take().zip(error) {
            // It fails when the receipt was dropped.
            _ = answer.send(Err(error));
        }
        cancelled.left -= records;
        if cancelled.left == 0 {
            self.0.remove(batch as usize);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds the receipts of outcomes, and adds those to `resolved` whose outcome is complete.
    #[inline]
    pub(crate) fn resolve(&mut self, outcome: Outcome<ReplyTo>, resolved: &mut Vec<Resolved>) {
        match outcome {
            Outcome::Record(ReplyTo::Receipt(answer), result) => resolved.push(Resolved::Record(answer, result)),
            Outcome::Record(ReplyTo::Batch { batch, index }, Err(error)) => {
                resolved.extend(self.failed(batch, index, error));
            }
            Outcome::Record(ReplyTo::Batch { batch, index }, Ok(stored)) => {
                let Stored { shard, sequence_number, sub_sequence_number } = stored;
                let placement = Arc::new(Placement { shard, sequence_number });
                let location = Location::Aggregate { placement, sub_sequence_number };
                resolved.extend(self.stored(batch, Run { first: index, records: 1, location }));
            }
            Outcome::Aggregate(reply_to, placement) => self.resolve_aggregate(reply_to, Arc::new(placement), resolved),
            Outcome::Untracked(metas, outcomes) => self.resolve_untracked(metas, Arc::new(outcomes), resolved),
        }
    }

    fn resolve_aggregate(&mut self, reply_to: Vec<ReplyTo>, placement: Arc<Placement>, resolved: &mut Vec<Resolved>) {
        for (sub_sequence_number, reply_to) in (0..).zip(reply_to) {
            match reply_to {
                ReplyTo::Batch { batch, index } => {
                    let location = Location::Aggregate { placement: Arc::clone(&placement), sub_sequence_number };
                    resolved.extend(self.stored(batch, Run { first: index, records: 1, location }));
                }
                ReplyTo::Receipt(answer) => {
                    let Placement { shard, sequence_number } = (*placement).clone();
                    resolved.push(Resolved::Record(answer, Ok(Stored { shard, sequence_number, sub_sequence_number })));
                }
            }
        }
    }

    fn resolve_untracked(
        &mut self,
        metas: RecordMetas<ReplyTo>,
        outcomes: Arc<Vec<PutOutcome>>,
        resolved: &mut Vec<Resolved>,
    ) {
        let mut from = 0;
        for Span { token, records, .. } in metas.into_spans() {
            match token {
                ReplyTo::Batch { batch, index } => {
                    let location = Location::Request { outcomes: Arc::clone(&outcomes), from };
                    resolved.extend(self.stored(batch, Run { first: index, records, location }));
                }
                ReplyTo::Receipt(answer) => {
                    let stored = outcomes.get(from as usize).and_then(|outcome| outcome.as_ref().ok());
                    if let Some(Placement { shard, sequence_number }) = stored.cloned() {
                        let stored = Stored { shard, sequence_number, sub_sequence_number: 0 };
                        resolved.push(Resolved::Record(answer, Ok(stored)));
                    }
                }
            }
            from += records;
        }
    }
}

/// A receipt or a flush with its outcome, which is sent outside the lock: it wakes tasks.
pub(crate) enum Resolved {
    Record(Answer<Stored>, Result<Stored, SendError>),
    Batch(Answer<Delivered>, Result<Delivered, SendError>),
    Flush(oneshot::Sender<()>),
}

impl Resolved {
    /// Sends the outcome. That fails when the receipt was dropped, which is not an error.
    pub(crate) fn send(self) {
        match self {
            Self::Record(answer, result) => _ = answer.send(result),
            Self::Batch(answer, result) => _ = answer.send(result),
            Self::Flush(waiter) => _ = waiter.send(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_meta::RecordMeta;

    #[tokio::test]
    async fn neighbours_of_a_batch_share_a_span_and_each_batch_and_receipt_gets_its_own_outcomes() {
        let status = Arc::new(Status::new("orders".parse().unwrap()));
        let record = PutRecord::new("k".parse().unwrap(), "");
        let mut batches = Batches::default();
        let (two, of_two) = BatchReceipt::new(&mut batches, &status, &record, 2);
        let (three, of_three) = BatchReceipt::new(&mut batches, &status, &record, 3);
        let (single, of_single) = Receipt::new(&status, &record);
        let (other_single, of_other_single) = Receipt::new(&status, &record);
        let batch = |batch, records| (0..records).map(move |index| ReplyTo::Batch { batch, index });
        let mut metas = RecordMetas::with_capacity(7);
        let tokens = batch(two, 2).chain(batch(three, 3)).chain([single, other_single]);
        for (arrival, token) in (0..).zip(tokens) {
            metas.push(RecordMeta { token, key_hash: 0, arrival, generation: 0 });
        }
        assert_eq!(metas.spans().map(|span| span.records).collect::<Vec<_>>(), [2, 3, 1, 1]);

        let shard: statefun_kinesis_types::ShardId = "shardId-000000000000".parse().unwrap();
        let placement = |number: u64| Placement { shard: shard.clone(), sequence_number: number.into() };
        let mut resolved = Vec::new();
        batches.resolve(Outcome::Untracked(metas, (0..7).map(|number| Ok(placement(number))).collect()), &mut resolved);
        resolved.into_iter().for_each(Resolved::send);
        assert!(batches.is_empty());
        let of_batch =
            |delivered: Delivered| delivered.stored().map(|stored| stored.sequence_number).collect::<Vec<_>>();
        assert_eq!(of_batch(of_two.await.unwrap()), [0_u64, 1].map(Into::into));
        assert_eq!(of_batch(of_three.await.unwrap()), [2_u64, 3, 4].map(Into::into));
        assert_eq!(of_single.await.unwrap().sequence_number, 5_u64.into());
        assert_eq!(of_other_single.await.unwrap().sequence_number, 6_u64.into());
    }
}
