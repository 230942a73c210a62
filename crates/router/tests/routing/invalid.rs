//! Records that cannot be used.

use std::sync::Arc;

use statefun_kinesis_client::KinesisClientExt;
use statefun_kinesis_consumer::{MemoryCheckpoints, Position};
use statefun_kinesis_router::{Ingress, Route, RoutedBatch, Router, RunError};
use statefun_kinesis_types::{InvalidRecordHandling, LogLevel, Record, ShardId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::scene::{
    ByStream, Remember, arn, custom, ingress, kept_in, kinesis_with, payloads, record, route, run_until_done, stream,
};

#[tokio::test(start_paused = true)]
async fn an_invalid_record_ends_the_run_and_is_named_by_its_place() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    let placement = kinesis.put_record(&stream("orders"), record("k", "bad")).await.unwrap();
    let router = custom(&kinesis, Arc::new(Remember::default())).build().await.unwrap();
    let error = router.run(CancellationToken::new()).await.unwrap_err();
    let text = error.to_string();
    for part in [arn("orders").as_str(), placement.shard.as_str(), &placement.sequence_number.to_string()] {
        assert!(text.contains(part), "{text}");
    }
    assert!(matches!(error, RunError::InvalidRecord(_)));
}

#[test]
fn a_record_without_a_partition_key_has_no_address_and_is_never_left_out_in_silence() {
    let read = |number: u64, key: Option<&str>| {
        Record::new(number.into(), key.map(|key| key.parse().unwrap()), Timestamp::EPOCH, "payload".into())
    };
    let ingress = ingress(vec![route("orders", &["example/a"])]);
    let to_orders = Arc::new(Route::new(&ingress, arn("orders"), &ingress.streams[0]));
    let shard: ShardId = "shardId-000000000000".parse().unwrap();
    let records = vec![read(1, Some("k")), read(2, None), read(3, Some("k")), read(4, None)];
    let (batch, keyless) = RoutedBatch::route(to_orders, shard, records);
    let numbers = |records: &[Record]| records.iter().map(|record| record.sequence_number).collect::<Vec<_>>();
    assert_eq!(
        (numbers(batch.records()), numbers(&keyless)),
        (vec![1_u64.into(), 3_u64.into()], vec![2_u64.into(), 4_u64.into()])
    );
    assert_eq!((batch.message_count(), batch.messages().count()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_invalid_record_is_left_out_or_put_elsewhere_where_the_stream_says_so() {
    let skip = InvalidRecordHandling::Skip { log: LogLevel::Debug };
    let dead = InvalidRecordHandling::DeadLetter { stream: stream("dead"), log: LogLevel::Debug };
    for (of_ingress, of_stream, letters) in [
        (skip.clone(), None, 0),
        (dead.clone(), None, 2),
        (InvalidRecordHandling::Fail, Some(skip.clone()), 0),
        (skip, Some(dead), 2),
    ] {
        let kinesis = kinesis_with(&[("orders", 1), ("dead", 1)]).await;
        for payload in ["one", "bad", "two", "bad", "three"] {
            kinesis.put_record(&stream("orders"), record("k", payload)).await.unwrap();
        }
        let mut spec = ingress(vec![route("orders", &["example/unused"])]);
        spec.invalid_records = of_ingress;
        spec.streams[0].invalid_records = of_stream;
        let (functions, checkpoints) = (Arc::new(Remember::default()), Arc::new(MemoryCheckpoints::default()));
        let ingress = Ingress::new(spec, Arc::new(kinesis.clone())).deserializer(Arc::new(ByStream));
        let handler = kept_in(Arc::clone(&functions), &checkpoints);
        let router = Router::builder(handler).ingress(ingress).clock(kinesis.clock()).build().await.unwrap();
        let progress = router.progress();
        run_until_done(router, 3).await;
        assert_eq!((functions.lines().len(), progress.counts().records_invalid), (3, 2));
        assert_eq!(payloads(&kinesis, "dead").values().flatten().count(), letters);
        let last = kinesis.records(&stream("orders")).pop().unwrap().1;
        let stored = checkpoints.get(&arn("orders")).unwrap();
        let position = stored.shards.values().next().unwrap();
        assert!(position.covers(Position::of(&last)), "{position:?}");
    }
}
