//! Behaviours of `FanOutClient::subscribe_to_shard`.

use std::time::Duration;

use bytes::Bytes;
use statefun_kinesis_client::ErrorKind;
use statefun_kinesis_types::{ConsumerArn, PutRecord, Record, ShardId, StartPosition, Timestamp};

use crate::{
    Backend,
    consumer::{TestConsumer, consumer_name, patiently},
    stream::{Deadline, TestStream, key, record, refused, texts},
};

/// A stream of one shard with these records, and a consumer of it.
async fn stream_of(backend: &dyn Backend, records: &[&str]) -> (TestStream, ShardId, TestConsumer) {
    let stream = TestStream::new(backend, 1).await;
    for text in records {
        stream.put(&[record(text)]).await;
    }
    let shard = stream.open_shards().await.remove(0).id;
    stream.read_from(&shard, StartPosition::TrimHorizon, records.len()).await;
    let consumer = TestConsumer::new(backend, &stream, "reader").await;
    (stream, shard, consumer)
}

async fn remove(stream: TestStream, consumer: TestConsumer) {
    consumer.remove().await;
    stream.remove().await;
}

/// Records come in the order of their sequence numbers, with the payload and the partition key that were put.
pub async fn pushed_records_come_in_order_and_as_they_were_put(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &[]).await;
    let put: Vec<_> = (0..20).map(|n| record(&format!("record {n}"))).collect();
    let mut placements = stream.put(&put[..10]).await;
    placements.extend(stream.put(&put[10..]).await);
    let pushed = consumer.pushed(&shard, StartPosition::TrimHorizon, 20).await;
    assert!(pushed.is_sorted_by(|a, b| a.sequence_number < b.sequence_number), "sequence numbers grow");
    for (put, placement) in put.iter().zip(&placements) {
        let pushed = pushed
            .iter()
            .find(|pushed| pushed.sequence_number == placement.sequence_number)
            .expect("a stored record is pushed under the sequence number that its writer was told");
        assert_eq!((&pushed.data, pushed.partition_key.as_ref()), (&put.data, Some(&put.partition_key)));
    }
    let read = stream.read_from(&shard, StartPosition::TrimHorizon, 20).await;
    assert_eq!(pushed, read, "what is pushed is what is read");
    remove(stream, consumer).await;
}

/// Records that arrive while the subscription runs are pushed.
pub async fn records_that_arrive_later_are_pushed(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a"]).await;
    let mut subscription = consumer.subscribe(&shard, StartPosition::TrimHorizon).await;
    assert_eq!(texts(&subscription.records(1).await), ["a"]);
    for text in ["b", "c", "d"] {
        stream.put_one(text).await;
        assert_eq!(texts(&subscription.records(1).await), [text]);
    }
    remove(stream, consumer).await;
}

/// `TrimHorizon` starts at the oldest record.
pub async fn a_subscription_from_trim_horizon_starts_at_the_oldest_record(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a", "b"]).await;
    assert_eq!(texts(&consumer.pushed(&shard, StartPosition::TrimHorizon, 2).await), ["a", "b"]);
    remove(stream, consumer).await;
}

/// `Latest` starts behind the newest record at the time of the call.
pub async fn a_subscription_from_latest_starts_behind_the_newest_record(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a", "b"]).await;
    let mut subscription = consumer.subscribe(&shard, StartPosition::Latest).await;
    stream.put_one("c").await;
    assert_eq!(texts(&subscription.records(1).await), ["c"]);
    remove(stream, consumer).await;
}

/// The first record that is pushed from a time on.
async fn first_at(consumer: &TestConsumer, shard: &ShardId, time: Timestamp) -> Record {
    consumer.subscribe(shard, StartPosition::AtTimestamp(time)).await.some().await.records.remove(0)
}

/// `AtTimestamp` starts at the first record that arrived at that time or later.
pub async fn a_subscription_starts_at_a_time(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a"]).await;
    let a = stream.read_from(&shard, StartPosition::TrimHorizon, 1).await[0].approximate_arrival;
    // Some cut the time to its second, so the times are further apart than that.
    let later = stream.wait_until_after(a.after(Duration::from_secs(2))).await;
    let arrival = first_at(&consumer, &shard, later).await.approximate_arrival;
    let cut = later.before(Duration::from_secs(1));
    assert!(cut < arrival && arrival <= later, "the first record at {later} is one that arrived at {arrival}");
    remove(stream, consumer).await;
}

/// `AtTimestamp` with a time before retention is trim horizon.
pub async fn a_subscription_before_retention_is_from_trim_horizon(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a", "b"]).await;
    let long_ago = StartPosition::AtTimestamp(Timestamp::from_millis(1_000));
    assert_eq!(texts(&consumer.pushed(&shard, long_ago, 2).await), ["a", "b"]);
    remove(stream, consumer).await;
}

/// `AtSequenceNumber` starts at that record, `AfterSequenceNumber` behind it.
pub async fn a_subscription_starts_at_or_after_a_sequence_number(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a", "b", "c"]).await;
    let b = stream.read_from(&shard, StartPosition::TrimHorizon, 3).await[1].sequence_number;
    assert_eq!(texts(&consumer.pushed(&shard, StartPosition::AtSequenceNumber(b), 2).await), ["b", "c"]);
    assert_eq!(texts(&consumer.pushed(&shard, StartPosition::AfterSequenceNumber(b), 1).await), ["c"]);
    remove(stream, consumer).await;
}

/// A known mistake: a subscription from a sequence number on starts at trim horizon.
pub async fn positions_are_taken_for_trim_horizon(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a", "b"]).await;
    let b = stream.read_from(&shard, StartPosition::TrimHorizon, 2).await[1].sequence_number;
    let pushed = consumer.pushed(&shard, StartPosition::AtSequenceNumber(b), 2).await;
    assert_eq!(texts(&pushed), ["a", "b"], "this backend has learnt sequence numbers");
    remove(stream, consumer).await;
}

/// Events come although no records do, and each tells where the shard was read to.
pub async fn events_come_without_records(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a"]).await;
    let mut subscription = consumer.subscribe(&shard, StartPosition::Latest).await;
    let mut before = None;
    for _ in 0..2 {
        let event = subscription.event().await;
        assert!(event.records.is_empty(), "nothing was put: {:?}", texts(&event.records));
        assert!(event.continuation.is_some(), "an open shard goes on");
        assert!(before <= event.continuation, "{before:?} comes before {:?}", event.continuation);
        before = event.continuation;
    }
    remove(stream, consumer).await;
}

/// A subscription that starts behind the last continuation number goes on without a gap or a repetition.
pub async fn a_subscription_goes_on_behind_the_last_one(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a", "b"]).await;
    let mut subscription = consumer.subscribe(&shard, StartPosition::TrimHorizon).await;
    let mut seen = Vec::new();
    let mut behind = None;
    while seen.len() < 2 {
        let event = subscription.event().await;
        seen.extend(texts(&event.records));
        behind = event.continuation;
    }
    for text in ["c", "d"] {
        let from = StartPosition::AfterSequenceNumber(behind.expect("an open shard goes on"));
        drop(subscription);
        stream.put_one(text).await;
        subscription = consumer.subscribe(&shard, from).await;
        let event = subscription.some().await;
        seen.extend(texts(&event.records));
        behind = event.continuation;
    }
    assert_eq!(seen, ["a", "b", "c", "d"]);
    remove(stream, consumer).await;
}

/// A subscription goes on behind the continuation number of an event without records.
pub async fn a_subscription_goes_on_behind_an_empty_event(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a"]).await;
    let event = consumer.subscribe(&shard, StartPosition::Latest).await.event().await;
    assert!(event.records.is_empty(), "nothing was put: {:?}", texts(&event.records));
    stream.put_one("b").await;
    let from = StartPosition::AfterSequenceNumber(event.continuation.expect("an open shard goes on"));
    assert_eq!(texts(&consumer.pushed(&shard, from, 1).await), ["b"]);
    remove(stream, consumer).await;
}

/// The time behind the latest record is zero at the tip, and not zero while records wait.
pub async fn a_subscription_is_behind_while_records_wait(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &[]).await;
    // Some megabytes, which no backend that has the capability gives in one event.
    let large = PutRecord::new(key("large"), Bytes::from(vec![b'x'; 900 << 10]));
    let mut waiting = 5;
    for _ in 0..waiting {
        stream.put_patiently(&large).await;
    }
    let mut subscription = consumer.subscribe(&shard, StartPosition::TrimHorizon).await;
    let mut events = 0;
    while waiting > 0 {
        let event = subscription.some().await;
        waiting -= event.records.len();
        events += 1;
        assert_eq!(event.behind_latest.is_zero(), waiting == 0, "{waiting} records wait: {:?}", event.behind_latest);
    }
    assert!(events > 1, "the records came in more than one event");
    remove(stream, consumer).await;
}

/// The last event of a closed shard has no continuation and names the child shards, and the subscription ends.
pub async fn a_subscription_ends_with_its_shard_and_names_the_children(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a"]).await;
    let mut early = consumer.subscribe(&shard, StartPosition::Latest).await;
    stream.split(&stream.open_shards().await[0]).await;
    let (last, error) = early.end().await;
    assert_eq!(error, None, "the end of a shard is no error");
    let mut late = consumer.subscribe(&shard, StartPosition::TrimHorizon).await;
    let mut records = Vec::new();
    let last_of_late = loop {
        let event = late.event().await;
        records.extend(texts(&event.records));
        if event.continuation.is_none() {
            break event;
        }
    };
    assert_eq!(records, ["a"]);
    assert!(late.item().await.is_none(), "a subscription is over at the end of its shard");
    let open = stream.open_shards().await;
    for last in [last.expect("the end of a shard is an event"), last_of_late] {
        assert_eq!(last.continuation, None);
        let mut told = last.children;
        told.sort_by_key(|child| child.hash_range.start());
        assert_eq!(told.len(), open.len(), "{told:?}");
        for (told, listed) in told.iter().zip(&open) {
            assert_eq!((&told.id, told.hash_range), (&listed.id, listed.hash_range));
            assert!(told.parents.iter().eq(listed.parents()), "{:?} are the parents of {}", told.parents, told.id);
        }
    }
    remove(stream, consumer).await;
}

/// A subscription ends after five minutes, without an error.
pub async fn a_subscription_ends_after_five_minutes(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a"]).await;
    let mut subscription = consumer.subscribe(&shard, StartPosition::TrimHorizon).await;
    assert_eq!(texts(&subscription.records(1).await), ["a"]);
    backend.advance(Duration::from_secs(298)).await;
    stream.put_one("b").await;
    assert_eq!(texts(&subscription.records(1).await), ["b"]);
    backend.advance(Duration::from_secs(2)).await;
    let (last, error) = subscription.end().await;
    assert_eq!((last, error), (None, None));
    remove(stream, consumer).await;
}

/// A second subscription of the same consumer and shard is in use within five seconds of the first one.
pub async fn a_second_subscription_is_in_use_for_five_seconds(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a"]).await;
    let mut first = consumer.subscribe(&shard, StartPosition::TrimHorizon).await;
    let arn = consumer.arn();
    let second =
        patiently("an answer", || consumer.fan_out.subscribe_to_shard(&arn, &shard, StartPosition::TrimHorizon));
    refused(second.await, ErrorKind::InUse, "a second subscription");
    assert_eq!(texts(&first.records(1).await), ["a"]);
    remove(stream, consumer).await;
}

/// Five seconds later a second subscription takes over, and the first one ends.
pub async fn a_later_subscription_takes_over(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a"]).await;
    let mut first = consumer.subscribe(&shard, StartPosition::TrimHorizon).await;
    assert_eq!(texts(&first.records(1).await), ["a"]);
    // Waits out the five seconds.
    let mut second = consumer.subscribe(&shard, StartPosition::TrimHorizon).await;
    let (_, error) = first.end().await;
    assert!(matches!(error, None | Some(ErrorKind::InUse)), "the first subscription ended by {error:?}");
    assert_eq!(texts(&second.records(1).await), ["a"]);
    remove(stream, consumer).await;
}

/// Each consumer of a stream has its own subscription, and gets all records.
pub async fn each_consumer_gets_all_records(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &["a"]).await;
    let other = TestConsumer::new(backend, &stream, "other").await;
    let mut subscriptions = Vec::new();
    for consumer in [&consumer, &other] {
        subscriptions.push(consumer.subscribe(&shard, StartPosition::TrimHorizon).await);
    }
    stream.put_one("b").await;
    for subscription in &mut subscriptions {
        assert_eq!(texts(&subscription.records(2).await), ["a", "b"]);
    }
    other.remove().await;
    remove(stream, consumer).await;
}

/// A consumer that is not ACTIVE is in use.
pub async fn a_consumer_that_is_not_active_cannot_subscribe(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let shard = stream.open_shards().await.remove(0).id;
    let consumer = TestConsumer::creating(backend, &stream, "reader").await;
    let subscribed = consumer.fan_out.subscribe_to_shard(&consumer.arn(), &shard, StartPosition::TrimHorizon).await;
    refused(subscribed, ErrorKind::InUse, "a consumer that is CREATING");
    consumer.wait_until_active().await;
    consumer.subscribe(&shard, StartPosition::TrimHorizon).await;
    remove(stream, consumer).await;
}

/// A consumer or shard that does not exist is not found.
pub async fn a_missing_consumer_or_shard_cannot_be_subscribed_to(backend: &dyn Backend) {
    let (stream, shard, consumer) = stream_of(backend, &[]).await;
    let missing_shard = "shardId-000000000099".parse().expect("the id is well formed");
    let missing_consumer = ConsumerArn::new(&stream.arn().await, &consumer_name("other"), 1_700_000_000);
    for (arn, shard, what) in
        [(&consumer.arn(), &missing_shard, "a missing shard"), (&missing_consumer, &shard, "a missing consumer")]
    {
        let deadline = Deadline::for_("an answer");
        let subscribed =
            patiently("an answer", || consumer.fan_out.subscribe_to_shard(arn, shard, StartPosition::TrimHorizon));
        refused(subscribed.await, ErrorKind::NotFound, what);
        deadline.pause().await;
    }
    remove(stream, consumer).await;
}
