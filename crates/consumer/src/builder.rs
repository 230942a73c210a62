use std::sync::Arc;

use statefun_kinesis_client::{
    CheckpointStore, Clock, FanOutClient, InstantExt as _, KinesisClient, PositionStore, RecordDistribution,
    StreamSummary, SystemClock,
};
use statefun_kinesis_types::{InvalidRecordHandling, StartupPosition, StreamRef};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Consumer, ConsumerError, FanOut, MemoryCheckpoints, Metrics, Positions, Settings,
    context::ReadContext,
    hold::MovedPositions,
    invalid_handling::InvalidRecords,
    metrics::StreamCounters,
    prefetch::{Amount, Prefetch},
    saver::Saver,
    startup::{DeadLetterRoutes, Startup},
    stream::Stream,
    stream_client::StreamClient,
    stream_reader::{Source, StreamReader},
    supervisor::Parts,
};

/// Configures and starts a [`Consumer`]; see [`Consumer::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ConsumerBuilder {
    client: Arc<dyn KinesisClient>,
    streams: Vec<StreamRef>,
    start: StartupPosition,
    checkpoints: Arc<dyn CheckpointStore>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    fan_out: Option<(Arc<dyn FanOutClient>, FanOut)>,
    invalid: InvalidRecordHandling,
    invalid_of: Vec<(StreamRef, InvalidRecordHandling)>,
    dead_letters: Option<Arc<dyn KinesisClient>>,
    shutdown: CancellationToken,
}

// Here and not beside the type, so that imports have one direction: the builder knows the consumer.
impl Consumer {
    /// Starts to configure a consumer that reads through `client`.
    pub fn builder(client: Arc<dyn KinesisClient>) -> ConsumerBuilder {
        ConsumerBuilder::new(client)
    }
}

impl ConsumerBuilder {
    fn new(client: Arc<dyn KinesisClient>) -> Self {
        Self {
            client,
            streams: Vec::new(),
            start: StartupPosition::default(),
            checkpoints: Arc::new(MemoryCheckpoints::new()),
            clock: Arc::new(SystemClock),
            settings: Settings::default(),
            fan_out: None,
            invalid: InvalidRecordHandling::default(),
            invalid_of: Vec::new(),
            dead_letters: None,
            shutdown: CancellationToken::new(),
        }
    }

    /// Adds a stream. One that is named twice, such as by name and by ARN, is read once.
    pub fn stream(mut self, stream: impl Into<StreamRef>) -> Self {
        self.streams.push(stream.into());
        self
    }

    /// Where reading starts when no position is stored for a stream. Default: latest.
    pub fn start(mut self, start: StartupPosition) -> Self {
        self.start = start;
        self
    }

    /// Where positions are saved. Default: in memory, so that each process reads from the startup position.
    pub fn checkpoints(mut self, checkpoints: Arc<dyn CheckpointStore>) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// The source of the time of day, to which `latest` is pinned. Default: the system's clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How fast to read, how far ahead, and how long to wait. Default: [`Settings::default`].
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Reads by enhanced fan-out, through this client: the service pushes records. Default: polling.
    ///
    /// A stream that has its maximum of consumers already is polled instead. The same happens when its consumer was removed
    /// and cannot be registered again. Both are logged, and [`StreamMetrics::mode`](crate::StreamMetrics::mode) shows
    /// them. The registration is retried about once a minute, and records are pushed as soon as it succeeds.
    pub fn fan_out(mut self, client: Arc<dyn FanOutClient>, fan_out: FanOut) -> Self {
        self.fan_out = Some((client, fan_out));
        self
    }

    /// How to handle invalid records: corrupt aggregates, and records that the caller [rejects](crate::Batch::reject).
    /// Default: they end reading with an error.
    ///
    /// A dead letter is one record of the dead-letter stream, under the partition key of the invalid one: one line of JSON
    /// with the original bytes, the reason and the origin `ingress`. The crate `statefun-kinesis-dead-letter` documents it
    /// and reads it. Its reason is an [`InvalidKind`](crate::InvalidKind).
    ///
    /// A payload that does not fit is cut into parts, one record each, in order. The position of an invalid record moves
    /// when all of its parts are stored; after a crash in between, they may be stored twice.
    pub fn invalid_records(mut self, handling: InvalidRecordHandling) -> Self {
        self.invalid = handling;
        self
    }

    /// How to handle invalid records of one stream, instead of what holds for all. `stream` is named as in
    /// [`stream`](Self::stream).
    pub fn invalid_records_of(mut self, stream: impl Into<StreamRef>, handling: InvalidRecordHandling) -> Self {
        self.invalid_of.push((stream.into(), handling));
        self
    }

    /// Writes dead letters through this client. Default: the client that reads.
    pub fn dead_letters(mut self, client: Arc<dyn KinesisClient>) -> Self {
        self.dead_letters = Some(client);
        self
    }

    /// Stops reading when the token is cancelled. The consumer then gives the batches that it has read already, and `None`.
    pub fn shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Finds the streams and their shards, stores where reading starts, and starts reading.
    ///
    /// Waits for streams that are CREATING and for an unavailable service, up to
    /// [`startup_timeout`](Settings::startup_timeout). A future that is dropped before its end may have stored where
    /// reading starts, and nothing else. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When no stream is named; when a stream does not exist, is not permitted, or is not usable in time; when positions
    /// cannot be read or stored; when the shutdown token is cancelled.
    pub async fn build(self) -> Result<Consumer, ConsumerError> {
        let checkpoints = Arc::clone(&self.checkpoints);
        let (consumer, _) = self.prepare_or_stop(PositionHandling::ByConsumer(checkpoints)).await?;
        Ok(consumer)
    }

    /// Like [`build`](Self::build), for a program that makes positions durable itself, in one commit with the results of
    /// the records. The consumer stores in `positions` where reading of each stream begins, and saves nothing afterwards:
    /// the program takes the positions that moved from the returned [`Positions`]. [`checkpoints`](Self::checkpoints) is
    /// not used.
    ///
    /// # Errors
    ///
    /// As those of [`build`](Self::build).
    pub async fn build_with_positions(
        self,
        positions: Arc<dyn PositionStore>,
    ) -> Result<(Consumer, Positions), ConsumerError> {
        self.prepare_or_stop(PositionHandling::ByProgram(positions)).await
    }

    async fn prepare_or_stop(self, positions: PositionHandling) -> Result<(Consumer, Positions), ConsumerError> {
        let shutdown = self.shutdown.clone();
        shutdown.run_until_cancelled(self.prepare(positions)).await.unwrap_or(Err(ConsumerError::ShutDown))
    }

    async fn prepare(self, positions: PositionHandling) -> Result<(Consumer, Positions), ConsumerError> {
        let Self { client, streams: wanted, start, clock, settings, shutdown, .. } = self;
        let settings = settings.in_range();
        let mut random = settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let deadline = Instant::now().saturating_add(settings.startup_timeout);
        let until_deadline =
            |client: &_, random| StreamClient::new(Arc::clone(client), settings.backoff, random).until(deadline);
        let mut startup = Startup {
            client: until_deadline(&client, random.fork()),
            settings: &settings,
            random: random.fork(),
            positions: positions.store(),
            // Before any call: `latest` includes the records that arrive while streams are being found.
            now: clock.now(),
            start,
        };
        if wanted.is_empty() {
            return Err(ConsumerError::NoStreams);
        }
        let mut found: Vec<(StreamRef, StreamSummary)> = Vec::new();
        for reference in wanted {
            let summary = startup.wait_until_usable(&reference).await?;
            if found.iter().all(|(_, known)| known.arn != summary.arn) {
                found.push((reference, summary));
            }
        }
        let dead_letter_client = self.dead_letters.unwrap_or_else(|| Arc::clone(&client));
        let mut routes = DeadLetterRoutes::new(until_deadline(&dead_letter_client, random.fork()));

        let (mut sources, mut graphs) = (Vec::new(), Vec::new());
        let moved = Arc::<MovedPositions>::default();
        for (index, (reference, summary)) in found.iter().enumerate() {
            let stream = Arc::new(Stream {
                index,
                reference: reference.clone(),
                arn: summary.arn.clone(),
                created: summary.created,
                retention: summary.retention,
                keys_decide: summary.distribution != RecordDistribution::Auto,
            });
            let of_stream = |(named, _): &&(StreamRef, _)| {
                named == reference || named.arn().map_or(named.name() == summary.name, |arn| *arn == summary.arn)
            };
            let handling = self.invalid_of.iter().rfind(of_stream).map_or(&self.invalid, |(_, handling)| handling);
            let dead_letters = match handling {
                InvalidRecordHandling::DeadLetter { stream, .. } => Some(routes.add(stream, &found).await?),
                InvalidRecordHandling::Fail | InvalidRecordHandling::Skip { .. } => None,
            };
            let counters = StreamCounters::new(stream.arn.clone());
            let registration = match &self.fan_out {
                Some((client, fan_out)) => Some(startup.register(&counters, &stream, client, fan_out).await?),
                None => None,
            };
            let invalid = InvalidRecords::new(stream.arn.clone(), Arc::clone(&counters), handling, dead_letters);
            graphs.push(startup.graph(&stream, summary).await?);
            sources.push(Source { stream, counters, invalid, registration });
        }

        let context = Arc::new(ReadContext {
            client,
            clock,
            prefetch: Prefetch::new(Amount { records: settings.prefetch_records, bytes: settings.prefetch_bytes }),
            moved: Arc::clone(&moved),
            stop: shutdown.child_token(),
            settings: settings.clone(),
        });
        let (interval, backoff) = (settings.checkpoint_interval, settings.backoff);
        let streams: Vec<Arc<Stream>> = sources.iter().map(|source| Arc::clone(&source.stream)).collect();
        let taken = Positions::new(streams.clone(), Arc::clone(&moved));
        let saver = match positions {
            PositionHandling::ByConsumer(store) => {
                Some(Saver::new(store, streams, moved, interval, backoff, random.fork()))
            }
            PositionHandling::ByProgram(_) => None,
        };
        let (output, batches) = mpsc::unbounded_channel();
        let dead_letters = routes.into_writer(dead_letter_client, backoff, random.fork());
        let registrations = sources.iter().filter_map(|source| source.registration.clone()).collect();
        let metrics = Metrics::new(sources.iter().map(|source| Arc::clone(&source.counters)));
        let arns = sources.iter().map(|source| source.stream.arn.clone()).collect();
        let reader = |(source, graph)| {
            StreamReader::new(Arc::clone(&context), source, graph, output.clone(), random.fork()).run()
        };
        let readers = sources.into_iter().zip(graphs).map(reader).collect();
        let parts = Parts { readers, saver, output, metrics, dead_letters, registrations, random: random.fork() };
        Ok((Consumer::start(context.stop.clone(), arns, parts, batches), taken))
    }
}

/// How positions become durable, and the store that this takes.
#[derive(Debug)]
enum PositionHandling {
    /// The consumer saves them.
    ByConsumer(Arc<dyn CheckpointStore>),
    /// The program takes them; the consumer stores only where reading begins.
    ByProgram(Arc<dyn PositionStore>),
}

impl PositionHandling {
    fn store(&self) -> &dyn PositionStore {
        match self {
            Self::ByConsumer(store) => &**store,
            Self::ByProgram(store) => &**store,
        }
    }
}
