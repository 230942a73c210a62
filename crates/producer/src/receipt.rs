use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use slab::Slab;
use statefun_kinesis_client::Placement;
use statefun_kinesis_types::{PartitionKey, PutRecord, StreamRef};
use tokio::sync::oneshot;

use crate::SendError;

/// Where an outcome goes to.
type Answer<T> = oneshot::Sender<Result<T, SendError>>;

/// Resolves when a record is stored, and says where; or when it is certain that the producer will not store it.
///
/// A receipt that is dropped changes nothing: the record is sent all the same.
#[must_use = "a record that fails is reported here and nowhere else"]
pub struct Receipt(Pending<Placement>);

/// Resolves when all records of a batch are stored, and says where each is, in the order of the batch; or as soon as
/// one of them has failed, while the others go on.
///
/// A receipt that is dropped changes nothing: the records are sent all the same.
#[must_use = "a record that fails is reported here and nowhere else"]
pub struct BatchReceipt(Option<Pending<Vec<Placement>>>);

/// An outcome that is awaited, and what to say when its request is cut off with the runtime that carried it.
struct Pending<T> {
    outcome: oneshot::Receiver<Result<T, SendError>>,
    stream: StreamRef,
    key: PartitionKey,
    size: usize,
}

impl<T> Pending<T> {
    fn new(stream: &StreamRef, key: &PartitionKey, size: usize) -> (Answer<T>, Self) {
        let (answer, outcome) = oneshot::channel();
        (answer, Self { outcome, stream: stream.clone(), key: key.clone(), size })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T, SendError>> {
        let outcome = ready!(Pin::new(&mut self.outcome).poll(context));
        Poll::Ready(outcome.unwrap_or_else(|_| {
            let Self { stream, key, size, .. } = self;
            Err(SendError::Closed { stream: stream.clone(), key: key.clone(), size: *size, may_be_stored: true })
        }))
    }
}

impl Receipt {
    pub(crate) fn new(stream: &StreamRef, key: &PartitionKey, size: usize) -> (Ticket, Self) {
        let (answer, pending) = Pending::new(stream, key, size);
        (Ticket::Record(answer), Self(pending))
    }
}

impl Future for Receipt {
    type Output = Result<Placement, SendError>;

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
    /// The receipt of no records: they are stored already.
    pub(crate) fn empty() -> Self {
        Self(None)
    }

    /// The receipt of a batch of so many records that begins with `first`, and the number of the batch.
    pub(crate) fn new(batches: &mut Batches, stream: &StreamRef, first: &PutRecord, records: usize) -> (usize, Self) {
        let (answer, pending) = Pending::new(stream, &first.partition_key, first.size());
        (batches.open(records, answer), Self(Some(pending)))
    }
}

impl Future for BatchReceipt {
    type Output = Result<Vec<Placement>, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().map_or_else(|| Poll::Ready(Ok(Vec::new())), |pending| pending.poll(context))
    }
}

impl fmt::Debug for BatchReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = self.0.as_ref().map(|pending| &pending.stream);
        f.debug_struct("BatchReceipt").field("stream", &stream).finish_non_exhaustive()
    }
}

/// By which the outcome of a record finds its receipt.
#[derive(Debug)]
pub(crate) enum Ticket {
    Record(Answer<Placement>),
    Batch { batch: usize, index: usize },
}

/// The batches that are not settled yet. They live under the lock of the queue, so that settling a record of a batch
/// takes no lock and wakes nobody until the batch is complete.
#[derive(Debug, Default)]
pub(crate) struct Batches(Slab<Batch>);

#[derive(Debug)]
struct Batch {
    /// Records that are neither settled nor known to be never queued.
    left: usize,
    placements: Vec<Option<Placement>>,
    /// `None` once the batch has failed.
    answer: Option<Answer<Vec<Placement>>>,
}

impl Batches {
    fn open(&mut self, records: usize, answer: Answer<Vec<Placement>>) -> usize {
        let placements = std::iter::repeat_with(|| None).take(records).collect();
        self.0.insert(Batch { left: records, placements, answer: Some(answer) })
    }

    fn settle(&mut self, batch: usize, index: usize, result: Result<Placement, SendError>) -> Option<Resolved> {
        let settled = &mut self.0[batch];
        let failed = match result {
            Ok(placement) => {
                settled.placements[index] = Some(placement);
                None
            }
            Err(error) => settled.answer.take().map(|answer| Resolved::Batch(answer, Err(error))),
        };
        settled.left -= 1;
        if settled.left > 0 {
            return failed;
        }
        let Batch { answer, placements, .. } = self.0.remove(batch);
        failed.or_else(|| Some(Resolved::Batch(answer?, Ok(placements.into_iter().flatten().collect()))))
    }

    /// Takes note that the last `records` of a batch will never be queued. `error` is for the receipt, if it is still
    /// wanted.
    pub(crate) fn cut_off(&mut self, batch: usize, records: usize, error: Option<SendError>) {
        let cut = &mut self.0[batch];
        if let Some((answer, error)) = cut.answer.take().zip(error) {
            // Whoever dropped the receipt does not want to know.
            _ = answer.send(Err(error));
        }
        cut.left -= records;
        if cut.left == 0 {
            self.0.remove(batch);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds whom the outcome of a record is for; nobody as long as its batch is incomplete.
    pub(crate) fn resolve(&mut self, ticket: Ticket, result: Result<Placement, SendError>) -> Option<Resolved> {
        match ticket {
            Ticket::Record(answer) => Some(Resolved::Record(answer, result)),
            Ticket::Batch { batch, index } => self.settle(batch, index, result),
        }
    }
}

/// A receipt or a flush with its outcome, to be told outside the lock.
pub(crate) enum Resolved {
    Record(Answer<Placement>, Result<Placement, SendError>),
    Batch(Answer<Vec<Placement>>, Result<Vec<Placement>, SendError>),
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
