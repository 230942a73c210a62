//! How changes get to the store.

use crate::{Changes, Cut, Mailboxes, Totals};

impl Mailboxes {
    /// Whether something has changed since the last cut, or waits for the next one.
    pub fn has_changes(&self) -> bool {
        let next = self.cuts.journal.number;
        !self.cuts.journal.is_empty()
            || self.schedule.has_starved()
            || self.functions.iter().any(|function| function.stored_only.waits_for(next))
    }

    /// Whether the next cut should not wait for its time: when a quarter of [`Limits::unsaved_bytes`] has changed, or of
    /// [`Limits::bytes`] has come, or when an address waits for messages that are not durable yet.
    ///
    /// [`Limits::unsaved_bytes`]: crate::Limits::unsaved_bytes
    /// [`Limits::bytes`]: crate::Limits::bytes
    pub fn wants_cut(&self) -> bool {
        let is_much = |bytes: usize, limit: usize| bytes > 0 && bytes >= limit / 4;
        is_much(self.cuts.journal.state_bytes, self.limits.unsaved_bytes)
            || is_much(self.cuts.journal.message_bytes, self.limits.bytes)
            || self.schedule.has_starved()
    }

    /// What has changed since the last cut.
    ///
    /// That is a swap, which takes the same time whatever has changed. To read or to drop the changes takes longer, and
    /// is better done outside the lock of the mailboxes. When they are where a restart finds them,
    /// [`durable`](Self::durable) has to be called.
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

    /// The cut of this number and all before it are where a restart finds them. Requests that waited for it may go out.
    pub fn durable(&mut self, number: u64) {
        self.cuts.durable(number);
        let next = self.reads.next();
        self.removed.durable(number, next);
        self.timers.durable(number, next);
        self.forget_removed();
        for function in self.functions.iter_mut() {
            function.stored_only.durable(number);
        }
        for slot in self.schedule.take_starved() {
            self.want_messages(slot);
        }
        self.shrink_timers();
        self.evict();
    }
}
