use bytes::Bytes;
use md5::{Digest, Md5};
use statefun_kinesis_types::{HashKey, HashKeyRange, PartitionKey};

use crate::{
    DIGEST_BYTES, MAGIC, OVERHEAD_BYTES,
    wire::{Field, Fields, Malformed, Value},
};

/// What the payload of a record turned out to be.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// An ordinary payload: it does not begin with the magic bytes, is too short for an aggregate, or does not end with
    /// the MD5 of its message. Every reader of the KCL family passes such a record on as it is.
    Plain,
    /// User records.
    Aggregate(Aggregate),
    /// An aggregate by its magic bytes and its MD5, whose message makes no sense. None of its records can be told.
    Corrupt(Corrupt),
}

/// Looks into a payload. Payloads of user records are slices of the same memory.
///
/// It costs a comparison of four bytes for ordinary payloads. For an aggregate the MD5 of its bytes is most of the
/// cost, and every key is copied once.
///
/// Fields and tags that this crate does not know are skipped.
pub fn decode(data: &Bytes) -> Decoded {
    if data.len() <= OVERHEAD_BYTES || data[..MAGIC.len()] != MAGIC {
        return Decoded::Plain;
    }
    // Places in the message are kept in 32 bits; the service takes 10 MiB.
    let end = data.len() - DIGEST_BYTES;
    if u32::try_from(end).is_err() || Md5::digest(&data[MAGIC.len()..end]).as_slice() != &data[end..] {
        return Decoded::Plain;
    }
    match Aggregate::parse(data, MAGIC.len(), end) {
        Ok(aggregate) => Decoded::Aggregate(aggregate),
        Err(corrupt) => Decoded::Corrupt(corrupt),
    }
}

/// Why the message of an aggregated record makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The bytes are no message of protocol buffers.
    #[error("the message of the aggregated record is malformed")]
    Malformed,
    /// A user record lacks its payload or its partition key.
    #[error("user record {index} of the aggregated record lacks its {what}")]
    Missing {
        /// The place of the user record in the aggregate, from 0.
        index: u64,
        /// What is missing.
        what: &'static str,
    },
    /// A user record names a key that is not in the aggregate's table.
    #[error("user record {index} of the aggregated record names {table} {named} of {entries}")]
    NoSuchKey {
        /// The place of the user record in the aggregate, from 0.
        index: u64,
        /// Which table: `partition key` or `explicit hash key`.
        table: &'static str,
        /// The entry that the record names, from 0.
        named: u64,
        /// How many entries the table has.
        entries: usize,
    },
    /// A user record names an entry of a table that is not a valid key.
    #[error("user record {index} of the aggregated record names {table} {named}, which is not a valid key")]
    InvalidKey {
        /// The place of the user record in the aggregate, from 0.
        index: u64,
        /// Which table: `partition key` or `explicit hash key`.
        table: &'static str,
        /// The entry that the record names, from 0.
        named: u64,
    },
}

impl From<Malformed> for Corrupt {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// The user records of one aggregated record, in their order.
#[derive(Clone, Debug)]
pub struct Aggregate {
    data: Bytes,
    partition_keys: Vec<PartitionKey>,
    hash_keys: Vec<HashKey>,
    entries: Vec<Entry>,
}

/// A user record: places in the tables and in the data.
#[derive(Clone, Copy, Debug)]
struct Entry {
    index: u32,
    partition_key: u32,
    /// `NONE` without one.
    hash_key: u32,
    start: u32,
    end: u32,
}

const NONE: u32 = u32::MAX;

impl Aggregate {
    fn parse(data: &Bytes, start: usize, end: usize) -> Result<Self, Corrupt> {
        let (mut partition_keys, mut hash_keys) = (Table::new("partition key"), Table::new("explicit hash key"));
        let mut entries = Vec::new();
        let mut message = Fields::new(data, start, end);
        while let Some(field) = message.next()? {
            match field {
                Field { number: 1, value: Value::Bytes(start, end) } => {
                    partition_keys.push(partition_key(&data[start..end]));
                }
                Field { number: 2, value: Value::Bytes(start, end) } => {
                    hash_keys.push(hash_key(&data[start..end]));
                }
                Field { number: 3, value: Value::Bytes(start, end) } => {
                    entries.push(RawEntry::parse(Fields::new(data, start, end))?);
                }
                // A field that the format does not have, or of another type than it has.
                Field { value: Value::Bytes(..) | Value::Varint(_) | Value::Skipped, .. } => {}
            }
        }
        // A writer may put its tables behind its records.
        let entries = (0..).zip(entries).map(|(index, raw)| raw.resolve(index, &partition_keys, &hash_keys));
        let entries = entries.collect::<Result<_, _>>()?;
        Ok(Self { data: data.clone(), partition_keys: partition_keys.keys, hash_keys: hash_keys.keys, entries })
    }

    /// How many user records there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The user records, in the order in which they were put in.
    pub fn iter(&self) -> UserRecords<'_> {
        UserRecords { aggregate: self, entries: self.entries.iter() }
    }

    #[inline]
    fn user_record(&self, entry: &Entry) -> UserRecord {
        UserRecord {
            index: u64::from(entry.index),
            partition_key: self.partition_keys[entry.partition_key as usize].clone(),
            explicit_hash_key: (entry.hash_key != NONE).then(|| self.hash_keys[entry.hash_key as usize]),
            data: self.data.slice(entry.start as usize..entry.end as usize),
        }
    }

    /// Keeps the user records whose hash key lies in a shard's range, and says how many there were beside them.
    ///
    /// After a reshard, an aggregate that was made for a shard lands on one of its children, and its writer sends what
    /// belongs elsewhere again. The records that stay keep their [index](UserRecord::index).
    ///
    /// Each key is hashed once. On a stream whose record distribution is AUTO no record belongs anywhere: do not call
    /// it there.
    pub fn retain_within(&mut self, range: HashKeyRange) -> usize {
        let before = self.entries.len();
        if range == HashKeyRange::FULL {
            return 0;
        }
        let mut keys = vec![None; self.partition_keys.len()];
        let (partition_keys, hash_keys) = (&self.partition_keys, &self.hash_keys);
        self.entries.retain(|entry| {
            if entry.hash_key != NONE {
                return range.contains(hash_keys[entry.hash_key as usize]);
            }
            let place = entry.partition_key as usize;
            *keys[place].get_or_insert_with(|| range.contains(HashKey::of(&partition_keys[place])))
        });
        before - self.entries.len()
    }
}

impl<'a> IntoIterator for &'a Aggregate {
    type Item = UserRecord;
    type IntoIter = UserRecords<'a>;

    fn into_iter(self) -> UserRecords<'a> {
        self.iter()
    }
}

/// The iterator of [`Aggregate::iter`].
#[derive(Clone, Debug)]
pub struct UserRecords<'a> {
    aggregate: &'a Aggregate,
    entries: std::slice::Iter<'a, Entry>,
}

impl Iterator for UserRecords<'_> {
    type Item = UserRecord;

    fn next(&mut self) -> Option<UserRecord> {
        self.entries.next().map(|entry| self.aggregate.user_record(entry))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }

    /// Without making the records that are passed over, which would take a share of the memory and of a key each.
    fn nth(&mut self, n: usize) -> Option<UserRecord> {
        self.entries.nth(n).map(|entry| self.aggregate.user_record(entry))
    }
}

impl ExactSizeIterator for UserRecords<'_> {}

/// One of the records that an aggregated record carries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserRecord {
    /// Its place in the aggregate, from 0: the sub-sequence number of the KPL.
    pub index: u64,
    /// The partition key that it was sent with.
    pub partition_key: PartitionKey,
    /// The explicit hash key that it was sent with.
    pub explicit_hash_key: Option<HashKey>,
    /// The payload: a slice of the aggregate's memory.
    pub data: Bytes,
}

impl UserRecord {
    /// The hash key that decides on the shard to which the record belongs.
    pub fn hash_key(&self) -> HashKey {
        self.explicit_hash_key.unwrap_or_else(|| HashKey::of(&self.partition_key))
    }
}

/// A table of keys. A writer may put keys into it that no record names, so that only a key that is named has to be valid.
#[derive(Debug)]
struct Table<K> {
    name: &'static str,
    /// The valid keys.
    keys: Vec<K>,
    /// The entries that are not valid keys, in rising order.
    invalid: Vec<u64>,
}

impl<K> Table<K> {
    fn new(name: &'static str) -> Self {
        Self { name, keys: Vec::new(), invalid: Vec::new() }
    }

    fn len(&self) -> usize {
        self.keys.len() + self.invalid.len()
    }

    fn push(&mut self, key: Option<K>) {
        match key {
            Some(key) => self.keys.push(key),
            None => self.invalid.push(self.len() as u64),
        }
    }

    /// The place among the valid keys of an entry that a user record names.
    fn place(&self, named: u64, index: u32) -> Result<u32, Corrupt> {
        let (index, table) = (index.into(), self.name);
        if named >= self.len() as u64 {
            return Err(Corrupt::NoSuchKey { index, table, named, entries: self.len() });
        }
        match self.invalid.binary_search(&named) {
            Ok(_) => Err(Corrupt::InvalidKey { index, table, named }),
            // A message has fewer entries than bytes, and those are counted in 32 bits.
            Err(before) => Ok((named - before as u64) as u32),
        }
    }
}

/// A user record as the message has it. Of a field that stands there twice, the last one counts.
#[derive(Clone, Copy, Debug, Default)]
struct RawEntry {
    partition_key: Option<u64>,
    hash_key: Option<u64>,
    data: Option<(u32, u32)>,
}

impl RawEntry {
    fn parse(mut message: Fields<'_>) -> Result<Self, Malformed> {
        let mut entry = Self::default();
        while let Some(field) = message.next()? {
            match field {
                Field { number: 1, value: Value::Varint(index) } => entry.partition_key = Some(index),
                Field { number: 2, value: Value::Varint(index) } => entry.hash_key = Some(index),
                Field { number: 3, value: Value::Bytes(start, end) } => entry.data = Some((start as u32, end as u32)),
                // Tags, and what the format does not have.
                Field { value: Value::Bytes(..) | Value::Varint(_) | Value::Skipped, .. } => {}
            }
        }
        Ok(entry)
    }

    fn resolve(
        self,
        index: u32,
        partition_keys: &Table<PartitionKey>,
        hash_keys: &Table<HashKey>,
    ) -> Result<Entry, Corrupt> {
        let missing = |what| Corrupt::Missing { index: index.into(), what };
        let partition_key = self.partition_key.ok_or_else(|| missing("partition key"))?;
        let (start, end) = self.data.ok_or_else(|| missing("payload"))?;
        Ok(Entry {
            index,
            partition_key: partition_keys.place(partition_key, index)?,
            hash_key: self.hash_key.map_or(Ok(NONE), |named| hash_keys.place(named, index))?,
            start,
            end,
        })
    }
}

fn partition_key(bytes: &[u8]) -> Option<PartitionKey> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Other writers take leading zeros for harmless, as Java's `BigInteger` does.
fn hash_key(bytes: &[u8]) -> Option<HashKey> {
    let text = std::str::from_utf8(bytes).ok()?;
    let plain = text.trim_start_matches('0');
    if plain.is_empty() && !text.is_empty() { Some(HashKey::MIN) } else { plain.parse().ok() }
}
