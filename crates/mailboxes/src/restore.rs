//! After a restart.

use crate::{Mailboxes, Restored, UnknownFunction, cuts::Numbers, stored::StoredOnly, timers::Timers};

impl Mailboxes {
    /// Takes over what earlier mailboxes held at their last durable cut. Messages that were in flight go out again, and
    /// records that no egress had stored are sent again. What is taken over counts as written down.
    ///
    /// Messages, delayed messages and states stay in the store until they are needed.
    ///
    /// States that functions had declared are known and not sent: the first request of a function goes out without, so that
    /// its answer declares them again, as they are now. Values stay what they are meanwhile.
    ///
    /// # Errors
    ///
    /// When no group serves a function that has messages or delayed messages. Nothing of it was taken over then.
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
            // A function that is not served any more, and for which nothing waits, is not missed.
            if let Ok(function) = self.function(&function) {
                self.functions[function].specs.remember(spec);
            }
        }
        let mut timers = 0;
        for waiting in &totals.functions {
            let function = self.function(&waiting.function)?;
            let function = &mut self.functions[function];
            (function.messages, function.timers) = (waiting.messages, waiting.timers);
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
            self.outgoing.push(record);
        }
        Ok(())
    }
}
