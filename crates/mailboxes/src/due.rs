//! Handles what is due: delayed messages, retries and expired states.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_types::Timestamp;

use crate::{Mailboxes, Now, instances::Instance, journal::ChangedState, timers::Window};

/// Most delayed messages that one call delivers. It keeps a call within a few milliseconds, also when very many
/// messages are overdue after a restart.
const DUE_AT_ONCE: usize = 4_096;

impl Mailboxes {
    /// When [`on_time`](Self::on_time) has to be called next by the time of day: when the next delayed message is due
    /// or the next state expires.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        [self.timers.next_at(), self.instances.next_expiry()].into_iter().flatten().min()
    }

    /// When [`on_time`](Self::on_time) has to be called next by the monotonic clock: when the next retry is due, or the
    /// pause of a group ends.
    pub fn next_retry(&self) -> Option<Duration> {
        let passes = self.functions.iter().filter_map(|function| function.stored_only.not_before);
        passes.chain(self.schedule.next_retry()).chain(self.schedule.next_pause_end()).min()
    }

    /// Handles what is due: delivers delayed messages, retries failed batches, removes expired values.
    ///
    /// Delivers at most 4096 delayed messages per call. If more are due, the next deadline is in the past.
    pub fn on_time(&mut self, now: impl Into<Now>) {
        let Now { time: now, elapsed } = now.into();
        self.advance(elapsed);
        self.schedule.end_pauses(elapsed);
        while let Some(slot) = self.schedule.pop_parked(elapsed) {
            self.retry(slot);
        }
        for function in self.functions.iter_mut() {
            function.stored_only.not_before = function.stored_only.not_before.filter(|at| *at > elapsed);
        }
        for _ in 0..DUE_AT_ONCE {
            let Some(timer) = self.timers.pop(now, &mut self.cuts.journal) else { break };
            let function = self.function(&timer.to.function).expect("a group served it when the message was sent");
            self.functions[function].timers -= 1;
            self.enqueue(function, timer.to.id, timer.message);
        }
        while let Some(place) = self.instances.pop_expiry(now) {
            self.expire(place, now);
            self.instances.schedule_expiry(place);
            self.queue_for_eviction(place);
        }
        self.evict();
    }

    /// Removes the expired values of an instance.
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

    /// Evicts durable delayed messages beyond the window.
    pub(crate) fn shrink_timers(&mut self) {
        self.timers.shrink(self.timer_window(), self.cuts.durable_numbers().timer);
    }

    pub(crate) fn timer_window(&self) -> Window {
        Window { count: self.limits.timers.max(1), bytes: self.limits.timer_bytes }
    }
}
