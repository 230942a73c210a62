//! How fast shards are polled, and how far ahead of a slow reader.

use std::{sync::atomic::Ordering, time::Duration};

use statefun_kinesis_client::{ErrorKind, KinesisClient, Operation};
use statefun_kinesis_consumer::Consumer;
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{HashKey, PutRecord, StartupPosition};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    scene::{Scene, next, settings, take, texts},
    tap::Tap,
};

/// Puts so many records of so many bytes, keys included, evenly over two shards.
async fn fill(scene: &Scene, count: usize, bytes: usize) {
    let record = |index: usize| {
        let key = if index.is_multiple_of(2) { HashKey::MIN } else { HashKey::MAX };
        PutRecord::new("key".parse().unwrap(), vec![0; bytes - "key".len()]).with_explicit_hash_key(key)
    };
    let records: Vec<PutRecord> = (0..count).map(record).collect();
    let per_call = 500.min((10 << 20) / bytes);
    for chunk in records.chunks(per_call) {
        let outcomes = scene.fake.put_records(&scene.stream, chunk).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok));
        // No shard takes more than a thousand records a second.
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_shard_is_polled_five_times_a_second_and_never_throttled() {
    let scene = Scene::on(FakeKinesis::builder().enforce_throughput(true).build(), 1).await;
    let mut settings = settings();
    settings.max_records_per_call = 1;
    for text in 0..60 {
        scene.put(&text.to_string()).await;
    }
    let mut consumer = scene.builder(StartupPosition::TrimHorizon).settings(settings).build().await.unwrap();
    let start = Instant::now();
    let taken = take(&mut consumer, 51).await;
    assert_eq!(taken, (0..51).map(|text| text.to_string()).collect::<Vec<_>>());
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    // A throttled call would have been one more.
    assert_eq!(scene.fake.calls(Operation::GetRecords), 51);
}

#[tokio::test(start_paused = true)]
async fn two_mebibytes_a_second_are_not_exceeded() {
    let scene = Scene::on(FakeKinesis::new(), 2).await;
    fill(&scene, 80, 1 << 19).await;
    let tap = Tap::new(&scene.fake);
    let mut consumer = scene.builder_on(tap.clone(), StartupPosition::TrimHorizon).build().await.unwrap();
    let (mut taken, start) = (0, Instant::now());
    while taken < 80 {
        let batch = next(&mut consumer).await;
        taken += batch.records().len();
        batch.done();
    }
    // Two shards of 20 MiB in answers of 10 MiB: the second one comes five seconds behind the first.
    assert!((5_000..5_010).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_shard_is_polled_about_once_a_second() {
    let scene = Scene::with_shards(1).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    sleep(Duration::from_secs(5)).await;
    let before = scene.fake.calls(Operation::GetRecords);
    assert!(timeout(Duration::from_secs(120), consumer.next()).await.is_err());
    let polls = scene.fake.calls(Operation::GetRecords) - before;
    assert!((120..=160).contains(&polls), "{polls} polls in 120 s");

    scene.put("one").await;
    let put = Instant::now();
    assert_eq!(take(&mut consumer, 1).await, ["one"]);
    assert!(put.elapsed() <= Duration::from_secs(1), "{:?}", put.elapsed());
}

#[tokio::test(start_paused = true)]
async fn throttling_by_other_readers_is_borne() {
    let scene = Scene::on(FakeKinesis::builder().enforce_throughput(true).build(), 1).await;
    fill(&scene, 2_000, 10).await;
    let mut settings = settings();
    settings.max_records_per_call = 50;
    // Two consumers, each of which thinks that the shard is its own.
    let mut consumers = Vec::new();
    for _ in 0..2 {
        let builder = scene.builder(StartupPosition::TrimHorizon).settings(settings.clone());
        let own = std::sync::Arc::<statefun_kinesis_consumer::MemoryCheckpoints>::default();
        consumers.push(builder.checkpoints(own).build().await.unwrap());
    }
    let start = Instant::now();
    for consumer in &mut consumers {
        assert_eq!(take(consumer, 2_000).await.len(), 2_000);
    }
    // 80 calls at five a second are 16 s at best; half as much again goes to calls that were refused.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let calls = scene.fake.calls(Operation::GetRecords);
    assert!(calls < 200, "{calls} calls for 80 answers");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_stops_the_polling_at_the_bound_of_records() {
    let scene = Scene::with_shards(2).await;
    fill(&scene, 5_000, 10).await;
    let mut settings = settings();
    settings.prefetch_records = 700;
    settings.max_records_per_call = 300;
    let tap = Tap::new(&scene.fake);
    let builder = scene.builder_on(tap.clone(), StartupPosition::TrimHorizon).settings(settings);
    let mut consumer = builder.build().await.unwrap();
    let (mut handed_out, mut most) = (0, 0);
    while handed_out < 5_000 {
        sleep(Duration::from_secs(60)).await;
        let read_ahead = tap.records.load(Ordering::Relaxed) - handed_out;
        assert!(read_ahead <= 700, "{read_ahead} records read ahead");
        most = most.max(read_ahead);
        let batch = next(&mut consumer).await;
        handed_out += batch.records().len();
        batch.done();
    }
    assert_eq!(most, 600, "room for two answers is used");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_stops_the_polling_at_the_bound_of_bytes() {
    let scene = Scene::with_shards(2).await;
    fill(&scene, 120, 1 << 19).await;
    let mut settings = settings();
    settings.prefetch_bytes = 12 << 20;
    let tap = Tap::new(&scene.fake);
    let builder = scene.builder_on(tap.clone(), StartupPosition::TrimHorizon).settings(settings);
    let mut consumer = builder.build().await.unwrap();
    let (mut count, mut handed_out) = (0, 0);
    while count < 120 {
        sleep(Duration::from_secs(60)).await;
        let read_ahead = tap.bytes.load(Ordering::Relaxed) - handed_out;
        assert!(read_ahead <= 12 << 20, "{read_ahead} bytes read ahead");
        let batch = next(&mut consumer).await;
        count += batch.records().len();
        handed_out += batch.records().iter().map(|record| record.size()).sum::<usize>();
        batch.done();
    }
}

#[tokio::test(start_paused = true)]
async fn an_iterator_that_expires_while_there_is_no_room_is_replaced() {
    let scene = Scene::with_shards(1).await;
    for text in ["one", "two", "three"] {
        scene.put(text).await;
    }
    let mut settings = settings();
    settings.prefetch_records = 1;
    let mut consumer = scene.builder(StartupPosition::TrimHorizon).settings(settings).build().await.unwrap();
    let mut taken = Vec::new();
    for _ in 0..3 {
        sleep(Duration::from_secs(3_600)).await;
        let batch = next(&mut consumer).await;
        taken.extend(texts(&batch));
        batch.done();
    }
    assert_eq!(taken, ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn many_quiet_shards_are_polled_side_by_side() {
    let scene = Scene::with_shards(200).await;
    scene.fake.faults().delay(Operation::GetRecords, Duration::from_millis(50));
    let mut consumer: Consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    sleep(Duration::from_secs(30)).await;
    let before = scene.fake.calls(Operation::GetRecords);
    assert!(timeout(Duration::from_secs(60), consumer.next()).await.is_err());
    let polls = scene.fake.calls(Operation::GetRecords) - before;
    // Each shard about once a second; were there room for six answers only, it would be 120 polls a second.
    assert!(polls > 200 * 50, "{polls} polls in 60 s");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_now_and_then_is_not_seen() {
    let scene = Scene::with_shards(1).await;
    let kinds = [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::ExpiredIterator];
    scene.fake.faults().randomly(5, 0.5, &[Operation::GetRecords], &kinds);
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let expected: Vec<String> = (0..50).map(|text| text.to_string()).collect();
    let mut taken = Vec::new();
    for text in &expected {
        scene.put(text).await;
        taken.extend(take(&mut consumer, 1).await);
    }
    assert_eq!(taken, expected);
}
