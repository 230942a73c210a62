use std::time::Instant;

use statefun_kinesis_client::InstantExt as _;
use statefun_kinesis_types::{PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS};

use super::Machine;
use crate::{queue::ANY_SHARD, record_meta::Token};

/// What decides how long a record waits for others to share its request.
#[derive(Debug, Default)]
pub(super) struct Linger {
    /// Records with a lower arrival number do not linger: a flush waits for them.
    pub(super) flush_before: u64,
    /// A sender waits for room. No record arrives before one is sent, so that lingering would be in vain.
    pub(super) sender_waits: bool,
    /// When the last request was sent; before the first one, when the first record arrived.
    pub(super) last_sent: Option<Instant>,
}

/// When records are sent.
impl<T: Token, W> Machine<T, W> {
    /// When [`next_request`](Self::next_request) or [`wants_shards`](Self::wants_shards) will have something to do, unless
    /// something else happens before. A time in the past means now.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let listing = self.listing.due();
        if self.in_flight.requests >= self.max_in_flight() {
            return listing;
        }
        let probes = self.probes.front().and_then(|ids| self.queue.get(*ids.first()?).first_sent);
        let shard_queues = (0..self.queue.shard_queues.len()).filter_map(|index| self.send_at(index));
        shard_queues.chain(self.queue.next_due()).chain(probes).chain(listing).min()
    }

    /// When the next request with records of a shard queue is to be sent, unless it has to wait for an answer first.
    pub(crate) fn send_next_at(&self, shard_queue: usize) -> Option<Instant> {
        if self.in_flight.requests >= self.max_in_flight() { None } else { self.send_at(shard_queue) }
    }

    /// When the records of a shard queue are to be sent.
    pub(super) fn send_at(&self, shard_queue: usize) -> Option<Instant> {
        let ready = &self.queue.shard_queues[shard_queue];
        let untracked = &self.queue.untracked;
        let tracked = ready.peek().map(|(id, _)| self.queue.get(id));
        let tracked = tracked.map(|entry| (entry.arrival(), entry.arrived, entry.size));
        let untracked = (shard_queue == ANY_SHARD).then(|| untracked.first_arrival().zip(untracked.first_arrived()));
        // The size matters under a pace only, and ANY_SHARD has none.
        let untracked = untracked.flatten().map(|(arrival, arrived)| (arrival, arrived, 0));
        let (arrival, arrived, size) = match (tracked, untracked) {
            (Some(tracked), Some(untracked)) => tracked.min(untracked),
            (tracked, untracked) => tracked.or(untracked)?,
        };
        let lingers = !ready.has_returned()
            && ready.pace.is_none()
            && !self.linger.sender_waits
            && arrival >= self.linger.flush_before
            && !self.is_full(shard_queue);
        let at = if lingers {
            // A record that arrives when nothing was sent for a while is sent at once: probably no other record comes soon.
            let linger = self.settings.linger;
            self.linger
                .last_sent
                .unwrap_or(arrived)
                .saturating_add(linger)
                .max(arrived)
                .min(arrived.saturating_add(linger))
        } else {
            arrived
        };
        let Some(pace) = &ready.pace else { return Some(at) };
        Some(at.max(pace.ready_at(self.next_bytes(shard_queue, size))))
    }

    /// Whether a shard queue has enough for a full request, or a full aggregate.
    fn is_full(&self, shard_queue: usize) -> bool {
        let ready = &self.queue.shard_queues[shard_queue];
        match self.settings.aggregation {
            Some(aggregation) if self.aggregates(shard_queue) => {
                ready.bytes + ready.waiting_bytes >= aggregation.max_bytes.get() as usize
                    || ready.len() >= aggregation.max_records.get() as usize
            }
            _ => {
                let untracked = &self.queue.untracked;
                let (records, bytes) =
                    if shard_queue == ANY_SHARD { (untracked.len(), untracked.bytes()) } else { (0, 0) };
                ready.len() + records >= PUT_RECORDS_MAX_RECORDS || ready.bytes + bytes >= PUT_RECORDS_MAX_BYTES
            }
        }
    }

    /// About how many bytes a shard queue sends next as one record, when its oldest one has `size` bytes.
    pub(super) fn next_bytes(&self, shard_queue: usize, size: usize) -> usize {
        match self.settings.aggregation {
            Some(aggregation) if self.aggregates(shard_queue) => {
                let ready = &self.queue.shard_queues[shard_queue];
                (ready.bytes + ready.waiting_bytes).min(aggregation.max_bytes.get() as usize).max(size)
            }
            _ => size,
        }
    }
}
