use std::{sync::Arc, time::Duration};

use statefun_kinesis_client::{Clock, KinesisClient, SystemClock};
use statefun_kinesis_consumer::{Batch, CheckpointStore, Consumer, ConsumerError, MemoryCheckpoints};
use statefun_kinesis_spec::{EgressSpec, IngressSpec};
use statefun_kinesis_types::{Record, ShardId, StreamArn, TypeName};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    BuildError, Deserializer, Egresses, Functions, InvalidRecord, MessageCollector, Progress, RoutedBatch,
    RoutingTable, RunError, error::RecordError, functions::Delivery, run::Run,
};

/// An ingress with the client that reads it.
#[derive(Debug)]
pub struct Ingress {
    spec: IngressSpec,
    client: Arc<dyn KinesisClient>,
    checkpoints: Arc<dyn CheckpointStore>,
    deserializer: Option<Arc<dyn Deserializer>>,
    settings: statefun_kinesis_consumer::Settings,
}

impl Ingress {
    /// An ingress whose positions are kept in memory, and whose records are routed as its module file says.
    pub fn new(spec: IngressSpec, client: Arc<dyn KinesisClient>) -> Self {
        Self {
            spec,
            client,
            checkpoints: Arc::new(MemoryCheckpoints::default()),
            deserializer: None,
            settings: statefun_kinesis_consumer::Settings::default(),
        }
    }

    /// Keeps positions there.
    #[must_use]
    pub fn checkpoints(mut self, store: Arc<dyn CheckpointStore>) -> Self {
        self.checkpoints = store;
        self
    }

    /// Makes messages of records this way, in place of value type and targets of the module file.
    #[must_use]
    pub fn deserializer(mut self, deserializer: Arc<dyn Deserializer>) -> Self {
        self.deserializer = Some(deserializer);
        self
    }

    /// Reads this way: intervals, bounds, retries.
    #[must_use]
    pub fn settings(mut self, settings: statefun_kinesis_consumer::Settings) -> Self {
        self.settings = settings;
        self
    }
}

/// What is needed to build a [`Router`].
#[derive(Debug)]
pub struct RouterBuilder {
    functions: Arc<dyn Functions>,
    ingresses: Vec<Ingress>,
    egresses: Vec<(EgressSpec, Arc<dyn KinesisClient>)>,
    clock: Arc<dyn Clock>,
    drain: Duration,
}

impl RouterBuilder {
    /// How long a stopping router waits for what is in hand, unless told otherwise.
    pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

    /// Reads this ingress too.
    #[must_use]
    pub fn ingress(mut self, ingress: Ingress) -> Self {
        self.ingresses.push(ingress);
        self
    }

    /// Offers this egress to functions.
    #[must_use]
    pub fn egress(mut self, spec: EgressSpec, client: Arc<dyn KinesisClient>) -> Self {
        self.egresses.push((spec, client));
        self
    }

    /// Takes the time of day from there; the machine's clock otherwise.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How long a stopping router waits for what is in hand. What is not done by then counts as not processed.
    #[must_use]
    pub fn drain(mut self, deadline: Duration) -> Self {
        self.drain = deadline;
        self
    }

    /// Connects to all streams. Reading starts with [`Router::run`], but a `latest` startup position means now.
    ///
    /// # Errors
    ///
    /// When a stream is not there or may not be used. Nothing was read or written then.
    pub async fn build(self) -> Result<Router, BuildError> {
        let mut egresses = Egresses::new();
        for (spec, client) in self.egresses {
            let connected = egresses.connect(&spec, client).await;
            connected.map_err(|source| BuildError::Egress { egress: spec.id.clone(), source })?;
        }
        let stop_reading = CancellationToken::new();
        let mut lanes = Vec::with_capacity(self.ingresses.len());
        for ingress in self.ingresses {
            let lane = Lane::open(ingress, &self.clock, &stop_reading).await;
            lanes.push(lane.map_err(|(ingress, source)| BuildError::Ingress { ingress, source })?);
        }
        let run = Arc::new(Run::new(egresses, self.clock, stop_reading));
        Ok(Router { functions: self.functions, lanes, run, drain: self.drain })
    }
}

/// The engine: it reads ingresses, routes their records to functions, and writes what these send to egresses.
#[derive(Debug)]
pub struct Router {
    functions: Arc<dyn Functions>,
    lanes: Vec<Lane>,
    run: Arc<Run>,
    drain: Duration,
}

impl Router {
    /// A router for these functions.
    pub fn builder(functions: Arc<dyn Functions>) -> RouterBuilder {
        RouterBuilder {
            functions,
            ingresses: Vec::new(),
            egresses: Vec::new(),
            clock: Arc::new(SystemClock),
            drain: RouterBuilder::DEFAULT_DRAIN,
        }
    }

    /// What the router has done so far; it can be looked at while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.run.progress)
    }

    /// Runs until `shutdown` is cancelled, or until every stream has ended.
    ///
    /// Stopping means: reading ends, what is in hand is finished and flushed within the deadline, positions are saved.
    /// What is not finished by then is read again after the next start. Dropping the future ends everything at once.
    ///
    /// # Errors
    ///
    /// What made going on impossible, first come. What was in hand and did not depend on it was finished.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self { functions, lanes, run, drain } = self;
        let lanes = futures::future::join_all(lanes.into_iter().map(|lane| lane.drive(&*functions, &run)));
        tokio::pin!(lanes);
        let mut ended = None;
        tokio::select! {
            lanes = &mut lanes => ended = Some(lanes),
            () = shutdown.cancelled() => run.stop_reading.cancel(),
            () = run.stop_reading.cancelled() => {}
        }
        let deadline = Instant::now() + drain;
        let lanes = match ended {
            Some(lanes) => lanes,
            None => match timeout_at(deadline, &mut lanes).await {
                Ok(lanes) => lanes,
                Err(_) => {
                    // Functions take nothing more: what they were offered last counts as not processed.
                    run.give_up.cancel();
                    lanes.await
                }
            },
        };
        run.in_hand.close();
        if timeout_at(deadline, run.in_hand.wait()).await.is_err() {
            warn!(deliveries = run.in_hand.len(), "not everything in hand was finished in time; it will be read again");
        }
        if timeout_at(deadline, run.egresses.close()).await.is_err() {
            warn!("not every record reached its egress in time; what they came of will be read again");
        }
        for lane in lanes {
            if let Err(source) = lane.consumer.close().await {
                run.fail(RunError::Ingress { ingress: lane.ingress, source });
            }
        }
        run.take_error().map_or(Ok(()), Err)
    }
}

/// An ingress on its way: its consumer and its routes.
#[derive(Debug)]
struct Lane {
    ingress: TypeName,
    consumer: Consumer,
    routes: RoutingTable,
    deserializer: Option<Arc<dyn Deserializer>>,
}

impl Lane {
    async fn open(
        ingress: Ingress,
        clock: &Arc<dyn Clock>,
        stop_reading: &CancellationToken,
    ) -> Result<Self, (TypeName, ConsumerError)> {
        let mut builder = Consumer::builder(ingress.client)
            .start(ingress.spec.startup)
            .checkpoints(ingress.checkpoints)
            .clock(Arc::clone(clock))
            .settings(ingress.settings)
            .shutdown(stop_reading.clone());
        for stream in &ingress.spec.streams {
            builder = builder.stream(stream.stream_arn.clone());
        }
        let consumer = builder.build().await.map_err(|error| (ingress.spec.id.clone(), error))?;
        let routes = RoutingTable::new(&ingress.spec);
        Ok(Self { ingress: ingress.spec.id, consumer, routes, deserializer: ingress.deserializer })
    }

    /// Reads until there is nothing more to read, and gives itself back so that its positions can be saved.
    async fn drive(mut self, functions: &dyn Functions, run: &Arc<Run>) -> Self {
        while let Some(read) = self.consumer.next().await
            && !run.give_up.is_cancelled()
        {
            let delivered = match read {
                Ok(batch) => self.deliver(batch, functions, run).await,
                Err(source) => Err(RunError::Ingress { ingress: self.ingress.clone(), source }),
            };
            if let Err(error) = delivered {
                run.fail(error);
                break;
            }
        }
        self
    }

    async fn deliver(&self, batch: Batch, functions: &dyn Functions, run: &Arc<Run>) -> Result<(), RunError> {
        let (origin, records, acknowledgement) = batch.into_parts();
        let bytes = records.iter().map(|record| record.data.len() as u64).sum();
        run.progress.read(records.len() as u64, bytes);
        let routed = self.make_messages(origin.stream().clone(), origin.shard().clone(), records)?;
        run.progress.routed(routed.message_count() as u64);
        let delivery = Delivery::new(routed, acknowledgement, Arc::clone(run));
        tokio::select! {
            delivered = functions.deliver(delivery) => delivered.map_err(RunError::Functions),
            () = run.give_up.cancelled() => Ok(()),
        }
    }

    fn make_messages(&self, stream: StreamArn, shard: ShardId, records: Vec<Record>) -> Result<RoutedBatch, RunError> {
        let invalid = |stream: StreamArn, shard, record: &Record, source| {
            let sequence_number = record.sequence_number;
            RunError::InvalidRecord(Box::new(RecordError { stream, shard, sequence_number, source }))
        };
        let Some(deserializer) = &self.deserializer else {
            let Some(route) = self.routes.get(&stream) else {
                return Err(RunError::NoRoute { ingress: self.ingress.clone(), stream });
            };
            return RoutedBatch::route(Arc::clone(route), shard.clone(), records).map_err(|keyless| {
                let source = InvalidRecord::new("it has no partition key, and so no address");
                invalid(stream, shard, &keyless, source)
            });
        };
        let mut messages = MessageCollector::default();
        for (index, record) in records.iter().enumerate() {
            if let Err(source) = deserializer.deserialize(&stream, &shard, record, messages.at_record(index)) {
                return Err(invalid(stream, shard, record, source));
            }
        }
        Ok(RoutedBatch::deserialized(self.ingress.clone(), stream, shard, records, messages))
    }
}
