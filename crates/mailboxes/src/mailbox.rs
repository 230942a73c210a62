//! The mailbox of one address.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{Message, limits::Amount, stored::Gap};

/// A message in a mailbox.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) number: u64,
    pub(crate) message: Message,
}

/// Messages that are sent in one request, again and again until they are handled. Requests share the messages.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) messages: Arc<[Message]>,
    pub(crate) numbers: Vec<u64>,
}

/// What a mailbox waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A message.
    Idle,
    /// Its turn.
    Ready,
    /// The answer to the first request of its function, which is sent alone.
    AwaitingFirst,
    /// Room for the records that its function sends to egresses.
    AwaitingEgress,
    /// Its states or messages from the store. It was its turn already.
    Loading,
    /// The answer to its request.
    InFlight,
    /// The time of its next attempt after a failure.
    Parked(Duration),
}

/// The mailbox of an address with messages. It has at most one batch at a time, and so at most one request.
///
/// The numbers of its messages rise in this order: `batch`, `waiting`, the messages of `gap`, `after_gap`. Only those
/// of the gap are not in memory. A gap is a single range, because then two numbers describe it however many messages it
/// has.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) function: u32,
    pub(crate) instance: u32,
    /// The messages in flight, or those that failed and will be sent again.
    pub(crate) batch: Option<Batch>,
    pub(crate) waiting: VecDeque<Envelope>,
    /// Messages that are only in the store.
    pub(crate) gap: Option<Gap>,
    /// Messages that arrived after those of the gap. Empty without a gap.
    pub(crate) after_gap: VecDeque<Envelope>,
    pub(crate) phase: Phase,
    /// The number of the last request, which tells its answer from late answers to earlier ones.
    pub(crate) request: u64,
    /// How many declared states that request had.
    pub(crate) states_sent: u16,
    /// How often the batch has failed.
    pub(crate) attempt: u32,
    /// When the batch was first sent.
    pub(crate) tried_since: Option<Duration>,
    /// When its requests began to fail; `None` when the last one was answered.
    pub(crate) failing_since: Option<Duration>,
    /// Set while a batch that failed is sent in parts.
    split: Option<Split>,
}

/// A batch that failed and is sent in parts, to find the message that fails.
#[derive(Clone, Copy, Debug)]
struct Split {
    /// How many of its messages are left, including those of the current part.
    left: usize,
    /// Most messages of the next part.
    size: usize,
}

impl Mailbox {
    /// Creates an idle mailbox that uses `waiting`, an empty buffer, for its messages.
    pub(crate) fn new(function: u32, instance: u32, waiting: VecDeque<Envelope>) -> Self {
        Self {
            function,
            instance,
            batch: None,
            waiting,
            gap: None,
            after_gap: VecDeque::new(),
            phase: Phase::Idle,
            request: 0,
            states_sent: 0,
            attempt: 0,
            tried_since: None,
            failing_since: None,
            split: None,
        }
    }

    /// Whether it has no messages, neither in memory nor in the store.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_none() && self.waiting.is_empty() && self.gap.is_none()
    }

    /// Whether its next batch can be sent without a read.
    pub(crate) fn has_next(&self) -> bool {
        self.batch.is_some() || !self.waiting.is_empty()
    }

    /// The number of messages of its batch.
    pub(crate) fn batch_len(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.numbers.len())
    }

    /// The messages that are in memory, oldest first.
    pub(crate) fn in_memory(&self) -> impl Iterator<Item = &Message> {
        let batch = self.batch.iter().flat_map(|batch| batch.messages.iter());
        batch.chain(self.waiting.iter().chain(&self.after_gap).map(|envelope| &envelope.message))
    }

    /// Adds a new message. It stays in memory if the function `has_room` and fewer than `window` messages wait on its
    /// side of the gap. Otherwise it is only in the store. `memory` counts the function's messages in memory.
    pub(crate) fn add(&mut self, envelope: Envelope, has_room: bool, window: usize, memory: &mut Amount) {
        let (number, footprint) = (envelope.number, envelope.message.footprint());
        match &mut self.gap {
            None if has_room && self.waiting.len() < window => {
                self.waiting.push_back(envelope);
                memory.add(footprint);
            }
            None => self.gap = Some(Gap::new(number, number + 1)),
            Some(_) if has_room && self.after_gap.len() < window => {
                self.after_gap.push_back(envelope);
                memory.add(footprint);
            }
            Some(gap) => {
                // A second gap is not possible, so the messages after the gap become part of it.
                gap.until = number + 1;
                evict(self.after_gap.drain(..), memory);
            }
        }
    }

    /// Adds a message that was read from the store, after those that were added before. The first one is taken even
    /// without room, so that each address makes progress.
    pub(crate) fn add_stored(&mut self, envelope: Envelope, has_room: bool, window: usize, memory: &mut Amount) {
        let number = envelope.number;
        match &mut self.gap {
            Some(gap) => gap.until = gap.until.max(number + 1),
            None if self.waiting.len() < window && (self.waiting.is_empty() || has_room) => {
                memory.add(envelope.message.footprint());
                self.waiting.push_back(envelope);
            }
            None => self.gap = Some(Gap::new(number, number + 1)),
        }
    }

    /// Fills the gap with the messages that were read. They are all the gap's messages with numbers below `read_up_to`.
    pub(crate) fn fill_gap(
        &mut self,
        gap: Gap,
        found: impl Iterator<Item = Envelope>,
        read_up_to: u64,
        memory: &mut Amount,
    ) {
        for envelope in found {
            memory.add(envelope.message.footprint());
            self.waiting.push_back(envelope);
        }
        if read_up_to >= gap.until {
            self.gap = None;
            self.waiting.extend(std::mem::take(&mut self.after_gap));
        } else {
            // Messages after the gap stay there until the whole gap is read, to keep the order.
            self.gap = Some(Gap { from: gap.from.max(read_up_to), is_read: false, ..gap });
        }
    }

    /// Evicts all messages except the batch. `next` is the next number of a message.
    pub(crate) fn evict_waiting(&mut self, next: u64, memory: &mut Amount) {
        let Some(first) = self.waiting.front() else { return };
        if self.gap.is_some_and(|gap| gap.is_read) {
            // The messages of the read belong after those in `waiting`. Without these, the read would not fit the gap.
            return;
        }
        self.gap = Some(Gap::new(first.number, next));
        evict(self.waiting.drain(..).chain(self.after_gap.drain(..)), memory);
    }

    /// Resets the count and the time of failures, for a new batch.
    pub(crate) fn reset_attempts(&mut self) {
        self.attempt = 0;
        self.tried_since = None;
    }

    /// Makes a batch of waiting messages, unless there is one to send again.
    pub(crate) fn fill_batch(&mut self, max_messages: usize, max_bytes: usize) {
        if self.batch.is_some() {
            return;
        }
        let max_messages = self.split.map_or(max_messages, |split| split.size.min(max_messages));
        let mut bytes = 0;
        let fits = |envelope: &&Envelope| {
            bytes += envelope.message.request_bytes();
            bytes <= max_bytes
        };
        let count = self.waiting.iter().take(max_messages).take_while(fits).count().max(1).min(self.waiting.len());
        let mut numbers = Vec::with_capacity(count);
        let mut take = |envelope: Envelope| {
            numbers.push(envelope.number);
            envelope.message
        };
        let messages = match self.waiting.pop_front() {
            // With many addresses most batches have one message. This saves a copy.
            Some(only) if count == 1 => Arc::new([take(only)]) as Arc<[Message]>,
            first => first.into_iter().chain(self.waiting.drain(..count.saturating_sub(1))).map(take).collect(),
        };
        self.batch = Some(Batch { messages, numbers });
        if self.waiting.is_empty() {
            self.waiting.shrink_to(4);
        }
    }

    /// Makes the first half of the batch its next batch. The other half waits again. Returns whether the batch had more
    /// than one message.
    pub(crate) fn split_batch(&mut self) -> bool {
        let Some(batch) = self.batch.take_if(|batch| batch.numbers.len() > 1) else { return false };
        let size = batch.numbers.len() / 2;
        let left = self.split.map_or(batch.numbers.len(), |split| split.left);
        self.split = Some(Split { left, size });
        for (message, number) in batch.messages[size..].iter().zip(&batch.numbers[size..]).rev() {
            self.waiting.push_front(Envelope { number: *number, message: message.clone() });
        }
        let mut numbers = batch.numbers;
        numbers.truncate(size);
        self.batch = Some(Batch { messages: batch.messages[..size].into(), numbers });
        true
    }

    /// Takes the batch, which was handled or given up. If it was a part of a batch that failed, the next part may be
    /// twice as large: so a batch with one bad message takes few requests, however large it is.
    pub(crate) fn take_batch(&mut self) -> Option<Batch> {
        let batch = self.batch.take()?;
        let rest = |Split { left, size }: Split| {
            let left = left.saturating_sub(batch.numbers.len());
            (left > 0).then_some(Split { left, size: size.saturating_mul(2) })
        };
        self.split = self.split.and_then(rest);
        self.reset_attempts();
        self.failing_since = None;
        Some(batch)
    }

    /// Checks the order of the messages, and that the phase fits them.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self) {
        let numbers: Vec<u64> = self.batch.iter().flat_map(|batch| batch.numbers.iter().copied()).collect();
        let in_front = numbers.into_iter().chain(self.waiting.iter().map(|envelope| envelope.number));
        let after_gap = self.after_gap.iter().map(|envelope| envelope.number);
        match self.gap {
            None => assert!(self.after_gap.is_empty(), "no messages after a gap that does not exist"),
            Some(gap) => {
                assert!(gap.from < gap.until, "{gap:?} is not empty");
                assert!(in_front.clone().all(|number| number < gap.from), "messages in front of {gap:?}");
                assert!(after_gap.clone().all(|number| number >= gap.until), "messages after {gap:?}");
            }
        }
        assert!(in_front.chain(after_gap).is_sorted_by(|a, b| a < b), "messages are in order");
        match self.phase {
            Phase::Idle => assert!(self.is_empty(), "an idle mailbox is empty"),
            // These may be empty: a read may have found that the store has no message of the gap.
            Phase::Ready | Phase::AwaitingFirst | Phase::AwaitingEgress => {}
            Phase::Loading | Phase::Parked(_) => assert!(!self.is_empty(), "{:?} without messages", self.phase),
            Phase::InFlight => assert!(self.batch.is_some(), "a request in flight has a batch"),
        }
    }
}

/// Drops messages from memory. The store has them, or will have them after the next cut.
fn evict(messages: impl Iterator<Item = Envelope>, memory: &mut Amount) {
    messages.for_each(|envelope| memory.remove(envelope.message.footprint()));
}
