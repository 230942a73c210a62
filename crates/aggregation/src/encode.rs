use std::collections::HashMap;

use md5::{Digest, Md5};
use statefun_kinesis_types::{HashKey, PartitionKey, PutRecord};

use crate::{
    MAGIC, OVERHEAD_BYTES,
    wire::{bytes_field_size, put_bytes_head, put_varint_field, varint_field_size},
};

/// Packs records into one, up to a size and a number.
///
/// The caller decides which records belong together: all of them have to belong to the shard on which the aggregate
/// lands. Records come out in the order in which they were pushed. An aggregator can be used again after
/// [`finish`](Self::finish).
#[derive(Clone, Debug)]
pub struct Aggregator {
    max_bytes: usize,
    max_records: usize,
    first: Option<PutRecord>,
    count: usize,
    partition_keys: Table<PartitionKey>,
    hash_keys: Table<HashKey>,
    records: Vec<u8>,
}

/// A record does not fit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the aggregate has no room for the record")]
pub struct Full;

impl Aggregator {
    /// The partition key of an aggregate. Readers ignore it; the shard is named by an explicit hash key.
    const OUTER_KEY: &str = "a";

    /// An aggregator of records that are no larger than `max_bytes`, data and partition key of the aggregate together,
    /// and carry no more than `max_records` each.
    ///
    /// The service's limit on a record's size (1 MiB unless the stream has another one) concerns the aggregate as a
    /// whole. The KPL's defaults are 51 200 bytes and no limit on the number.
    pub fn new(max_bytes: usize, max_records: usize) -> Self {
        Self {
            max_bytes,
            max_records,
            first: None,
            count: 0,
            partition_keys: Table::new(),
            hash_keys: Table::new(),
            records: Vec::new(),
        }
    }

    /// How many records are in it.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no record is in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes that the record would have if it were finished now, data and partition key together; 0 when empty.
    pub fn size(&self) -> usize {
        match &self.first {
            None => 0,
            Some(only) if self.count == 1 => only.size(),
            Some(_) => self.aggregate_size(),
        }
    }

    /// Bytes of the aggregate with its key, however many records are in it.
    fn aggregate_size(&self) -> usize {
        let message = self.partition_keys.written.len() + self.hash_keys.written.len() + self.records.len();
        Self::OUTER_KEY.len() + OVERHEAD_BYTES + message
    }

    /// Puts a record in. The first one always fits.
    ///
    /// # Errors
    ///
    /// [`Full`] when the aggregate would grow over one of its limits. Nothing has changed then.
    pub fn push(&mut self, record: &PutRecord) -> Result<(), Full> {
        let key = self.partition_keys.find(&record.partition_key);
        let hash = record.explicit_hash_key.map(|hash| self.hash_keys.find(&hash));
        let digits = record.explicit_hash_key.map(Digits::of);
        let mut added = 0;
        if key.is_new {
            added += bytes_field_size(record.partition_key.size());
        }
        if let (Some(Place { is_new: true, .. }), Some(digits)) = (&hash, &digits) {
            added += bytes_field_size(digits.as_bytes().len());
        }
        let hash_size = hash.as_ref().map_or(0, |hash| varint_field_size(hash.index));
        let inner = varint_field_size(key.index) + hash_size + bytes_field_size(record.data.len());
        added += bytes_field_size(inner);
        if self.count > 0 && (self.count >= self.max_records || self.aggregate_size() + added > self.max_bytes) {
            return Err(Full);
        }

        if key.is_new {
            self.partition_keys.add(record.partition_key.clone(), 1, record.partition_key.as_str().as_bytes());
        }
        if let (Some(Place { is_new: true, .. }), Some(digits), Some(value)) =
            (&hash, &digits, record.explicit_hash_key)
        {
            self.hash_keys.add(value, 2, digits.as_bytes());
        }
        self.records.reserve(added);
        put_bytes_head(&mut self.records, 3, inner);
        put_varint_field(&mut self.records, 1, key.index);
        if let Some(hash) = hash {
            put_varint_field(&mut self.records, 2, hash.index);
        }
        put_bytes_head(&mut self.records, 3, record.data.len());
        self.records.extend_from_slice(&record.data);
        if self.count == 0 {
            self.first = Some(record.clone());
        }
        self.count += 1;
        Ok(())
    }

    /// The record to send; `None` when nothing was pushed. The aggregator is empty afterwards.
    ///
    /// A single record comes out as it was pushed, since an aggregate of one would only be larger. Otherwise the hash
    /// key of the first record decides on the shard, as an explicit hash key.
    pub fn finish(&mut self) -> Option<PutRecord> {
        self.take().map(Unsealed::seal)
    }

    /// As [`finish`](Self::finish), but without its cost: the MD5 over all bytes is left to [`Unsealed::seal`], which
    /// may run elsewhere.
    pub fn take(&mut self) -> Option<Unsealed> {
        let size = self.size();
        let first = self.first.take()?;
        let count = std::mem::take(&mut self.count);
        let message = if count > 1 {
            [self.partition_keys.take(), self.hash_keys.take(), std::mem::take(&mut self.records)]
        } else {
            self.partition_keys.clear();
            self.hash_keys.clear();
            self.records.clear();
            [const { Vec::new() }; 3]
        };
        Some(Unsealed { first, count, size, message })
    }
}

/// A record whose bytes are collected and not yet put together; see [`Aggregator::take`].
#[derive(Clone, Debug)]
#[must_use = "it is no record before it is sealed"]
pub struct Unsealed {
    first: PutRecord,
    count: usize,
    size: usize,
    message: [Vec<u8>; 3],
}

impl Unsealed {
    /// How many records are in it; never none.
    pub fn records(&self) -> usize {
        self.count
    }

    /// Bytes of the record, data and partition key together.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The record to send.
    pub fn seal(self) -> PutRecord {
        if self.count == 1 {
            return self.first;
        }
        let hash_key = self.first.hash_key();
        let mut data = Vec::with_capacity(self.size - Aggregator::OUTER_KEY.len());
        data.extend_from_slice(&MAGIC);
        self.message.iter().for_each(|part| data.extend_from_slice(part));
        let digest = Md5::digest(&data[MAGIC.len()..]);
        data.extend_from_slice(&digest);
        // The other key cannot be needed: the constant is a valid one.
        let key = Aggregator::OUTER_KEY.parse().unwrap_or(self.first.partition_key);
        PutRecord::new(key, data).with_explicit_hash_key(hash_key)
    }
}

/// The keys of an aggregate, each once, in the order of their first use.
#[derive(Clone, Debug)]
struct Table<K> {
    places: HashMap<K, u64>,
    /// The last one that was looked for: neighbours often have the same key.
    last: Option<(K, u64)>,
    written: Vec<u8>,
}

/// The place of a key in its table.
struct Place {
    index: u64,
    is_new: bool,
}

impl<K: Clone + Eq + std::hash::Hash> Table<K> {
    fn new() -> Self {
        Self { places: HashMap::new(), last: None, written: Vec::new() }
    }

    fn find(&self, key: &K) -> Place {
        if let Some((last, index)) = &self.last
            && last == key
        {
            return Place { index: *index, is_new: false };
        }
        match self.places.get(key) {
            Some(index) => Place { index: *index, is_new: false },
            None => Place { index: self.places.len() as u64, is_new: true },
        }
    }

    fn add(&mut self, key: K, field: u8, bytes: &[u8]) {
        put_bytes_head(&mut self.written, field, bytes.len());
        self.written.extend_from_slice(bytes);
        let index = self.places.len() as u64;
        self.last = Some((key.clone(), index));
        self.places.insert(key, index);
    }

    fn clear(&mut self) {
        self.places.clear();
        self.last = None;
        self.written.clear();
    }

    /// Empties the table, and gives what stands for it in the message.
    fn take(&mut self) -> Vec<u8> {
        self.places.clear();
        self.last = None;
        std::mem::take(&mut self.written)
    }
}

/// The decimal digits of a hash key, without an allocation.
struct Digits {
    /// 2^128 − 1 has 39 digits.
    digits: [u8; 39],
    start: usize,
}

impl Digits {
    fn of(key: HashKey) -> Self {
        let (mut digits, mut start, mut rest) = ([b'0'; 39], 39, key.get());
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return Self { digits, start };
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}
