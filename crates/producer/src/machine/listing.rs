use std::time::{Duration, Instant};

use statefun_kinesis_client::{InstantExt as _, Placement};

use super::{
    Machine,
    answer::{Cause, Retries},
};
use crate::{queue::EntryId, record_meta::Token, shard_map::ShardMap};

/// The shortest time between two listings of the shards. A listing may be older than what made it necessary.
pub(super) const LIST_EVERY: Duration = Duration::from_millis(200);

/// How soon the shards are listed again when that has failed.
pub(super) const LIST_RETRY_AFTER: Duration = Duration::from_secs(1);

/// When the shards of the stream have to be listed, and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Results contradict the last listing, or there was none and one is needed.
    pub(super) is_wanted: bool,
    /// The shards are being listed.
    is_running: bool,
    /// The earliest start of the next listing.
    not_before: Option<Instant>,
    /// Aggregates that were stored on another shard than expected, until a listing says whether they belong there.
    misplaced: Vec<(Vec<EntryId>, Placement)>,
}

impl Listing {
    /// When the next listing is due, if one is wanted and none is running.
    pub(super) fn due(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.is_wanted && !self.is_running)
    }

    /// Removes the aggregates that wait for a listing.
    pub(super) fn take_misplaced(&mut self) -> Vec<(Vec<EntryId>, Placement)> {
        std::mem::take(&mut self.misplaced)
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn misplaced_ids(&self) -> impl Iterator<Item = EntryId> {
        self.misplaced.iter().flat_map(|(ids, _)| ids.iter().copied())
    }
}

impl<T: Token, W> Machine<T, W> {
    /// Whether the shards of the stream are to be listed now. When it says so, it waits for [`listed`](Self::listed).
    pub(crate) fn wants_shards(&mut self, now: Instant) -> bool {
        let is_due = self.listing.not_before.is_none_or(|at| at <= now);
        let wants = self.listing.is_wanted && !self.listing.is_running && is_due && !self.is_abandoned;
        if wants {
            self.listing.is_running = true;
            self.metrics.shard_listings += 1;
        }
        wants
    }

    /// Takes the open shards of the stream; none when they could not be listed.
    pub(crate) fn listed(&mut self, now: Instant, shards: Option<ShardMap>) {
        self.listing.is_running = false;
        let misplaced = self.listing.take_misplaced();
        let Some(shards) = shards else {
            self.listing.not_before = Some(now.saturating_add(LIST_RETRY_AFTER));
            for (ids, placement) in misplaced {
                let first_sent = ids.first().and_then(|id| self.queue.get(*id).first_sent).unwrap_or(now);
                if now.saturating_duration_since(first_sent) <= self.settings.give_up_after {
                    self.listing.misplaced.push((ids, placement));
                } else {
                    self.stored_elsewhere(now, ids, placement, true);
                }
            }
            return;
        };
        self.listing.is_wanted = false;
        self.listing.not_before = Some(now.saturating_add(LIST_EVERY));
        // First the map: it decides whether the aggregates belong where they are.
        self.queue.set_map(shards);
        for (ids, placement) in misplaced {
            self.stored_elsewhere(now, ids, placement, true);
        }
    }

    /// Deals with an aggregate that was stored on another shard than expected.
    ///
    /// After a merge, all of its records belong to that shard, and all is well. Otherwise all of them are sent again: some
    /// readers take those that belong to the shard, but those of the KCL family drop the whole aggregate. None of them is
    /// acknowledged before it is known which case it is, which takes a listing that `is_latest`.
    pub(super) fn stored_elsewhere(&mut self, now: Instant, ids: Vec<EntryId>, placement: Placement, is_latest: bool) {
        let range = self.queue.shard_queues.range(&placement.shard);
        let belongs = |id: &EntryId| {
            let record = self.queue.get(*id).record.as_ref();
            record.zip(range).is_some_and(|(record, range)| range.contains(record.hash_key()))
        };
        if ids.iter().all(belongs) {
            return self.aggregate_stored(&ids, placement);
        }
        if !is_latest && !self.is_abandoned {
            self.listing.is_wanted = true;
            return self.listing.misplaced.push((ids, placement));
        }
        self.metrics.misplaced_aggregates += 1;
        // Some readers take them from there.
        for id in &ids {
            self.queue.get_mut(*id).may_be_stored = true;
        }
        let cause = Cause::Misplaced(placement);
        let mut retries = Retries::new(now);
        for first in self.queue.put_back_waiting(&ids) {
            self.not_stored(now, first, &cause, &mut retries);
        }
    }
}
