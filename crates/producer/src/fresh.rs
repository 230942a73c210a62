use std::{collections::VecDeque, time::Instant};

use statefun_kinesis_types::{PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PutRecord};

use crate::slips::{Slip, Slips, Token};

/// Heads that have waited for nothing yet and may go to any shard: cut into requests as they come.
///
/// Most records of most streams are never anything else. A record is moved into a bundle, which becomes a request as it
/// is, and nothing is kept of it but a [`Slip`].
#[derive(Debug)]
pub(crate) struct Fresh<T> {
    bundles: VecDeque<Bundle<T>>,
    records: usize,
    bytes: usize,
}

/// Records that fit into one request, with the time at which the first of them came.
#[derive(Debug)]
pub(crate) struct Bundle<T> {
    pub(crate) records: Vec<PutRecord>,
    /// One for each record.
    pub(crate) slips: Slips<T>,
    pub(crate) bytes: usize,
    pub(crate) arrived: Instant,
}

impl<T: Token> Fresh<T> {
    pub(crate) fn new() -> Self {
        Self { bundles: VecDeque::new(), records: 0, bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.records
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a record of so many bytes, no more than a request may have.
    #[inline]
    pub(crate) fn push(&mut self, now: Instant, record: PutRecord, size: usize, slip: Slip<T>) {
        self.records += 1;
        self.bytes += size;
        let has_room = |bundle: &&mut Bundle<T>| {
            bundle.records.len() < PUT_RECORDS_MAX_RECORDS && bundle.bytes + size <= PUT_RECORDS_MAX_BYTES
        };
        if let Some(bundle) = self.bundles.back_mut().filter(has_room) {
            bundle.records.push(record);
            bundle.slips.push(slip);
            bundle.bytes += size;
            return;
        }
        let mut slips = Slips::with_capacity(1);
        slips.push(slip);
        self.bundles.push_back(Bundle { records: vec![record], slips, bytes: size, arrived: now });
    }

    /// Takes records from `rest`, up to so many with so many bytes and as far as `admit` gives the hash of their key, into
    /// one bundle. They are neighbours in a batch, and `first` is the slip of the first. Gives their number and bytes.
    pub(crate) fn push_run(
        &mut self,
        now: Instant,
        rest: &mut std::vec::IntoIter<PutRecord>,
        (most, most_bytes): (usize, usize),
        first: Slip<T>,
        mut admit: impl FnMut(&PutRecord, usize) -> Option<u64>,
    ) -> (usize, usize) {
        let is_full = |bundle: &Bundle<T>| {
            let next = rest.as_slice().first().map_or(0, PutRecord::size);
            bundle.records.len() == PUT_RECORDS_MAX_RECORDS || bundle.bytes + next > PUT_RECORDS_MAX_BYTES
        };
        if self.bundles.back().is_none_or(is_full) {
            let expected = rest.as_slice().len().min(PUT_RECORDS_MAX_RECORDS);
            let (records, slips) = (Vec::with_capacity(expected), Slips::with_capacity(expected));
            self.bundles.push_back(Bundle { records, slips, bytes: 0, arrived: now });
        }
        let Some(bundle) = self.bundles.back_mut() else { return (0, 0) };
        let most = most.min(PUT_RECORDS_MAX_RECORDS - bundle.records.len()).min(rest.as_slice().len());
        let most_bytes = most_bytes.min(PUT_RECORDS_MAX_BYTES - bundle.bytes);
        let (mut records, mut bytes) = (0, 0);
        for record in &rest.as_slice()[..most] {
            let size = record.size();
            if bytes + size > most_bytes {
                break;
            }
            let Some(key_hash) = admit(record, size) else { break };
            bundle.slips.push_key(key_hash);
            records += 1;
            bytes += size;
        }
        bundle.records.extend(rest.take(records));
        if records > 0 {
            bundle.slips.close_run(first, records as u32);
        }
        bundle.bytes += bytes;
        self.records += records;
        self.bytes += bytes;
        if bundle.records.is_empty() {
            self.bundles.pop_back();
        }
        (records, bytes)
    }

    /// The arrival number of the oldest record.
    #[inline]
    pub(crate) fn first(&self) -> Option<u64> {
        self.bundles.front()?.slips.first()
    }

    /// When the oldest record came, or one before it that shared its bundle.
    pub(crate) fn arrived(&self) -> Option<Instant> {
        Some(self.bundles.front()?.arrived)
    }

    /// Moves the oldest records, as far as they arrived before `until` and fit, to those that a request has already
    /// beside `others` records. Says whether the request is full.
    pub(crate) fn take(&mut self, until: u64, others: usize, other_bytes: usize, request: &mut Bundle<T>) -> bool {
        let Some(bundle) = self.bundles.front_mut() else { return false };
        let alone = others == 0 && request.records.is_empty();
        if alone && bundle.slips.last().is_some_and(|last| last < until) {
            if let Some(bundle) = self.pop() {
                *request = bundle;
            }
            return request.records.len() == PUT_RECORDS_MAX_RECORDS;
        }
        let (mut count, mut bytes, mut is_full) = (0, 0, false);
        for (record, arrival) in bundle.records.iter().zip(bundle.slips.arrivals()) {
            if arrival >= until {
                break;
            }
            let (before, size) = (others + request.records.len() + count, record.size());
            let total = other_bytes + request.bytes + bytes + size;
            if before == PUT_RECORDS_MAX_RECORDS || (before > 0 && total > PUT_RECORDS_MAX_BYTES) {
                is_full = true;
                break;
            }
            count += 1;
            bytes += size;
        }
        request.records.extend(bundle.records.drain(..count));
        bundle.slips.move_front(count, &mut request.slips);
        request.bytes += bytes;
        bundle.bytes -= bytes;
        self.records -= count;
        self.bytes -= bytes;
        if bundle.records.is_empty() {
            self.bundles.pop_front();
        }
        is_full
    }

    /// Takes the oldest records.
    pub(crate) fn pop(&mut self) -> Option<Bundle<T>> {
        let bundle = self.bundles.pop_front()?;
        self.records -= bundle.records.len();
        self.bytes -= bundle.bytes;
        Some(bundle)
    }
}

impl<T: Token> Bundle<T> {
    pub(crate) fn empty(now: Instant) -> Self {
        Self { records: Vec::new(), slips: Slips::with_capacity(0), bytes: 0, arrived: now }
    }
}
