//! After a restart.

use std::sync::Arc;

use super::{change::Image, group::UnknownFunction, lineage::Lineage, machine::Mailboxes, mailbox::Tag};

impl<T> Mailboxes<T> {
    /// Takes over what earlier mailboxes held at their last cut. Messages that were in flight go out again, and records
    /// that no egress had stored are sent again. What is taken over counts as written down.
    ///
    /// # Errors
    ///
    /// When nobody serves a function that has messages, delayed messages or states. Nothing of it was taken over then.
    ///
    /// # Panics
    ///
    /// When the mailboxes were used before.
    pub fn restore(&mut self, image: &Image) -> Result<(), UnknownFunction> {
        assert!(self.functions.is_empty() && self.next_id == 0, "mailboxes are restored before they are used");
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
                self.functions[function as usize].specs.register(spec.clone());
            }
        }
        for state in image.states() {
            let index = self.function(&state.address.function)?;
            let function = &mut self.functions[index as usize];
            let (Some(place), Some(value)) = (function.specs.place(&state.name), &state.value) else { continue };
            let id = &state.address.id;
            let instance = function.instances.entry(Arc::clone(id)).or_default();
            instance.set(place, value, state.expires);
            instance.schedule(index, id, &mut self.expiries, false);
        }
        for timer in image.timers() {
            self.next_id = self.next_id.max(timer.id + 1);
            self.timers.insert(timer.clone());
        }
        for record in image.egress() {
            self.next_id = self.next_id.max(record.id + 1);
            self.outgoing.push(record.clone(), Lineage::NONE);
        }
        for message in image.messages() {
            self.next_id = self.next_id.max(message.id + 1);
            let function = self.function(&message.to.function)?;
            let tag = Tag { id: message.id, lineage: Lineage::NONE };
            self.put(function, Arc::clone(&message.to.id), message.message.clone(), tag);
        }
        Ok(())
    }
}
