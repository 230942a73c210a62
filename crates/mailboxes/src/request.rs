//! Sends requests, and handles those that fail.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_types::Address;

use crate::{
    FunctionCounts, GroupId, InvokeErrorKind, Mailboxes, Message, Now, Value,
    instances::Instance,
    journal::ChangedState,
    mailbox::{Batch, Phase},
    state::Content,
};

/// Identifies a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub(crate) slot: u32,
    pub(crate) number: u64,
}

/// A batch of messages of one address for its function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The request's id, for reporting its result.
    pub id: RequestId,
    /// The group that serves the function.
    pub group: GroupId,
    /// The address of the messages.
    pub target: Address,
    /// All states that the function has declared since the start, with their values.
    pub states: Vec<(Arc<str>, Option<Value>)>,
    /// The messages, oldest first.
    pub messages: Arc<[Message]>,
    /// How often the same messages have failed before.
    pub attempt: u32,
    /// When the messages were first sent, by the monotonic clock.
    pub tried_since: Duration,
    /// When the requests of the address began to fail, by the monotonic clock; `None` when the last one was answered.
    pub failing_since: Option<Duration>,
}

/// A failed request, as the breaker and the metrics see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed.
    pub kind: InvokeErrorKind,
    /// When, by the monotonic clock.
    pub elapsed: Duration,
    /// How long the server asks callers to wait.
    pub wait: Duration,
}

/// How long the requests of a function stay small after its server rejected one as too large.
const SMALL_REQUESTS: Duration = Duration::from_secs(600);

impl Mailboxes {
    /// Makes the request of a mailbox's next batch. Its states and messages have to be in memory.
    pub(crate) fn dispatch(&mut self, slot: u32, Now { time: now, elapsed }: Now) -> Request {
        let id = RequestId { slot, number: self.schedule.number_request() };
        let mailbox = &mut self.slots[slot];
        let index = mailbox.function;
        let function = &mut self.functions[index];
        let group = &mut self.schedule[function.group];
        let max_messages = group.settings.max_batch_messages.get() as usize;
        let max_bytes = group.settings.max_batch_bytes;
        // States go with each request, however large they are. If they left no room for messages, each message would
        // take a request of its own, and send the states again.
        let of_states = self.instances.get(mailbox.instance).cells.footprint().min(max_bytes / 2);
        mailbox.fill_batch(max_messages, function.accepted_bytes(elapsed).min(max_bytes - of_states));
        function.request_begins(mailbox.batch_len());
        group.in_flight += 1;
        group.breaker.sent();
        mailbox.phase = Phase::InFlight;
        mailbox.request = id.number;
        mailbox.states_sent = function.specs.declared_count();

        let place = mailbox.instance;
        let (journal, specs) = (&mut self.cuts.journal, &function.specs);
        self.instances.unlink(place);
        self.instances.get_mut(place).is_pinned = true;
        let cells = &self.instances.get(place).cells;
        if !cells.is_empty() && (specs.expires_by_use() || cells.first_expiry().is_some()) {
            self.instances.change(place, |Instance { id, cells, written, .. }| {
                let mut changed = |spec, content, expires| {
                    let name = Arc::clone(specs.name(spec));
                    journal.state_changed(written, index, id, ChangedState { name, content, expires });
                };
                cells.expire(now, |spec| changed(spec, None, None));
                cells.invoked(specs, now, |spec, content, expires| changed(spec, Some(content.clone()), expires));
            });
            self.instances.schedule_expiry(place);
        }
        let instance = self.instances.get(place);
        let value = |spec| instance.cells.get(spec).map(Content::value);
        let states = specs.declared().map(|(place, spec)| (Arc::clone(&spec.name), value(place))).collect();
        let request = Request {
            id,
            group: function.group,
            target: function.address(&instance.id),
            states,
            messages: mailbox.batch.as_ref().map_or_else(|| [].into(), |batch| Arc::clone(&batch.messages)),
            attempt: mailbox.attempt,
            tried_since: *mailbox.tried_since.get_or_insert(elapsed),
            failing_since: mailbox.failing_since,
        };
        let mailbox = &self.slots[slot];
        if mailbox.gap.is_some() && mailbox.waiting.len() <= max_messages / 2 {
            // Reads ahead, so that the next turn need not wait for the store.
            self.want_messages(slot);
        }
        request
    }

    /// Notes that a request failed. The request is still in flight: the caller decides what happens to its messages, and
    /// calls [`park`](Self::park), [`split`](Self::split), [`skip`](Self::skip) or
    /// [`dead_lettered`](Self::dead_lettered).
    ///
    /// When the server of a group was unavailable for several addresses in a row, the group pauses, for longer each
    /// time. After a pause one request asks whether the server takes requests again, and each answer doubles the number
    /// of requests.
    pub fn failed(&mut self, request: RequestId, Failure { kind, elapsed, wait }: Failure) {
        if !self.is_in_flight(request) {
            return;
        }
        let mailbox = &mut self.slots[request.slot];
        let function = &mut self.functions[mailbox.function];
        if mailbox.failing_since.is_none() {
            mailbox.failing_since = Some(elapsed);
            function.counts.failing += 1;
        }
        let group = &mut self.schedule[function.group];
        match kind {
            InvokeErrorKind::Rejected => group.answered(request.number),
            InvokeErrorKind::TooLarge => {
                group.answered(request.number);
                let messages = mailbox.batch.iter().flat_map(|batch| batch.messages.iter());
                let bytes: usize = messages.map(Message::request_bytes).sum();
                function.too_large(bytes, elapsed.saturating_add(SMALL_REQUESTS));
            }
            InvokeErrorKind::Unavailable => group.breaker.unavailable(request.number, request.slot, elapsed, wait),
            // The message may be the cause, or the server. Waiting for the answer took long anyway.
            InvokeErrorKind::NoAnswer => {}
        }
    }

    /// After a failure, sends the same messages again at a time of the monotonic clock. Only their address waits until
    /// then.
    ///
    /// If the function has not answered any request yet, another address sends its first request next, because the
    /// failure may be due to one message.
    pub fn park(&mut self, request: RequestId, until: Duration) {
        if !self.is_in_flight(request) {
            return;
        }
        self.end_request(request.slot, true);
        self.wait_until(request.slot, until);
    }

    fn wait_until(&mut self, slot: u32, until: Duration) {
        let mailbox = &mut self.slots[slot];
        mailbox.phase = Phase::Parked(until);
        let (function, place) = (mailbox.function, mailbox.instance);
        self.schedule.park(slot, until);
        self.queue_for_eviction(place);
        if self.is_saturated(function) {
            self.evict_waiting(slot);
        }
        self.evict_parked(function);
        self.evict();
    }

    /// After a failure, sends the first half of the messages of a request, at a time of the monotonic clock. So a batch
    /// is taken apart until the message that fails is alone, and only those behind it at the same address wait. Returns
    /// `false` when the request has only one message; it is then still in flight.
    pub fn split(&mut self, request: RequestId, until: Duration) -> bool {
        if !self.is_in_flight(request) {
            return false;
        }
        let mailbox = &mut self.slots[request.slot];
        if mailbox.batch.as_ref().is_none_or(|batch| batch.numbers.len() < 2) {
            return false;
        }
        self.end_request(request.slot, true);
        let mailbox = &mut self.slots[request.slot];
        mailbox.split_batch();
        // Only the attempts with the same messages count.
        mailbox.reset_attempts();
        self.wait_until(request.slot, until);
        true
    }

    /// After a failure, gives up the messages of a request. They count as handled, without any effect.
    pub fn skip(&mut self, request: RequestId) {
        self.give_up(request, |counts| &mut counts.skipped);
    }

    /// After a failure, gives up the messages of a request, which are stored as dead letters. They count as handled,
    /// without any effect.
    pub fn dead_lettered(&mut self, request: RequestId) {
        self.give_up(request, |counts| &mut counts.dead_lettered);
    }

    fn give_up(&mut self, request: RequestId, counter: fn(&mut FunctionCounts) -> &mut u64) {
        if !self.is_in_flight(request) {
            return;
        }
        self.end_request(request.slot, true);
        let (function, place) = (self.slots[request.slot].function, self.slots[request.slot].instance);
        if let Some(batch) = self.take_batch(request.slot) {
            *counter(&mut self.functions[function].counts) += batch.numbers.len() as u64;
            let id = Arc::clone(&self.instances.get(place).id);
            self.finish_batch(function, &id, &batch);
        }
        self.requeue_or_remove(request.slot);
        self.evict();
    }

    /// Takes the batch of a mailbox, which was handled or given up.
    pub(crate) fn take_batch(&mut self, slot: u32) -> Option<Batch> {
        let mailbox = &mut self.slots[slot];
        self.functions[mailbox.function].counts.failing -= u64::from(mailbox.failing_since.is_some());
        mailbox.take_batch()
    }

    pub(crate) fn is_in_flight(&self, request: RequestId) -> bool {
        let mailbox = self.slots.get(request.slot);
        mailbox.is_some_and(|mailbox| mailbox.phase == Phase::InFlight && mailbox.request == request.number)
    }

    /// Ends a request, answered or failed. The caller has to give the mailbox a new phase, and to queue its instance
    /// for eviction afterwards, because the instance is not pinned any more.
    pub(crate) fn end_request(&mut self, slot: u32, failed: bool) {
        let mailbox = &mut self.slots[slot];
        self.instances.get_mut(mailbox.instance).is_pinned = false;
        let function = &mut self.functions[mailbox.function];
        function.request_ends(mailbox.batch_len(), failed);
        let group = &mut self.schedule[function.group];
        group.in_flight -= 1;
        group.breaker.ended(mailbox.request);
        if failed {
            mailbox.attempt += 1;
            if let Some(next) = function.first_request.next() {
                self.make_ready(next);
            }
        }
    }

    /// Removes the messages of a batch that were handled or skipped.
    pub(crate) fn finish_batch(&mut self, function: u32, id: &Arc<str>, batch: &Batch) {
        for (number, message) in batch.numbers.iter().zip(batch.messages.iter()) {
            self.finish(function, id, *number, message);
        }
    }
}
