use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use slab::Slab;
use statefun_kinesis_types::{HashKey, PartitionKey, PutRecord, SequenceNumber, ShardId, StreamRef};
use tokio::sync::oneshot;

use crate::{Handling, Reason, SendError};

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Stored {
    /// The shard.
    pub shard: ShardId,
    /// The place in the shard. All records of one aggregate have the same.
    pub sequence_number: SequenceNumber,
    /// The place in the aggregate that carried the record, from 0; 0 for a record that travelled alone.
    pub sub_sequence_number: u64,
}

/// What became of a batch: each record is stored, or something was done about it as
/// [`OnFailure`](crate::OnFailure) says.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    stored: Vec<Option<Stored>>,
    handled: Vec<(usize, SendError)>,
}

impl Delivered {
    /// A batch of which nothing is stored.
    pub(crate) fn all_handled(errors: Vec<SendError>) -> Self {
        Self { stored: errors.iter().map(|_| None).collect(), handled: errors.into_iter().enumerate().collect() }
    }

    /// How many records the batch had.
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    /// Whether the batch had no records.
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    /// Where a record of the batch is; `None` when it was skipped or dead-lettered, or the batch has no such record.
    pub fn get(&self, index: usize) -> Option<&Stored> {
        self.stored.get(index)?.as_ref()
    }

    /// Where the stored records are, in the order of the batch.
    pub fn stored(&self) -> impl Iterator<Item = &Stored> {
        self.stored.iter().flatten()
    }

    /// The records that were skipped or dead-lettered, each with its place in the batch.
    pub fn handled(&self) -> &[(usize, SendError)] {
        &self.handled
    }

    /// As [`handled`](Self::handled), by value.
    pub fn into_handled(self) -> Vec<(usize, SendError)> {
        self.handled
    }
}

/// Where an outcome goes to.
type Answer<T> = oneshot::Sender<Result<T, SendError>>;

/// Resolves when a record is stored, and says where; or when it is certain that the producer will not store it.
///
/// A receipt that is dropped changes nothing: the record is sent all the same.
#[must_use = "a record that fails is reported here and nowhere else"]
pub struct Receipt(Pending<Stored>);

/// Resolves when all records of a batch are stored or handled, and says what became of each; or as soon as one of them
/// has failed, while the others go on.
///
/// A receipt that is dropped changes nothing: the records are sent all the same.
#[must_use = "a record that fails is reported here and nowhere else"]
pub struct BatchReceipt(Batched);

enum Batched {
    Ready(Delivered),
    Pending(Pending<Delivered>),
}

/// An outcome that is awaited, and what to say when its request is cut off with the runtime that carried it.
struct Pending<T> {
    outcome: oneshot::Receiver<Result<T, SendError>>,
    stream: StreamRef,
    /// Of the record, or the first of the batch.
    key: PartitionKey,
    explicit_hash_key: Option<HashKey>,
    size: usize,
}

impl<T> Pending<T> {
    fn new(stream: &StreamRef, record: &PutRecord) -> (Answer<T>, Self) {
        let (answer, outcome) = oneshot::channel();
        let PutRecord { partition_key, explicit_hash_key, .. } = record;
        let (key, explicit_hash_key) = (partition_key.clone(), *explicit_hash_key);
        (answer, Self { outcome, stream: stream.clone(), key, explicit_hash_key, size: record.size() })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T, SendError>> {
        let outcome = ready!(Pin::new(&mut self.outcome).poll(context));
        Poll::Ready(outcome.unwrap_or_else(|_| {
            let Self { stream, key, explicit_hash_key, size, .. } = self;
            Err(SendError::about(stream, key, *explicit_hash_key, *size, Reason::Closed).tried(0, true))
        }))
    }
}

impl Receipt {
    pub(crate) fn new(stream: &StreamRef, record: &PutRecord) -> (Ticket, Self) {
        let (answer, pending) = Pending::new(stream, record);
        (Ticket::Record(answer), Self(pending))
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
        f.debug_struct("Receipt").field("stream", &self.0.stream).field("key", &self.0.key).finish_non_exhaustive()
    }
}

impl BatchReceipt {
    /// The receipt of records about which everything is known.
    pub(crate) fn ready(delivered: Delivered) -> Self {
        Self(Batched::Ready(delivered))
    }

    /// The receipt of a batch of so many records that begins with `first`, and the number of the batch.
    pub(crate) fn new(batches: &mut Batches, stream: &StreamRef, first: &PutRecord, records: usize) -> (u32, Self) {
        let (answer, pending) = Pending::new(stream, first);
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
            Batched::Pending(pending) => Some(&pending.stream),
        };
        f.debug_struct("BatchReceipt").field("stream", &stream).finish_non_exhaustive()
    }
}

/// By which the outcome of a record finds its receipt.
#[derive(Debug)]
pub(crate) enum Ticket {
    Record(Answer<Stored>),
    Batch { batch: u32, index: u32 },
}

/// The batches that are not settled yet. They live under the lock of the queue, so that settling a record of a batch
/// takes no lock and wakes nobody until the batch is complete.
#[derive(Debug, Default)]
pub(crate) struct Batches(Slab<Batch>);

#[derive(Debug)]
struct Batch {
    /// Records that are neither settled nor known to be never queued.
    left: usize,
    delivered: Delivered,
    /// `None` once the batch has failed.
    answer: Option<Answer<Delivered>>,
}

impl Batches {
    fn open(&mut self, records: usize, answer: Answer<Delivered>) -> u32 {
        let stored = std::iter::repeat_with(|| None).take(records).collect();
        let delivered = Delivered { stored, handled: Vec::new() };
        self.0.insert(Batch { left: records, delivered, answer: Some(answer) }) as u32
    }

    #[inline]
    fn settle(&mut self, batch: u32, index: u32, result: Result<Stored, SendError>) -> Option<Resolved> {
        let settled = &mut self.0[batch as usize];
        let failed = match result {
            Ok(stored) => {
                settled.delivered.stored[index as usize] = Some(stored);
                None
            }
            Err(error) if error.handling() != Handling::Failed => {
                settled.delivered.handled.push((index as usize, error));
                None
            }
            Err(error) => settled.answer.take().map(|answer| Resolved::Batch(answer, Err(error))),
        };
        settled.left -= 1;
        if settled.left > 0 {
            return failed;
        }
        let Batch { answer, delivered, .. } = self.0.remove(batch as usize);
        failed.or_else(|| Some(Resolved::Batch(answer?, Ok(delivered))))
    }

    /// Takes note that the last `records` of a batch will never be queued. `error` is for the receipt, if it is still
    /// wanted.
    pub(crate) fn cut_off(&mut self, batch: u32, records: usize, error: Option<SendError>) {
        let cut = &mut self.0[batch as usize];
        if let Some((answer, error)) = cut.answer.take().zip(error) {
            // Whoever dropped the receipt does not want to know.
            _ = answer.send(Err(error));
        }
        cut.left -= records;
        if cut.left == 0 {
            self.0.remove(batch as usize);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds whom the outcome of a record is for; nobody as long as its batch is incomplete.
    #[inline]
    pub(crate) fn resolve(&mut self, ticket: Ticket, result: Result<Stored, SendError>) -> Option<Resolved> {
        match ticket {
            Ticket::Record(answer) => Some(Resolved::Record(answer, result)),
            Ticket::Batch { batch, index } => self.settle(batch, index, result),
        }
    }
}

/// A receipt or a flush with its outcome, to be told outside the lock.
pub(crate) enum Resolved {
    Record(Answer<Stored>, Result<Stored, SendError>),
    Batch(Answer<Delivered>, Result<Delivered, SendError>),
    Flush(oneshot::Sender<()>),
}

impl Resolved {
    /// Tells whoever still listens.
    pub(crate) fn tell(self) {
        match self {
            Self::Record(answer, result) => _ = answer.send(result),
            Self::Batch(answer, result) => _ = answer.send(result),
            Self::Flush(waiter) => _ = waiter.send(()),
        }
    }
}
