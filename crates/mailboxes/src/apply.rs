//! Applies the answers to requests.

use std::sync::Arc;

use statefun_kinesis_types::Timestamp;

use crate::{
    Delayed, Effects, Mailboxes, Message, RequestId, StateChange, StateSpec, StoredEgress, StoredTimer,
    UnknownFunction, instances::Instance, journal::ChangedState, mailbox::Phase,
};

/// A function's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The function handled all messages.
    Handled(Effects),
    /// The function handled no message, because the request lacks these states of the function.
    StatesMissing(Vec<StateSpec>),
}

/// Why an answer cannot be used. The answer had no effect, and its request is still in flight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A message is for a function that no group serves.
    #[error(transparent)]
    UnknownFunction(#[from] UnknownFunction),
    /// The answer changes a state that the function did not declare.
    #[error("the answer changes the state `{name}`, which the function did not declare")]
    UndeclaredState {
        /// The state.
        name: Arc<str>,
    },
    /// The answer says that states are missing, but the request had all of them.
    #[error("the answer says that states are missing, but the request had all of them")]
    NothingMissing,
}

impl Mailboxes {
    /// Takes the answer to a request. An answer to a request that is not in flight any more is ignored.
    ///
    /// # Errors
    ///
    /// When the answer cannot be used. The request is then still in flight.
    pub fn answered(&mut self, request: RequestId, answer: Answer, now: Timestamp) -> Result<(), Refused> {
        if !self.is_in_flight(request) {
            return Ok(());
        }
        let applied = match answer {
            Answer::Handled(effects) => self.handled(request.slot, effects, now),
            Answer::StatesMissing(specs) => self.states_missing(request.slot, specs),
        };
        self.evict();
        applied
    }

    fn states_missing(&mut self, slot: u32, missing: Vec<StateSpec>) -> Result<(), Refused> {
        let mailbox = &self.slots[slot];
        let function = &self.functions[mailbox.function];
        if missing.iter().all(|spec| function.specs.was_among(mailbox.states_sent, &spec.name)) {
            return Err(Refused::NothingMissing);
        }
        // The same messages are sent again, before those of other addresses.
        let (place, group, number) = (mailbox.function, function.group, mailbox.request);
        for spec in missing {
            self.register(place, spec);
        }
        self.end_request(slot, false);
        self.schedule[group].answered(number);
        let mailbox = &mut self.slots[slot];
        mailbox.phase = Phase::Ready;
        let place = mailbox.instance;
        self.schedule[group].ready.push_front(slot);
        self.queue_for_eviction(place);
        Ok(())
    }

    /// Checks the effects of a function.
    fn check(&mut self, function: u32, effects: &Effects) -> Result<(), Refused> {
        let Effects { messages, delayed, egress: _, states } = effects;
        for (to, _) in messages {
            self.function(&to.function)?;
        }
        for delayed in delayed {
            if let Delayed::Send { to, .. } = delayed {
                self.function(&to.function)?;
            }
        }
        let specs = &self.functions[function].specs;
        match states.iter().find(|change| specs.declared_place(&change.name).is_none()) {
            Some(change) => Err(Refused::UndeclaredState { name: Arc::clone(&change.name) }),
            None => Ok(()),
        }
    }

    fn handled(&mut self, slot: u32, effects: Effects, now: Timestamp) -> Result<(), Refused> {
        // Before the first change, so that an answer has all of its effects or none.
        let sender_function = self.slots[slot].function;
        self.check(sender_function, &effects)?;
        let Effects { messages, delayed, egress, states } = effects;

        self.end_request(slot, false);
        let (own, number) = (self.slots[slot].instance, self.slots[slot].request);
        let group = self.functions[sender_function].group;
        self.schedule[group].answered(number);
        let batch = self.take_batch(slot).expect("a request in flight has a batch");
        let id = Arc::clone(&self.instances.get(own).id);
        let sender = self.functions[sender_function].address(&id);
        let counts = &mut self.functions[sender_function].counts;
        counts.messages_out += messages.len() as u64;
        counts.egress_out += egress.len() as u64;

        for (to, value) in messages {
            let function = self.function(&to.function)?;
            self.enqueue(function, to.id, Message { caller: Some(sender.clone()), value, origin: None });
        }
        for delayed in delayed {
            match delayed {
                Delayed::Send { delay, to, value, token } => {
                    self.functions[sender_function].counts.messages_out += 1;
                    let function = self.function(&to.function)?;
                    self.functions[function].timers += 1;
                    let message = Message { caller: Some(sender.clone()), value, origin: None };
                    let timer =
                        StoredTimer { id: self.cuts.next.take_timer(), at: now.after(delay), to, message, token };
                    self.timers.insert(timer, &mut self.cuts.journal);
                }
                Delayed::Cancel { token } => {
                    let number = || self.cuts.next.take_timer();
                    for cancelled in self.timers.cancel(&sender, &token, number, &mut self.cuts.journal) {
                        let function = self.function(&cancelled.to.function)?;
                        self.functions[function].timers -= 1;
                    }
                }
            }
        }
        for message in egress {
            let record = StoredEgress { id: self.cuts.next.take_record(), sender: Arc::clone(&id), message };
            self.cuts.journal.egress.add(record.id, record.clone());
            self.outgoing.push(record, Some(sender_function));
        }
        self.change_states(own, &states, now);
        self.finish_batch(sender_function, &id, &batch);
        self.shrink_timers();

        for waiting in self.functions[sender_function].first_request.answered() {
            self.make_ready(waiting);
        }
        self.requeue_or_remove(slot);
        Ok(())
    }

    fn change_states(&mut self, place: u32, changes: &[StateChange], now: Timestamp) {
        if changes.is_empty() {
            return;
        }
        let journal = &mut self.cuts.journal;
        let specs = &self.functions[self.instances.get(place).function].specs;
        self.instances.change(place, |Instance { id, function, cells, written, .. }| {
            for change in changes {
                let spec = specs.place(&change.name).expect("`handled` checked that it is declared");
                let expires = specs.expiration(spec).at_write(now);
                let content = match &change.value {
                    Some(value) => cells.set(spec, specs.get(spec), value, expires),
                    None => {
                        cells.clear(spec);
                        None
                    }
                };
                let expires = expires.filter(|_| content.is_some());
                let name = Arc::clone(specs.name(spec));
                let state = ChangedState { name, content: content.cloned(), expires };
                journal.state_changed(written, *function, id, state);
            }
        });
        self.instances.schedule_expiry(place);
    }
}
