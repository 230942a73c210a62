//! Streams, routes and functions of the tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use statefun_kinesis_client::KinesisAdmin;
use statefun_kinesis_consumer::MemoryCheckpoints;
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_module::{EgressSpec, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_router::{
    Delivery, DeserializeError, Deserializer, Echo, FunctionError, Functions, Ingress, MessageCollector, Router,
    RouterBuilder, Stateless,
};
use statefun_kinesis_types::{Address, PutRecord, Record, ShardId, StreamArn, StreamRef, TypedValue};
use tokio_util::sync::CancellationToken;

pub(crate) fn arn(name: &str) -> StreamArn {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{name}").parse().unwrap()
}

pub(crate) fn stream(name: &str) -> StreamRef {
    arn(name).into()
}

pub(crate) fn record(key: &str, data: impl Into<Bytes>) -> PutRecord {
    PutRecord::new(key.parse().unwrap(), data)
}

pub(crate) fn route(name: &str, targets: &[&str]) -> StreamRoute {
    let targets = targets.iter().map(|target| target.parse().unwrap()).collect();
    StreamRoute::new(arn(name), format!("example/{name}").parse().unwrap(), targets)
}

pub(crate) fn ingress(routes: Vec<StreamRoute>) -> IngressSpec {
    let mut spec = IngressSpec::new("example/in".parse().unwrap(), routes);
    spec.startup = StartupPosition::TrimHorizon;
    spec
}

pub(crate) async fn kinesis_with(streams: &[(&str, usize)]) -> FakeKinesis {
    let kinesis = FakeKinesis::new();
    for (name, shards) in streams {
        kinesis.create_stream(&name.parse().unwrap(), *shards).await.unwrap();
    }
    kinesis
}

/// A router that echoes the spec's streams to the stream `out`.
pub(crate) fn echo(kinesis: &FakeKinesis, spec: IngressSpec) -> RouterBuilder {
    let client = Arc::new(kinesis.clone());
    let egress = EgressSpec::new("example/out".parse().unwrap(), "out".parse().unwrap());
    Router::builder(Arc::new(Echo))
        .ingress(Ingress::new(spec, client.clone()))
        .egress(egress, client)
        .clock(kinesis.clock())
}

/// Functions whose positions are kept there.
pub(crate) fn kept_in(functions: Arc<impl Functions>, checkpoints: &Arc<MemoryCheckpoints>) -> Stateless {
    let checkpoints = Arc::clone(checkpoints);
    Stateless::new(functions).checkpoints(move |_| Arc::clone(&checkpoints) as Arc<_>)
}

/// Runs a router until this many records of its ingresses are done, then stops it.
pub(crate) async fn run_until_done(router: Router, records: u64) {
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
pub(crate) fn payloads(kinesis: &FakeKinesis, name: &str) -> BTreeMap<String, Vec<String>> {
    let mut by_key = BTreeMap::<String, Vec<String>>::new();
    for (_, record) in kinesis.records(&stream(name)) {
        let key = record.partition_key.unwrap().to_string();
        by_key.entry(key).or_default().push(String::from_utf8(record.data.to_vec()).unwrap());
    }
    by_key
}

/// Remembers every message that it gets.
#[derive(Debug, Default)]
pub(crate) struct Remember(pub(crate) Mutex<Vec<(StreamArn, Address, TypedValue)>>);

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
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |(_, to, value): &(StreamArn, Address, TypedValue)| {
            let payload = value.value.as_ref().map_or("".into(), |bytes| String::from_utf8_lossy(bytes));
            format!("{to}={payload}")
        };
        self.0.lock().unwrap().iter().map(line).collect()
    }
}

/// Addresses each record by the stream that it came from.
#[derive(Debug)]
pub(crate) struct ByStream;

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

pub(crate) fn custom(kinesis: &FakeKinesis, functions: Arc<impl Functions>) -> RouterBuilder {
    let spec = ingress(vec![route("orders", &["example/unused"])]);
    let ingress = Ingress::new(spec, Arc::new(kinesis.clone())).deserializer(Arc::new(ByStream));
    Router::builder(functions).ingress(ingress).clock(kinesis.clock())
}

pub(crate) fn out() -> EgressSpec {
    EgressSpec::new("example/out".parse().unwrap(), "out".parse().unwrap())
}
