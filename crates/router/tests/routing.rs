//! The whole way on the fake under paused time: ingress, functions, egress, positions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use statefun_kinesis_client::{ErrorKind, KinesisAdmin, KinesisClient, KinesisClientExt, Operation, ShardFilter};
use statefun_kinesis_consumer::{MemoryCheckpoints, Position};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_module::{ConsumerLifecycle, ConsumerSpec, EgressSpec, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_router::{
    BuildError, Delivery, DeserializeError, Deserializer, Echo, FunctionError, Functions, Ingress, MessageCollector,
    Route, RoutedBatch, Router, RouterBuilder, RunError, Stateless,
};
use statefun_kinesis_types::{
    Address, HashKey, InvalidRecordHandling, LogLevel, PutRecord, Record, ShardId, StreamArn, StreamRef, Timestamp,
    TypedValue,
};
use tokio_util::sync::CancellationToken;

fn arn(name: &str) -> StreamArn {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{name}").parse().unwrap()
}

fn stream(name: &str) -> StreamRef {
    arn(name).into()
}

fn record(key: &str, data: impl Into<Bytes>) -> PutRecord {
    PutRecord::new(key.parse().unwrap(), data)
}

fn route(name: &str, targets: &[&str]) -> StreamRoute {
    let targets = targets.iter().map(|target| target.parse().unwrap()).collect();
    StreamRoute::new(arn(name), format!("example/{name}").parse().unwrap(), targets)
}

fn ingress(routes: Vec<StreamRoute>) -> IngressSpec {
    let mut spec = IngressSpec::new("example/in".parse().unwrap(), routes);
    spec.startup = StartupPosition::TrimHorizon;
    spec
}

async fn kinesis_with(streams: &[(&str, usize)]) -> FakeKinesis {
    let kinesis = FakeKinesis::new();
    for (name, shards) in streams {
        kinesis.create_stream(&name.parse().unwrap(), *shards).await.unwrap();
    }
    kinesis
}

/// A router that echoes the spec's streams to the stream `out`.
fn echo(kinesis: &FakeKinesis, spec: IngressSpec) -> RouterBuilder {
    let client = Arc::new(kinesis.clone());
    let egress = EgressSpec::new("example/out".parse().unwrap(), "out".parse().unwrap());
    Router::builder(Arc::new(Echo))
        .ingress(Ingress::new(spec, client.clone()))
        .egress(egress, client)
        .clock(kinesis.clock())
}

/// Functions whose positions are kept there.
fn kept_in(functions: Arc<impl Functions>, checkpoints: &Arc<MemoryCheckpoints>) -> Stateless {
    let checkpoints = Arc::clone(checkpoints);
    Stateless::new(functions).checkpoints(move |_| Arc::clone(&checkpoints) as Arc<_>)
}

/// Runs a router until so many records of its ingresses are done, then stops it.
async fn run_until_done(router: Router, records: u64) {
    let (progress, shutdown) = (router.progress(), CancellationToken::new());
    let running = tokio::spawn(router.run(shutdown.clone()));
    while progress.counts().records_done < records {
        assert!(!running.is_finished(), "the router ended by itself: {:?}", running.await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// Payloads by partition key, in the order in which a reader gets them: shard by shard, parents first.
fn payloads(kinesis: &FakeKinesis, name: &str) -> BTreeMap<String, Vec<String>> {
    let mut by_key = BTreeMap::<String, Vec<String>>::new();
    for (_, record) in kinesis.records(&stream(name)) {
        let key = record.partition_key.unwrap().to_string();
        by_key.entry(key).or_default().push(String::from_utf8(record.data.to_vec()).unwrap());
    }
    by_key
}

/// Remembers every message that it gets.
#[derive(Debug, Default)]
struct Remember(Mutex<Vec<(StreamArn, Address, TypedValue)>>);

#[async_trait]
impl Functions for Remember {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        let messages = delivery.batch().messages();
        let messages = messages.map(|message| (message.stream().clone(), message.to_address(), message.to_value()));
        self.0.lock().unwrap().extend(messages);
        delivery.done();
        Ok(())
    }
}

impl Remember {
    /// `function/id=payload` of each message, as they came.
    fn lines(&self) -> Vec<String> {
        let line = |(_, to, value): &(StreamArn, Address, TypedValue)| {
            let payload = value.value.as_ref().map_or("".into(), |bytes| String::from_utf8_lossy(bytes));
            format!("{to}={payload}")
        };
        self.0.lock().unwrap().iter().map(line).collect()
    }
}

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

/// Addresses each record by the stream that it came from.
#[derive(Debug)]
struct ByStream;

impl Deserializer for ByStream {
    fn deserialize(
        &self,
        stream: &StreamArn,
        shard: &ShardId,
        record: &Record,
        out: &mut MessageCollector,
    ) -> Result<(), DeserializeError> {
        if record.data.as_ref() == b"bad" {
            return Err(DeserializeError::new("the payload says that it is bad"));
        }
        let to = Address { function: "example/streams".parse().unwrap(), id: stream.as_str().into() };
        out.push(to, TypedValue { typename: "example/Shard".parse().unwrap(), value: Some(shard.to_string().into()) });
        Ok(())
    }
}

fn custom(kinesis: &FakeKinesis, functions: Arc<impl Functions>) -> RouterBuilder {
    let spec = ingress(vec![route("orders", &["example/unused"])]);
    let ingress = Ingress::new(spec, Arc::new(kinesis.clone())).deserializer(Arc::new(ByStream));
    Router::builder(functions).ingress(ingress).clock(kinesis.clock())
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
    let to_orders =
        Arc::new(Route::new("example/in".parse().unwrap(), arn("orders"), &route("orders", &["example/a"])));
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
async fn a_position_does_not_move_before_the_egress_has_acknowledged() {
    let kinesis = kinesis_with(&[("orders", 1), ("out", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "1")).await.unwrap();
    kinesis.faults().fail_next(Operation::PutRecords, ErrorKind::AccessDenied);
    let checkpoints = Arc::new(MemoryCheckpoints::default());
    let spec = ingress(vec![route("orders", &["example/a"])]);
    let build = |spec: IngressSpec| {
        let client = Arc::new(kinesis.clone());
        let egress = EgressSpec::new("example/out".parse().unwrap(), "out".parse().unwrap());
        Router::builder(kept_in(Arc::new(Echo), &checkpoints))
            .ingress(Ingress::new(spec, client.clone()))
            .egress(egress, client)
            .clock(kinesis.clock())
            .build()
    };
    let error = build(spec.clone()).await.unwrap().run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, RunError::Egress(_)), "{error}");
    assert!(payloads(&kinesis, "out").is_empty());
    // The record was not done, so that the next start reads it again.
    run_until_done(build(spec).await.unwrap(), 1).await;
    assert_eq!(payloads(&kinesis, "out"), BTreeMap::from([("k".to_owned(), vec!["1".to_owned()])]));
}

/// Takes every delivery over and finishes it later, as remote functions do.
#[derive(Debug)]
struct Later(Duration);

#[async_trait]
impl Functions for Later {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        let (_, completion) = delivery.into_parts();
        let delay = self.0;
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            completion.done();
        });
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_what_is_in_hand() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "1")).await.unwrap();
    let run = async |delay| {
        let spec = ingress(vec![route("orders", &["example/a"])]);
        let router = Router::builder(Arc::new(Later(delay)))
            .ingress(Ingress::new(spec, Arc::new(kinesis.clone())))
            .clock(kinesis.clock())
            .drain(Duration::from_secs(30));
        let router = router.build().await.unwrap();
        let (progress, shutdown) = (router.progress(), CancellationToken::new());
        let running = tokio::spawn(router.run(shutdown.clone()));
        while progress.counts().messages < 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        shutdown.cancel();
        running.await.unwrap().unwrap();
        progress.counts().records_done
    };
    assert_eq!(run(Duration::from_secs(20)).await, 1, "what is in hand is waited for");
    assert_eq!(run(Duration::from_secs(40)).await, 0, "but not beyond the deadline");
}

/// Takes the first delivery, and is stuck with the second.
#[derive(Debug, Default)]
struct StuckAfterOne(AtomicBool);

#[async_trait]
impl Functions for StuckAfterOne {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        if self.0.swap(true, Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        delivery.done();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn functions_that_take_nothing_more_do_not_hold_up_stopping_for_ever() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    let checkpoints = Arc::new(MemoryCheckpoints::default());
    let spec = ingress(vec![route("orders", &["example/a"])]);
    let ingress = Ingress::new(spec, Arc::new(kinesis.clone()));
    let router = Router::builder(kept_in(Arc::new(StuckAfterOne::default()), &checkpoints))
        .ingress(ingress)
        .clock(kinesis.clock());
    let router = router.drain(Duration::from_secs(30)).build().await.unwrap();
    let (progress, shutdown) = (router.progress(), CancellationToken::new());
    let running = tokio::spawn(router.run(shutdown.clone()));
    let mut placements = Vec::new();
    for number in 1..=2 {
        placements.push(kinesis.put_record(&stream("orders"), record("k", number.to_string())).await.unwrap());
        while progress.counts().messages < number {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let stopped = tokio::time::Instant::now();
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(stopped.elapsed().as_secs(), 30, "one deadline for all that stopping has to do");
    // What was done is kept, and what was not is read again.
    let stored = checkpoints.get(&arn("orders")).unwrap();
    let position = stored.shards[&placements[0].shard];
    assert!(position.covers(Position::behind(placements[0].sequence_number)));
    assert!(!position.covers(Position::behind(placements[1].sequence_number)));
}

#[tokio::test(start_paused = true)]
async fn functions_that_fail_end_the_run() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "1")).await.unwrap();
    let spec = ingress(vec![route("orders", &["example/a"])]);
    // Echo without an egress has nowhere to send to.
    let router =
        Router::builder(Arc::new(Echo)).ingress(Ingress::new(spec, Arc::new(kinesis.clone()))).clock(kinesis.clock());
    let error = router.build().await.unwrap().run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, RunError::Functions(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_stream_is_told_before_anything_is_read() {
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
async fn counts_and_latencies_are_told() {
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

/// Takes deliveries and forgets them.
#[derive(Debug)]
struct Forgetful;

#[async_trait]
impl Functions for Forgetful {
    async fn deliver(&self, _: Delivery) -> Result<(), FunctionError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_dropped_ends_the_run_instead_of_holding_its_shard_for_ever() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "one")).await.unwrap();
    let ingress = Ingress::new(ingress(vec![route("orders", &["example/a"])]), Arc::new(kinesis.clone()));
    let router = Router::builder(Arc::new(Forgetful)).ingress(ingress).clock(kinesis.clock()).build().await.unwrap();
    let progress = router.progress();
    let ended = router.run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(&ended, RunError::Dropped { stream, .. } if *stream == arn("orders")), "{ended:?}");
    assert_eq!(progress.counts().records_done, 0);
}

/// Sends each message to the stream that its payload names, or to the egress' own for the payload `-`.
#[derive(Debug)]
struct ByPayload;

#[async_trait]
impl Functions for ByPayload {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        let egress = "example/out".parse().unwrap();
        let mut receipts = Vec::new();
        for message in delivery.batch().messages() {
            let payload = message.payload().unwrap();
            let named = std::str::from_utf8(payload).unwrap();
            let stream: Option<StreamRef> = (named != "-").then(|| named.parse().unwrap());
            let record = PutRecord::new(message.partition_key().unwrap(), payload.clone());
            let sent = async {
                delivery.egresses().check(&egress, stream.as_ref(), &record)?;
                delivery.egresses().send_to(&egress, stream.as_ref(), vec![record]).await
            };
            receipts.push(sent.await.map_err(|error| FunctionError::new("cannot send").because(error))?);
        }
        delivery.done_after(receipts);
        Ok(())
    }
}

/// What `names` came to when they went through an egress, by stream; or why the run ended.
async fn sent_to(names: &[&str], egress: EgressSpec) -> Result<Vec<(&'static str, usize)>, RunError> {
    let streams = ["orders", "out", "other", "dead"];
    let kinesis = kinesis_with(&streams.map(|name| (name, 1))).await;
    for name in names {
        kinesis.put_record(&stream("orders"), record("k", name.to_string())).await.unwrap();
    }
    let client = Arc::new(kinesis.clone());
    let router = Router::builder(Arc::new(ByPayload))
        .ingress(Ingress::new(ingress(vec![route("orders", &["example/a"])]), client.clone()))
        .egress(egress, client)
        .clock(kinesis.clock())
        .build()
        .await
        .unwrap();
    let (progress, shutdown) = (router.progress(), CancellationToken::new());
    let running = tokio::spawn(router.run(shutdown.clone()));
    while progress.counts().records_done < names.len() as u64 && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shutdown.cancel();
    running.await.unwrap()?;
    let counts = streams[1..].iter().map(|name| (*name, kinesis.records(&stream(name)).len()));
    Ok(counts.filter(|(_, records)| *records > 0).collect())
}

fn out() -> EgressSpec {
    EgressSpec::new("example/out".parse().unwrap(), "out".parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_record_goes_to_the_stream_that_it_names_or_else_to_that_of_its_egress() {
    let other = arn("other");
    let went = sent_to(&["-", "other", other.as_str(), "out"], out()).await.unwrap();
    assert_eq!(went, [("out", 2), ("other", 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_egress_does_not_allow_is_dealt_with_as_it_says() {
    let mut spec = out();
    spec.allowed_streams = Some(Vec::new());
    let refused = sent_to(&["-", "other"], spec.clone()).await.unwrap_err();
    let RunError::Functions(error) = &refused else { panic!("{refused:?}") };
    let cause = std::error::Error::source(error).unwrap().to_string();
    assert!(cause.contains("allowedStreams of egress example/out leave out other"), "{cause}");

    spec.failed_records.given_up = InvalidRecordHandling::Skip { log: LogLevel::Debug };
    assert_eq!(sent_to(&["-", "other", "-"], spec.clone()).await.unwrap(), [("out", 2)]);

    spec.failed_records.given_up = InvalidRecordHandling::DeadLetter { stream: stream("dead"), log: LogLevel::Debug };
    assert_eq!(sent_to(&["-", "other", "-"], spec).await.unwrap(), [("out", 2), ("dead", 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_egress_without_a_stream_needs_records_that_name_one() {
    let mut spec = out();
    spec.stream_name = None;
    assert_eq!(sent_to(&["other", "out"], spec.clone()).await.unwrap(), [("out", 1), ("other", 1)]);
    let refused = sent_to(&["-"], spec).await.unwrap_err();
    let RunError::Functions(error) = &refused else { panic!("{refused:?}") };
    let cause = std::error::Error::source(error).unwrap().to_string();
    assert!(cause.contains("names no stream either"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_any_length_ends_when_all_is_done() {
    let kinesis = kinesis_with(&[("orders", 1), ("out", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "1")).await.unwrap();
    let router = echo(&kinesis, ingress(vec![route("orders", &["example/a"])])).drain(Duration::MAX);
    run_until_done(router.build().await.unwrap(), 1).await;
    assert_eq!(payloads(&kinesis, "out")["k"], ["1"]);
}
