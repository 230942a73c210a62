use statefun_kinesis_types::PutRecord;

use super::{Machine, Outcome, PendingDeadLetter};
use crate::{
    Handling, Reason, SendError, Stored,
    policy::Policy,
    queue::{EntryId, Removed, Undelivered},
    record_meta::Token,
};

/// What becomes of records that are not sent any more.
impl<T: Token, W> Machine<T, W> {
    /// Fails all records that are not in flight. A record in flight is completed by the answer to its request, without a
    /// retry.
    pub(crate) fn abandon(&mut self) {
        self.is_abandoned = true;
        self.probes.clear();
        for (ids, _) in self.listing.take_misplaced() {
            for id in ids {
                let entry = self.queue.get_mut(id);
                (entry.in_flight, entry.may_be_stored) = (false, true);
            }
        }
        for (removed, undelivered) in self.queue.clear() {
            self.fail(removed, undelivered, Reason::Closed);
        }
    }

    /// Gives up on a record: as the policy says where it is about the record, and else with an error. The record must be the first of its key, and not in flight, ready or
    /// delayed.
    pub(super) fn give_up(&mut self, id: EntryId, reason: Reason, is_about_record: bool) {
        let stream = &self.stream;
        let entry = self.queue.get_mut(id);
        let Some(record) = &entry.record else { return };
        let error = SendError::new(stream, record, reason).tried(entry.attempts, entry.may_be_stored);
        let policy = if is_about_record { self.policy } else { Policy::Fail };
        match policy {
            Policy::Fail => self.fail_with_waiting(id, error),
            Policy::Skip { .. } => self.complete_handled(id, error, Handling::Skipped),
            Policy::DeadLetter { .. } => {
                // It stays the first of its key: the next one must not be stored before its dead letter is.
                entry.in_flight = true;
                let record = entry.record.take();
                self.output.dead_letters.extend(record.map(|record| PendingDeadLetter { id, record, error }));
            }
        }
    }

    /// Takes a record back whose dead letter was written, or could not be.
    pub(crate) fn dead_letter_written(&mut self, id: EntryId, record: PutRecord, error: SendError, is_stored: bool) {
        let entry = self.queue.get_mut(id);
        entry.record = Some(record);
        entry.in_flight = false;
        if is_stored {
            self.complete_handled(id, error, Handling::DeadLettered);
        } else {
            self.fail_with_waiting(id, error);
        }
    }

    /// Completes a record as failed that was skipped or dead-lettered. The next one of its key goes on.
    fn complete_handled(&mut self, id: EntryId, error: SendError, handling: Handling) {
        match handling {
            Handling::DeadLettered => self.metrics.dead_lettered_records += 1,
            Handling::Skipped | Handling::Failed => self.metrics.skipped_records += 1,
        }
        if let Some(removed) = self.queue.finish(id) {
            self.complete(removed, Err(error.handled(handling)));
        }
        if self.is_abandoned {
            // The next one of its key has just become ready, and must not be sent any more.
            self.abandon();
        }
    }

    /// Completes a record as failed, and those that wait behind it too: stored now, they would be before it should its
    /// sender send it again.
    fn fail_with_waiting(&mut self, id: EntryId, error: SendError) {
        let mut all = self.queue.finish_with_waiting(id).into_iter();
        if let Some((removed, _)) = all.next() {
            self.metrics.failed_records += 1;
            self.complete(removed, Err(error));
        }
        for (removed, undelivered) in all {
            let reason = if self.is_abandoned { Reason::Closed } else { Reason::PredecessorFailed };
            self.fail(removed, undelivered, reason);
        }
    }

    fn fail(&mut self, removed: Removed<T>, undelivered: Undelivered, reason: Reason) {
        self.metrics.failed_records += 1;
        let Undelivered { record, attempts, may_be_stored } = undelivered;
        // Only records in flight have their record elsewhere, and those are not removed.
        debug_assert!(record.is_some(), "a record that is not in flight is in its entry");
        if let Some(record) = record {
            let error = SendError::new(&self.stream, &record, reason).tried(attempts, may_be_stored);
            self.complete(removed, Err(error));
        }
    }

    /// Completes one record that is no longer in the queue.
    #[inline]
    pub(super) fn complete(&mut self, removed: Removed<T>, result: Result<Stored, SendError>) {
        self.flushes.completed(removed.generation, 1, &mut self.output.flushed);
        self.output.outcomes.push(Outcome::Record(removed.token, result));
    }
}
