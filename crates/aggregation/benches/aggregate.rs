//! Unpacking and packing aggregates of 50 KiB, beside the MD5 of their bytes, which no reader and no writer can leave
//! out.

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use md5::{Digest, Md5};
use statefun_kinesis_aggregation::{Aggregator, Decoded, decode};
use statefun_kinesis_types::{HashKey, HashKeyRange, PutRecord};

/// The KPL's default size of an aggregate.
const MAX_BYTES: usize = 51_200;

fn main() {
    divan::main();
}

/// As many records as an aggregate holds, each key of ten of them.
fn records(bytes: usize) -> Vec<PutRecord> {
    let mut aggregator = Aggregator::new(MAX_BYTES, usize::MAX);
    let record = |number| PutRecord::new(format!("customer-{}", number / 10).parse().unwrap(), vec![7; bytes]);
    (0..).map(record).take_while(|record| aggregator.push(record).is_ok()).collect()
}

fn aggregate(records: &[PutRecord]) -> Bytes {
    let mut aggregator = Aggregator::new(MAX_BYTES, usize::MAX);
    records.iter().for_each(|record| aggregator.push(record).unwrap());
    aggregator.finish().unwrap().data
}

#[divan::bench_group(sample_count = 200, sample_size = 10)]
mod aggregate {
    use super::*;

    #[divan::bench(args = [100, 1_000])]
    fn floor_md5(bencher: Bencher, bytes: usize) {
        let records = records(bytes);
        let data = aggregate(&records);
        bencher.counter(ItemsCount::new(records.len())).bench(|| Md5::digest(divan::black_box(&data)));
    }

    /// Every user record is looked at.
    #[divan::bench(args = [100, 1_000])]
    fn unpack(bencher: Bencher, bytes: usize) {
        let records = records(bytes);
        let data = aggregate(&records);
        bencher.counter(ItemsCount::new(records.len())).bench(|| {
            let Decoded::Aggregate(aggregate) = decode(divan::black_box(&data)) else { panic!("it is an aggregate") };
            aggregate.iter().for_each(|record| _ = divan::black_box(record));
        });
    }

    /// As above, without the records of another shard.
    #[divan::bench(args = [100, 1_000])]
    fn unpack_for_a_shard(bencher: Bencher, bytes: usize) {
        let records = records(bytes);
        let data = aggregate(&records);
        let lower = HashKeyRange::new(HashKey::MIN, HashKey::new(u128::MAX / 2)).unwrap();
        bencher.counter(ItemsCount::new(records.len())).bench(|| {
            let Decoded::Aggregate(mut aggregate) = decode(divan::black_box(&data)) else { panic!("an aggregate") };
            aggregate.retain_within(lower);
            aggregate.iter().for_each(|record| _ = divan::black_box(record));
        });
    }

    #[divan::bench(args = [100, 1_000])]
    fn pack(bencher: Bencher, bytes: usize) {
        let records = records(bytes);
        let mut aggregator = Aggregator::new(MAX_BYTES, usize::MAX);
        bencher.counter(ItemsCount::new(records.len())).bench_local(|| {
            divan::black_box(&records).iter().for_each(|record| aggregator.push(record).unwrap());
            aggregator.finish()
        });
    }
}
