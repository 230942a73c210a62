//! The contents of the store and of the egress.

use std::collections::{BTreeMap, BTreeSet};

use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::{NumberedEntry, StoredMessage, StoredValue};
use statefun_kinesis_store::{KeyRange, Store, StoreExt, Table, key::StoredKey, positions};
use statefun_kinesis_types::{Position, StreamArn, StreamRef};

use crate::functions::{Text, place_of};

/// The contents of a store.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// States by function, id and name.
    pub(crate) states: BTreeMap<(String, String, String), String>,
    /// Records of the ingress that wait, by the key that they are for.
    pub(crate) waiting: BTreeMap<u64, u64>,
    /// Other messages that wait, and delayed ones.
    pub(crate) messages: usize,
    /// Records for the egress.
    pub(crate) egress: usize,
    /// Records of the ingress that are acknowledged, by key.
    pub(crate) acknowledged: BTreeMap<u64, u64>,
}

impl Stored {
    pub(crate) async fn read(store: &dyn Store, kinesis: &FakeKinesis, stream: &StreamArn) -> Self {
        let mut stored = Self::default();
        for table in [Table::State, Table::Mailboxes, Table::Timers, Table::Cancellations, Table::Egress] {
            let mut entries = store.entries(table, KeyRange::ALL);
            while let Some(entry) = entries.next().await.unwrap() {
                match StoredKey::parse(table, &entry.key).unwrap() {
                    StoredKey::State { address, name } => {
                        let value = StoredValue::decode(entry.value).unwrap().value.read::<Text>().unwrap().0;
                        let key = (address.function.name().to_owned(), address.id.to_string(), name.to_owned());
                        stored.states.insert(key, value);
                    }
                    StoredKey::Numbered { number, .. } if table == Table::Mailboxes => {
                        let message = StoredMessage::decode(number, entry.value).unwrap();
                        if message.to.function.name() == "counter" {
                            *stored.waiting.entry(message.to.id.parse().unwrap()).or_default() += 1;
                        } else {
                            stored.messages += 1;
                        }
                    }
                    _ if table == Table::Egress => stored.egress += 1,
                    _ => stored.messages += 1,
                }
            }
        }
        for ((_, of), checkpoint) in positions::load_all(store).await.unwrap() {
            assert_eq!(of, *stream);
            for (shard, record) in kinesis.records(&stream.clone().into()) {
                let position = checkpoint.shards.get(&shard);
                if position.is_some_and(|position| position.covers(Position::of(&record))) {
                    let key = record.partition_key.unwrap().as_str().parse().unwrap();
                    *stored.acknowledged.entry(key).or_default() += 1;
                }
            }
        }
        stored
    }

    fn number(&self, function: &str, id: u64, name: &str) -> u64 {
        let key = (function.to_owned(), id.to_string(), name.to_owned());
        self.states.get(&key).map_or(0, |number| number.parse().unwrap())
    }

    /// The count of each key.
    pub(crate) fn totals(&self) -> BTreeMap<u64, u64> {
        let totals = self.states.iter().filter(|((function, ..), _)| function == "counter");
        totals.map(|((_, id, _), total)| (id.parse().unwrap(), total.parse().unwrap())).collect()
    }

    /// Checks that positions, messages and states are of one moment: a record counts as read when it is counted or
    /// waits to be, and not otherwise.
    pub(crate) fn check_moment(&self) {
        let mut taken = self.totals();
        for (key, waiting) in &self.waiting {
            *taken.entry(*key).or_default() += waiting;
        }
        assert_eq!(self.acknowledged, taken, "the records that count as read are those that were taken");
    }

    /// Checks that all records took effect once. `written` has their number by key.
    pub(crate) fn check(&self, written: &BTreeMap<u64, u64>) {
        self.check_moment();
        assert_eq!((self.messages, self.egress, &self.waiting), (0, 0, &BTreeMap::new()), "nothing is left");
        assert_eq!(self.totals(), *written, "the counts of the counters");
        let (mut told, mut late) = (BTreeMap::<u64, BTreeSet<String>>::new(), BTreeMap::<u64, u64>::new());
        for (key, total) in written {
            told.entry(place_of(*key)).or_default().insert(format!("{key}={total}"));
            *late.entry(place_of(*key)).or_default() += (1..=*total).filter(|count| count % 4 == 0).sum::<u64>();
        }
        for (place, told) in told {
            let last = self.states.get(&("sink".to_owned(), place.to_string(), "last".to_owned()));
            let last: BTreeSet<String> = last.iter().flat_map(|last| last.split(' ')).map(str::to_owned).collect();
            assert_eq!(last, told, "what sink {place} was told last of each key");
        }
        for (place, total) in sink_totals(written) {
            assert_eq!(self.number("sink", place, "total"), total, "what sink {place} was told");
        }
        for (place, sum) in late {
            assert_eq!(self.number("late", place, "sum"), sum, "what came late to {place}");
        }
    }
}

fn sink_totals(written: &BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    let mut totals = BTreeMap::new();
    for (key, total) in written {
        *totals.entry(place_of(*key)).or_default() += total;
    }
    totals
}

/// The counts that the egress wrote, by key and without repeats, and the number of repeats.
pub(crate) fn came_out(kinesis: &FakeKinesis, stream: &StreamRef) -> (BTreeMap<String, Vec<u64>>, usize) {
    let (mut by_key, mut seen, mut repeats) = (BTreeMap::<String, Vec<u64>>::new(), BTreeSet::new(), 0);
    for (_, record) in kinesis.records(stream) {
        let count: u64 = std::str::from_utf8(&record.data).unwrap().parse().unwrap();
        let key = record.partition_key.unwrap().to_string();
        if seen.insert((key.clone(), count)) {
            by_key.entry(key).or_default().push(count);
        } else {
            repeats += 1;
        }
    }
    (by_key, repeats)
}

/// The expected records by key: counts in order, without a gap.
pub(crate) fn to_come_out(written: &BTreeMap<u64, u64>) -> BTreeMap<String, Vec<u64>> {
    let counters = written.iter().map(|(key, total)| (format!("counter-{key}"), *total));
    let sinks = sink_totals(written).into_iter().map(|(place, total)| (format!("sink-{place}"), total));
    counters.chain(sinks).map(|(key, total)| (key, (1..=total).collect())).collect()
}
