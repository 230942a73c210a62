//! Restores mailboxes from the store after a restart.

use crate::{Mailboxes, Restored, UnknownFunction, cuts::Numbers, stored::StoredOnly, timers::Timers};

impl Mailboxes {
    /// Continues from the last durable cut of earlier mailboxes. Messages that were in flight are sent again, and so
    /// are records that no egress had acknowledged. The next cut does not repeat the restored data.
    ///
    /// Messages, delayed messages and states stay in the store until they are needed.
    ///
    /// States that functions declared earlier are remembered but not sent. The first request of a function goes without
    /// states, so that its answer declares the current ones. Stored values do not change meanwhile.
    ///
    /// # Errors
    ///
    /// When no group serves a function that has messages or delayed messages. Nothing is restored then.
    ///
    /// # Panics
    ///
    /// When the mailboxes were used before.
    pub fn restore(&mut self, restored: Restored) -> Result<(), UnknownFunction> {
        assert!(
            self.functions.is_empty() && self.cuts.next == Numbers::default(),
            "mailboxes are restored before they are used"
        );
        let Restored { specs, totals, cancellations, egress, has_states } = restored;
        for waiting in &totals.functions {
            if !self.serves(&waiting.function) {
                return Err(UnknownFunction { function: waiting.function.clone() });
            }
        }
        for (function, spec) in specs {
            // An error means that no group serves the function. It has no messages, so nothing needs it.
            if let Ok(function) = self.function(&function) {
                self.functions[function].specs.remember(spec);
            }
        }
        let mut timers = 0;
        for waiting in &totals.functions {
            let place = self.function(&waiting.function)?;
            let function = &mut self.functions[place];
            (function.messages, function.timers) = (waiting.messages, waiting.timers);
            self.arrivals.add(place, waiting.messages);
            if waiting.messages > 0 {
                function.stored_only = StoredOnly::everything();
            }
            timers += waiting.timers;
        }
        let next = Numbers { message: totals.next_message, timer: totals.next_timer, record: totals.next_record };
        self.cuts.restored(next);
        self.instances.store_has_states = has_states;
        self.timers = Timers::stored(timers, cancellations);
        for record in egress {
            self.outgoing.push(record, None);
        }
        Ok(())
    }
}
