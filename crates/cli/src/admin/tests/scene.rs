//! A run in memory, with functions in process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use statefun_kinesis_client::{KinesisAdmin, KinesisClient, KinesisClientExt};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::{
    BoxError, Context, Function, Message, Registry, StateSpec, StatefulFunctions, ValueSpec,
};
use statefun_kinesis_router::{Handler, Ingress, Progress, Router, RunError, Unfinished};
use statefun_kinesis_spec::{ClientSpec, EgressSpec, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_store::MemoryDisk;
use statefun_kinesis_types::{AwsCredentials, AwsRegion, PutRecord, Secret, StreamArn};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{admin::Sources, backend::Backend, clients::AwsClients};

/// Counts messages and sends the count to an egress. Fails at the first message of the address `fail`.
struct Counter {
    total: ValueSpec<i64>,
    failed: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Function for Counter {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.total).into()]
    }

    async fn handle(&self, context: &mut Context, _: &Message) -> Result<(), BoxError> {
        if &*context.self_address().id == "fail" && !self.failed.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return Err("not this time".into());
        }
        let total = context.get(&self.total)?.unwrap_or(0) + 1;
        context.set(&self.total, &total)?;
        let key = context.self_address().id.parse()?;
        context.egress("example/results".parse()?, PutRecord::new(key, total.to_string()));
        Ok(())
    }
}

/// Sends a message to the counter with the same id.
struct Audit;

#[async_trait]
impl Function for Audit {
    async fn handle(&self, context: &mut Context, _: &Message) -> Result<(), BoxError> {
        let mut counter = context.self_address().clone();
        counter.function = "example/counter".parse()?;
        context.send(counter, &true);
        Ok(())
    }
}

pub(super) struct Scene {
    kinesis: FakeKinesis,
    orders: StreamArn,
    progress: Arc<Progress>,
    sources: Option<Sources>,
    shutdown: CancellationToken,
    running: Option<JoinHandle<Result<Unfinished, RunError>>>,
}

/// A client of AWS with these credentials, which has tried to load them. No run uses it, and no server listens at its
/// address.
async fn add_client(aws: &AwsClients, region: &str, credentials: &AwsCredentials) {
    let region = AwsRegion::Specific { id: region.to_owned() };
    let client = aws.get(&region, credentials, &ClientSpec::default()).await.unwrap();
    client.describe_stream_summary(&"orders".parse().unwrap()).await.unwrap_err();
}

/// AWS with these clients, each in its own region.
pub(super) async fn aws_with(clients: &[(&str, AwsCredentials)]) -> Backend {
    let aws = AwsClients::new(Some("http://127.0.0.1:9".to_owned()));
    for (region, credentials) in clients {
        add_client(&aws, region, credentials).await;
    }
    Backend::Aws(aws)
}

/// AWS with keys that do not expire.
async fn aws() -> Backend {
    let keys = AwsCredentials::Basic {
        access_key_id: Secret::new("AKIDBASIC"),
        secret_access_key: Secret::new("hunter2"),
        session_token: None,
    };
    aws_with(&[("us-east-1", keys)]).await
}

impl Scene {
    /// Starts the run, with a checkpoint on this disk if there is one.
    pub(super) async fn start(disk: Option<&MemoryDisk>) -> Self {
        Self::start_with(disk, aws().await).await
    }

    /// The same, with these clients of AWS to look at.
    pub(super) async fn start_with(disk: Option<&MemoryDisk>, aws: Backend) -> Self {
        let kinesis = FakeKinesis::new();
        for name in ["orders", "results"] {
            kinesis.create_stream(&name.parse().unwrap(), 1).await.unwrap();
        }
        let counter = Counter { total: ValueSpec::new("total"), failed: false.into() };
        let registry = Registry::new()
            .function("example/counter".parse().unwrap(), counter)
            .function("example/audit".parse().unwrap(), Audit);
        let mut functions = StatefulFunctions::builder().in_process(registry);
        if let Some(disk) = disk {
            functions = functions.store(Arc::new(disk.open().unwrap()));
        }
        let functions = Arc::new(functions.build().await.unwrap());
        let orders: StreamArn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders".parse().unwrap();
        let targets = ["example/counter", "example/audit"].map(|target| target.parse().unwrap());
        let route = StreamRoute::new(orders.clone(), "example/Order".parse().unwrap(), targets.to_vec());
        let mut ingress = IngressSpec::new("example/orders".parse().unwrap(), vec![route]);
        ingress.startup = StartupPosition::TrimHorizon;
        let egress = EgressSpec::new("example/results".parse().unwrap(), "results".parse().unwrap());
        let client = Arc::new(kinesis.clone());
        let ingress = Ingress::new(ingress, client.clone());
        let monitored = Arc::downgrade(&functions);
        let router = Router::builder(Handler::stateful(functions))
            .ingress(ingress)
            .egress(egress, client)
            .clock(kinesis.clock())
            .build()
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let sources = Some(Sources::new(&router, monitored, kinesis.clock(), Arc::new(aws)));
        let progress = router.progress();
        let running = Some(tokio::spawn(router.run(shutdown.clone())));
        Self { kinesis, orders, progress, sources, shutdown, running }
    }

    /// The sources for the endpoint. May be taken once.
    pub(super) fn sources(&mut self) -> Sources {
        self.sources.take().expect("the sources are taken once")
    }

    pub(super) async fn put(&self, keys: &[&str]) {
        for key in keys {
            let record = PutRecord::new(key.parse().unwrap(), "an order");
            self.kinesis.put_record(&self.orders.clone().into(), record).await.unwrap();
        }
    }

    pub(super) async fn until_done(&self, records: u64) {
        while self.progress.counts().records_done < records {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(super) async fn stop(&mut self) {
        self.shutdown.cancel();
        self.running.take().expect("the run is stopped once").await.unwrap().unwrap();
    }
}
