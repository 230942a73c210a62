//! Producers of several streams.

use std::{
    error::Error as _,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_client::{
    Error, ErrorKind, Fault, KinesisAdmin, KinesisClient, Operation, Result as ClientResult,
};
use statefun_kinesis_dead_letter::DeadLetter;
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{Clients, Handling, OnFailure, Producer, Producers, Reason};
use statefun_kinesis_types::{LogLevel, StreamName, StreamRef};

use crate::scene::{SECOND, dead_letters, egress_origin, is_closed, kinesis, orders, record, settings, stored};

/// Hands a client out per stream, and counts how often.
#[derive(Clone, Debug)]
struct Regions(FakeKinesis, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Clients for Regions {
    async fn client(&self, stream: &StreamRef) -> ClientResult<Arc<dyn KinesisClient>> {
        self.1.lock().unwrap().push(stream.to_string());
        if stream.name().as_str() == "nowhere" {
            return Err(Error::new(Operation::DescribeStreamSummary, ErrorKind::AccessDenied, "no credentials"));
        }
        Ok(Arc::new(self.0.clone()))
    }
}

#[tokio::test(start_paused = true)]
async fn several_streams_have_a_producer_each_by_any_of_their_names() {
    let kinesis = kinesis(1).await;
    kinesis.create_stream(&"refunds".parse().unwrap(), 1).await.unwrap();
    let arn = kinesis.describe_stream_summary(&orders()).await.unwrap().arn;
    let regions = Regions(kinesis.clone(), Arc::default());
    let producers = Producers::builder(regions.clone()).settings(settings()).build();
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    let refunds: StreamRef = "refunds".parse().unwrap();
    let one = producers.send(&orders(), record("a", "1")).await.unwrap();
    let two = producers.send(&arn.clone().into(), record("a", "2")).await.unwrap();
    let other = producers.send_all(&refunds, vec![record("a", "3")]).await.unwrap();
    other.await.unwrap();
    one.await.unwrap();
    two.await.unwrap();
    assert_eq!(stored(&kinesis), ["1", "2"]);
    assert_eq!(kinesis.records(&refunds).len(), 1);
    assert_eq!(producers.metrics().len(), 2);
    assert_eq!(*regions.1.lock().unwrap(), ["orders", arn.as_str(), "refunds"]);

    for (stream, says) in [("unknown", "does not exist"), ("nowhere", "no client")] {
        let error = producers.send(&stream.parse().unwrap(), record("a", "4")).await.unwrap_err();
        assert!(matches!(error.reason(), Reason::NoProducer(_)), "{error:?}");
        assert!(error.source().unwrap().to_string().contains(says), "{error:?}");
    }
    let asked = kinesis.calls(Operation::DescribeStreamSummary);
    assert!(producers.send(&"unknown".parse().unwrap(), record("a", "4")).await.is_err());
    assert_eq!(kinesis.calls(Operation::DescribeStreamSummary), asked, "the answer holds for a while");
    kinesis.create_stream(&"unknown".parse().unwrap(), 1).await.unwrap();
    tokio::time::sleep(30 * SECOND).await;
    producers.send(&"unknown".parse().unwrap(), record("a", "4")).await.unwrap().await.unwrap();

    let last = producers.send(&orders(), record("b", "5")).await.unwrap();
    assert_eq!(producers.close_within(3 * SECOND).await, []);
    last.await.unwrap();
    assert!(is_closed(&producers.send(&refunds, record("a", "6")).await, false));
}

#[tokio::test(start_paused = true)]
async fn records_for_streams_that_are_not_there_or_not_allowed_are_handled_too() {
    let kinesis = kinesis(1).await;
    let letters: StreamName = "letters".parse().unwrap();
    kinesis.create_stream(&letters, 1).await.unwrap();
    let client: Arc<dyn KinesisClient> = Arc::new(kinesis.clone());
    let to = Producer::builder(client.clone(), letters.clone()).settings(settings()).build().await.unwrap();
    let arn = kinesis.describe_stream_summary(&orders()).await.unwrap().arn;
    let producers = Producers::builder(client)
        .allow([arn.clone().into(), "unknown".parse().unwrap()])
        .on_failure(OnFailure::DeadLetter { to, log: LogLevel::Debug })
        .egress("example/orders".parse().unwrap())
        .build();
    for (stream, allowed) in [
        (orders(), true),
        (arn.clone().into(), true),
        (arn.as_str().replace("us-east-1", "eu-west-1").parse().unwrap(), false),
        ("letters".parse().unwrap(), false),
    ] {
        assert_eq!(producers.allows(&stream), allowed, "{stream}");
    }
    let error = producers.send(&"letters".parse().unwrap(), record("a", "1")).await.unwrap_err();
    assert!(matches!(error.reason(), Reason::NotAllowed), "{error:?}");
    let batch = vec![record("a", "2"), record("b", "3")];
    let delivered = producers.send_all(&"unknown".parse().unwrap(), batch).await.unwrap().await.unwrap();
    assert_eq!((delivered.len(), delivered.stored().count()), (2, 0));
    let handled = delivered.handled().iter().all(|(_, error)| error.handling() == Handling::DeadLettered);
    assert!(handled && error.handling() == Handling::DeadLettered);
    let found = dead_letters(&kinesis, &letters);
    let reasons: Vec<_> = found.iter().map(DeadLetter::reason).collect();
    assert_eq!(reasons, ["not-allowed", "no-stream", "no-stream"]);
    for letter in &found {
        assert_eq!(egress_origin(letter).egress, Some("example/orders".parse().unwrap()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_for_records_is_not_asked_about_a_stream_that_cannot_be_described() {
    for kind in ErrorKind::ALL {
        let kinesis = kinesis(1).await;
        let client: Arc<dyn KinesisClient> = Arc::new(kinesis.clone());
        let producers = Producers::builder(client).on_failure(OnFailure::Skip { log: LogLevel::Debug }).build();
        // For longer than a producer waits for its stream.
        kinesis.faults().fail_next_n(Operation::DescribeStreamSummary, kind, 10_000);
        let error = producers.send(&orders(), record("a", "1")).await.unwrap_err();
        let is_about_record = kind == ErrorKind::NotFound || kind.treatment_of_single_record().fault == Fault::Record;
        let expected = if is_about_record { Handling::Skipped } else { Handling::Failed };
        assert_eq!(error.handling(), expected, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_name_and_an_arn_in_the_list_are_the_same_only_if_the_stream_says_so() {
    let kinesis = kinesis(1).await;
    let here = kinesis.describe_stream_summary(&orders()).await.unwrap().arn;
    let there: StreamRef = here.as_str().replace("us-east-1", "eu-west-1").parse().unwrap();
    let here = StreamRef::from(here);
    for (allowed, stream, is_allowed) in [
        (orders(), orders(), true),
        (orders(), here.clone(), true),
        (here.clone(), here.clone(), true),
        (here.clone(), orders(), true),
        (orders(), there.clone(), false),
        (there.clone(), orders(), false),
        (there.clone(), here.clone(), false),
    ] {
        let client: Arc<dyn KinesisClient> = Arc::new(kinesis.clone());
        let producers = Producers::builder(client).allow([allowed.clone()]).build();
        // Twice, since what is known about a name is remembered.
        for _ in 0..2 {
            let refused = producers.send(&stream, record("a", "1")).await.err();
            let refused = refused.is_some_and(|error| matches!(error.reason(), Reason::NotAllowed));
            assert_eq!(!refused, is_allowed, "{allowed} is allowed, and {stream} is named");
        }
        producers.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_streams_have_a_producer_and_the_rest_have_had_one() {
    let kinesis = kinesis(1).await;
    let streams: Vec<StreamRef> = (0..5).map(|number| format!("stream-{number}").parse().unwrap()).collect();
    for stream in &streams {
        kinesis.create_stream(&stream.name(), 1).await.unwrap();
    }
    let client: Arc<dyn KinesisClient> = Arc::new(kinesis.clone());
    let two = NonZeroU32::new(2).unwrap();
    let producers = Producers::builder(client).settings(settings()).max_streams(two).build();
    let open = |producers: &Producers| {
        let mut open: Vec<_> = producers.metrics().iter().map(|(arn, _)| arn.name().to_string()).collect();
        open.sort();
        open
    };
    for (number, stream) in streams.iter().chain([&streams[0], &streams[3], &streams[0], &streams[1]]).enumerate() {
        let receipt = producers.send(stream, record("a", &number.to_string())).await.unwrap();
        receipt.await.unwrap();
        assert!(open(&producers).len() <= 2, "{:?}", open(&producers));
    }
    assert_eq!(open(&producers), ["stream-0", "stream-1"], "those that were used last");
    let read = |stream: &StreamRef| -> Vec<String> {
        let records = kinesis.records(stream).into_iter();
        records.map(|(_, record)| String::from_utf8(record.data.to_vec()).unwrap()).collect()
    };
    assert_eq!(read(&streams[0]), ["0", "5", "7"]);
    assert_eq!(read(&streams[3]), ["3", "6"]);

    // A producer with outstanding records is not closed: a sender that needs another one waits for it.
    kinesis.faults().delay(Operation::PutRecords, 5 * SECOND);
    let first = producers.send(&streams[0], record("a", "8")).await.unwrap();
    let start = tokio::time::Instant::now();
    let second = producers.send(&streams[1], record("a", "9")).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    let third = producers.send(&streams[2], record("a", "10")).await.unwrap();
    assert!(start.elapsed() >= 5 * SECOND, "{:?}", start.elapsed());
    for receipt in [first, second, third] {
        receipt.await.unwrap();
    }

    // Nor is a producer of which there is a clone elsewhere: there may be more of these.
    let kept = [producers.get(&streams[3]).await.unwrap(), producers.get(&streams[4]).await.unwrap()];
    let other = producers.send(&streams[0], record("a", "11")).await.unwrap();
    assert_eq!(open(&producers), ["stream-0", "stream-3", "stream-4"]);
    for producer in &kept {
        producer.send(record("a", "12")).await.unwrap().await.unwrap();
    }
    other.await.unwrap();
    assert_eq!(producers.close_within(10 * SECOND).await, []);
}
