//! The cost of routing per message, compared with a loop that only touches each record.
//!
//! The items are messages: records times targets. The floor touches each record as often as there are targets.

use std::{fmt, hint::black_box, sync::Arc};

use divan::{Bencher, counter::ItemsCount};
use statefun_kinesis_module::{IngressSpec, StreamRoute};
use statefun_kinesis_router::{Route, RoutedBatch};
use statefun_kinesis_types::{Address, Record, ShardId, StreamArn, Timestamp, TypeName, TypedValue};

fn main() {
    divan::main();
}

const RECORDS: usize = 10_000;

#[derive(Clone, Copy)]
struct Case {
    bytes: usize,
    targets: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B, {} targets", self.bytes, self.targets)
    }
}

const CASES: [Case; 4] = [
    Case { bytes: 100, targets: 1 },
    Case { bytes: 100, targets: 4 },
    Case { bytes: 1_024, targets: 1 },
    Case { bytes: 1_024, targets: 4 },
];

impl Case {
    fn records(self) -> Vec<Record> {
        let record = |index: usize| {
            let key = format!("customer-{:05}", index % 1_000).parse().expect("the key is short");
            Record::new((index as u64).into(), Some(key), Timestamp::EPOCH, vec![index as u8; self.bytes].into())
        };
        (0..RECORDS).map(record).collect()
    }

    fn route(self) -> Arc<Route> {
        let targets = (0..self.targets).map(|index| format!("example/target-{index}").parse().expect("it is a name"));
        let stream: StreamArn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().expect("it is an ARN");
        let route = StreamRoute::new(stream.clone(), name(), targets.collect());
        let ingress = IngressSpec::new("example/orders".parse().expect("it is a name"), vec![route]);
        Arc::new(Route::new(&ingress, stream, &ingress.streams[0]))
    }

    fn messages(self) -> usize {
        RECORDS * self.targets
    }
}

fn shard() -> ShardId {
    "shardId-000000000000".parse().expect("it is an id")
}

#[divan::bench(args = CASES)]
fn floor_touch_each_record(bencher: Bencher<'_, '_>, case: Case) {
    let records = case.records();
    bencher.counter(ItemsCount::new(case.messages())).bench(|| {
        for record in &records {
            for _ in 0..case.targets {
                black_box((record.partition_key.as_ref().map(|key| key.as_str()), record.data.as_ptr()));
            }
        }
    });
}

/// Reads each message: the cost for functions that decide themselves what to keep.
#[divan::bench(args = CASES)]
fn route_and_look_at_each_message(bencher: Bencher<'_, '_>, case: Case) {
    let route = case.route();
    bencher.counter(ItemsCount::new(case.messages())).with_inputs(|| case.records()).bench_refs(|records| {
        let (batch, _) = RoutedBatch::route(Arc::clone(&route), shard(), std::mem::take(records));
        for message in batch.messages() {
            black_box((message.function(), message.id(), message.payload()));
        }
        // Freeing the records is the reader's cost, which the floor does not pay either.
        std::mem::forget(batch);
    });
}

/// Keeping each message: an address and a value of its own, sharing name, id and bytes with the batch. The place where
/// they are kept is warm, as a mailbox is; the first share of a payload that came in a `Vec` allocates its counter.
#[divan::bench(args = CASES)]
fn route_and_keep_each_message(bencher: Bencher<'_, '_>, case: Case) {
    let route = case.route();
    let mailbox = || {
        let mut kept = vec![
            (Address { function: name(), id: "".into() }, TypedValue { typename: name(), value: None });
            case.messages()
        ];
        kept.clear();
        kept
    };
    bencher.counter(ItemsCount::new(case.messages())).with_inputs(|| (case.records(), mailbox())).bench_refs(
        |(records, kept)| {
            let (batch, _) = RoutedBatch::route(Arc::clone(&route), shard(), std::mem::take(records));
            kept.extend(batch.messages().map(|message| (message.to_address(), message.to_value())));
            std::mem::forget(batch);
        },
    );
}

fn name() -> TypeName {
    "example/Order".parse().expect("it is a name")
}
