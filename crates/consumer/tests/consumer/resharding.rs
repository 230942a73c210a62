//! Splits and merges.

use std::{sync::atomic::Ordering, time::Duration};

use statefun_kinesis_client::Operation;
use statefun_kinesis_consumer::{Batch, Consumer, ShardPosition};
use statefun_kinesis_types::StartupPosition;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    scene::{Scene, next, nothing_more, settings, shard_id, take, texts},
    tap::Tap,
};

/// The next two batches, by shard.
async fn next_two(consumer: &mut Consumer) -> [Batch; 2] {
    let mut two = [next(consumer).await, next(consumer).await];
    two.sort_by_key(|batch| batch.shard().clone());
    two
}

#[tokio::test(start_paused = true)]
async fn children_wait_until_all_of_their_parent_is_acknowledged() {
    let scene = Scene::with_shards(1).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    scene.put_into(0, "parent").await;
    let parent = next(&mut consumer).await;
    scene.split(0).await;
    scene.put_into(1, "left").await;
    scene.put_into(2, "right").await;
    nothing_more(&mut consumer).await;

    let (_, _, acknowledgement) = parent.into_parts();
    acknowledgement.done();
    let [left, right] = next_two(&mut consumer).await;
    assert_eq!((texts(&left), texts(&right)), (vec!["left".to_owned()], vec!["right".to_owned()]));
    assert_eq!((left.shard(), right.shard()), (&shard_id(1), &shard_id(2)));
}

#[tokio::test(start_paused = true)]
async fn a_merged_shard_waits_for_both_parents() {
    let scene = Scene::with_shards(2).await;
    scene.put_into(0, "zero").await;
    scene.put_into(1, "one").await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let [zero, one] = next_two(&mut consumer).await;
    scene.merge(0, 1).await;
    scene.put_into(2, "both").await;
    zero.done();
    nothing_more(&mut consumer).await;
    one.done();
    assert_eq!(take(&mut consumer, 1).await, ["both"]);
}

#[tokio::test(start_paused = true)]
async fn children_are_read_from_trim_horizon_whatever_the_startup_position() {
    let scene = Scene::with_shards(1).await;
    let mut consumer = scene.consumer(StartupPosition::Latest).await;
    sleep(Duration::from_millis(500)).await;
    scene.split(0).await;
    scene.put_into(1, "left").await;
    scene.put_into(2, "right").await;
    let [left, right] = next_two(&mut consumer).await;
    assert_eq!((texts(&left), texts(&right)), (vec!["left".to_owned()], vec!["right".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn children_are_found_at_once_when_a_shard_ends() {
    for hides_children in [false, true] {
        let scene = Scene::with_shards(2).await;
        let tap = Tap::new(&scene.fake);
        tap.hides_children.store(hides_children, Ordering::Relaxed);
        let mut settings = settings();
        settings.discovery_interval = Duration::from_secs(3_600);
        let builder = scene.builder_on(tap, StartupPosition::TrimHorizon).settings(settings);
        let mut consumer = builder.build().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        let split = Instant::now();
        scene.split(0).await;
        scene.put_into(2, "left").await;
        assert_eq!(take(&mut consumer, 1).await, ["left"]);
        // At most one wait of an idle shard until its end is met. Where the end names no children, it is met for some
        // seconds before it is believed.
        let most = Duration::from_millis(if hides_children { 9_000 } else { 1_500 });
        assert!(split.elapsed() <= most, "{hides_children}: {:?}", split.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn several_generations_at_once_come_in_order() {
    let scene = Scene::with_shards(1).await;
    scene.put_into(0, "0").await;
    scene.split(0).await;
    scene.put_into(1, "1").await;
    scene.put_into(2, "2").await;
    scene.split(1).await;
    scene.put_into(3, "3").await;
    scene.put_into(4, "4").await;
    scene.merge(4, 2).await;
    scene.put_into(5, "5").await;
    for ignores_filters in [false, true] {
        let tap = Tap::new(&scene.fake);
        tap.ignores_filters.store(ignores_filters, Ordering::Relaxed);
        let builder = scene.builder_on(tap, StartupPosition::TrimHorizon);
        // A store of its own: each turn is a first start.
        let mut consumer = builder
            .checkpoints(std::sync::Arc::<statefun_kinesis_consumer::MemoryCheckpoints>::default())
            .build()
            .await
            .unwrap();
        let order = take(&mut consumer, 6).await;
        let place = |text: &str| order.iter().position(|taken| taken == text).unwrap();
        for (parent, child) in [("0", "1"), ("0", "2"), ("1", "3"), ("1", "4"), ("4", "5"), ("2", "5")] {
            assert!(place(parent) < place(child), "{order:?}");
        }
        nothing_more(&mut consumer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_around_a_split_loses_nothing_and_repeats_only_what_was_not_acknowledged() {
    let scene = Scene::with_shards(1).await;
    scene.put_into(0, "parent").await;
    let mut first = scene.consumer(StartupPosition::Latest).await;
    scene.put_into(0, "parent, later").await;
    let parents: Vec<String> = take(&mut first, 2).await;
    assert_eq!(parents, ["parent", "parent, later"], "both arrived in the millisecond of the start");
    scene.split(0).await;
    scene.put_into(1, "left").await;
    scene.put_into(2, "right").await;
    let [left, right] = next_two(&mut first).await;
    left.done();
    first.close().await.unwrap();
    drop(right);

    let arn = scene.arn().await;
    let stored = scene.checkpoints.get(&arn).unwrap();
    assert_eq!(stored.shards.get(&shard_id(0)), Some(&ShardPosition::Finished));
    assert!(matches!(stored.shards.get(&shard_id(1)), Some(ShardPosition::At(_))), "{stored:?}");
    let mut second = scene.consumer(StartupPosition::Latest).await;
    assert_eq!(take(&mut second, 1).await, ["right"]);
    nothing_more(&mut second).await;
}

#[tokio::test(start_paused = true)]
async fn a_finished_parent_is_remembered_until_it_is_no_longer_listed() {
    let scene = Scene::with_shards(1).await;
    scene.fake.set_retention(&scene.stream, Duration::from_secs(3_000)).unwrap();
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    scene.put_into(0, "parent").await;
    assert_eq!(take(&mut consumer, 1).await, ["parent"]);
    scene.split(0).await;
    let arn = scene.arn().await;
    let stored = || scene.checkpoints.get(&arn).unwrap().shards.get(&shard_id(0)).copied();
    // Complete listings come every ten minutes. Two have to leave the parent out.
    let _ = timeout(Duration::from_secs(2_000), consumer.next()).await;
    assert_eq!(stored(), Some(ShardPosition::Finished));
    let _ = timeout(Duration::from_secs(2_700), consumer.next()).await;
    assert_eq!(stored(), None);
    scene.put_into(1, "left").await;
    assert_eq!(take(&mut consumer, 1).await, ["left"]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_retention_overtook_does_not_hold_up_its_children() {
    let scene = Scene::with_shards(1).await;
    scene.put_into(0, "read").await;
    let mut first = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut first, 1).await, ["read"]);
    first.close().await.unwrap();
    scene.put_into(0, "lost").await;
    scene.split(0).await;
    sleep(Duration::from_secs(25 * 3_600)).await;
    scene.put_into(2, "child").await;
    let mut second = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut second, 1).await, ["child"]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_retention_overtakes_while_it_waits_for_room_counts_as_read() {
    let scene = Scene::with_shards(1).await;
    let mut settings = settings();
    settings.prefetch_records = 1;
    scene.put_into(0, "held").await;
    scene.put_into(0, "lost").await;
    let builder = scene.builder(StartupPosition::TrimHorizon).settings(settings);
    let mut consumer = builder.build().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    scene.split(0).await;
    sleep(Duration::from_secs(25 * 3_600)).await;
    scene.put_into(1, "child").await;
    assert_eq!(take(&mut consumer, 2).await, ["held", "child"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_at_its_end_when_all_its_shards_are_finished() {
    let scene = Scene::with_shards(1).await;
    scene.put_into(0, "last").await;
    scene.split(0).await;
    let tap = Tap::new(&scene.fake);
    tap.is_closed.store(true, Ordering::Relaxed);
    let mut consumer = scene.builder_on(tap, StartupPosition::TrimHorizon).build().await.unwrap();
    let batch = next(&mut consumer).await;
    assert!(timeout(Duration::from_secs(60), consumer.next()).await.is_err(), "a batch is not acknowledged yet");
    batch.done();
    assert!(timeout(Duration::from_secs(60), consumer.next()).await.unwrap().is_none());
    let stored = scene.checkpoints.get(&scene.arn().await).unwrap();
    assert_eq!(stored.shards, [(shard_id(0), ShardPosition::Finished)].into(), "saved before the end was told");
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_open_shards_is_never_at_its_end() {
    let scene = Scene::with_shards(1).await;
    scene.split(0).await;
    let tap = Tap::new(&scene.fake);
    // The listing lags behind: it does not name the children yet, while the summary counts them.
    tap.is_closed.store(true, Ordering::Relaxed);
    tap.counts_open.store(true, Ordering::Relaxed);
    let mut consumer = scene.builder_on(tap.clone(), StartupPosition::TrimHorizon).build().await.unwrap();
    nothing_more(&mut consumer).await;
    tap.is_closed.store(false, Ordering::Relaxed);
    scene.put_into(1, "left").await;
    assert_eq!(take(&mut consumer, 1).await, ["left"]);
}

#[tokio::test(start_paused = true)]
async fn quiet_streams_are_listed_at_the_interval_and_not_more() {
    let scene = Scene::with_shards(4).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let before = scene.fake.calls(Operation::ListShards);
    let came = timeout(Duration::from_secs(120), consumer.next()).await;
    assert!(came.is_err(), "{came:?}");
    let listings = scene.fake.calls(Operation::ListShards) - before;
    assert!((11..=12).contains(&listings), "{listings} listings in 120 s");
}
