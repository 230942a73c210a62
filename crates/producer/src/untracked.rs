use std::{collections::VecDeque, time::Instant};

use statefun_kinesis_types::{PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PutRecord};

use crate::record_meta::{RecordMeta, RecordMetas, Token};

/// The queue of records without an entry: those that wait for no other record and may go to any shard.
///
/// Most records of most streams are never anything else. They are cut into chunks as they arrive; a chunk becomes a
/// request as it is, so that nothing has to be done per record when it is sent.
#[derive(Debug)]
pub(crate) struct Untracked<T> {
    chunks: VecDeque<Chunk<T>>,
    records: usize,
    bytes: usize,
}

/// Records that fit into one request.
#[derive(Debug)]
pub(crate) struct Chunk<T> {
    pub(crate) records: Vec<PutRecord>,
    /// One for each record.
    pub(crate) metas: RecordMetas<T>,
    /// Bytes of the records.
    pub(crate) bytes: usize,
    /// When the first of them arrived.
    pub(crate) arrived: Instant,
}

impl<T: Token> Untracked<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: VecDeque::new(), records: 0, bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.records
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues a record, which must not be larger than a request.
    #[inline]
    pub(crate) fn push(&mut self, now: Instant, record: PutRecord, size: usize, meta: RecordMeta<T>) {
        self.records += 1;
        self.bytes += size;
        let has_room = |chunk: &&mut Chunk<T>| {
            chunk.records.len() < PUT_RECORDS_MAX_RECORDS && chunk.bytes + size <= PUT_RECORDS_MAX_BYTES
        };
        if let Some(chunk) = self.chunks.back_mut().filter(has_room) {
            chunk.records.push(record);
            chunk.metas.push(meta);
            chunk.bytes += size;
            return;
        }
        let mut metas = RecordMetas::with_capacity(1);
        metas.push(meta);
        self.chunks.push_back(Chunk { records: vec![record], metas, bytes: size, arrived: now });
    }

    /// Moves neighbours of a batch from `rest` into one chunk: at most as many records and bytes as `room` says, and only
    /// as long as `admit` returns the hash of their key. `first` is the metadata of the first of them. Returns how many
    /// records and bytes were moved.
    pub(crate) fn push_run(
        &mut self,
        now: Instant,
        rest: &mut std::vec::IntoIter<PutRecord>,
        room: (usize, usize),
        first: RecordMeta<T>,
        mut admit: impl FnMut(&PutRecord, usize) -> Option<u64>,
    ) -> (usize, usize) {
        let is_full = |chunk: &Chunk<T>| {
            let next = rest.as_slice().first().map_or(0, PutRecord::size);
            chunk.records.len() == PUT_RECORDS_MAX_RECORDS || chunk.bytes + next > PUT_RECORDS_MAX_BYTES
        };
        if self.chunks.back().is_none_or(is_full) {
            let expected = rest.as_slice().len().min(PUT_RECORDS_MAX_RECORDS);
            let (records, metas) = (Vec::with_capacity(expected), RecordMetas::with_capacity(expected));
            self.chunks.push_back(Chunk { records, metas, bytes: 0, arrived: now });
        }
        let Some(chunk) = self.chunks.back_mut() else { return (0, 0) };
        let (most_records, most_bytes) = room;
        let most_records = most_records.min(PUT_RECORDS_MAX_RECORDS - chunk.records.len()).min(rest.as_slice().len());
        let most_bytes = most_bytes.min(PUT_RECORDS_MAX_BYTES - chunk.bytes);
        let (mut records, mut bytes) = (0, 0);
        for record in &rest.as_slice()[..most_records] {
            let size = record.size();
            if bytes + size > most_bytes {
                break;
            }
            let Some(key_hash) = admit(record, size) else { break };
            chunk.metas.push_key(key_hash);
            records += 1;
            bytes += size;
        }
        chunk.records.extend(rest.take(records));
        if records > 0 {
            chunk.metas.push_span(first, records as u32);
        }
        chunk.bytes += bytes;
        self.records += records;
        self.bytes += bytes;
        if chunk.records.is_empty() {
            self.chunks.pop_back();
        }
        (records, bytes)
    }

    /// The arrival number of the oldest record.
    #[inline]
    pub(crate) fn first_arrival(&self) -> Option<u64> {
        self.chunks.front()?.metas.first_arrival()
    }

    /// When the oldest record arrived, or an earlier record of its chunk that has been sent already.
    pub(crate) fn first_arrived(&self) -> Option<Instant> {
        Some(self.chunks.front()?.arrived)
    }

    /// Moves the oldest records into `request`, as far as they arrived before the record with the arrival number `until`
    /// and fit beside the `others` records of `other_bytes` that the request carries besides. Returns whether the request
    /// is full.
    pub(crate) fn take(&mut self, until: u64, others: usize, other_bytes: usize, request: &mut Chunk<T>) -> bool {
        let Some(chunk) = self.chunks.front_mut() else { return false };
        let is_request_empty = others == 0 && request.records.is_empty();
        if is_request_empty && chunk.metas.last_arrival().is_some_and(|last| last < until) {
            // The usual case: the chunk becomes the request without moving a record.
            if let Some(chunk) = self.pop() {
                *request = chunk;
            }
            return request.records.len() == PUT_RECORDS_MAX_RECORDS;
        }
        let (mut count, mut bytes, mut is_full) = (0, 0, false);
        for (record, arrival) in chunk.records.iter().zip(chunk.metas.arrivals()) {
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
        request.records.extend(chunk.records.drain(..count));
        chunk.metas.move_front(count, &mut request.metas);
        request.bytes += bytes;
        chunk.bytes -= bytes;
        self.records -= count;
        self.bytes -= bytes;
        if chunk.records.is_empty() {
            self.chunks.pop_front();
        }
        is_full
    }

    /// Removes the oldest chunk.
    pub(crate) fn pop(&mut self) -> Option<Chunk<T>> {
        let chunk = self.chunks.pop_front()?;
        self.records -= chunk.records.len();
        self.bytes -= chunk.bytes;
        Some(chunk)
    }

    /// Checks what always holds, and calls `each` with the key hash of each record.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self, mut each: impl FnMut(u64)) {
        let (mut records, mut bytes, mut last) = (0, 0, None);
        for chunk in &self.chunks {
            let count = chunk.records.len();
            assert!((1..=PUT_RECORDS_MAX_RECORDS).contains(&count), "a chunk of {count} records");
            assert!(chunk.bytes <= PUT_RECORDS_MAX_BYTES, "a chunk of {} bytes", chunk.bytes);
            assert_eq!(chunk.bytes, chunk.records.iter().map(PutRecord::size).sum::<usize>(), "the bytes of a chunk");
            assert_eq!((chunk.metas.len(), chunk.metas.arrivals().count()), (count, count), "one metadata per record");
            for arrival in chunk.metas.arrivals() {
                assert!(Some(arrival) > last, "untracked records are in the order of their arrival");
                last = Some(arrival);
            }
            chunk.metas.key_hashes().iter().for_each(|key_hash| each(*key_hash));
            records += count;
            bytes += chunk.bytes;
        }
        assert_eq!((self.records, self.bytes), (records, bytes), "untracked records and bytes");
    }
}

impl<T: Token> Chunk<T> {
    pub(crate) fn empty(now: Instant) -> Self {
        Self { records: Vec::new(), metas: RecordMetas::with_capacity(0), bytes: 0, arrived: now }
    }
}
