use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use slab::Slab;
use statefun_kinesis_client::{Placement, PutOutcome};
use statefun_kinesis_types::{HashKey, PartitionKey, PutRecord, SequenceNumber, ShardId, StreamRef};
use tokio::sync::oneshot;

use crate::{
    Handling, Reason, SendError,
    machine::Settled,
    slips::{Slips, Span, Token},
};

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
    records: usize,
    /// Where the stored records are, by their places in the batch.
    runs: Vec<Run>,
    handled: Vec<(usize, SendError)>,
}

/// Neighbours in a batch that were stored.
#[derive(Clone, Debug)]
struct Run {
    first: u32,
    records: u32,
    at: Placed,
}

#[derive(Clone, Debug)]
enum Placed {
    /// In one record of the service, from this place in it on.
    Together { placement: Arc<Placement>, sub_sequence_number: u64 },
    /// In a request, from this place in it on: answers are shared and never copied.
    Apart { outcomes: Arc<Vec<PutOutcome>>, from: u32 },
}

impl Run {
    /// Whether another run is the next part of this one: of the same aggregate.
    fn goes_on_with(&self, next: &Self) -> bool {
        let (
            Placed::Together { placement, sub_sequence_number },
            Placed::Together { placement: other, sub_sequence_number: sub },
        ) = (&self.at, &next.at)
        else {
            return false;
        };
        self.first + self.records == next.first
            && sub_sequence_number + u64::from(self.records) == *sub
            && Arc::ptr_eq(placement, other)
    }

    /// Where a record of the run is.
    fn get(&self, offset: u32) -> Option<Stored> {
        let (placement, sub_sequence_number) = match &self.at {
            Placed::Together { placement, sub_sequence_number } => {
                (&**placement, sub_sequence_number + u64::from(offset))
            }
            Placed::Apart { outcomes, from } => (outcomes.get((from + offset) as usize)?.as_ref().ok()?, 0),
        };
        let Placement { shard, sequence_number } = placement.clone();
        Some(Stored { shard, sequence_number, sub_sequence_number })
    }
}

impl Delivered {
    /// A batch of which nothing is stored.
    pub(crate) fn all_handled(errors: Vec<SendError>) -> Self {
        Self { records: errors.len(), runs: Vec::new(), handled: errors.into_iter().enumerate().collect() }
    }

    /// How many records the batch had.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether the batch had no records.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Where a record of the batch is; `None` when it was skipped or dead-lettered, or the batch has no such record.
    pub fn get(&self, index: usize) -> Option<Stored> {
        let index = u32::try_from(index).ok()?;
        let run = self.runs.get(self.runs.partition_point(|run| run.first <= index).checked_sub(1)?)?;
        let offset = index - run.first;
        if offset < run.records { run.get(offset) } else { None }
    }

    /// Where the stored records are, in the order of the batch.
    pub fn stored(&self) -> impl Iterator<Item = Stored> {
        self.runs.iter().flat_map(|run| (0..run.records).filter_map(|offset| run.get(offset)))
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

impl Token for Ticket {
    #[inline]
    fn leads_to(&self, next: &Self, places: u32) -> bool {
        match (self, next) {
            (Self::Batch { batch, index }, Self::Batch { batch: other, index: next }) => {
                batch == other && index + places == *next
            }
            (Self::Record(_), _) | (_, Self::Record(_)) => false,
        }
    }

    fn split_off(&mut self, places: u32) -> Self {
        match self {
            Self::Batch { batch, index } => Self::Batch { batch: *batch, index: *index + places },
            // It leads to none.
            Self::Record(_) => unreachable!("the ticket of one record"),
        }
    }
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
        let delivered = Delivered { records, ..Delivered::default() };
        self.0.insert(Batch { left: records, delivered, answer: Some(answer) }) as u32
    }

    /// Takes note that a record failed, or that something was done about it.
    fn failed(&mut self, batch: u32, index: u32, error: SendError) -> Option<Resolved> {
        let settled = &mut self.0[batch as usize];
        let failed = if error.handling() == Handling::Failed {
            settled.answer.take().map(|answer| Resolved::Batch(answer, Err(error)))
        } else {
            settled.delivered.handled.push((index as usize, error));
            None
        };
        // Not both: a batch that is complete has no answer to give when it has failed.
        self.count_down(batch, 1).or(failed)
    }

    fn stored(&mut self, batch: u32, run: Run) -> Option<Resolved> {
        let records = run.records;
        let runs = &mut self.0[batch as usize].delivered.runs;
        match runs.last_mut() {
            Some(last) if last.goes_on_with(&run) => last.records += records,
            _ => runs.push(run),
        }
        self.count_down(batch, records as usize)
    }

    /// Counts records of a batch as settled, and gives its outcome if they were the last.
    fn count_down(&mut self, batch: u32, records: usize) -> Option<Resolved> {
        let settled = &mut self.0[batch as usize];
        settled.left -= records;
        if settled.left > 0 {
            return None;
        }
        let Batch { answer, mut delivered, .. } = self.0.remove(batch as usize);
        // Those of one answer are sorted already, which is work that a stable sort does not do again.
        delivered.runs.sort_by_key(|run| run.first);
        Some(Resolved::Batch(answer?, Ok(delivered)))
    }

    /// Takes note that the last `records` of a batch will never be queued. `error` is for the receipt, if it is still
    /// wanted.
    pub(crate) fn cut_off(&mut self, batch: u32, records: usize, error: Option<SendError>) {
        // All batches are forgotten when the runtime ends.
        let Some(cut) = self.0.get_mut(batch as usize) else { return };
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

    /// Finds whom outcomes are for; nobody as long as their batches are incomplete.
    #[inline]
    pub(crate) fn resolve(&mut self, settled: Settled<Ticket>, resolved: &mut Vec<Resolved>) {
        match settled {
            Settled::One(Ticket::Record(answer), result) => resolved.push(Resolved::Record(answer, result)),
            Settled::One(Ticket::Batch { batch, index }, Err(error)) => {
                resolved.extend(self.failed(batch, index, error));
            }
            Settled::One(Ticket::Batch { batch, index }, Ok(stored)) => {
                let Stored { shard, sequence_number, sub_sequence_number } = stored;
                let placement = Arc::new(Placement { shard, sequence_number });
                let at = Placed::Together { placement, sub_sequence_number };
                resolved.extend(self.stored(batch, Run { first: index, records: 1, at }));
            }
            Settled::Together(tickets, placement) => self.resolve_together(tickets, Arc::new(placement), resolved),
            Settled::Stored(slips, outcomes) => self.resolve_all(slips, Arc::new(outcomes), resolved),
        }
    }

    fn resolve_together(&mut self, tickets: Vec<Ticket>, placement: Arc<Placement>, resolved: &mut Vec<Resolved>) {
        for (sub_sequence_number, ticket) in (0..).zip(tickets) {
            match ticket {
                Ticket::Batch { batch, index } => {
                    let at = Placed::Together { placement: Arc::clone(&placement), sub_sequence_number };
                    resolved.extend(self.stored(batch, Run { first: index, records: 1, at }));
                }
                Ticket::Record(answer) => {
                    let Placement { shard, sequence_number } = (*placement).clone();
                    resolved.push(Resolved::Record(answer, Ok(Stored { shard, sequence_number, sub_sequence_number })));
                }
            }
        }
    }

    fn resolve_all(&mut self, slips: Slips<Ticket>, outcomes: Arc<Vec<PutOutcome>>, resolved: &mut Vec<Resolved>) {
        let mut from = 0;
        for Span { token, records, .. } in slips.into_spans() {
            match token {
                Ticket::Batch { batch, index } => {
                    let at = Placed::Apart { outcomes: Arc::clone(&outcomes), from };
                    resolved.extend(self.stored(batch, Run { first: index, records, at }));
                }
                Ticket::Record(answer) => {
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
