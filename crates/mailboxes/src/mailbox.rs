//! The mailbox of one address.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{Message, limits::Amount, stored::Gap};

/// A message in a mailbox.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) number: u64,
    pub(crate) message: Message,
}

/// Messages that go out together until they are handled. Requests share the messages.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) messages: Arc<[Message]>,
    pub(crate) numbers: Vec<u64>,
}

/// What a mailbox waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// For a message.
    Idle,
    /// For its turn.
    Ready,
    /// For the first request of its function, which goes alone.
    BehindFirst,
    /// For its states or its messages, when it was its turn.
    Loading,
    /// For an answer.
    InFlight,
    /// For a time, after a failure.
    Parked(Duration),
}

/// An address with messages. There is at most one batch of it at any time, and so one request.
///
/// Its messages are in this order: the batch, those that wait, those of the gap, and those behind it. Only the gap is not
/// in memory.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) function: u32,
    pub(crate) instance: u32,
    /// What is in flight, or was and has to go out again.
    pub(crate) batch: Option<Batch>,
    pub(crate) waiting: VecDeque<Envelope>,
    /// Messages that are in the store only.
    pub(crate) gap: Option<Gap>,
    /// What came after the messages of the gap; there is none without a gap.
    pub(crate) behind: VecDeque<Envelope>,
    pub(crate) phase: Phase,
    /// The number of the request in flight.
    pub(crate) request: u64,
    /// How many states that request named.
    pub(crate) states_sent: u16,
    /// How often the batch has failed.
    pub(crate) attempt: u32,
    /// When the batch went out first.
    pub(crate) tried_since: Option<Duration>,
    /// How many messages go out one by one, to find the one that fails.
    pub(crate) alone: usize,
}

impl Mailbox {
    /// A mailbox, which puts messages into `waiting`.
    pub(crate) fn new(function: u32, instance: u32, waiting: VecDeque<Envelope>) -> Self {
        Self {
            function,
            instance,
            batch: None,
            waiting,
            gap: None,
            behind: VecDeque::new(),
            phase: Phase::Idle,
            request: 0,
            states_sent: 0,
            attempt: 0,
            tried_since: None,
            alone: 0,
        }
    }

    /// Whether it has no messages, not in the store either.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_none() && self.waiting.is_empty() && self.gap.is_none()
    }

    /// Whether its next batch can be made of what is in memory.
    pub(crate) fn has_next(&self) -> bool {
        self.batch.is_some() || !self.waiting.is_empty()
    }

    /// How many messages its batch has.
    pub(crate) fn batch_len(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.numbers.len())
    }

    /// The messages that are in memory, oldest first.
    pub(crate) fn in_memory(&self) -> impl Iterator<Item = &Message> {
        let batch = self.batch.iter().flat_map(|batch| batch.messages.iter());
        batch.chain(self.waiting.iter().chain(&self.behind).map(|envelope| &envelope.message))
    }

    /// Adds a new message, in memory as long as it `has_room` and at most `window` messages wait in a row. Else it is
    /// in the store only. `memory` counts what is in memory.
    pub(crate) fn add(&mut self, envelope: Envelope, has_room: bool, window: usize, memory: &mut Amount) {
        let (number, footprint) = (envelope.number, envelope.message.footprint());
        match &mut self.gap {
            None if has_room && self.waiting.len() < window => {
                self.waiting.push_back(envelope);
                memory.add(footprint);
            }
            None => self.gap = Some(Gap::new(number, number + 1)),
            Some(_) if has_room && self.behind.len() < window => {
                self.behind.push_back(envelope);
                memory.add(footprint);
            }
            Some(gap) => {
                // Only one range of numbers may be missing from memory, so that what is behind the gap goes with it.
                gap.until = number + 1;
                evict(self.behind.drain(..), memory);
            }
        }
    }

    /// Adds a message that the store has, behind those that it had before. The first one always finds room.
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

    /// Fills the gap with what was read of it: with all that there is up to a number.
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
            self.waiting.extend(std::mem::take(&mut self.behind));
        } else {
            self.gap = Some(Gap { from: gap.from.max(read_up_to), is_read: false, ..gap });
        }
    }

    /// Evicts the messages that wait behind the batch; `next` is the next number.
    pub(crate) fn evict_waiting(&mut self, next: u64, memory: &mut Amount) {
        let Some(first) = self.waiting.front() else { return };
        if self.gap.is_some_and(|gap| gap.is_read) {
            // What the read brings belongs behind what waits.
            return;
        }
        self.gap = Some(Gap::new(first.number, next));
        evict(self.waiting.drain(..).chain(self.behind.drain(..)), memory);
    }

    /// The next batch is a new one.
    pub(crate) fn reset_attempts(&mut self) {
        self.attempt = 0;
        self.tried_since = None;
    }

    /// Makes a batch of what waits, unless there is one.
    pub(crate) fn fill_batch(&mut self, max_messages: usize, max_bytes: usize) {
        if self.batch.is_some() {
            return;
        }
        let max_messages = if self.alone > 0 { 1 } else { max_messages };
        self.alone = self.alone.saturating_sub(1);
        let mut bytes = 0;
        let fits = |envelope: &&Envelope| {
            bytes += envelope.message.value.payload_len();
            bytes <= max_bytes
        };
        let count = self.waiting.iter().take(max_messages).take_while(fits).count().max(1).min(self.waiting.len());
        let mut numbers = Vec::with_capacity(count);
        let mut take = |envelope: Envelope| {
            numbers.push(envelope.number);
            envelope.message
        };
        let messages = match self.waiting.pop_front() {
            // As most batches are, where messages are few and addresses many; and it saves a copy.
            Some(only) if count == 1 => Arc::new([take(only)]) as Arc<[Message]>,
            first => first.into_iter().chain(self.waiting.drain(..count.saturating_sub(1))).map(take).collect(),
        };
        self.batch = Some(Batch { messages, numbers });
        if self.waiting.is_empty() {
            self.waiting.shrink_to(4);
        }
    }

    /// Puts the batch back, so that its messages go out one by one. Says whether there was more than one.
    pub(crate) fn split_batch(&mut self) -> bool {
        match self.batch.take() {
            Some(batch) if batch.numbers.len() > 1 => {
                self.alone += batch.numbers.len();
                let messages = batch.messages.iter().cloned().zip(batch.numbers);
                for (message, number) in messages.rev() {
                    self.waiting.push_front(Envelope { number, message });
                }
                true
            }
            batch => {
                self.batch = batch;
                false
            }
        }
    }

    /// Checks what always holds.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self) {
        let numbers: Vec<u64> = self.batch.iter().flat_map(|batch| batch.numbers.iter().copied()).collect();
        let in_front = numbers.into_iter().chain(self.waiting.iter().map(|envelope| envelope.number));
        let behind = self.behind.iter().map(|envelope| envelope.number);
        match self.gap {
            None => assert!(self.behind.is_empty(), "without a gap nothing is behind it"),
            Some(gap) => {
                assert!(gap.from < gap.until, "{gap:?} is not empty");
                assert!(in_front.clone().all(|number| number < gap.from), "what is in front of {gap:?}");
                assert!(behind.clone().all(|number| number >= gap.until), "what is behind {gap:?}");
            }
        }
        assert!(in_front.chain(behind).is_sorted_by(|a, b| a < b), "messages are in order");
        match self.phase {
            Phase::Idle => assert!(self.is_empty(), "an idle mailbox is empty"),
            // The store may have turned out to have none of the messages of its gap.
            Phase::Ready | Phase::BehindFirst => {}
            Phase::Loading | Phase::Parked(_) => assert!(!self.is_empty(), "{:?} waits for nothing", self.phase),
            Phase::InFlight => assert!(self.batch.is_some(), "what is in flight is a batch"),
        }
    }
}

/// Takes messages out of memory that the store has.
fn evict(messages: impl Iterator<Item = Envelope>, memory: &mut Amount) {
    messages.for_each(|envelope| memory.remove(envelope.message.footprint()));
}
