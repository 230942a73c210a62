//! Enhanced fan-out as the conformance suite cannot see it from outside: exact times, limits, throughput, faults.

use std::{num::NonZeroU16, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use statefun_kinesis_client::{
    ConsumerPageRequest, ConsumerStatus, ErrorKind, FanOutClient, KinesisAdmin, KinesisClient, Operation, Result,
    StreamConsumer, Subscription, SubscriptionEvent,
};
use statefun_kinesis_fake::{FakeKinesis, FakeKinesisBuilder, SubscriptionFault};
use statefun_kinesis_types::{
    ConsumerArn, ConsumerName, HashKey, PutRecord, ShardId, StartPosition, StreamArn, StreamName, StreamRef, Timestamp,
};
use tokio::time::{Instant, advance, sleep};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1 << 20;

/// A fake with one stream of one shard, and a consumer of it.
struct Setup {
    kinesis: FakeKinesis,
    stream: StreamRef,
    arn: StreamArn,
    consumer: ConsumerArn,
}

impl Setup {
    async fn new(builder: FakeKinesisBuilder) -> Self {
        let kinesis = builder.build();
        let name: StreamName = "stream".parse().unwrap();
        kinesis.create_stream(&name, 1).await.unwrap();
        let stream = StreamRef::from(name);
        sleep(SECOND).await;
        let arn = kinesis.describe_stream_summary(&stream).await.unwrap().arn;
        let consumer = kinesis.register_stream_consumer(&arn, &consumer_name("reader")).await.unwrap().arn;
        sleep(SECOND).await;
        Self { kinesis, stream, arn, consumer }
    }

    async fn plain() -> Self {
        Self::new(FakeKinesis::builder()).await
    }

    async fn put(&self, text: &str) {
        self.put_record(PutRecord::new("k".parse().unwrap(), text.to_owned())).await;
    }

    async fn put_record(&self, record: PutRecord) {
        let outcomes = self.kinesis.put_records(&self.stream, &[record]).await.unwrap();
        outcomes.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    }

    async fn subscribe(&self, from: StartPosition) -> Result<Subscription> {
        self.kinesis.subscribe_to_shard(&self.consumer, &shard(0), from).await
    }

    async fn subscribe_to_all(&self) -> Subscription {
        self.subscribe(StartPosition::TrimHorizon).await.unwrap()
    }

    async fn split(&self) {
        self.kinesis.split_shard(&self.stream, &shard(0), HashKey::new(1 << 100)).await.unwrap();
    }
}

fn consumer_name(text: &str) -> ConsumerName {
    text.parse().unwrap()
}

fn shard(number: usize) -> ShardId {
    format!("shardId-{number:012}").parse().unwrap()
}

async fn event(subscription: &mut Subscription) -> SubscriptionEvent {
    subscription.next().await.expect("the subscription goes on").expect("the subscription does not fail")
}

fn texts(event: &SubscriptionEvent) -> Vec<&str> {
    event.records.iter().map(|record| std::str::from_utf8(&record.data).unwrap()).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, code: &str) {
    let error = result.expect_err("the service refuses this");
    assert_eq!((error.kind(), error.code()), (kind, Some(code)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn consumers_take_their_time_and_five_at_a_time() {
    let Setup { kinesis, arn, .. } = Setup::new(FakeKinesis::builder().status_delay(SECOND / 2)).await;
    let mut registered = Vec::new();
    for number in 0..5 {
        let name = consumer_name(&format!("c{number}"));
        let consumer = kinesis.register_stream_consumer(&arn, &name).await.unwrap();
        assert_eq!(consumer.status, ConsumerStatus::Creating);
        registered.push(consumer);
    }
    let sixth = kinesis.register_stream_consumer(&arn, &consumer_name("c5")).await;
    refused(sixth, ErrorKind::LimitExceeded, "LimitExceededException");
    let status = async |consumer: &StreamConsumer| {
        kinesis.describe_stream_consumer(&arn, &consumer.name).await.map(|consumer| consumer.status)
    };
    advance(SECOND / 2 - MILLI).await;
    assert_eq!(status(&registered[0]).await.unwrap(), ConsumerStatus::Creating);
    advance(MILLI).await;
    assert_eq!(status(&registered[0]).await.unwrap(), ConsumerStatus::Active);

    kinesis.deregister_stream_consumer(&registered[0].arn).await.unwrap();
    assert_eq!(status(&registered[0]).await.unwrap(), ConsumerStatus::Deleting);
    let subscribed = kinesis.subscribe_to_shard(&registered[0].arn, &shard(0), StartPosition::Latest).await;
    refused(subscribed, ErrorKind::InUse, "ResourceInUseException");
    advance(SECOND / 2).await;
    refused(status(&registered[0]).await, ErrorKind::NotFound, "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_used_again_within_a_second_has_another_arn() {
    let Setup { kinesis, arn, consumer, .. } = Setup::plain().await;
    kinesis.deregister_stream_consumer(&consumer).await.unwrap();
    let again = kinesis.register_stream_consumer(&arn, consumer.name()).await.unwrap();
    assert_ne!(again.arn, consumer);
    kinesis.deregister_stream_consumer(&again.arn).await.unwrap();
    let third = kinesis.register_stream_consumer(&arn, consumer.name()).await.unwrap();
    assert_ne!(third.arn, again.arn);
    let old = kinesis.deregister_stream_consumer(&consumer).await;
    refused(old, ErrorKind::NotFound, "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn a_page_token_of_consumers_lives_five_minutes_and_fits_its_stream() {
    let Setup { kinesis, arn, .. } = Setup::plain().await;
    kinesis.register_stream_consumer(&arn, &consumer_name("other")).await.unwrap();
    let one = NonZeroU16::new(1);
    let first = ConsumerPageRequest { token: None, max_results: one };
    let first = kinesis.list_stream_consumers(&arn, first).await.unwrap();
    let next = ConsumerPageRequest { token: first.next, max_results: one };
    let page = kinesis.list_stream_consumers(&arn, next.clone()).await.unwrap();
    assert_eq!((page.consumers[0].name.as_str(), page.next), ("other", None));

    let elsewhere: StreamName = "elsewhere".parse().unwrap();
    kinesis.create_stream(&elsewhere, 1).await.unwrap();
    let other = kinesis.describe_stream_summary(&elsewhere.into()).await.unwrap().arn;
    let wrong = kinesis.list_stream_consumers(&other, next.clone()).await;
    refused(wrong, ErrorKind::InvalidArgument, "InvalidArgumentException");
    advance(300 * SECOND + MILLI).await;
    refused(kinesis.list_stream_consumers(&arn, next).await, ErrorKind::ExpiredToken, "ExpiredNextTokenException");
    let many = ConsumerPageRequest { token: None, max_results: NonZeroU16::new(10_001) };
    refused(kinesis.list_stream_consumers(&arn, many).await, ErrorKind::InvalidArgument, "ValidationException");
}

#[tokio::test(start_paused = true)]
async fn a_summary_counts_consumers_and_names_the_key() {
    let Setup { kinesis, stream, consumer, .. } = Setup::plain().await;
    kinesis.set_kms_key(&stream, Some("alias/aws/kinesis")).unwrap();
    let summary = kinesis.describe_stream_summary(&stream).await.unwrap();
    assert_eq!((summary.consumers, summary.kms_key.as_deref()), (1, Some("alias/aws/kinesis")));
    kinesis.deregister_stream_consumer(&consumer).await.unwrap();
    kinesis.set_kms_key(&stream, None).unwrap();
    let summary = kinesis.describe_stream_summary(&stream).await.unwrap();
    assert_eq!((summary.consumers, summary.kms_key), (0, None));
}

#[tokio::test(start_paused = true)]
async fn records_come_at_once_and_heartbeats_every_five_seconds() {
    let setup = Setup::plain().await;
    let mut subscription = setup.subscribe_to_all().await;
    let started = Instant::now();
    let first = event(&mut subscription).await;
    assert_eq!((first.records.len(), started.elapsed()), (0, 5 * SECOND));
    let (mut before, reader) = (first.continuation.unwrap(), subscription);
    let reader = tokio::spawn(async move {
        let mut subscription = reader;
        let event = event(&mut subscription).await;
        (Instant::now(), event, subscription)
    });
    sleep(2 * SECOND).await;
    let put = Instant::now();
    setup.put("a").await;
    let (came, event_of_a, mut subscription) = reader.await.unwrap();
    assert_eq!((texts(&event_of_a), came - put), (vec!["a"], Duration::ZERO));
    assert!(before < event_of_a.continuation.unwrap());
    before = event_of_a.continuation.unwrap();
    assert_eq!(before, event_of_a.records[0].sequence_number);
    for _ in 0..3 {
        let since = Instant::now();
        let beat = event(&mut subscription).await;
        assert_eq!((beat.records.len(), since.elapsed(), beat.behind_latest), (0, 5 * SECOND, Duration::ZERO));
        assert!(before < beat.continuation.unwrap(), "a continuation moves although no record comes");
        before = beat.continuation.unwrap();
    }
    // A reader that starts behind such a number has missed nothing, and the number goes on from there.
    let mut subscription = setup.subscribe(StartPosition::AfterSequenceNumber(before)).await.unwrap();
    let beat = event(&mut subscription).await;
    assert!(before < beat.continuation.unwrap());
    setup.put("b").await;
    assert_eq!(texts(&event(&mut subscription).await), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_payload_is_shared_and_not_copied() {
    let setup = Setup::plain().await;
    let payload = Bytes::from(vec![7; 1_000]);
    setup.put_record(PutRecord::new("k".parse().unwrap(), payload.clone())).await;
    let event = event(&mut setup.subscribe_to_all().await).await;
    assert_eq!(event.records[0].data.as_ptr(), payload.as_ptr());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_after_exactly_five_minutes() {
    let setup = Setup::plain().await;
    let mut subscription = setup.subscribe_to_all().await;
    let started = Instant::now();
    let mut events = 0;
    while subscription.next().await.transpose().unwrap().is_some() {
        events += 1;
    }
    assert_eq!((events, started.elapsed()), (59, 300 * SECOND));
    // One that nobody looked at is over all the same.
    let mut late = setup.subscribe_to_all().await;
    setup.put("a").await;
    advance(300 * SECOND).await;
    assert!(late.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_second_subscription_waits_five_seconds_and_then_takes_over() {
    let setup = Setup::plain().await;
    let mut first = setup.subscribe_to_all().await;
    advance(5 * SECOND - MILLI).await;
    refused(setup.subscribe(StartPosition::TrimHorizon).await, ErrorKind::InUse, "ResourceInUseException");
    advance(MILLI).await;
    // The first one is told at once, and not by its next heartbeat.
    let waiting = tokio::spawn(async move {
        while let Ok(Some(_)) = first.next().await.transpose() {}
        Instant::now()
    });
    tokio::task::yield_now().await;
    let now = Instant::now();
    let second = setup.subscribe_to_all().await;
    assert_eq!(waiting.await.unwrap(), now);
    // A subscription that was dropped counts as long.
    drop(second);
    refused(setup.subscribe(StartPosition::TrimHorizon).await, ErrorKind::InUse, "ResourceInUseException");
    // A position that is refused makes no subscription, and ends none.
    advance(5 * SECOND).await;
    let mut third = setup.subscribe_to_all().await;
    advance(5 * SECOND).await;
    let wrong = StartPosition::AtSequenceNumber(1_u64.into());
    refused(setup.subscribe(wrong).await, ErrorKind::InvalidArgument, "InvalidArgumentException");
    event(&mut third).await;
}

#[tokio::test(start_paused = true)]
async fn a_taken_over_subscription_fails_as_in_use() {
    let setup = Setup::plain().await;
    let mut first = setup.subscribe_to_all().await;
    advance(5 * SECOND).await;
    let _second = setup.subscribe_to_all().await;
    refused(first.next().await.unwrap(), ErrorKind::InUse, "ResourceInUseException");
    assert!(first.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn throughput_is_held_for_each_subscription_by_itself() {
    let setup = Setup::new(FakeKinesis::builder().enforce_throughput(true)).await;
    let other = setup.kinesis.register_stream_consumer(&setup.arn, &consumer_name("other")).await.unwrap().arn;
    let large = PutRecord::new("k".parse().unwrap(), vec![0; MIB - 1]);
    for _ in 0..10 {
        setup.put_record(large.clone()).await;
        sleep(SECOND).await;
    }
    let seconds = async |consumer: &ConsumerArn| {
        let started = Instant::now();
        let from = StartPosition::TrimHorizon;
        let mut subscription = setup.kinesis.subscribe_to_shard(consumer, &shard(0), from).await.unwrap();
        let mut records = 0;
        while records < 10 {
            records += event(&mut subscription).await.records.len();
        }
        started.elapsed().as_millis()
    };
    // Two mebibytes are saved up and one may be owed, the other seven take half a second each.
    assert_eq!(tokio::join!(seconds(&setup.consumer), seconds(&other)), (3_500, 3_500));
    // One call a second, whatever comes of it.
    refused(setup.subscribe(StartPosition::Latest).await, ErrorKind::InUse, "ResourceInUseException");
    refused(setup.subscribe(StartPosition::Latest).await, ErrorKind::LimitExceeded, "LimitExceededException");
}

#[tokio::test(start_paused = true)]
async fn large_backlogs_come_in_events_of_a_mebibyte_at_most() {
    let setup = Setup::plain().await;
    setup.kinesis.set_max_record_bytes(&setup.stream, 3 * MIB).unwrap();
    for size in [MIB / 2, MIB / 4, MIB / 2, 3 * MIB - 1, 10] {
        setup.put_record(PutRecord::new("k".parse().unwrap(), vec![0; size])).await;
    }
    let mut subscription = setup.subscribe_to_all().await;
    let mut counts = Vec::new();
    for _ in 0..4 {
        let event = event(&mut subscription).await;
        counts.push((event.records.len(), event.behind_latest.is_zero()));
    }
    assert_eq!(counts, [(2, false), (1, false), (1, false), (1, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_being_split_ends_when_the_split_is_done() {
    let setup = Setup::new(FakeKinesis::builder().status_delay(SECOND / 2)).await;
    setup.put("a").await;
    let mut subscription = setup.subscribe_to_all().await;
    assert_eq!(texts(&event(&mut subscription).await), ["a"]);
    setup.split().await;
    let started = Instant::now();
    let end = event(&mut subscription).await;
    // Nothing else looks at the stream meanwhile: the subscription carries the split out by itself.
    assert_eq!((started.elapsed(), end.continuation), (SECOND / 2, None));
    assert_eq!(end.children.iter().map(|child| child.id.clone()).collect::<Vec<_>>(), [shard(1), shard(2)]);
    assert!(end.children.iter().all(|child| child.parents == [shard(0)]));
    assert!(subscription.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn trimmed_records_are_left_out() {
    let setup = Setup::plain().await;
    setup.kinesis.set_retention(&setup.stream, 60 * SECOND).unwrap();
    setup.put("a").await;
    let mut subscription = setup.subscribe_to_all().await;
    advance(30 * SECOND).await;
    setup.put("b").await;
    advance(31 * SECOND).await;
    assert_eq!(texts(&event(&mut subscription).await), ["b"]);
    // A number that is trimmed by now is still one to start behind.
    advance(60 * SECOND).await;
    let beat = event(&mut subscription).await;
    assert_eq!(texts(&beat), [""; 0]);
    setup.put("c").await;
    let after = StartPosition::AfterSequenceNumber(beat.continuation.unwrap());
    assert_eq!(texts(&event(&mut setup.subscribe(after).await.unwrap()).await), ["c"]);
    // A closed shard that has left retention is not found any more.
    let mut parent = setup.kinesis.subscribe_to_shard(&setup.consumer, &shard(0), StartPosition::Latest).await;
    assert_eq!(parent.as_mut().map(drop).map_err(|error| error.kind()), Err(ErrorKind::InUse));
    advance(5 * SECOND).await;
    parent = setup.subscribe(StartPosition::Latest).await;
    setup.split().await;
    advance(61 * SECOND).await;
    refused(parent.unwrap().next().await.unwrap(), ErrorKind::NotFound, "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn a_timestamp_in_the_future_is_refused() {
    let setup = Setup::plain().await;
    let future = setup.kinesis.clock().now().after(MILLI);
    let subscribed = setup.subscribe(StartPosition::AtTimestamp(future)).await;
    refused(subscribed, ErrorKind::InvalidArgument, "InvalidArgumentException");
    setup.subscribe(StartPosition::AtTimestamp(Timestamp::EPOCH)).await.map(drop).unwrap();
}

#[tokio::test(start_paused = true)]
async fn subscriptions_of_what_is_removed_end() {
    let setup = Setup::plain().await;
    let mut subscription = setup.subscribe_to_all().await;
    setup.kinesis.deregister_stream_consumer(&setup.consumer).await.unwrap();
    let started = Instant::now();
    refused(subscription.next().await.unwrap(), ErrorKind::NotFound, "ResourceNotFoundException");
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(setup.kinesis.calls(Operation::SubscribeToShard), 1);
    // Without consumers the stream can be removed, and one made later under its name is another one.
    setup.kinesis.delete_stream(&setup.stream).await.unwrap();
    setup.kinesis.create_stream(&setup.stream.name(), 1).await.unwrap();
    let subscribed = setup.subscribe(StartPosition::TrimHorizon).await;
    refused(subscribed, ErrorKind::NotFound, "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn a_scripted_fault_meets_the_next_subscription_behind_so_many_events() {
    for (fault, expect) in [
        (SubscriptionFault::Close, None),
        (SubscriptionFault::Drop, Some((ErrorKind::Unavailable, None))),
        (SubscriptionFault::Fail(ErrorKind::Encryption), Some((ErrorKind::Encryption, Some("KMSDisabledException")))),
    ] {
        let setup = Setup::plain().await;
        setup.kinesis.faults().fault_next_subscription(1, fault);
        setup.put("a").await;
        let mut subscription = setup.subscribe_to_all().await;
        assert_eq!(texts(&event(&mut subscription).await), ["a"]);
        setup.put("b").await;
        let end = subscription.next().await.map(|item| item.expect_err("no event comes"));
        assert_eq!(end.as_ref().map(|error| (error.kind(), error.code())), expect);
        assert!(subscription.next().await.is_none());
        // The one after it is whole, and nothing is lost.
        advance(5 * SECOND).await;
        assert_eq!(texts(&event(&mut setup.subscribe_to_all().await).await), ["a", "b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_subscription_is_silent_for_ever() {
    let setup = Setup::plain().await;
    setup.kinesis.faults().fault_next_subscription(0, SubscriptionFault::Stall);
    let mut subscription = setup.subscribe_to_all().await;
    setup.put("a").await;
    let silence = tokio::time::timeout(3_600 * SECOND, subscription.next()).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_all_subscriptions_comes_at_once_and_not_to_later_ones() {
    let setup = Setup::plain().await;
    let mut running = setup.subscribe_to_all().await;
    let waiting = tokio::spawn(async move { (running.next().await, Instant::now()) });
    sleep(SECOND).await;
    setup.kinesis.faults().fault_subscriptions(SubscriptionFault::Drop);
    let now = Instant::now();
    let (item, ended) = waiting.await.unwrap();
    assert_eq!((item.unwrap().unwrap_err().kind(), ended), (ErrorKind::Unavailable, now));
    advance(5 * SECOND).await;
    setup.put("a").await;
    assert_eq!(texts(&event(&mut setup.subscribe_to_all().await).await), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn events_can_be_held_up_and_calls_fail() {
    let setup = Setup::plain().await;
    setup.kinesis.faults().delay_events(3 * SECOND);
    setup.put("a").await;
    let mut subscription = setup.subscribe_to_all().await;
    let started = Instant::now();
    assert!(subscription.next().now_or_never().is_none());
    sleep(SECOND).await;
    setup.put("b").await;
    assert_eq!(texts(&event(&mut subscription).await), ["a", "b"], "what arrives meanwhile comes along");
    assert_eq!(started.elapsed(), 3 * SECOND);
    setup.kinesis.faults().clear();

    advance(5 * SECOND).await;
    setup.kinesis.faults().fail_next(Operation::SubscribeToShard, ErrorKind::AccessDenied);
    refused(setup.subscribe(StartPosition::Latest).await, ErrorKind::AccessDenied, "AccessDeniedException");
    // The service has the subscription, its caller has not.
    setup.kinesis.faults().store_then_fail(Operation::SubscribeToShard);
    let lost = setup.subscribe(StartPosition::Latest).await;
    assert_eq!(lost.unwrap_err().kind(), ErrorKind::Timeout);
    refused(setup.subscribe(StartPosition::Latest).await, ErrorKind::InUse, "ResourceInUseException");
}

/// Reads a shard to its end over subscriptions that fail at random; gives the records and how often one ended.
async fn read_through_faults(seed: u64) -> (Vec<String>, usize) {
    let setup = Setup::plain().await;
    let faults = [SubscriptionFault::Close, SubscriptionFault::Drop, SubscriptionFault::Fail(ErrorKind::Unavailable)];
    setup.kinesis.faults().randomly_subscriptions(seed, 0.5, &faults);
    for number in 0..20 {
        setup.put(&number.to_string()).await;
        setup.put_record(PutRecord::new("k".parse().unwrap(), vec![b'x'; MIB - 1])).await;
    }
    setup.split().await;
    let (mut from, mut read, mut ended) = (StartPosition::TrimHorizon, Vec::new(), 0);
    loop {
        sleep(5 * SECOND).await;
        let mut subscription = setup.subscribe(from).await.unwrap();
        ended += 1;
        while let Some(Ok(event)) = subscription.next().await {
            read.extend(texts(&event).into_iter().filter(|text| text.len() < 3).map(str::to_owned));
            match event.continuation {
                Some(number) => from = StartPosition::AfterSequenceNumber(number),
                None => return (read, ended),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn drawn_faults_lose_nothing_and_come_again_with_their_seed() {
    let (read, ended) = read_through_faults(7).await;
    assert_eq!(read, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(ended > 5, "{ended}");
    assert_eq!(read_through_faults(7).await.1, ended);
    assert_ne!(read_through_faults(8).await.1, ended);
}
