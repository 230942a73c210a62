//! Cuts: how changes leave for the store, and what happens when they are durable.

use crate::{Changes, Cut, Mailboxes, Totals};

impl Mailboxes {
    /// Whether the next cut has changes, or something waits for it to become durable.
    pub fn has_changes(&self) -> bool {
        let next = self.cuts.journal.number;
        !self.cuts.journal.is_empty()
            || self.schedule.awaits_commit()
            || self.functions.iter().any(|function| function.stored_only.waits_for(next))
    }

    /// Whether the next cut should be made at once: when the changed states have reached a quarter of
    /// [`Limits::unsaved_bytes`], or the new messages a quarter of [`Limits::bytes`], or when an address waits for
    /// messages that can be read only after a cut.
    ///
    /// [`Limits::unsaved_bytes`]: crate::Limits::unsaved_bytes
    /// [`Limits::bytes`]: crate::Limits::bytes
    pub fn wants_cut(&self) -> bool {
        let is_much = |bytes: usize, limit: usize| bytes > 0 && bytes >= limit / 4;
        is_much(self.cuts.journal.state_bytes, self.limits.unsaved_bytes)
            || is_much(self.cuts.journal.message_bytes, self.limits.bytes)
            || self.schedule.awaits_commit()
    }

    /// Whether a cut is needed although its store ends with the process. Such a store is only there for what does not
    /// fit into memory. So the answer is `false` as long as everything is in memory and far from its limits: then a cut
    /// would cost time and make nothing safer.
    pub fn needs_cut(&self) -> bool {
        self.wants_cut()
            || self.instances.bytes() > self.limits.state_bytes / 2
            || self.timers.exceeds(self.timer_window().half())
            || self.functions.iter().any(|function| !function.stored_only.is_empty())
            // Until a cut has them, the numbers of removed entries are remembered.
            || self.cuts.journal.has_removals()
    }

    /// Takes the changes since the last cut.
    ///
    /// This only swaps the journal out, so it takes the same time whatever has changed. Reading or dropping the changes
    /// takes longer and is better done outside the lock of the mailboxes. Call [`durable`](Self::durable) when the
    /// changes are in the store.
    pub fn cut(&mut self) -> Cut {
        let totals = self.totals();
        let journal = self.cuts.take();
        Cut { number: journal.number, changes: Changes::new(journal, totals) }
    }

    fn totals(&self) -> Totals {
        Totals {
            next_message: self.cuts.next.message,
            next_timer: self.cuts.next.timer,
            next_record: self.cuts.next.record,
            functions: self.functions.totals(),
        }
    }

    /// Notes that the cut of this number and all earlier ones are in the store. What waited for them continues:
    /// evictions, reads of messages that were not durable, and requests that waited for room.
    pub fn durable(&mut self, number: u64) {
        self.cuts.durable(number);
        // Reads from `next` on begin after the commit, and so do not return what it removed.
        let next = self.reads.next();
        self.removed.durable(number, next);
        self.timers.durable(number, next);
        self.forget_removed();
        for function in self.functions.iter_mut() {
            function.stored_only.durable(number);
        }
        for slot in self.schedule.take_awaiting_commit() {
            self.want_messages(slot);
        }
        self.shrink_timers();
        self.evict();
    }
}
