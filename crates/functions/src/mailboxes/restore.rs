//! After a restart.

use super::{
    change::Image,
    group::UnknownFunction,
    lineage::Lineage,
    machine::{Mailboxes, Numbers},
    mailbox::Tag,
};

impl<T> Mailboxes<T> {
    /// Takes over what earlier mailboxes held at their last durable cut. Messages that were in flight go out again, and
    /// records that no egress had stored are sent again. What is taken over counts as written down.
    ///
    /// States that functions had declared are known and not sent: the first request of a function goes out without, so that
    /// its answer declares them again, as they are now. Values stay what they are meanwhile.
    ///
    /// Mailboxes that are [`backed`](Self::backed) ask for states when they need them, and look at none of the image.
    ///
    /// # Errors
    ///
    /// When nobody serves a function that has messages, delayed messages or states. Nothing of it was taken over then.
    ///
    /// # Panics
    ///
    /// When the mailboxes were used before.
    pub fn restore(&mut self, image: &Image) -> Result<(), UnknownFunction> {
        assert!(
            self.functions.is_empty() && self.next == Numbers::default(),
            "mailboxes are restored before they are used"
        );
        let functions = image
            .messages()
            .map(|message| &message.to.function)
            .chain(image.timers().map(|timer| &timer.to.function))
            .chain(image.states().map(|state| &state.address.function));
        for function in functions {
            if self.directory.find(function).is_none() {
                return Err(UnknownFunction { function: function.clone() });
            }
        }
        for (function, spec) in image.specs() {
            // A function that is not served any more, and has no state left, is not missed.
            if let Ok(function) = self.function(function) {
                self.functions[function as usize].specs.remember(spec.clone());
            }
        }
        let is_backed = self.is_backed;
        for state in image.states().filter(|_| !is_backed) {
            let index = self.function(&state.address.function)?;
            let place = self.instance(index, &state.address.id);
            self.put_state(place, state);
            self.instances.schedule(place, &mut self.expiries, false);
        }
        self.next.go_behind(
            image.messages().last().map(|message| message.id),
            image.timers().last().map(|timer| timer.id),
            image.egress().last().map(|record| record.id),
        );
        for timer in image.timers() {
            self.timers.insert(timer.clone());
        }
        for record in image.egress() {
            self.outgoing.push(record.clone(), Lineage::NONE);
        }
        for message in image.messages() {
            let function = self.function(&message.to.function)?;
            let tag = Tag { id: message.id, lineage: Lineage::NONE };
            self.put(function, &message.to.id, message.message.clone(), tag);
        }
        Ok(())
    }
}
