use std::collections::VecDeque;

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
    pub(crate) fn push(&mut self, record: PutRecord, size: usize, meta: RecordMeta<T>) {
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
        self.chunks.push_back(Chunk { records: vec![record], metas, bytes: size });
    }

    /// Moves neighbours of a batch from `rest` into one chunk: at most as many records and bytes as `room` says, and only
    /// as long as `admit` returns the hash of their key. `first` is the metadata of the first of them. Returns how many
    /// records and bytes were moved.
    pub(crate) fn push_run(
        &mut self,
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
            self.chunks.push_back(Chunk { records, metas, bytes: 0 });
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
    pub(crate) fn empty() -> Self {
        Self { records: Vec::new(), metas: RecordMetas::with_capacity(0), bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const MIB: usize = 1 << 20;

    /// A record of so many bytes with its key.
    fn record(size: usize) -> PutRecord {
        static PAYLOAD: [u8; 10 * MIB] = [0; 10 * MIB];
        PutRecord::new("k".parse().unwrap(), Bytes::from_static(&PAYLOAD[..size - 1]))
    }

    fn meta(arrival: u64) -> RecordMeta<u64> {
        RecordMeta { token: arrival, key_hash: arrival, arrival, generation: 0 }
    }

    fn pushed(sizes: &[usize]) -> Untracked<u64> {
        let mut untracked = Untracked::new();
        for (arrival, size) in (0..).zip(sizes) {
            untracked.push(record(*size), *size, meta(arrival));
            untracked.check_invariants(|_| ());
        }
        untracked
    }

    /// Records and bytes of the chunks.
    fn chunks(mut untracked: Untracked<u64>) -> Vec<(usize, usize)> {
        std::iter::from_fn(|| untracked.pop()).map(|chunk| (chunk.records.len(), chunk.bytes)).collect()
    }

    #[test]
    fn a_chunk_has_as_much_as_a_request_takes_and_no_more() {
        const MAX: usize = PUT_RECORDS_MAX_BYTES;
        let small = [9; PUT_RECORDS_MAX_RECORDS + 1];
        for (sizes, expect) in [
            (&[MAX - 7, 7][..], &[(2, MAX)][..]),
            (&[MAX - 7, 8], &[(1, MAX - 7), (1, 8)]),
            (&[4 * MIB, 6 * MIB, 1, MAX], &[(2, MAX), (1, 1), (1, MAX)]),
            (&small, &[(PUT_RECORDS_MAX_RECORDS, 9 * PUT_RECORDS_MAX_RECORDS), (1, 9)]),
        ] {
            assert_eq!(chunks(pushed(sizes)), expect);
            // The same as runs of a batch.
            let mut untracked = Untracked::new();
            let mut rest = sizes.iter().map(|size| record(*size)).collect::<Vec<_>>().into_iter();
            let mut arrival = 0;
            while rest.len() > 0 {
                let room = (usize::MAX, usize::MAX);
                let (count, _) = untracked.push_run(&mut rest, room, meta(arrival), |_, _| Some(1));
                assert!(count > 0, "it must go on");
                arrival += count as u64;
                untracked.check_invariants(|_| ());
            }
            assert_eq!(chunks(untracked), expect);
        }
    }

    #[test]
    fn a_run_ends_where_there_is_no_room_or_a_record_is_not_admitted() {
        #[track_caller]
        fn check(before: &[usize], run: &[usize], room: (usize, usize), admitted: usize, expect: (usize, usize)) {
            let mut untracked = pushed(before);
            let mut rest = run.iter().map(|size| record(*size)).collect::<Vec<_>>().into_iter();
            let mut asked = 0;
            let admit = |record: &PutRecord, size: usize| {
                assert_eq!(record.size(), size);
                asked += 1;
                (asked <= admitted).then_some(7)
            };
            let first = meta(before.len() as u64);
            assert_eq!(untracked.push_run(&mut rest, room, first, admit), expect);
            assert_eq!((untracked.len(), rest.len()), (before.len() + expect.0, run.len() - expect.0));
            assert_eq!(untracked.bytes(), before.iter().sum::<usize>() + expect.1);
            untracked.check_invariants(|_| ());
        }
        const ALL: (usize, usize) = (usize::MAX, usize::MAX);
        check(&[], &[5, 6, 7], ALL, 9, (3, 18));
        check(&[], &[5, 6, 7], ALL, 2, (2, 11));
        check(&[3], &[5, 6, 7], ALL, 0, (0, 0));
        check(&[], &[5, 6, 7], ALL, 0, (0, 0));
        check(&[], &[5, 6, 7], (2, usize::MAX), 9, (2, 11));
        check(&[], &[5, 6, 7], (usize::MAX, 18), 9, (3, 18));
        check(&[], &[5, 6, 7], (usize::MAX, 17), 9, (2, 11));
        check(&[], &[5, 6, 7], (usize::MAX, 4), 9, (0, 0));
        // What is in the chunk already counts, and the run goes on in the next chunk.
        check(&[6 * MIB], &[3 * MIB, MIB, 1], ALL, 9, (2, 4 * MIB));
        check(&[6 * MIB], &[3 * MIB, MIB + 1], ALL, 9, (1, 3 * MIB));
        check(&[6 * MIB], &[5 * MIB, 5 * MIB, 1], ALL, 9, (2, 10 * MIB));
        check(&[1; PUT_RECORDS_MAX_RECORDS - 1], &[1, 1], ALL, 9, (1, 1));
        check(&[1; PUT_RECORDS_MAX_RECORDS], &[1, 1], ALL, 9, (2, 2));
    }

    #[test]
    fn a_run_begins_in_the_last_chunk_if_its_first_record_fits_there() {
        #[track_caller]
        fn check(before: &[usize], run: &[usize], expect: &[(usize, usize)]) {
            let mut untracked = pushed(before);
            let mut rest = run.iter().map(|size| record(*size)).collect::<Vec<_>>().into_iter();
            let (room, first) = ((usize::MAX, usize::MAX), meta(before.len() as u64));
            untracked.push_run(&mut rest, room, first, |_, _| Some(7));
            untracked.check_invariants(|_| ());
            assert_eq!(chunks(untracked), expect);
        }
        const MAX: usize = PUT_RECORDS_MAX_BYTES;
        const MAX_RECORDS: usize = PUT_RECORDS_MAX_RECORDS;
        check(&[MAX - 7], &[6], &[(2, MAX - 1)]);
        check(&[MAX - 7], &[7], &[(2, MAX)]);
        check(&[MAX - 7], &[8], &[(1, MAX - 7), (1, 8)]);
        check(&[1; MAX_RECORDS - 1], &[1], &[(MAX_RECORDS, MAX_RECORDS)]);
        check(&[1; MAX_RECORDS], &[1], &[(MAX_RECORDS, MAX_RECORDS), (1, 1)]);
        check(&[5], &[], &[(1, 5)]);
        check(&[], &[], &[]);
    }

    #[test]
    fn a_request_takes_the_oldest_records_as_far_as_they_fit_beside_others() {
        /// What of these records comes into a request with `others` records of `other_bytes` elsewhere and `own` in it.
        #[track_caller]
        fn check(
            sizes: &[usize],
            until: u64,
            (others, other_bytes, own): (usize, usize, &[usize]),
            expect: (usize, bool),
        ) {
            let mut untracked = pushed(sizes);
            let mut request = pushed(own).pop().unwrap_or_else(Chunk::empty);
            let is_full = untracked.take(until, others, other_bytes, &mut request);
            let (taken, left) = (request.records.len() - own.len(), untracked.len());
            assert_eq!((taken, is_full), expect, "{sizes:?}");
            assert_eq!(left, sizes.len() - taken);
            let bytes: usize = sizes[..taken].iter().chain(own).sum();
            assert_eq!((request.bytes, request.metas.len()), (bytes, request.records.len()));
            untracked.check_invariants(|_| ());
        }
        const ALONE: (usize, usize, &[usize]) = (0, 0, &[]);
        check(&[5, 6, 7], u64::MAX, ALONE, (3, false));
        check(&[5, 6, 7], 3, ALONE, (3, false));
        check(&[5, 6, 7], 2, ALONE, (2, false));
        check(&[5, 6, 7], 0, ALONE, (0, false));
        check(&[1; PUT_RECORDS_MAX_RECORDS], u64::MAX, ALONE, (PUT_RECORDS_MAX_RECORDS, true));
        check(&[1; PUT_RECORDS_MAX_RECORDS - 1], u64::MAX, ALONE, (PUT_RECORDS_MAX_RECORDS - 1, false));
        // A record of any size goes into an empty request.
        check(&[PUT_RECORDS_MAX_BYTES], u64::MAX, ALONE, (1, false));
        check(&[5, 6, 7], u64::MAX, (1, PUT_RECORDS_MAX_BYTES - 11, &[]), (2, true));
        check(&[5, 6, 7], u64::MAX, (1, PUT_RECORDS_MAX_BYTES - 10, &[]), (1, true));
        check(&[5, 6], u64::MAX, (1, PUT_RECORDS_MAX_BYTES - 11, &[]), (2, false));
        check(&[5, 6, 7], u64::MAX, (0, 0, &[PUT_RECORDS_MAX_BYTES - 11]), (2, true));
        check(&[5, 6, 7], u64::MAX, (0, 0, &[PUT_RECORDS_MAX_BYTES - 10]), (1, true));
        check(&[5, 6, 7], u64::MAX, (1, 5 * MIB, &[5 * MIB - 10]), (1, true));
        check(&[1; 3], u64::MAX, (PUT_RECORDS_MAX_RECORDS - 4, 9, &[1, 1]), (2, true));
        check(&[1; 3], u64::MAX, (PUT_RECORDS_MAX_RECORDS - 5, 9, &[1, 1]), (3, false));
    }
}
