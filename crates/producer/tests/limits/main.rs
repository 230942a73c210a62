//! What a producer gets out of shards that are written at their limits. Everything runs in virtual time: the figures are
//! counts, and the same on every machine.

mod load;

use std::{num::NonZeroU32, time::Duration};

use fastrand::Rng;
use statefun_kinesis_producer::{Aggregation, Order, Settings};

use self::load::{Figures, Load};

/// Shards, keys and records. With 1 000 keys, 64 shards would wait for answers: one record of a key is in flight.
const ONE: (usize, usize, usize) = (1, 1_000, 10_000);
const EIGHT: (usize, usize, usize) = (8, 1_000, 50_000);
const MANY: (usize, usize, usize) = (64, 12_800, 150_000);

/// Checks that the shards are written at this share of their limits at least, by few and large requests.
#[track_caller]
fn check(load: &Load, share: f64) -> Figures {
    let figures = load.run();
    assert!(figures.share >= share, "{figures}: {load:?}");
    assert!(figures.calls <= 10.1, "{figures}: {load:?}");
    assert!(figures.records_per_call >= 95.0, "{figures}: {load:?}");
    figures
}

#[test]
fn shards_at_their_limits_are_written_at_these_by_few_large_requests() {
    for ((shards, keys, records), millis) in [(ONE, 0), (ONE, 20), (ONE, 200), (EIGHT, 0), (EIGHT, 20), (MANY, 20)] {
        let load = Load { round_trip: Duration::from_millis(millis), ..Load::new(shards, keys, records) };
        let figures = check(&load, 0.95);
        // One producer alone does not write more than the shards take.
        assert!(figures.throttled < 0.001, "{figures}: {load:?}");
    }
}

#[test]
fn records_that_are_throttled_at_random_cost_little() {
    let cases = [(ONE, 0.005, 0.95), (ONE, 0.01, 0.9), (EIGHT, 0.005, 0.95), (EIGHT, 0.01, 0.9), (MANY, 0.005, 0.95)];
    for ((shards, keys, records), throttled, share) in cases {
        check(&Load { throttled, ..Load::new(shards, keys, records) }, share);
    }
}

#[test]
fn records_that_are_throttled_at_random_do_not_keep_others_out_of_the_queue() {
    // So few keys or outstanding records that they limit the rate.
    for keys in [1_000, 6_400] {
        let load = Load::new(64, keys, 100_000);
        let settings = Settings { max_outstanding_records: NonZeroU32::new(1_000).unwrap(), ..load.settings.clone() };
        let load = Load { settings, ..load };
        let without = load.run();
        let with = Load { throttled: 0.005, ..load }.run();
        assert!(with.share >= 0.65 * without.share, "{with} instead of {without}");
    }
}

#[test]
fn large_records_are_written_at_the_bytes_that_the_shards_take() {
    for (shards, keys) in [(1, 1_000), (8, 1_000), (64, 3_200)] {
        // 102 records of 10 KiB are a second's worth of a shard.
        let load = Load { bytes: 10 << 10, ..Load::new(shards, keys, shards * 300) };
        let figures = load.run();
        assert!(figures.share >= 0.95, "{figures}: {load:?}");
        assert!(figures.calls <= 10.1, "{figures}: {load:?}");
    }
}

#[test]
fn records_in_any_order_and_aggregates_are_written_at_the_limits_too() {
    for (shards, keys, records) in [(1, 1, 10_000), (8, 8, 50_000)] {
        let load = Load::new(shards, keys, records);
        let settings = Settings { order: Order::None, ..load.settings.clone() };
        check(&Load { settings, ..load }, 0.95);
    }
    for (shards, keys, records) in [(1, 1_000, 40_000), (8, 1_000, 200_000)] {
        let load = Load::new(shards, keys, records);
        let most = NonZeroU32::new(shards as u32 * 4_000).unwrap();
        let aggregation = Some(Aggregation::default());
        let settings = Settings { aggregation, max_outstanding_records: most, ..load.settings.clone() };
        let load = Load { settings, ..load };
        let figures = load.run();
        assert!(figures.share >= 0.85, "{figures}: {load:?}");
        assert!(figures.calls <= 10.1, "{figures}: {load:?}");
    }
}

/// Any load is written in order, and neither waits for nothing nor is cut into small requests.
#[test]
fn whatever_the_load_it_takes_about_as_long_as_shards_keys_and_answers_need() {
    for seed in 0..60 {
        let mut random = Rng::with_seed(seed);
        let shards = [1, 8, 64][random.usize(0..3)];
        let keys = shards * random.usize(1..=300);
        let records = random.usize(1..=8_000);
        let most = NonZeroU32::new(random.u32(1..=3_000)).unwrap();
        let settings = Settings {
            max_outstanding_records: most,
            max_in_flight_requests: NonZeroU32::new(random.u32(1..=16)).unwrap(),
            linger: Duration::from_millis(random.u64(0..=20)),
            aggregation: (random.u8(0..4) == 0).then(Aggregation::default),
            seed: Some(seed),
            ..Settings::default()
        };
        let throttled = if random.bool() { random.f64() * 0.02 } else { 0.0 };
        let round_trip = Duration::from_millis(random.u64(0..=100));
        let load = Load { settings, throttled, round_trip, ..Load::new(shards, keys, records) };
        let figures = load.run();
        // Each round takes a record of each key, or as many as may be outstanding.
        let rounds = records.div_ceil(keys.min(most.get() as usize)) as u32;
        let by_rounds = rounds * (round_trip + load.settings.linger + Duration::from_millis(5));
        let by_shards = Duration::from_secs_f64(records as f64 / (shards as f64 * 1_000.0));
        // Retries of keys that the others wait for.
        let retries = Duration::from_millis(150) * figures.total.retried_records.div_ceil(10) as u32;
        let longest = by_rounds.max(by_shards) * 3 / 2 + retries + Duration::from_secs(1);
        assert!(figures.took <= longest, "seed {seed}: {figures}, more than {longest:?}: {load:?}");
    }
}
