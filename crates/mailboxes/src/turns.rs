//! Chooses the address that sends the next request.

#[cfg(any(test, debug_assertions))]
use std::time::Duration;

use crate::{GroupId, Mailboxes, Now, Request, mailbox::Phase};

impl Mailboxes {
    /// Returns the next request that may be sent now; `None` when there is none, or when too many bytes of changed states
    /// are outstanding. A function has none while too many of its records for egresses are outstanding.
    pub fn next_request(&mut self, now: impl Into<Now>) -> Option<Request> {
        let now = now.into();
        // One of each function at a time: what it sends may be the last that there is room for.
        for slot in self.outgoing.released(self.functions.len(), &self.limits) {
            self.make_ready(slot);
        }
        if self.cuts.unsaved_bytes() >= self.limits.unsaved_bytes {
            return None;
        }
        for _ in 0..self.schedule.groups().len() {
            let group = self.schedule.next_group();
            while let Some(slot) = self.next_ready(group) {
                let mailbox = &mut self.slots[slot];
                let first_request = &mut self.functions[mailbox.function].first_request;
                if first_request.is_awaited() {
                    first_request.wait(slot);
                    self.give_way(slot, Phase::AwaitingFirst);
                    continue;
                }
                let function = mailbox.function;
                if self.outgoing.holds_back(function, self.functions.len(), &self.limits) {
                    self.outgoing.wait(function, slot);
                    self.give_way(slot, Phase::AwaitingEgress);
                    continue;
                }
                return Some(self.dispatch(slot, now));
            }
        }
        None
    }

    /// Makes a mailbox wait, though it was its turn. Its states may be evicted meanwhile.
    fn give_way(&mut self, slot: u32, phase: Phase) {
        let mailbox = &mut self.slots[slot];
        mailbox.phase = phase;
        let place = mailbox.instance;
        self.instances.get_mut(place).is_pinned = false;
        self.queue_for_eviction(place);
    }

    /// Returns the next mailbox of a group whose states and messages are in memory. Mailboxes before it that are not
    /// complete begin to load. If there is no room to load, they wait in `unloaded` and do not block those after them.
    fn next_ready(&mut self, group: GroupId) -> Option<u32> {
        let of = &mut self.schedule[group];
        if !of.has_room() {
            return None;
        }
        if let Some(slot) = of.loaded.pop_front() {
            of.loads -= 1;
            return Some(slot);
        }
        while let Some(slot) = self.schedule[group].unloaded.front().copied() {
            if self.slots[slot].is_empty() {
                self.schedule[group].unloaded.pop_front();
                self.requeue_or_remove(slot);
                continue;
            }
            let is_complete = self.is_complete(slot);
            if !is_complete && !self.begin_load(group, slot) {
                break;
            }
            self.schedule[group].unloaded.pop_front();
            if is_complete {
                return Some(slot);
            }
        }
        while let Some(slot) = self.schedule[group].ready.pop_front() {
            if self.slots[slot].is_empty() {
                // A read found that the store has none of the messages of its gap.
                self.requeue_or_remove(slot);
                continue;
            }
            if self.is_complete(slot) {
                return Some(slot);
            }
            if !self.schedule[group].unloaded.is_empty() || !self.begin_load(group, slot) {
                self.schedule[group].unloaded.push_back(slot);
            }
        }
        None
    }

    /// Whether the states and the next messages of an address are in memory.
    fn is_complete(&self, slot: u32) -> bool {
        let mailbox = &self.slots[slot];
        mailbox.has_next() && self.instances.get(mailbox.instance).is_known()
    }

    /// Puts a mailbox at the end of its group's queue.
    pub(crate) fn make_ready(&mut self, slot: u32) {
        let mailbox = &mut self.slots[slot];
        mailbox.phase = Phase::Ready;
        self.schedule[self.functions[mailbox.function].group].ready.push_back(slot);
    }

    /// Queues a mailbox whose retry is due.
    pub(crate) fn retry(&mut self, slot: u32) {
        let mailbox = &mut self.slots[slot];
        let group = &mut self.schedule[self.functions[mailbox.function].group];
        if group.breaker.holds_back() {
            // The same few addresses ask whether the server takes requests again. With a policy that gives up, each
            // further address that fails would use up some of its attempts.
            mailbox.phase = Phase::Ready;
            group.ready.push_front(slot);
        } else {
            self.make_ready(slot);
        }
    }

    /// Queues a mailbox for its next turn, or removes it when it has no messages.
    pub(crate) fn requeue_or_remove(&mut self, slot: u32) {
        let mailbox = &self.slots[slot];
        let place = mailbox.instance;
        if mailbox.is_empty() {
            self.functions[mailbox.function].mailboxes -= 1;
            self.slots.remove_empty(slot);
            self.instances.get_mut(place).mailbox = None;
        } else {
            self.make_ready(slot);
        }
        self.queue_for_eviction(place);
    }

    /// Checks that each mailbox is in the queue of its phase and in no other one.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_schedule(&self) {
        use std::collections::HashMap;

        let mut places: HashMap<u32, Vec<Place>> = HashMap::new();
        let mut add = |slot, place| places.entry(slot).or_default().push(place);
        for group in self.schedule.groups() {
            let ready = group.ready.iter().chain(&group.unloaded).chain(&group.loaded);
            ready.for_each(|slot| add(*slot, Place::Ready));
        }
        self.schedule.parked_longest().for_each(|(until, slot)| add(slot, Place::Parked(until)));
        let waiting = self.functions.iter().flat_map(|function| function.first_request.waiting());
        waiting.for_each(|slot| add(slot, Place::AwaitingFirst));
        self.outgoing.waiting().for_each(|slot| add(slot, Place::AwaitingEgress));

        let mut loads = vec![0; self.schedule.groups().len()];
        let mut in_flight = vec![0; self.schedule.groups().len()];
        for (slot, mailbox) in self.slots.iter() {
            let group = self.functions[mailbox.function].group.index();
            let expected = match mailbox.phase {
                Phase::Idle => None,
                Phase::Ready => Some(Place::Ready),
                Phase::AwaitingFirst => Some(Place::AwaitingFirst),
                Phase::AwaitingEgress => Some(Place::AwaitingEgress),
                Phase::Parked(until) => Some(Place::Parked(until)),
                Phase::Loading => {
                    loads[group] += 1;
                    None
                }
                Phase::InFlight => {
                    in_flight[group] += 1;
                    None
                }
            };
            assert_eq!(places.remove(&slot).unwrap_or_default(), Vec::from_iter(expected), "{:?}", mailbox.phase);
        }
        assert!(places.is_empty(), "removed mailboxes are in no queue: {places:?}");
        for ((group, loads), in_flight) in self.schedule.groups().iter().zip(loads).zip(in_flight) {
            assert_eq!(group.loads, loads + group.loaded.len(), "mailboxes that wait for the store");
            assert_eq!(group.in_flight, in_flight, "requests in flight");
        }
    }
}

/// The queue that a mailbox is in, for checks.
#[cfg(any(test, debug_assertions))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    AwaitingFirst,
    AwaitingEgress,
    Parked(Duration),
}
