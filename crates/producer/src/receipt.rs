use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use slab::Slab;
use statefun_kinesis_client::Placement;
use statefun_kinesis_types::{PartitionKey, StreamRef};
use tokio::sync::oneshot;

use crate::SendError;

/// Resolves when a record is stored, and says where; or when it is certain that the producer will not store it.
///
/// A receipt that is dropped changes nothing: the record is sent all the same.
#[must_use = "a record that fails is reported here and nowhere else"]
pub struct Receipt {
    answer: oneshot::Receiver<Result<Placement, SendError>>,
    lost: Lost,
}

/// Resolves when all records of a batch are stored, and says where each is, in the order of the batch; or as soon as
/// one of them has failed, while the others go on.
///
/// A receipt that is dropped changes nothing: the records are sent all the same.
#[must_use = "a record that fails is reported here and nowhere else"]
pub struct BatchReceipt {
    /// `None` for a batch of no records, which is stored already.
    waiting: Option<(oneshot::Receiver<Result<Vec<Placement>, SendError>>, Lost)>,
}

/// What to say of a record whose request was cut off with the runtime that carried it.
struct Lost {
    stream: StreamRef,
    key: PartitionKey,
    size: usize,
}

impl Lost {
    fn error(&self) -> SendError {
        let Self { stream, key, size } = self;
        SendError::Closed { stream: stream.clone(), key: key.clone(), size: *size, may_be_stored: true }
    }
}

impl Receipt {
    pub(crate) fn new(stream: &StreamRef, key: &PartitionKey, size: usize) -> (Ticket, Self) {
        let (sender, answer) = oneshot::channel();
        (Ticket::Record(sender), Self { answer, lost: Lost { stream: stream.clone(), key: key.clone(), size } })
    }
}

impl Future for Receipt {
    type Output = Result<Placement, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(self.lost.error())))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("stream", &self.lost.stream)
            .field("key", &self.lost.key)
            .finish_non_exhaustive()
    }
}

impl Future for BatchReceipt {
    type Output = Result<Vec<Placement>, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((answer, lost)) = &mut self.waiting else { return Poll::Ready(Ok(Vec::new())) };
        let answer = ready!(Pin::new(answer).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(lost.error())))
    }
}

impl fmt::Debug for BatchReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = self.waiting.as_ref().map(|(_, lost)| &lost.stream);
        f.debug_struct("BatchReceipt").field("stream", &stream).finish_non_exhaustive()
    }
}

impl BatchReceipt {
    pub(crate) fn new(
        answer: oneshot::Receiver<Result<Vec<Placement>, SendError>>,
        stream: &StreamRef,
        key: &PartitionKey,
        size: usize,
    ) -> Self {
        Self { waiting: Some((answer, Lost { stream: stream.clone(), key: key.clone(), size })) }
    }

    /// The receipt of no records.
    pub(crate) fn empty() -> Self {
        Self { waiting: None }
    }
}

/// By which the outcome of a record finds its receipt.
#[derive(Debug)]
pub(crate) enum Ticket {
    Record(oneshot::Sender<Result<Placement, SendError>>),
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
    answer: Option<oneshot::Sender<Result<Vec<Placement>, SendError>>>,
}

impl Batches {
    /// Opens a batch of so many records.
    pub(crate) fn open(&mut self, records: usize) -> (usize, oneshot::Receiver<Result<Vec<Placement>, SendError>>) {
        let (answer, receiver) = oneshot::channel();
        let placements = std::iter::repeat_with(|| None).take(records).collect();
        (self.0.insert(Batch { left: records, placements, answer: Some(answer) }), receiver)
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
    Record(oneshot::Sender<Result<Placement, SendError>>, Result<Placement, SendError>),
    Batch(oneshot::Sender<Result<Vec<Placement>, SendError>>, Result<Vec<Placement>, SendError>),
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
