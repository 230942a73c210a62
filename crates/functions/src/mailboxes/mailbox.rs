//! The mailbox of one address.

use std::{collections::VecDeque, sync::Arc};

use statefun_kinesis_types::Timestamp;

use super::lineage::Lineage;
use crate::Message;

/// A message in a mailbox.
#[derive(Debug)]
pub(super) struct Envelope<T> {
    pub(super) message: Message,
    pub(super) tag: Tag<T>,
}

/// What mailboxes know of a message: its number, and what it came of.
#[derive(Debug)]
pub(super) struct Tag<T> {
    pub(super) id: u64,
    pub(super) lineage: Lineage<T>,
}

/// Messages that go out together until they are handled. Those who carry them out share the messages.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) messages: Arc<[Message]>,
    pub(super) tags: Vec<Tag<T>>,
}

/// What a mailbox waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// For a message.
    Idle,
    /// For its turn.
    Ready,
    /// For the first request of its function, which goes alone.
    Aside,
    /// For its states, when it was its turn.
    Loading,
    /// For an answer.
    InFlight,
    /// For a time, after a failure.
    Parked(Timestamp),
    /// For room in a mailbox that it has sent to.
    Held,
}

/// An address with messages. There is at most one batch of it at any time, and so one request.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    pub(super) function: u32,
    pub(super) instance: u32,
    pub(super) waiting: VecDeque<Envelope<T>>,
    /// What is in flight, or was and has to go out again.
    pub(super) batch: Option<Batch<T>>,
    pub(super) phase: Phase,
    /// The number of the request in flight.
    pub(super) request: u64,
    /// How many states that request named.
    pub(super) states_sent: u16,
    /// How often the batch has failed.
    pub(super) attempt: u32,
    /// When the batch went out first.
    pub(super) tried_since: Option<Timestamp>,
    /// How many messages go out one by one, to find the one that fails.
    pub(super) alone: usize,
    /// Mailboxes that wait for room in this one.
    pub(super) waiters: Vec<u32>,
}

impl<T> Mailbox<T> {
    /// A mailbox, which puts messages into `waiting`.
    pub(super) fn new(function: u32, instance: u32, waiting: VecDeque<Envelope<T>>) -> Self {
        Self {
            function,
            instance,
            waiting,
            batch: None,
            phase: Phase::Idle,
            request: 0,
            states_sent: 0,
            attempt: 0,
            tried_since: None,
            alone: 0,
            waiters: Vec::new(),
        }
    }

    /// The next batch is another one.
    pub(super) fn starts_anew(&mut self) {
        self.attempt = 0;
        self.tried_since = None;
    }

    /// Makes a batch of what waits, unless there is one.
    pub(super) fn fill_batch(&mut self, max_messages: usize, max_bytes: usize) {
        if self.batch.is_some() {
            return;
        }
        let max_messages = if self.alone > 0 { 1 } else { max_messages };
        self.alone = self.alone.saturating_sub(1);
        let mut bytes = 0;
        let fits = |envelope: &&Envelope<T>| {
            bytes += envelope.message.value.payload_len();
            bytes <= max_bytes
        };
        let count = self.waiting.iter().take(max_messages).take_while(fits).count().max(1).min(self.waiting.len());
        let mut tags = Vec::with_capacity(count);
        let mut take = |envelope: Envelope<T>| {
            tags.push(envelope.tag);
            envelope.message
        };
        let messages = match self.waiting.pop_front() {
            // As most batches are, where messages are few and addresses many; and it saves a copy.
            Some(only) if count == 1 => Arc::new([take(only)]) as Arc<[Message]>,
            first => first.into_iter().chain(self.waiting.drain(..count.saturating_sub(1))).map(take).collect(),
        };
        self.batch = Some(Batch { messages, tags });
        if self.waiting.is_empty() {
            self.waiting.shrink_to(4);
        }
    }

    /// Puts the batch back, so that its messages go out one by one. Says whether there was more than one.
    pub(super) fn split_batch(&mut self) -> bool {
        match self.batch.take() {
            Some(batch) if batch.tags.len() > 1 => {
                self.alone += batch.tags.len();
                let messages = batch.messages.iter().cloned().zip(batch.tags);
                for (message, tag) in messages.rev() {
                    self.waiting.push_front(Envelope { message, tag });
                }
                true
            }
            batch => {
                self.batch = batch;
                false
            }
        }
    }
}
