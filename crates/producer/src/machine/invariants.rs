use super::Machine;
use crate::{queue::EntrySet, record_meta::Token};

impl<T: Token, W> Machine<T, W> {
    /// Checks everything that always holds between two calls.
    ///
    /// Unit tests call it after each step, and debug builds as long as few records are outstanding.
    pub(crate) fn check_invariants(&self) {
        let untracked = self.in_flight.untracked_records();
        self.queue.check_invariants(untracked, self.probes.iter().flatten().copied());
        assert_eq!(
            self.flushes.outstanding(),
            self.queue.len(),
            "each outstanding record belongs to a flush generation"
        );
        assert!(self.in_flight.requests <= self.max_in_flight(), "{} requests in flight", self.in_flight.requests);
        assert!(
            self.in_flight.untracked.len() <= self.in_flight.requests,
            "untracked records in flight without a request"
        );
        assert!(self.probes.iter().all(|ids| !ids.is_empty()), "a request without records is to be sent");

        let mut misplaced = EntrySet::default();
        for id in self.listing.misplaced_ids() {
            assert!(misplaced.insert(id), "a record is in two misplaced aggregates");
            let entry = self.queue.get(id);
            // Were one of them sent meanwhile, it would be stored before it is known whether it is stored already.
            assert!(entry.in_flight && entry.record.is_some(), "a record of a misplaced aggregate");
        }
        assert!(misplaced.len() == 0 || self.listing.is_wanted, "the shards are not listed for a misplaced aggregate");
        for pending in &self.output.dead_letters {
            assert!(self.queue.get(pending.id).in_flight, "a record whose dead letter is pending is sent again");
        }
        assert!(
            self.aggregator.is_some() == self.settings.aggregation.is_some(),
            "the aggregator is back in its place"
        );
    }
}
