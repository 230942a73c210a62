//! Whose turn it is.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_types::Address;

use crate::{
    GroupId, Mailboxes, Message, Now, Value,
    instances::Instance,
    journal::ChangedState,
    mailbox::{Batch, Mailbox, Phase},
    state::Content,
};

/// Most mailboxes that are gone and whose memory is kept: as many as may be gone while a delivery is handled.
const SPARE_MAX: usize = 256;

/// A request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub(crate) slot: u32,
    pub(crate) number: u64,
}

/// Messages of one address that are to be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// What the answer refers to.
    pub id: RequestId,
    /// The group that serves the function.
    pub group: GroupId,
    /// The address that the messages are for.
    pub target: Address,
    /// All states that the function has declared since the start, with their values.
    pub states: Vec<(Arc<str>, Option<Value>)>,
    /// The messages, oldest first.
    pub messages: Arc<[Message]>,
    /// How often the same messages went out before and failed.
    pub attempt: u32,
    /// When they went out first, by the clock that never goes back.
    pub tried_since: Duration,
}

impl Mailboxes {
    /// The next request that may go out now, if there is one.
    pub fn next_request(&mut self, now: impl Into<Now>) -> Option<Request> {
        let now = now.into();
        if self.outgoing.len() >= self.limits.egress_records || self.outgoing.bytes() >= self.limits.egress_bytes {
            return None;
        }
        if self.unsaved_bytes() >= self.limits.unsaved_bytes {
            return None;
        }
        for _ in 0..self.groups.len() {
            let index = self.next_group % self.groups.len();
            self.next_group = index + 1;
            while let Some(slot) = self.next_ready(index) {
                let function = &mut self.functions[self.mailboxes[slot as usize].function as usize];
                if !function.is_known && function.is_tried {
                    function.aside.push_back(slot);
                    let mailbox = &mut self.mailboxes[slot as usize];
                    mailbox.phase = Phase::Aside;
                    let place = mailbox.instance;
                    self.instances.get_mut(place).is_pinned = false;
                    self.settle(place);
                    continue;
                }
                function.is_tried = true;
                return Some(self.dispatch(slot, now));
            }
        }
        None
    }

    /// The next mailbox of a group whose request may go out, and whose states are known. Those before it whose states
    /// are not are asked for them, or wait until there is room for them and let others go ahead.
    fn next_ready(&mut self, index: usize) -> Option<u32> {
        let group = &mut self.groups[index];
        if group.in_flight >= group.settings.max_in_flight.get() {
            return None;
        }
        if let Some(slot) = group.loaded.pop_front() {
            group.loads -= 1;
            return Some(slot);
        }
        while let Some(slot) = self.groups[index].cold.front().copied() {
            if self.mailboxes[slot as usize].is_empty() {
                self.groups[index].cold.pop_front();
                self.go_on(slot);
                continue;
            }
            let is_complete = self.is_complete(slot);
            if !is_complete && !self.begin_load(index, slot) {
                break;
            }
            self.groups[index].cold.pop_front();
            if is_complete {
                return Some(slot);
            }
        }
        while let Some(slot) = self.groups[index].ready.pop_front() {
            if self.mailboxes[slot as usize].is_empty() {
                // The store had none of the messages for which it waited.
                self.go_on(slot);
                continue;
            }
            if self.is_complete(slot) {
                return Some(slot);
            }
            if !self.groups[index].cold.is_empty() || !self.begin_load(index, slot) {
                self.groups[index].cold.push_back(slot);
            }
        }
        None
    }

    /// Whether the states and the next messages of an address are in memory.
    fn is_complete(&self, slot: u32) -> bool {
        let mailbox = &self.mailboxes[slot as usize];
        mailbox.has_next() && self.instances.get(mailbox.instance).is_known()
    }

    fn dispatch(&mut self, slot: u32, Now { time: now, elapsed }: Now) -> Request {
        let number = self.next_request;
        self.next_request += 1;
        let mailbox = &mut self.mailboxes[slot as usize];
        let index = mailbox.function;
        let function = &mut self.functions[index as usize];
        let group = &mut self.groups[function.group.index()];
        let max_messages = group.settings.max_batch_messages.get() as usize;
        mailbox.fill_batch(max_messages, group.settings.max_batch_bytes);
        function.messages_in_flight += mailbox.batch.as_ref().map_or(0, |batch| batch.numbers.len() as u64);
        function.counts.in_flight += 1;
        group.in_flight += 1;
        mailbox.phase = Phase::InFlight;
        mailbox.request = number;
        mailbox.states_sent = function.specs.declared_count();

        let place = mailbox.instance;
        let (journal, specs) = (&mut self.journal, &function.specs);
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
            self.instances.schedule(place, &mut self.expiries, false);
        }
        let instance = self.instances.get(place);
        let value = |spec| instance.cells.get(spec).map(Content::value);
        let states = specs.declared().map(|(place, spec)| (Arc::clone(&spec.name), value(place))).collect();
        let request = Request {
            id: RequestId { slot, number },
            group: function.group,
            target: function.address(&instance.id),
            states,
            messages: mailbox.batch.as_ref().map_or_else(|| [].into(), |batch| Arc::clone(&batch.messages)),
            attempt: mailbox.attempt,
            tried_since: *mailbox.tried_since.get_or_insert(elapsed),
        };
        let mailbox = &self.mailboxes[slot as usize];
        if mailbox.gap.is_some() && mailbox.waiting.len() <= max_messages / 2 {
            // Ahead of its next turn.
            self.want_messages(slot);
        }
        request
    }

    /// Gives a mailbox its next turn, or removes it when it has nothing to do.
    pub(crate) fn go_on(&mut self, slot: u32) {
        let mailbox = &mut self.mailboxes[slot as usize];
        let place = mailbox.instance;
        if mailbox.is_empty() {
            let Mailbox { waiting, function, .. } = self.mailboxes.remove(slot as usize);
            self.functions[function as usize].mailboxes -= 1;
            if self.spare.len() < SPARE_MAX {
                self.spare.push(waiting);
            }
            self.instances.get_mut(place).mailbox = None;
        } else {
            self.make_ready(slot);
        }
        self.settle(place);
    }

    /// Lets the same messages go out again at that time, by the clock that never goes back. The address waits until then,
    /// and all others go on.
    ///
    /// Of a function that never answered, another address is tried next: it may be one message that fails.
    pub fn park(&mut self, request: RequestId, until: Duration) {
        if !self.is_in_flight(request) {
            return;
        }
        self.land(request.slot, true);
        let mailbox = &mut self.mailboxes[request.slot as usize];
        mailbox.phase = Phase::Parked(until);
        let (function, place) = (mailbox.function as usize, mailbox.instance);
        self.parked.insert((until, request.slot));
        self.settle(place);
        if self.is_saturated(function) {
            self.put_out_waiting(request.slot);
        }
        self.put_out_parked(function);
        self.evict();
    }

    /// After a failure, lets the messages of a request go out one by one, to find the one that fails. Says whether there
    /// was more than one; a single message is still in flight.
    pub fn split(&mut self, request: RequestId) -> bool {
        if !self.is_in_flight(request) {
            return false;
        }
        let mailbox = &mut self.mailboxes[request.slot as usize];
        if mailbox.batch.as_ref().is_none_or(|batch| batch.numbers.len() < 2) {
            return false;
        }
        self.land(request.slot, true);
        let mailbox = &mut self.mailboxes[request.slot as usize];
        mailbox.split_batch();
        mailbox.reset_attempts();
        self.go_on(request.slot);
        self.evict();
        true
    }

    /// After a failure, gives the messages of a request up: they count as handled, without any effect.
    pub fn skip(&mut self, request: RequestId) {
        if !self.is_in_flight(request) {
            return;
        }
        self.land(request.slot, true);
        let mailbox = &mut self.mailboxes[request.slot as usize];
        let (function, place) = (mailbox.function, mailbox.instance);
        mailbox.reset_attempts();
        if let Some(batch) = mailbox.batch.take() {
            let id = Arc::clone(&self.instances.get(place).id);
            self.finish_batch(function, &id, &batch);
        }
        self.go_on(request.slot);
        self.evict();
    }

    pub(crate) fn is_in_flight(&self, request: RequestId) -> bool {
        self.mailboxes
            .get(request.slot as usize)
            .is_some_and(|mailbox| mailbox.phase == Phase::InFlight && mailbox.request == request.number)
    }

    /// A request is not in flight any more. Its instance is to be settled after it.
    pub(crate) fn land(&mut self, slot: u32, failed: bool) {
        let mailbox = &mut self.mailboxes[slot as usize];
        self.instances.get_mut(mailbox.instance).is_pinned = false;
        let function = &mut self.functions[mailbox.function as usize];
        function.counts.in_flight -= 1;
        function.messages_in_flight -= mailbox.batch.as_ref().map_or(0, |batch| batch.numbers.len() as u64);
        self.groups[function.group.index()].in_flight -= 1;
        function.is_tried = false;
        if failed {
            mailbox.attempt += 1;
            function.counts.failures += 1;
            if let Some(next) = function.aside.pop_front() {
                self.make_ready(next);
            }
        }
    }

    /// The messages of a batch are handled, or left out.
    pub(crate) fn finish_batch(&mut self, function: u32, id: &Arc<str>, batch: &Batch) {
        for (number, message) in batch.numbers.iter().zip(batch.messages.iter()) {
            self.finish(function, id, *number, message);
        }
    }
}
