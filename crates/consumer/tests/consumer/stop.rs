//! The end of reading, and what was acknowledged by then.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use statefun_kinesis_client::{ErrorKind, KinesisAdmin, Operation};
use statefun_kinesis_consumer::{
    CheckpointChanges, CheckpointError, CheckpointStore, ConsumerError, FileCheckpoints, InvalidKind,
    MemoryCheckpoints, PositionStore, ShardPosition, StreamCheckpoint,
};
use statefun_kinesis_types::{InvalidRecordHandling, LogLevel, StartupPosition, StreamArn};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    log::Warnings,
    scene::{LONG, Scene, failure, next, settings, shard_id, take, texts},
};

#[tokio::test(start_paused = true)]
async fn a_shutdown_hands_out_what_was_read_and_then_nothing() {
    let scene = Scene::with_shards(2).await;
    scene.put_into(0, "zero").await;
    scene.put_into(1, "one").await;
    let shutdown = CancellationToken::new();
    let builder = scene.builder(StartupPosition::TrimHorizon).shutdown(shutdown.clone());
    let mut consumer = builder.build().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    shutdown.cancel();
    sleep(Duration::from_secs(1)).await;
    scene.put_into(0, "too late").await;
    let calls = scene.fake.calls(Operation::GetRecords);

    let batches = [consumer.next().await.unwrap().unwrap(), consumer.next().await.unwrap().unwrap()];
    assert!(consumer.next().await.is_none());
    assert!(consumer.next().await.is_none());
    assert_eq!(scene.fake.calls(Operation::GetRecords), calls);

    // What was delivered can still be acknowledged, and is saved.
    for batch in batches {
        batch.done();
    }
    consumer.close().await.unwrap();
    let mut again = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut again, 1).await, ["too late"]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_start_that_waits() {
    let scene = Scene::with_shards(1).await;
    scene.fake.faults().delay(Operation::DescribeStreamSummary, Duration::from_secs(3_600));
    let shutdown = CancellationToken::new();
    let build = scene.builder(StartupPosition::Latest).shutdown(shutdown.clone()).build();
    let (result, ()) = tokio::join!(build, async {
        sleep(Duration::from_secs(1)).await;
        shutdown.cancel();
    });
    assert!(matches!(result.unwrap_err(), ConsumerError::ShutDown));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_dropped_takes_all_its_tasks_along() {
    let scene = Scene::with_shards(3).await;
    let consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    sleep(Duration::from_secs(5)).await;
    drop(consumer);
    sleep(Duration::from_millis(1)).await;
    let calls = scene.fake.calls(Operation::GetRecords) + scene.fake.calls(Operation::ListShards);
    sleep(LONG).await;
    assert_eq!(scene.fake.calls(Operation::GetRecords) + scene.fake.calls(Operation::ListShards), calls);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_dropped_was_not_processed() {
    let scene = Scene::with_shards(1).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    for text in ["done", "dropped", "done behind it"] {
        scene.put(text).await;
        let batch = next(&mut consumer).await;
        assert_eq!(texts(&batch), [text]);
        if text == "dropped" { drop(batch) } else { batch.done() }
    }
    assert!(matches!(consumer.close().await, Err(ConsumerError::BatchesDropped { .. })));
    let mut again = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut again, 2).await, ["dropped", "done behind it"]);
}

#[tokio::test(start_paused = true)]
async fn dropped_batches_are_logged_once_per_shard_and_counted_and_closing_names_their_shards() {
    let scene = Scene::with_shards(3).await;
    let warnings = Warnings::collect();
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let arn = scene.arn().await;
    for number in [0, 1, 0, 2, 0] {
        let place = scene.put_into(number, "an order").await;
        let batch = next(&mut consumer).await;
        assert_eq!(*batch.shard(), place.shard);
        if number == 1 { batch.done() } else { drop(batch) }
    }
    let lines = warnings.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for (line, number) in lines.iter().zip([0, 2]) {
        for says in [arn.as_str(), shard_id(number).as_str(), "without `done`", "the next start reads the shard"] {
            assert!(line.contains(says), "{line}");
        }
    }
    let metrics = &consumer.metrics().snapshot()[0];
    assert_eq!(metrics.dropped_batches, 4);
    let of_shards: Vec<u64> = metrics.shards.iter().map(|shard| shard.dropped_batches).collect();
    assert_eq!(of_shards, [3, 0, 1]);

    // The other shard is saved before the error.
    scene.put_into(1, "acknowledged last").await;
    take(&mut consumer, 1).await;
    let error = consumer.close().await.unwrap_err();
    let ConsumerError::BatchesDropped { shards } = &error else { panic!("{error:?}") };
    assert_eq!(*shards, [(arn.clone(), shard_id(0)), (arn, shard_id(2))]);
    assert!(error.to_string().contains("shardId-000000000000 of stream arn:"), "{error}");
    let mut again = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut again, 4).await, ["an order"; 4]);
    again.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rejection_that_is_given_up_is_reported_as_a_dropped_batch() {
    let scene = Scene::with_shards(1).await;
    scene.fake.create_stream(&"dead".parse().unwrap(), 1).await.unwrap();
    let dead = InvalidRecordHandling::DeadLetter { stream: "dead".parse().unwrap(), log: LogLevel::Debug };
    let builder = scene.builder(StartupPosition::TrimHorizon).invalid_records(dead);
    let mut consumer = builder.build().await.unwrap();
    scene.fake.faults().randomly(1, 1.0, &[Operation::PutRecords], &[ErrorKind::Unavailable]);
    let warnings = Warnings::collect();
    // More than may be in flight, so that the last one waits.
    let mut kept = Vec::new();
    let given_up = loop {
        scene.fake.faults().clear();
        scene.put("bad").await;
        scene.fake.faults().randomly(1, 1.0, &[Operation::PutRecords], &[ErrorKind::Unavailable]);
        let batch = next(&mut consumer).await;
        let mut waits = false;
        for _ in 0..1_100 {
            let reject = batch.reject(0, InvalidKind::Undecodable, "a test's record");
            if timeout(Duration::ZERO, reject).await.is_err() {
                waits = true;
                break;
            }
        }
        kept.push(batch);
        if waits {
            break kept.len();
        }
    };
    assert_eq!(consumer.metrics().snapshot()[0].dropped_batches, 1, "after {given_up} batches");
    let reported = warnings.lines().iter().filter(|line| line.contains("without `done`")).count();
    assert_eq!(reported, 1);
    scene.fake.faults().clear();
    kept.into_iter().for_each(|batch| batch.done());
    let error = consumer.close().await.unwrap_err();
    assert!(matches!(error, ConsumerError::BatchesDropped { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn batches_that_are_dropped_after_reading_has_stopped_are_not_reported() {
    #[derive(Clone, Copy, Debug)]
    enum End {
        Shutdown,
        Close,
        Drop,
        Failure,
        Rejection,
    }

    for end in [End::Shutdown, End::Close, End::Drop, End::Failure, End::Rejection] {
        let scene = Scene::with_shards(2).await;
        for text in ["handed out", "waiting"] {
            scene.put_into(0, text).await;
            scene.put_into(1, text).await;
        }
        let warnings = Warnings::collect();
        let shutdown = CancellationToken::new();
        let builder = scene.builder(StartupPosition::TrimHorizon).shutdown(shutdown.clone());
        let mut consumer = builder.build().await.unwrap();
        let metrics = consumer.metrics().clone();
        let batch = next(&mut consumer).await;
        sleep(Duration::from_secs(5)).await;
        let closed = match end {
            End::Shutdown => {
                shutdown.cancel();
                sleep(Duration::from_secs(1)).await;
                drop(batch);
                consumer.close().await
            }
            End::Close => {
                let closed = consumer.close().await;
                drop(batch);
                closed
            }
            End::Drop => {
                drop(consumer);
                drop(batch);
                Ok(())
            }
            End::Failure => {
                scene.fake.faults().fail_next(Operation::GetRecords, ErrorKind::InvalidArgument);
                sleep(Duration::from_secs(5)).await;
                drop(batch);
                consumer.close().await
            }
            End::Rejection => {
                let error = batch.reject(0, InvalidKind::Undecodable, "a test's record").await.unwrap_err();
                assert!(matches!(error, ConsumerError::InvalidRecord(_)), "{error:?}");
                drop(batch);
                consumer.close().await
            }
        };
        closed.unwrap_or_else(|error| panic!("{end:?}: {error:?}"));
        let lines = warnings.lines();
        assert!(!lines.iter().any(|line| line.contains("dropped")), "{end:?}: {lines:#?}");
        assert_eq!(metrics.snapshot()[0].dropped_batches, 0, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn batches_can_be_acknowledged_in_any_order() {
    let scene = Scene::with_shards(1).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let mut open = Vec::new();
    for text in ["one", "two", "three"] {
        scene.put(text).await;
        open.push(next(&mut consumer).await);
    }
    let arn = scene.arn().await;
    let stored = || scene.checkpoints.get(&arn).unwrap().shards[&shard_id(0)];
    open.pop().unwrap().done();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stored(), ShardPosition::Unread);
    open.remove(0).done();
    sleep(Duration::from_secs(5)).await;
    let first = stored();
    open.remove(0).done();
    sleep(Duration::from_secs(5)).await;
    let last = stored();
    let (ShardPosition::At(first), ShardPosition::At(last)) = (first, last) else { panic!("{first:?}, {last:?}") };
    let numbers: Vec<_> = scene.fake.records(&scene.stream).iter().map(|(_, r)| r.sequence_number).collect();
    assert_eq!((first.sequence_number, last.sequence_number), (numbers[0], numbers[2]));
}

#[tokio::test(start_paused = true)]
async fn a_position_in_memory_is_reached_at_once() {
    let scene = Scene::with_shards(1).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    for text in ["one", "two", "three"] {
        let place = scene.put(text).await;
        let batch = next(&mut consumer).await;
        let acknowledged = Instant::now();
        batch.done();
        let arn = scene.arn().await;
        let reached = scene.checkpoints.reached(&arn, &place.shard, place.sequence_number);
        timeout(LONG, reached).await.unwrap();
        assert_eq!(acknowledged.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_a_stream() {
    let scene = Scene::with_shards(1).await;
    for text in ["one", "two"] {
        scene.put(text).await;
    }
    let consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let batches: Vec<_> = StreamExt::take(consumer, 1).map(|batch| texts(&batch.unwrap())).collect().await;
    assert_eq!(batches, [["one", "two"]]);
}

/// A store that counts its saves, and that can fail or panic.
#[derive(Debug, Default)]
struct Disk {
    kept: MemoryCheckpoints,
    saves: Mutex<Vec<Instant>>,
    failures: AtomicUsize,
    panics: AtomicBool,
}

#[async_trait]
impl PositionStore for Disk {
    async fn load(&self, stream: &StreamArn) -> Result<Option<StreamCheckpoint>, CheckpointError> {
        self.kept.load(stream).await
    }

    async fn begin(&self, stream: &StreamArn, checkpoint: StreamCheckpoint) -> Result<(), CheckpointError> {
        self.kept.begin(stream, checkpoint).await
    }
}

#[async_trait]
impl CheckpointStore for Disk {
    async fn save(&self, stream: &StreamArn, changes: &CheckpointChanges) -> Result<(), CheckpointError> {
        assert!(!self.panics.load(Ordering::Relaxed), "a bug that the test put here");
        let fail = |failures: usize| failures.checked_sub(1);
        if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fail).is_ok() {
            return Err(CheckpointError::new("the disk is full"));
        }
        self.saves.lock().unwrap().push(Instant::now());
        self.kept.save(stream, changes).await
    }
}

#[tokio::test(start_paused = true)]
async fn saves_are_batched_and_the_last_one_comes_before_the_end() {
    let scene = Scene::with_shards(1).await;
    let disk = Arc::<Disk>::default();
    let mut fast = settings();
    fast.read_calls_per_second = 100;
    fast.checkpoint_interval = Duration::from_secs(1);
    let builder = scene.builder(StartupPosition::TrimHorizon).checkpoints(disk.clone()).settings(fast);
    let mut consumer = builder.build().await.unwrap();
    let mut last = None;
    for text in 0..100 {
        last = Some(scene.put(&text.to_string()).await);
        take(&mut consumer, 1).await;
        sleep(Duration::from_millis(50)).await;
    }
    let (last, acknowledged) = (last.unwrap(), Instant::now());
    consumer.close().await.unwrap();
    assert_eq!(acknowledged.elapsed(), Duration::ZERO, "closing does not wait for the interval");
    let arn = scene.arn().await;
    let reached = disk.kept.reached(&arn, &last.shard, last.sequence_number);
    timeout(Duration::ZERO, reached).await.expect("the last position was saved");
    let saves = disk.saves.lock().unwrap().clone();
    let (_, periodic) = saves.split_last().unwrap();
    assert!(periodic.windows(2).all(|two| two[1] - two[0] >= Duration::from_secs(1)), "{saves:?}");
    assert!(saves.len() < 50, "{} saves of 100 batches", saves.len());
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_saved_before_the_end_of_reading_is_told() {
    let scene = Scene::with_shards(1).await;
    let (disk, shutdown) = (Arc::<Disk>::default(), CancellationToken::new());
    let mut rare = settings();
    rare.checkpoint_interval = Duration::from_secs(3_600);
    let builder = scene.builder(StartupPosition::TrimHorizon).checkpoints(disk.clone()).settings(rare);
    let mut consumer = builder.shutdown(shutdown.clone()).build().await.unwrap();
    let mut last = None;
    for text in ["saved at once", "saved at the end"] {
        last = Some(scene.put(text).await);
        take(&mut consumer, 1).await;
        sleep(Duration::from_secs(1)).await;
    }
    shutdown.cancel();
    assert!(consumer.next().await.is_none());
    let (arn, last) = (scene.arn().await, last.unwrap());
    let reached = disk.kept.reached(&arn, &last.shard, last.sequence_number);
    timeout(Duration::ZERO, reached).await.expect("the last position was saved");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_while_is_retried_and_a_broken_one_is_an_error() {
    let scene = Scene::with_shards(1).await;
    let disk = Arc::<Disk>::default();
    let builder = scene.builder(StartupPosition::TrimHorizon).checkpoints(disk.clone());
    let mut consumer = builder.build().await.unwrap();
    disk.failures.store(5, Ordering::Relaxed);
    let place = scene.put("one").await;
    take(&mut consumer, 1).await;
    timeout(LONG, disk.kept.reached(&scene.arn().await, &place.shard, place.sequence_number)).await.unwrap();

    disk.failures.store(1_000_000, Ordering::Relaxed);
    scene.put("two").await;
    take(&mut consumer, 1).await;
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::Checkpoint { .. }), "{error:?}");
    assert!(consumer.close().await.is_err(), "what was acknowledged is not saved");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_checkpoint_store_is_an_error_and_not_a_silent_end() {
    let scene = Scene::with_shards(1).await;
    let disk = Arc::<Disk>::default();
    let builder = scene.builder(StartupPosition::TrimHorizon).checkpoints(disk.clone());
    let mut consumer = builder.build().await.unwrap();
    disk.panics.store(true, Ordering::Relaxed);
    let place = scene.put("one").await;
    take(&mut consumer, 1).await;
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::Panicked { .. }), "{error:?}");
    assert!(error.to_string().contains("a task that saves positions panicked"), "{error}");

    // The position is not lost when the store works again.
    disk.panics.store(false, Ordering::Relaxed);
    consumer.close().await.unwrap();
    let arn = scene.arn().await;
    let reached = disk.kept.reached(&arn, &place.shard, place.sequence_number);
    timeout(Duration::ZERO, reached).await.expect("the position was saved");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_may_outlive_its_consumer() {
    let scene = Scene::with_shards(1).await;
    scene.put("one").await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let batch = next(&mut consumer).await;
    scene.fake.faults().fail_next(Operation::GetRecords, ErrorKind::Unavailable);
    drop(consumer);
    batch.done();
    let mut again = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut again, 1).await, ["one"], "the consumer that would save it was dropped");
}

/// A consumer that is dropped while it saves leaves its directory to the next one, without a word to the runtime.
async fn reopen_after_drop(name: &str) {
    let directory = std::env::temp_dir().join(format!("statefun-kinesis-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let scene = Scene::with_shards(1).await;
    for round in 0..50 {
        let text = format!("round {round}");
        scene.put(&text).await;
        let checkpoints = FileCheckpoints::open(&directory).unwrap_or_else(|error| panic!("{round}: {error}"));
        let builder = scene.builder(StartupPosition::TrimHorizon).checkpoints(Arc::new(checkpoints));
        let mut consumer = builder.build().await.unwrap();
        while !take(&mut consumer, 1).await.contains(&text) {}
        for _ in 0..round % 5 {
            tokio::task::yield_now().await;
        }
        drop(consumer);
    }
    // Once it can be opened, what the last one was writing is written.
    drop(FileCheckpoints::open(&directory).unwrap());
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn a_checkpoint_directory_is_free_when_its_consumer_is_dropped() {
    reopen_after_drop("reopen-one-thread").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_checkpoint_directory_is_free_when_its_consumer_is_dropped_among_many_threads() {
    reopen_after_drop("reopen-threads").await;
}
