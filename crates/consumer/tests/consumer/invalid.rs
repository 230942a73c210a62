//! Aggregates, and records that cannot be used.

use std::{error::Error as _, time::Duration};

use statefun_kinesis_aggregation::Aggregator;
use statefun_kinesis_client::{ErrorKind, KinesisAdmin, KinesisClientExt, Operation, Placement, RecordDistribution};
use statefun_kinesis_consumer::{
    Batch, Consumer, ConsumerBuilder, ConsumerError, InvalidKind, Position, Settings, ShardPosition,
};
use statefun_kinesis_dead_letter::{DeadLetter, DeadLetterReader, IngressOrigin, Origin};
use statefun_kinesis_types::{HashKey, InvalidRecordHandling, LogLevel, PutRecord, StartupPosition, StreamRef};
use tokio::time::{sleep, timeout};

use crate::log::Warnings;
use crate::scene::{
    LONG, Scene, corrupt_aggregate, corrupt_aggregate_of, failure, next, nothing_more, settings, shard_id, take, texts,
};

/// Puts an aggregate of these texts; those that begin with `other` get a key that belongs to the other half of the
/// hash key space.
async fn put_aggregate(scene: &Scene, data: &[&str]) -> Placement {
    let mut aggregator = Aggregator::new(50_000, 1_000);
    for text in data {
        let key = if text.starts_with("other") { HashKey::MAX } else { HashKey::MIN };
        let record = PutRecord::new("key".parse().unwrap(), (*text).to_owned()).with_explicit_hash_key(key);
        aggregator.push(&record).unwrap();
    }
    scene.fake.put_record(&scene.stream, aggregator.finish().unwrap()).await.unwrap()
}

async fn put_corrupt(scene: &Scene) -> Placement {
    let record = PutRecord::new("lost".parse().unwrap(), corrupt_aggregate());
    scene.fake.put_record(&scene.stream, record).await.unwrap()
}

fn dead_stream() -> StreamRef {
    "dead".parse().unwrap()
}

async fn dead_lettering(scene: &Scene) -> ConsumerBuilder {
    scene.fake.create_stream(&"dead".parse().unwrap(), 1).await.unwrap();
    let handling = InvalidRecordHandling::DeadLetter { stream: dead_stream(), log: LogLevel::Warn };
    scene.builder(StartupPosition::TrimHorizon).invalid_records(handling)
}

/// The letters in the dead-letter stream, once it has so many records.
async fn dead_letters(scene: &Scene, records: usize) -> Vec<DeadLetter> {
    let stored = || scene.fake.records(&dead_stream());
    timeout(LONG, async {
        while stored().len() < records {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the dead letters have to come");
    let mut reader = DeadLetterReader::new();
    let letters = stored().iter().filter_map(|(_, record)| reader.read(&record.data).unwrap()).collect();
    assert_eq!(reader.incomplete(), 0);
    letters
}

/// Which record a letter is about.
#[track_caller]
fn origin(letter: &DeadLetter) -> &IngressOrigin {
    let Origin::Ingress(origin) = letter.origin() else { panic!("{letter:?}") };
    origin
}

async fn stored(scene: &Scene) -> Option<ShardPosition> {
    let arn = scene.arn().await;
    scene.checkpoints.get(&arn).and_then(|stored| stored.shards.values().next().copied())
}

fn subs(batch: &Batch) -> Vec<u64> {
    batch.records().iter().map(|record| record.sub_sequence_number).collect()
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_comes_as_its_user_records() {
    let scene = Scene::with_shards(1).await;
    let before = scene.put("plain").await;
    let place = put_aggregate(&scene, &["a", "b", "c"]).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let mut records = Vec::new();
    while records.len() < 4 {
        let batch = next(&mut consumer).await;
        records.extend(batch.records().to_vec());
        batch.done();
    }
    let found: Vec<_> = records.iter().map(Position::of).collect();
    let expected = [
        Position::inside(before.sequence_number, 0),
        Position::inside(place.sequence_number, 0),
        Position::inside(place.sequence_number, 1),
        Position::inside(place.sequence_number, 2),
    ];
    assert_eq!(found, expected);
    let arrived = records[1].approximate_arrival;
    assert!(records[1..].iter().all(|record| record.approximate_arrival == arrived));
    assert!(records.iter().all(|record| record.partition_key == Some("key".parse().unwrap())));
    let metrics = &consumer.metrics().snapshot()[0];
    assert_eq!((metrics.records, metrics.aggregates, metrics.out_of_range), (4, 1, 0));
    consumer.close().await.unwrap();
    assert_eq!(stored(&scene).await, Some(ShardPosition::At(Position::behind(place.sequence_number))));
}

#[tokio::test(start_paused = true)]
async fn payloads_are_slices_of_the_aggregate() {
    let scene = Scene::with_shards(1).await;
    put_aggregate(&scene, &["first payload", "second payload"]).await;
    let [(_, whole)] = &scene.fake.records(&scene.stream)[..] else { panic!("one record was put") };
    let memory = whole.data.as_ptr_range();
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    for record in next(&mut consumer).await.records() {
        let payload = record.data.as_ptr_range();
        assert!(memory.start <= payload.start && payload.end <= memory.end, "the payload was copied");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_split_what_belongs_here_stays_and_what_does_not_is_left_out() {
    let scene = Scene::with_shards(2).await;
    put_aggregate(&scene, &["a", "other b", "c", "other d"]).await;
    let place = put_aggregate(&scene, &["e", "other f"]).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut consumer, 3).await, ["a", "c", "e"]);
    let metrics = &consumer.metrics().snapshot()[0];
    assert_eq!((metrics.records, metrics.aggregates, metrics.out_of_range), (3, 2, 3));
    consumer.close().await.unwrap();
    assert_eq!(stored(&scene).await, Some(ShardPosition::At(Position::behind(place.sequence_number))));
}

#[tokio::test(start_paused = true)]
async fn records_that_belong_elsewhere_are_kept_on_demand() {
    let scene = Scene::with_shards(2).await;
    let texts = ["a", "other b", "c", "other d"];
    put_aggregate(&scene, &texts).await;
    let warnings = Warnings::collect();
    let settings = Settings { keep_out_of_range_records: true, ..settings() };
    let mut consumer = scene.builder(StartupPosition::TrimHorizon).settings(settings).build().await.unwrap();
    assert_eq!(take(&mut consumer, 4).await, texts);
    let metrics = &consumer.metrics().snapshot()[0];
    assert_eq!((metrics.records, metrics.aggregates, metrics.out_of_range), (4, 1, 0));
    assert_eq!(warnings.lines(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn records_that_are_left_out_are_warned_about_once_a_minute() {
    let scene = Scene::with_shards(2).await;
    let warnings = Warnings::collect();
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let about = |warnings: &Warnings| -> Vec<String> {
        warnings.lines().into_iter().filter(|line| line.contains("belong to another shard")).collect()
    };
    for _ in 0..3 {
        put_aggregate(&scene, &["a", "other b", "other c"]).await;
        assert_eq!(take(&mut consumer, 1).await, ["a"]);
    }
    let first = about(&warnings);
    let [line] = &first[..] else { panic!("one line: {first:?}") };
    for part in
        ["WARN", "records=2", "shard=shardId-000000000000", "outOfRangeRecords: keep", scene.arn().await.as_str()]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    put_aggregate(&scene, &["a", "other b"]).await;
    assert_eq!(take(&mut consumer, 1).await, ["a"]);
    let lines = about(&warnings);
    assert!(lines.len() == 2 && lines[1].contains("records=5"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_of_which_nothing_belongs_here_is_passed() {
    let scene = Scene::with_shards(2).await;
    let mut aggregator = Aggregator::new(50_000, 1_000);
    for text in ["a", "b"] {
        let record = PutRecord::new("key".parse().unwrap(), text).with_explicit_hash_key(HashKey::MAX);
        aggregator.push(&record).unwrap();
    }
    let record = aggregator.finish().unwrap().with_explicit_hash_key(HashKey::MIN);
    let place = scene.fake.put_record(&scene.stream, record).await.unwrap();
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    nothing_more(&mut consumer).await;
    assert_eq!(stored(&scene).await, Some(ShardPosition::At(Position::behind(place.sequence_number))));
}

#[tokio::test(start_paused = true)]
async fn no_record_is_out_of_range_when_the_service_distributes_records() {
    let scene = Scene::with_shards(2).await;
    put_aggregate(&scene, &["a", "other b"]).await;
    scene.fake.set_distribution(&scene.stream, RecordDistribution::Auto).unwrap();
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut consumer, 2).await, ["a", "other b"]);
}

#[tokio::test(start_paused = true)]
async fn reading_resumes_inside_an_aggregate() {
    let scene = Scene::with_shards(1).await;
    let place = put_aggregate(&scene, &["a", "b", "c", "d", "e"]).await;
    let mut settings = settings();
    settings.prefetch_records = 2;
    let mut texts_read = Vec::new();
    for expected in [Some(1), Some(3), None] {
        let builder = scene.builder(StartupPosition::TrimHorizon).settings(settings.clone());
        let mut consumer = builder.build().await.unwrap();
        let batch = next(&mut consumer).await;
        texts_read.extend(texts(&batch));
        batch.done();
        // What was read and not acknowledged comes again.
        let not_acknowledged = if expected.is_some() { Some(next(&mut consumer).await) } else { None };
        consumer.close().await.unwrap();
        drop(not_acknowledged);
        let expected = match expected {
            Some(sub) => Position::inside(place.sequence_number, sub),
            None => Position::behind(place.sequence_number),
        };
        assert_eq!(stored(&scene).await, Some(ShardPosition::At(expected)));
    }
    assert_eq!(texts_read, ["a", "b", "c", "d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn bounds_count_user_records() {
    let scene = Scene::with_shards(2).await;
    let names: Vec<String> = (0..100).map(|number| format!("number {number}")).collect();
    for _ in 0..5 {
        put_aggregate(&scene, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let mut settings = settings();
    settings.prefetch_records = 30;
    let builder = scene.builder(StartupPosition::TrimHorizon).settings(settings);
    let mut consumer = builder.build().await.unwrap();
    let mut taken: Vec<String> = Vec::new();
    while taken.len() < 500 {
        sleep(Duration::from_secs(10)).await;
        let read_ahead = consumer.metrics().snapshot()[0].records - taken.len() as u64;
        assert!((1..=30).contains(&read_ahead), "{read_ahead} records read ahead");
        let batch = next(&mut consumer).await;
        taken.extend(texts(&batch));
        batch.done();
    }
    assert_eq!(taken, names.iter().cycle().take(500).cloned().collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_aggregate_ends_reading_unless_told_otherwise() {
    let scene = Scene::with_shards(1).await;
    let before = scene.put("before").await;
    let place = put_corrupt(&scene).await;
    scene.put("behind").await;
    for _ in 0..2 {
        let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
        let ConsumerError::InvalidRecord(record) = failure(&mut consumer).await else { panic!("another error") };
        assert_eq!(record.sequence_number, place.sequence_number);
        assert_eq!((record.kind, &record.shard), (InvalidKind::CorruptAggregate, &place.shard));
        for says in ["stream/orders", "shardId-000000000000", &place.sequence_number.to_string(), "partition key"] {
            assert!(record.to_string().contains(says), "{record}");
        }
        consumer.close().await.unwrap();
        assert_eq!(stored(&scene).await, Some(ShardPosition::At(Position::behind(before.sequence_number))));
    }

    let skip = InvalidRecordHandling::Skip { log: LogLevel::Debug };
    let builder = scene.builder(StartupPosition::TrimHorizon).invalid_records_of(scene.arn().await, skip);
    let mut consumer = builder.build().await.unwrap();
    assert_eq!(take(&mut consumer, 1).await, ["behind"]);
    assert_eq!(consumer.metrics().snapshot()[0].invalid, [(InvalidKind::CorruptAggregate, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_md5_makes_a_plain_record() {
    let scene = Scene::with_shards(1).await;
    let mut data = corrupt_aggregate();
    *data.last_mut().unwrap() ^= 1;
    let record = PutRecord::new("key".parse().unwrap(), data.clone());
    scene.fake.put_record(&scene.stream, record).await.unwrap();
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(next(&mut consumer).await.records()[0].data, data);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_says_what_where_and_why() {
    let scene = Scene::with_shards(1).await;
    let builder = dead_lettering(&scene).await;
    let place = put_corrupt(&scene).await;
    let good = put_aggregate(&scene, &["a", "unreadable", "c"]).await;
    let mut consumer = builder.build().await.unwrap();
    let batch = next(&mut consumer).await;
    assert_eq!(subs(&batch), [0, 1, 2]);
    batch.reject(1, InvalidKind::Undecodable, "it is not an order").await.unwrap();
    batch.done();

    let letters = dead_letters(&scene, 2).await;
    let corrupt = IngressOrigin {
        stream: scene.arn().await,
        shard: place.shard.clone(),
        sequence_number: place.sequence_number,
        sub_sequence_number: 0,
        arrival: scene.fake.records(&scene.stream)[0].1.approximate_arrival,
    };
    assert_eq!(origin(&letters[0]), &corrupt);
    assert_eq!(letters[0].reason(), "corrupt-aggregate");
    assert_eq!(letters[0].message(), "user record 0 of the aggregated record names partition key 9 of 0");
    assert_eq!(letters[0].partition_key().unwrap().as_str(), "lost");
    assert_eq!(letters[0].data().unwrap(), &corrupt_aggregate());
    assert_eq!((letters[1].reason(), letters[1].message()), ("undecodable", "it is not an order"));
    let unreadable = origin(&letters[1]);
    assert_eq!((unreadable.sequence_number, unreadable.sub_sequence_number), (good.sequence_number, 1));
    assert_eq!(letters[1].data().unwrap(), "unreadable");
    let keys: Vec<_> =
        scene.fake.records(&dead_stream()).into_iter().map(|(_, record)| record.partition_key.unwrap()).collect();
    assert_eq!(keys, ["lost".parse().unwrap(), "key".parse().unwrap()], "the order per key stays");
    let metrics = &consumer.metrics().snapshot()[0];
    assert_eq!(metrics.invalid, [(InvalidKind::CorruptAggregate, 1), (InvalidKind::Undecodable, 1)]);
    assert_eq!(metrics.dead_letters, 2);
    timeout(LONG, scene.checkpoints.reached(&scene.arn().await, &good.shard, good.sequence_number)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_position_moves_only_after_its_dead_letter_is_stored() {
    let scene = Scene::with_shards(1).await;
    let builder = dead_lettering(&scene).await;
    let place = scene.put("unreadable").await;
    scene.fake.faults().fail_entries(|_, record| record.data.starts_with(b"{"));
    let mut consumer = builder.build().await.unwrap();
    let batch = next(&mut consumer).await;
    batch.reject(0, InvalidKind::Undecodable, "no").await.unwrap();
    batch.done();
    sleep(LONG).await;
    assert_eq!(stored(&scene).await, Some(ShardPosition::Unread));
    assert_eq!(consumer.metrics().snapshot()[0].dead_letters, 0);
    let calls = scene.fake.calls(Operation::PutRecords);
    assert!(calls < 30, "{calls} calls in two minutes");

    scene.fake.faults().clear();
    timeout(LONG, scene.checkpoints.reached(&scene.arn().await, &place.shard, place.sequence_number)).await.unwrap();
    assert_eq!(dead_letters(&scene, 1).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_stores_the_dead_letters_that_are_on_their_way() {
    let scene = Scene::with_shards(1).await;
    let builder = dead_lettering(&scene).await;
    scene.put("unreadable").await;
    scene.fake.faults().delay(Operation::PutRecords, Duration::from_secs(2));
    let mut consumer = builder.build().await.unwrap();
    let batch = next(&mut consumer).await;
    batch.reject(0, InvalidKind::MissingPartitionKey, "no").await.unwrap();
    let place = batch.records()[0].sequence_number;
    batch.done();
    consumer.close().await.unwrap();
    assert_eq!(stored(&scene).await, Some(ShardPosition::At(Position::behind(place))));
    assert_eq!(dead_letters(&scene, 1).await[0].reason(), "missing-partition-key");
}

#[tokio::test(start_paused = true)]
async fn an_envelope_that_is_too_large_for_one_record_becomes_several() {
    let scene = Scene::with_shards(1).await;
    let builder = dead_lettering(&scene).await;
    let data: Vec<u8> = (0..1 << 20).map(|number: u32| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let data = &data[..(1 << 20) - 3];
    let record = PutRecord::new("big".parse().unwrap(), data.to_vec());
    scene.fake.put_record(&scene.stream, record).await.unwrap();
    let mut consumer = builder.build().await.unwrap();
    let batch = next(&mut consumer).await;
    batch.reject(0, InvalidKind::Undecodable, "\u{1F980}".repeat(5_000)).await.unwrap();
    let place = batch.records()[0].sequence_number;
    batch.done();
    let letters = dead_letters(&scene, 2).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].message().chars().count(), 1_000);
    assert_eq!(letters[0].data().unwrap(), data);
    let keys: Vec<_> =
        scene.fake.records(&dead_stream()).into_iter().map(|(_, record)| record.partition_key.unwrap()).collect();
    assert_eq!(keys, ["big".parse().unwrap(), "big".parse().unwrap()]);
    timeout(LONG, scene.checkpoints.reached(&scene.arn().await, &shard_id(0), place)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_stream_has_to_be_there_and_must_not_be_read() {
    let scene = Scene::with_shards(1).await;
    let build = |stream: &str| {
        let handling = InvalidRecordHandling::DeadLetter { stream: stream.parse().unwrap(), log: LogLevel::Warn };
        scene.builder(StartupPosition::TrimHorizon).invalid_records(handling).build()
    };
    let error = build("dead").await.unwrap_err();
    assert!(matches!(error, ConsumerError::DeadLetter { .. }), "{error:?}");
    assert!(error.to_string().contains("stream dead: check that it exists"), "{error}");
    let error = build("orders").await.unwrap_err();
    assert!(matches!(error, ConsumerError::DeadLetterLoop { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failing_dead_letter_stream_is_reported_once_and_the_record_comes_again() {
    let scene = Scene::with_shards(1).await;
    let builder = dead_lettering(&scene).await;
    scene.put("unreadable").await;
    scene.fake.faults().randomly(1, 1.0, &[Operation::PutRecords], &[ErrorKind::AccessDenied]);
    let mut consumer = builder.build().await.unwrap();
    let batch = next(&mut consumer).await;
    batch.reject(0, InvalidKind::Undecodable, "no").await.unwrap();
    batch.done();
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::DeadLetter { .. }), "{error:?}");
    consumer.close().await.unwrap();
    let mut again = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut again, 1).await, ["unreadable"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_stream_with_records_too_small_for_a_letter_ends_reading_with_the_size_that_it_takes() {
    let scene = Scene::with_shards(1).await;
    let builder = dead_lettering(&scene).await;
    scene.fake.set_max_record_bytes(&dead_stream(), 100).unwrap();
    scene.put("unreadable").await;
    let mut consumer = builder.build().await.unwrap();
    let batch = next(&mut consumer).await;
    batch.reject(0, InvalidKind::Undecodable, "no").await.unwrap();
    batch.done();
    let error = failure(&mut consumer).await;
    let source = error.source().unwrap().to_string();
    assert!(matches!(error, ConsumerError::DeadLetter { .. }), "{error:?}");
    assert!(source.contains("its stream takes 100 bytes per record"), "{source}");
    assert!(scene.fake.records(&dead_stream()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_nothing_but_invalid_records_keeps_to_a_bound() {
    let scene = Scene::with_shards(1).await;
    let builder = dead_lettering(&scene).await;
    for _ in 0..3_000 {
        put_corrupt(&scene).await;
    }
    scene.fake.faults().fail_entries(|_, record| record.data.starts_with(b"{"));
    let consumer: Consumer = builder.build().await.unwrap();
    sleep(LONG).await;
    let invalid = consumer.metrics().snapshot()[0].invalid[0].1;
    assert!((1_000..=1_200).contains(&invalid), "{invalid} invalid records wait");
    scene.fake.faults().clear();
    assert_eq!(dead_letters(&scene, 3_000).await.len(), 3_000);
}

#[tokio::test(start_paused = true)]
async fn large_invalid_records_keep_to_a_bound_of_bytes() {
    const BYTES: usize = 1_000_000;
    let scene = Scene::with_shards(1).await;
    let builder = dead_lettering(&scene).await;
    for _ in 0..22 {
        let record = PutRecord::new("lost".parse().unwrap(), corrupt_aggregate_of(BYTES));
        scene.fake.put_record(&scene.stream, record).await.unwrap();
    }
    scene.fake.faults().fail_entries(|_, record| record.data.starts_with(b"{"));
    let consumer: Consumer = builder.build().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    // 16 MiB of letters wait, and the next record waits for room.
    let invalid = consumer.metrics().snapshot()[0].invalid[0].1;
    assert!((16..=17).contains(&invalid), "{invalid} invalid records of a megabyte wait");
    scene.fake.faults().clear();
    assert_eq!(dead_letters(&scene, 44).await.len(), 22, "each in two parts");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_record_is_up_to_the_caller_where_it_is_to_end_reading() {
    let scene = Scene::with_shards(1).await;
    scene.put("unreadable").await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let batch = next(&mut consumer).await;
    let error = batch.reject(0, InvalidKind::Undecodable, "no").await.unwrap_err();
    assert!(matches!(error, ConsumerError::InvalidRecord(_)), "{error:?}");
    // Even one that acknowledges it all the same does not move the position.
    batch.done();
    consumer.close().await.unwrap();
    assert_eq!(stored(&scene).await, Some(ShardPosition::Unread));
}
