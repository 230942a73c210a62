//! What is due by the time.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_types::Timestamp;

use crate::{Mailboxes, Now, instances::Instance, journal::ChangedState, timers::Window};

/// Most delayed messages that are delivered at a time, so that callers wait for a few milliseconds at most when all of
/// them are overdue after a restart.
const DUE_AT_ONCE: usize = 4_096;

impl Mailboxes {
    /// The time of day at which [`on_time`](Self::on_time) has something to do next: a delayed message is due, or a state
    /// expires.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        [self.timers.next_at(), self.instances.next_expiry()].into_iter().flatten().min()
    }

    /// The same by the clock that never goes back: a wait after a failure ends.
    pub fn next_retry(&self) -> Option<Duration> {
        let passes = self.functions.iter().filter_map(|function| function.stored_only.not_before);
        passes.chain(self.schedule.next_retry()).min()
    }

    /// Does what is due: delivers delayed messages, retries what waited after a failure, forgets expired values.
    ///
    /// Of very many delayed messages that are due some are left, and the next deadline is in the past then.
    pub fn on_time(&mut self, now: impl Into<Now>) {
        let Now { time: now, elapsed } = now.into();
        while let Some(slot) = self.schedule.pop_parked(elapsed) {
            self.make_ready(slot);
        }
        for function in self.functions.iter_mut() {
            function.stored_only.not_before = function.stored_only.not_before.filter(|at| *at > elapsed);
        }
        for _ in 0..DUE_AT_ONCE {
            let Some(timer) = self.timers.pop(now, &mut self.cuts.journal) else { break };
            let function = self.function(&timer.to.function).expect("it was served when the message was sent");
            self.functions[function].timers -= 1;
            self.post(function, timer.to.id, timer.message);
        }
        while let Some(place) = self.instances.pop_expiry(now) {
            self.expire(place, now);
            self.instances.schedule_expiry(place);
            self.queue_for_eviction(place);
        }
        self.evict();
    }

    /// Removes values that have expired.
    pub(crate) fn expire(&mut self, place: u32, now: Timestamp) {
        let journal = &mut self.cuts.journal;
        let specs = &self.functions[self.instances.get(place).function].specs;
        self.instances.change(place, |Instance { id, function, cells, written, .. }| {
            cells.expire(now, |spec| {
                let state = ChangedState { name: Arc::clone(specs.name(spec)), content: None, expires: None };
                journal.state_changed(written, *function, id, state);
            });
        });
    }

    /// Evicts delayed messages that the store has, and that are more than the window takes.
    pub(crate) fn shrink_timers(&mut self) {
        self.timers.shrink(self.timer_window(), self.cuts.durable_numbers().timer);
    }

    pub(crate) fn timer_window(&self) -> Window {
        Window { count: self.limits.timers.max(1), bytes: self.limits.timer_bytes }
    }
}
