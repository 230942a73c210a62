//! Unpacks aggregates into user records, as many at a time as there is room for.

use std::{mem, vec};

use statefun_kinesis_aggregation::{Aggregate, Corrupt, Decoded, MAGIC, decode};
use statefun_kinesis_types::{HashKeyRange, Record};

use crate::{Extent, Position};

/// User records that the first aggregate is expected to have. Room for so many is reserved, and what is not needed is freed
/// with the page.
const AGGREGATE_GUESS: usize = 100;

/// Size and kind of records, found in one pass over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Bytes of the records, keys included.
    pub(crate) bytes: usize,
    /// Whether none of them looks like an aggregate.
    pub(crate) plain: bool,
}

impl Contents {
    /// Looks at all records, from the last one to the first.
    ///
    /// A full page is larger than a core's cache, which holds the page's end, because that was written last. The caller
    /// starts with the page's beginning. So this pass starts at the end and leaves the beginning in the cache.
    pub(crate) fn of(records: &[Record]) -> Self {
        let (mut bytes, mut plain) = (0, true);
        for record in records.iter().rev() {
            bytes += record.size();
            plain &= !record.data.starts_with(&MAGIC);
        }
        Self { bytes, plain }
    }
}

/// What comes out of an [`Unpacker`].
#[derive(Debug)]
pub(crate) enum Content {
    /// User records, in order. None when all of an aggregate's were left out: only the position moves then.
    Records(Vec<Record>),
    /// An aggregate that cannot be decoded.
    Corrupt(Record, Corrupt),
}

/// Content, and how far it goes.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub(crate) content: Content,
    /// The position after the content is processed.
    pub(crate) position: Position,
    /// Bytes of the records that end with this content, keys included: their memory is not held longer than it is.
    pub(crate) bytes: usize,
    /// Aggregates that were opened, and user records of them that belong to another shard.
    pub(crate) aggregates: u64,
    pub(crate) out_of_range: u64,
}

/// Unpacks the aggregates of one shard.
///
/// User records that belong to another shard are left out, because the KPL sends them again. The other user records of the
/// same aggregate stay: the KPL takes them for confirmed.
#[derive(Debug)]
pub(crate) struct Unpacker {
    /// The hash keys of the shard; `None` where keys do not decide on the shard.
    range: Option<HashKeyRange>,
    /// The position at which this reader started.
    done: Option<Position>,
    records: vec::IntoIter<Record>,
    /// Bytes of the records that have not come out, keys included.
    bytes: usize,
    /// Whether none of the records looks like an aggregate.
    plain: bool,
    open: Option<Open>,
    corrupt: Option<(Record, Corrupt)>,
    /// User records of the last aggregate.
    last_len: usize,
    aggregates: u64,
    out_of_range: u64,
}

/// The aggregate that is being unpacked.
#[derive(Debug)]
struct Open {
    record: Record,
    aggregate: Aggregate,
    /// User records that were taken out.
    taken: usize,
}

impl Unpacker {
    pub(crate) fn new(range: Option<HashKeyRange>, done: Option<Position>) -> Self {
        Self {
            range,
            done,
            records: Vec::new().into_iter(),
            bytes: 0,
            plain: true,
            open: None,
            corrupt: None,
            last_len: AGGREGATE_GUESS,
            aggregates: 0,
            out_of_range: 0,
        }
    }

    /// Takes the records of a page, after the previous page was unpacked.
    pub(crate) fn load(&mut self, records: Vec<Record>, contents: Contents) {
        debug_assert!(self.ahead() == 0, "a page is unpacked before the next one is read");
        (self.bytes, self.plain) = (contents.bytes, contents.plain);
        self.records = records.into_iter();
    }

    /// About how many user records are still to come; zero is none at all.
    pub(crate) fn ahead(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.aggregate.len() - open.taken);
        let each = if self.plain { 1 } else { self.last_len.max(1) };
        let waiting = open + self.records.len() * each + usize::from(self.corrupt.is_some());
        // An aggregate of nothing still moves the position.
        if self.open.is_some() { waiting.max(1) } else { waiting }
    }

    /// The next records, `most` of them at most; `None` when the page is unpacked.
    pub(crate) fn next(&mut self, most: usize) -> Option<Unpacked> {
        if self.plain && self.open.is_none() && self.records.len() <= most {
            return self.all();
        }
        let mut records = Vec::with_capacity(most.min(self.ahead()));
        let mut bytes = 0;
        let mut position = None;
        while records.len() < most {
            if let Some(open) = &mut self.open {
                let Open { record, aggregate, taken } = open;
                let number = record.sequence_number;
                let users = aggregate.iter().skip(*taken).take(most - records.len());
                let before = records.len();
                records.extend(users.map(|user| {
                    let mut one = Record::new(number, Some(user.partition_key), record.approximate_arrival, user.data);
                    one.sub_sequence_number = user.index;
                    one.set_explicit_hash_key(user.explicit_hash_key);
                    one
                }));
                *taken += records.len() - before;
                if *taken < aggregate.len() {
                    position = records.last().map(Position::of);
                    break;
                }
                bytes += record.size();
                position = Some(Position::behind(number));
                self.open = None;
            } else if let Some((record, corrupt)) = self.corrupt.take() {
                if position.is_some() {
                    self.corrupt = Some((record, corrupt));
                    break;
                }
                let (position, bytes) = (Position::behind(record.sequence_number), record.size());
                return Some(self.unpacked(Content::Corrupt(record, corrupt), position, bytes));
            } else {
                let Some(record) = self.records.next() else { break };
                if let Some(record) = self.open(record) {
                    position = Some(Position::behind(record.sequence_number));
                    bytes += record.size();
                    if !self.done.is_some_and(|done| done.covers(&record)) {
                        records.push(record);
                    }
                }
            }
        }
        position.map(|position| self.unpacked(Content::Records(records), position, bytes))
    }

    /// All records, none of which is an aggregate.
    fn all(&mut self) -> Option<Unpacked> {
        let mut records: Vec<Record> = mem::take(&mut self.records).collect();
        // A position inside an aggregate that turns out to be a plain record covers it.
        if let Some(done) = self.done {
            let known = records.partition_point(|record| done.covers(record));
            records.drain(..known);
        }
        let position = Position::behind(records.last()?.sequence_number);
        let bytes = self.bytes;
        Some(self.unpacked(Content::Records(records), position, bytes))
    }

    fn unpacked(&mut self, content: Content, position: Position, bytes: usize) -> Unpacked {
        self.bytes -= bytes.min(self.bytes);
        let (aggregates, out_of_range) = (mem::take(&mut self.aggregates), mem::take(&mut self.out_of_range));
        Unpacked { content, position, bytes, aggregates, out_of_range }
    }

    /// Opens an aggregate; gives a plain record back.
    fn open(&mut self, record: Record) -> Option<Record> {
        let mut aggregate = match decode(&record.data) {
            Decoded::Plain => return Some(record),
            Decoded::Corrupt(corrupt) => {
                // Never one that was handled before: a position inside a corrupt aggregate does not exist.
                self.corrupt = Some((record, corrupt));
                return None;
            }
            Decoded::Aggregate(aggregate) => aggregate,
        };
        self.aggregates += 1;
        self.last_len = aggregate.len();
        if let Some(range) = self.range {
            self.out_of_range += aggregate.retain_within(range) as u64;
        }
        let taken = match self.done {
            Some(Position { sequence_number, extent: Extent::UpTo(last) })
                if sequence_number == record.sequence_number =>
            {
                aggregate.iter().take_while(|user| user.index <= last).count()
            }
            Some(Position { extent: Extent::UpTo(_) | Extent::All, .. }) | None => 0,
        };
        self.open = Some(Open { record, aggregate, taken });
        None
    }
}

#[cfg(test)]
mod tests {
    use md5::Digest;
    use proptest::prelude::*;
    use statefun_kinesis_aggregation::Aggregator;
    use statefun_kinesis_types::{HashKey, PutRecord, Timestamp};

    use super::*;

    const LOWER: u128 = u128::MAX / 2;

    /// A record of a shard that owns the lower half of the hash key space.
    #[derive(Clone, Debug)]
    enum Kind {
        Plain,
        /// User records, and whether each belongs here.
        Aggregate(Vec<bool>),
        Corrupt,
    }

    fn record(number: u64, kind: &Kind) -> Record {
        let data = match kind {
            Kind::Plain => format!("plain {number}").into(),
            Kind::Corrupt => {
                let whole = record(number, &Kind::Aggregate(vec![true, true])).data;
                // Without its key table the records name keys that are not there.
                let message = &whole[MAGIC.len()..whole.len() - 16];
                let start = message.iter().position(|byte| *byte == 0x1A).unwrap();
                let message = &message[start..];
                [&MAGIC[..], message, &md5::Md5::digest(message)].concat().into()
            }
            Kind::Aggregate(here) => {
                let mut aggregator = Aggregator::new(1 << 20, 1_000);
                for (index, here) in here.iter().enumerate() {
                    let key = HashKey::new(if *here { index as u128 } else { u128::MAX - index as u128 });
                    let user = PutRecord::new("key".parse().unwrap(), format!("user {number} {index}"));
                    aggregator.push(&user.with_explicit_hash_key(key)).unwrap();
                }
                aggregator.finish().unwrap().data
            }
        };
        Record::new(number.into(), Some("a".parse().unwrap()), Timestamp::EPOCH, data)
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            3 => Just(Kind::Plain),
            3 => prop::collection::vec(prop::bool::weighted(0.7), 2..8).prop_map(Kind::Aggregate),
            1 => Just(Kind::Corrupt),
        ]
    }

    /// Pages without aggregates take a shorter way, and so they are half of all.
    fn kinds() -> impl Strategy<Value = Vec<Kind>> {
        prop_oneof![prop::collection::vec(Just(Kind::Plain), 1..12), prop::collection::vec(kind(), 1..12)]
    }

    /// How many aggregates there are, and how many of their user records belong elsewhere.
    fn aggregates(kinds: &[Kind]) -> (u64, u64) {
        let all = kinds.iter().filter_map(|kind| if let Kind::Aggregate(here) = kind { Some(here) } else { None });
        all.fold((0, 0), |(count, out_of_range), here| {
            (count + 1, out_of_range + here.iter().filter(|here| !**here).count() as u64)
        })
    }

    proptest! {
        #[test]
        fn every_record_that_belongs_here_comes_once_however_it_is_cut(
            kinds in kinds(),
            sizes in prop::collection::vec(1_usize..9, 1..9),
            cut in 0_usize..40,
            filtered in any::<bool>(),
        ) {
            let range = HashKeyRange::new(HashKey::MIN, HashKey::new(LOWER)).filter(|_| filtered);
            let records: Vec<Record> = kinds.iter().zip(1..).map(|(kind, number)| record(number, kind)).collect();
            let mut expected = Vec::new();
            for (number, kind) in (1_u64..).zip(&kinds) {
                match kind {
                    Kind::Plain => expected.push(Position::inside(number.into(), 0)),
                    Kind::Corrupt => expected.push(Position::behind(number.into())),
                    Kind::Aggregate(here) => {
                        let here = here.iter().zip(0..).filter(|(here, _)| **here || !filtered);
                        expected.extend(here.map(|(_, index)| Position::inside(number.into(), index)));
                    }
                }
            }
            let mut found = Vec::new();
            let (mut done, mut bytes) = (None, 0);
            let mut sizes = sizes.iter().cycle();
            // The reader is killed after so many pieces, and the next one goes on at the position.
            'runs: for pieces in [cut, usize::MAX] {
                let mut unpacker = Unpacker::new(range, done);
                let again = |record: &&Record| done.is_none_or(|done| Position::behind(record.sequence_number) > done);
                let rest: Vec<Record> = records.iter().filter(again).cloned().collect();
                let contents = Contents::of(&rest);
                let total = contents.bytes;
                let mut of_rest = aggregates(&kinds[kinds.len() - rest.len()..]);
                if !filtered {
                    of_rest.1 = 0;
                }
                let mut counted = (0, 0);
                bytes = 0;
                unpacker.load(rest, contents);
                for _ in 0..pieces {
                    if unpacker.ahead() == 0 {
                        prop_assert_eq!((bytes, counted), (total, of_rest));
                        break 'runs;
                    }
                    let most = *sizes.next().unwrap();
                    let Some(unpacked) = unpacker.next(most) else { continue };
                    bytes += unpacked.bytes;
                    counted = (counted.0 + unpacked.aggregates, counted.1 + unpacked.out_of_range);
                    match unpacked.content {
                        Content::Corrupt(record, _) => found.push(Position::behind(record.sequence_number)),
                        Content::Records(records) => {
                            prop_assert!(records.len() <= most);
                            for record in records {
                                let text = std::str::from_utf8(&record.data).unwrap();
                                let (number, index) = (record.sequence_number, record.sub_sequence_number);
                                let expected = [format!("plain {number}"), format!("user {number} {index}")];
                                prop_assert!(expected.iter().any(|expected| expected == text));
                                found.push(Position::of(&record));
                            }
                        }
                    }
                    prop_assert!(found.last().is_none_or(|last| *last <= unpacked.position));
                    prop_assert!(done.is_none_or(|done| done < unpacked.position));
                    done = Some(unpacked.position);
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert!(bytes > 0 || cut > 0);
        }
    }
}
