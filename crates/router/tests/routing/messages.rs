//! How records become messages.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use statefun_kinesis_client::{KinesisAdmin, KinesisClient, KinesisClientExt, Operation, ShardFilter};
use statefun_kinesis_module::{ConsumerLifecycle, ConsumerSpec, StreamRoute};
use statefun_kinesis_router::{BuildError, Ingress, Router};
use statefun_kinesis_types::{HashKey, StreamRef};
use tokio_util::sync::CancellationToken;

use crate::scene::{
    Remember, arn, custom, echo, ingress, kinesis_with, payloads, record, route, run_until_done, stream,
};

#[tokio::test(start_paused = true)]
async fn every_record_reaches_the_egress_once_and_in_order_per_key() {
    let kinesis = kinesis_with(&[("orders", 3), ("returns", 2), ("out", 4)]).await;
    let mut sent = BTreeMap::<String, Vec<String>>::new();
    for number in 0..600 {
        let (name, key) = (["orders", "returns"][number % 2], format!("{}-{}", number % 2, number % 37));
        kinesis.put_record(&stream(name), record(&key, number.to_string())).await.unwrap();
        sent.entry(key).or_default().push(number.to_string());
    }
    let spec = ingress(vec![route("orders", &["example/a"]), route("returns", &["example/b"])]);
    run_until_done(echo(&kinesis, spec).build().await.unwrap(), 600).await;
    assert_eq!(payloads(&kinesis, "out"), sent);
}

#[tokio::test(start_paused = true)]
async fn a_record_becomes_one_message_per_target_in_the_order_of_the_targets() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    kinesis.put_records(&stream("orders"), &[record("k", "1"), record("k", "2")]).await.unwrap();
    let functions = Arc::new(Remember::default());
    let spec = ingress(vec![route("orders", &["z/first", "a/second", "m/third"])]);
    let router = Router::builder(Arc::clone(&functions))
        .ingress(Ingress::new(spec, Arc::new(kinesis.clone())))
        .clock(kinesis.clock());
    run_until_done(router.build().await.unwrap(), 2).await;
    let expected = ["z/first/k=1", "a/second/k=1", "m/third/k=1", "z/first/k=2", "a/second/k=2", "m/third/k=2"];
    assert_eq!(functions.lines(), expected);
    let messages = functions.0.lock().unwrap();
    assert!(
        messages.iter().all(|(from, _, value)| *from == arn("orders") && value.typename.as_str() == "example/orders")
    );
}

#[tokio::test(start_paused = true)]
async fn payload_bytes_are_shared_and_never_copied() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    let payload = Bytes::from(vec![7; 1_000]);
    kinesis.put_record(&stream("orders"), record("k", payload.clone())).await.unwrap();
    let functions = Arc::new(Remember::default());
    let spec = ingress(vec![route("orders", &["example/a", "example/b"])]);
    let router = Router::builder(Arc::clone(&functions))
        .ingress(Ingress::new(spec, Arc::new(kinesis.clone())))
        .clock(kinesis.clock());
    run_until_done(router.build().await.unwrap(), 1).await;
    for (_, _, value) in functions.0.lock().unwrap().iter() {
        assert_eq!(value.value.as_ref().unwrap().as_ptr(), payload.as_ptr());
    }
}

#[tokio::test(start_paused = true)]
async fn a_custom_deserializer_gets_the_streams_arn() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "good")).await.unwrap();
    let functions = Arc::new(Remember::default());
    run_until_done(custom(&kinesis, functions.clone()).build().await.unwrap(), 1).await;
    assert_eq!(functions.lines(), [format!("example/streams/{}=shardId-000000000000", arn("orders"))]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_be_named_by_its_short_name_and_is_routed_by_its_arn() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "good")).await.unwrap();
    let mut by_name = route("orders", &["example/a"]);
    by_name.stream = StreamRef::Name("orders".parse().unwrap());
    let functions = Arc::new(Remember::default());
    let router = |routes: Vec<StreamRoute>| {
        let ingress = Ingress::new(ingress(routes), Arc::new(kinesis.clone()));
        Router::builder(functions.clone()).ingress(ingress).clock(kinesis.clock()).build()
    };
    run_until_done(router(vec![by_name.clone()]).await.unwrap(), 1).await;
    assert_eq!(functions.0.lock().unwrap()[0].0, arn("orders"));

    let twice = router(vec![by_name, route("orders", &["example/b"])]).await.unwrap_err();
    assert!(matches!(&twice, BuildError::DuplicateStream { stream, .. } if *stream == arn("orders")), "{twice}");
}

#[tokio::test(start_paused = true)]
async fn an_ingress_may_have_its_records_pushed_to_it() {
    let kinesis = kinesis_with(&[("orders", 2)]).await;
    for number in 0..20 {
        let record = record(&format!("key-{number}"), number.to_string());
        kinesis.put_record(&stream("orders"), record).await.unwrap();
    }
    let mut spec = ingress(vec![route("orders", &["example/a"])]);
    spec.consumer = ConsumerSpec::EnhancedFanOut {
        name: "engine".parse().unwrap(),
        lifecycle: ConsumerLifecycle::Managed,
        discovery_interval: None,
    };
    let client = Arc::new(kinesis.clone());
    let functions = Arc::new(Remember::default());
    let router = Router::builder(functions.clone())
        .ingress(Ingress::new(spec.clone(), client.clone()).fan_out(client.clone()))
        .clock(kinesis.clock());
    run_until_done(router.build().await.unwrap(), 20).await;
    assert_eq!(functions.lines().len(), 20);
    assert_eq!(kinesis.calls(Operation::GetRecords), 0);

    let without = Router::builder(functions).ingress(Ingress::new(spec, client)).build().await.unwrap_err();
    assert!(matches!(without, BuildError::NoFanOut { .. }), "{without}");
}

#[tokio::test(start_paused = true)]
async fn order_per_key_holds_through_a_split_and_a_merge() {
    let kinesis = kinesis_with(&[("orders", 2), ("out", 3)]).await;
    let router = echo(&kinesis, ingress(vec![route("orders", &["example/a"])])).build().await.unwrap();
    let (progress, shutdown) = (router.progress(), CancellationToken::new());
    let running = tokio::spawn(router.run(shutdown.clone()));
    let mut sent = BTreeMap::<String, Vec<String>>::new();
    for number in 0..500_u32 {
        let key = format!("key-{}", number % 23);
        kinesis.put_record(&stream("orders"), record(&key, number.to_string())).await.unwrap();
        sent.entry(key).or_default().push(number.to_string());
        let open = async || kinesis.all_shards(&stream("orders"), ShardFilter::AtLatest).await.unwrap();
        match number {
            150 => {
                let shard = &open().await[0];
                let middle = HashKey::new(shard.hash_range.start().get() / 2 + shard.hash_range.end().get() / 2);
                kinesis.split_shard(&stream("orders"), &shard.id, middle).await.unwrap();
            }
            300 => {
                let mut shards = open().await;
                shards.sort_by_key(|shard| shard.hash_range.start());
                kinesis.merge_shards(&stream("orders"), &shards[0].id, &shards[1].id).await.unwrap();
            }
            _ => tokio::time::sleep(Duration::from_millis(u64::from(number % 7) * 10)).await,
        }
    }
    while progress.counts().records_done < 500 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(payloads(&kinesis, "out"), sent);
}

#[tokio::test(start_paused = true)]
async fn a_missing_stream_is_reported_before_anything_is_read() {
    let kinesis = kinesis_with(&[("orders", 1), ("out", 1)]).await;
    let missing = echo(&kinesis, ingress(vec![route("orders", &["a/b"]), route("absent", &["a/b"])])).build().await;
    match missing.unwrap_err() {
        BuildError::Ingress { ingress, source } => {
            assert_eq!(ingress.as_str(), "example/in");
            assert!(source.to_string().contains("absent"), "{source}");
        }
        other => panic!("{other}"),
    }
    kinesis.delete_stream(&stream("out")).await.unwrap();
    let missing = echo(&kinesis, ingress(vec![route("orders", &["a/b"])])).build().await;
    assert!(matches!(missing.unwrap_err(), BuildError::Egress { .. }));
    assert_eq!(kinesis.calls(Operation::GetRecords), 0);
}

#[tokio::test(start_paused = true)]
async fn counts_and_latencies_are_reported() {
    let kinesis = kinesis_with(&[("orders", 1), ("out", 1)]).await;
    let sizes: HashMap<&str, usize> = [("a", 10), ("b", 30)].into();
    for (key, bytes) in &sizes {
        kinesis.put_record(&stream("orders"), record(key, vec![0; *bytes])).await.unwrap();
    }
    let router = echo(&kinesis, ingress(vec![route("orders", &["a/b", "a/c"])])).build().await.unwrap();
    let progress = router.progress();
    assert_eq!(progress.latency(), None);
    run_until_done(router, 2).await;
    let counts = progress.counts();
    assert_eq!((counts.records_in, counts.bytes_in, counts.messages), (2, 40, 4));
    assert_eq!((counts.records_out, counts.bytes_out, counts.records_done), (4, 80, 2));
    assert!(progress.latency().unwrap().max < Duration::from_secs(5));
}
