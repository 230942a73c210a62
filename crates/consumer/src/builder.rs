use std::sync::Arc;

use statefun_kinesis_client::{
    Backoff, Clock, Error, ErrorKind, FanOutClient, InstantExt as _, KinesisClient, RecordDistribution, ShardFilter,
    StreamStatus, StreamSummary, SystemClock,
};
use statefun_kinesis_types::{
    InvalidRecordHandling, Shard, StartPosition, StartupPosition, StreamArn, StreamRef, Timestamp,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    CheckpointStore, Consumer, ConsumerError, FanOut, MemoryCheckpoints, Metrics, PositionStore, Positions, Settings,
    ShardPosition, StreamCheckpoint,
    ack::Moved,
    consumer::Parts,
    dead_letter::{DeadLetterWriter, Letter, Target},
    fan_out::Enrolment,
    graph::ShardGraph,
    invalid::{DeadLetters, InvalidRecords},
    metrics::StreamCounters,
    prefetch::{Amount, Prefetch},
    saver::Saver,
    service::{Service, Stream},
    stream::{Shared, Source, StreamReader},
};

/// What a [`Consumer`] is made of; see [`Consumer::builder`].
#[derive(Debug)]
#[must_use = "a builder reads nothing until it is built"]
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

impl ConsumerBuilder {
    pub(crate) fn new(client: Arc<dyn KinesisClient>) -> Self {
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

    /// Reads this stream too. One that is named twice, by name and by ARN, is read once.
    pub fn stream(mut self, stream: impl Into<StreamRef>) -> Self {
        self.streams.push(stream.into());
        self
    }

    /// Where reading starts when nothing was stored about a stream. Default: latest.
    pub fn start(mut self, start: StartupPosition) -> Self {
        self.start = start;
        self
    }

    /// Where positions are kept. Default: in memory, so that each start is a first one.
    pub fn checkpoints(mut self, checkpoints: Arc<dyn CheckpointStore>) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// The time of day, to which `latest` is pinned. Default: the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How fast to read, how far ahead, and how patiently.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Has records pushed by enhanced fan-out, through this client. Default: polling.
    ///
    /// A stream that has no room for another consumer is polled, at the start and later, when its consumer was removed
    /// and cannot be registered again. Which is logged, and [`StreamMetrics::mode`](crate::StreamMetrics::mode) says so.
    /// Once a minute the stream is asked again, and when it has room its records are pushed from then on.
    pub fn fan_out(mut self, client: Arc<dyn FanOutClient>, fan_out: FanOut) -> Self {
        self.fan_out = Some((client, fan_out));
        self
    }

    /// What becomes of records that cannot be used: corrupt aggregates, and those that the caller
    /// [rejects](crate::Batch::reject). Default: they end reading with an error.
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

    /// The same for one stream, which goes before what holds for all. `stream` is named as in
    /// [`stream`](Self::stream).
    pub fn invalid_records_of(mut self, stream: impl Into<StreamRef>, handling: InvalidRecordHandling) -> Self {
        self.invalid_of.push((stream.into(), handling));
        self
    }

    /// Writes dead letters through this client. Default: the one that reads.
    pub fn dead_letters(mut self, client: Arc<dyn KinesisClient>) -> Self {
        self.dead_letters = Some(client);
        self
    }

    /// Ends reading when it is cancelled; the consumer then hands out what it has read, and `None`.
    pub fn shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Finds the streams and their shards, stores where reading starts, and starts to read.
    ///
    /// Waits for streams that are CREATING, and for a service that does not answer, up to
    /// [`startup_timeout`](Settings::startup_timeout). Dropped before its end it may have stored where reading starts,
    /// and nothing else. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When there is no stream, or one that does not exist, is not permitted or not usable in time; when positions
    /// cannot be read or stored; when the shutdown token is cancelled.
    pub async fn build(self) -> Result<Consumer, ConsumerError> {
        let checkpoints = Arc::clone(&self.checkpoints);
        let (consumer, _) = self.prepare_or_stop(Keeping::Saved(checkpoints)).await?;
        Ok(consumer)
    }

    /// Like [`build`](Self::build), for a program that makes positions durable by itself, in one commit with what came of
    /// the records. The consumer stores in `positions` where reading of each stream begins, and saves nothing afterwards:
    /// the program takes what has moved from the [`Positions`]. [`checkpoints`](Self::checkpoints) does not count.
    ///
    /// # Errors
    ///
    /// As those of [`build`](Self::build).
    pub async fn build_with_positions(
        self,
        positions: Arc<dyn PositionStore>,
    ) -> Result<(Consumer, Positions), ConsumerError> {
        self.prepare_or_stop(Keeping::Taken(positions)).await
    }

    async fn prepare_or_stop(self, keeping: Keeping) -> Result<(Consumer, Positions), ConsumerError> {
        let shutdown = self.shutdown.clone();
        shutdown.run_until_cancelled(self.prepare(keeping)).await.unwrap_or(Err(ConsumerError::ShutDown))
    }

    async fn prepare(self, keeping: Keeping) -> Result<(Consumer, Positions), ConsumerError> {
        let Self { client, streams: wanted, start, clock, settings, shutdown, .. } = self;
        let settings = settings.in_range();
        let mut random = settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let deadline = Instant::now().saturating_add(settings.startup_timeout);
        let service = |client: &_, random| Service::new(Arc::clone(client), settings.backoff, random).until(deadline);
        let mut opening = Opening {
            service: service(&client, random.fork()),
            settings: &settings,
            random: random.fork(),
            positions: keeping.positions(),
            // Taken before anything else: what arrives while streams are being found belongs to this start.
            now: clock.now(),
            start,
        };
        if wanted.is_empty() {
            return Err(ConsumerError::NoStreams);
        }
        let mut found: Vec<(StreamRef, StreamSummary)> = Vec::new();
        for reference in wanted {
            let summary = opening.usable(&reference).await?;
            if found.iter().all(|(_, known)| known.arn != summary.arn) {
                found.push((reference, summary));
            }
        }
        let dead_letter_client = self.dead_letters.unwrap_or_else(|| Arc::clone(&client));
        let mut post = Post::new(service(&dead_letter_client, random.fork()));

        let (mut sources, mut graphs) = (Vec::new(), Vec::new());
        let moved = Arc::<Moved>::default();
        for (index, (reference, summary)) in found.iter().enumerate() {
            let stream = Arc::new(Stream {
                index,
                reference: reference.clone(),
                arn: summary.arn.clone(),
                created: summary.created,
                keys_decide: summary.distribution != RecordDistribution::Auto,
            });
            let of_stream = |(named, _): &&(StreamRef, _)| {
                named == reference || named.arn().map_or(named.name() == summary.name, |arn| *arn == summary.arn)
            };
            let handling = self.invalid_of.iter().rfind(of_stream).map_or(&self.invalid, |(_, handling)| handling);
            let dead_letters = match handling {
                InvalidRecordHandling::DeadLetter { stream, .. } => Some(post.address(stream, &found).await?),
                InvalidRecordHandling::Fail | InvalidRecordHandling::Skip { .. } => None,
            };
            let counters = StreamCounters::new(stream.arn.clone());
            let enrolment = match &self.fan_out {
                Some((client, fan_out)) => Some(opening.enrol(&counters, &stream, client, fan_out).await?),
                None => None,
            };
            let invalid = InvalidRecords::new(stream.arn.clone(), Arc::clone(&counters), handling, dead_letters);
            graphs.push(opening.graph(&stream, summary, &moved).await?);
            sources.push(Source { stream, counters, invalid, enrolment });
        }

        let shared = Arc::new(Shared {
            client,
            clock,
            prefetch: Prefetch::new(Amount { records: settings.prefetch_records, bytes: settings.prefetch_bytes }),
            moved: Arc::clone(&moved),
            stop: shutdown.child_token(),
            settings: settings.clone(),
        });
        let (interval, backoff) = (settings.checkpoint_interval, settings.backoff);
        let streams: Vec<Arc<Stream>> = sources.iter().map(|source| Arc::clone(&source.stream)).collect();
        let positions = Positions::new(streams.clone(), Arc::clone(&moved));
        let saver = match keeping {
            Keeping::Saved(store) => Some(Saver::new(store, streams, moved, interval, backoff, random.fork())),
            Keeping::Taken(_) => None,
        };
        let (output, batches) = mpsc::unbounded_channel();
        let dead_letters = post.into_writer(dead_letter_client, backoff, random.fork());
        let enrolments = sources.iter().filter_map(|source| source.enrolment.clone()).collect();
        let metrics = Metrics::new(sources.iter().map(|source| Arc::clone(&source.counters)));
        let arns = sources.iter().map(|source| source.stream.arn.clone()).collect();
        let reader = |(source, graph)| {
            StreamReader::new(Arc::clone(&shared), source, graph, output.clone(), random.fork()).run()
        };
        let readers = sources.into_iter().zip(graphs).map(reader).collect();
        let parts = Parts { readers, saver, output, dead_letters, enrolments, random: random.fork() };
        Ok((Consumer::start(shared.stop.clone(), arns, metrics, parts, batches), positions))
    }
}

/// How positions become durable.
#[derive(Debug)]
enum Keeping {
    /// The consumer saves them there.
    Saved(Arc<dyn CheckpointStore>),
    /// The program takes them; the consumer stores there where reading begins.
    Taken(Arc<dyn PositionStore>),
}

impl Keeping {
    fn positions(&self) -> &dyn PositionStore {
        match self {
            Self::Saved(store) => &**store,
            Self::Taken(store) => &**store,
        }
    }
}

/// Letters that may wait to be stored, and their bytes.
const LETTERS_MAX: Amount = Amount { records: 1_000, bytes: 16 << 20 };

/// Where dead letters go.
struct Post {
    service: Service,
    targets: Vec<(StreamArn, Target)>,
    letters: mpsc::UnboundedReceiver<Letter>,
    sender: mpsc::UnboundedSender<Letter>,
    room: Arc<Prefetch>,
}

impl Post {
    fn new(service: Service) -> Self {
        let (sender, letters) = mpsc::unbounded_channel();
        Self { service, targets: Vec::new(), letters, sender, room: Prefetch::new(LETTERS_MAX) }
    }

    /// The way to a dead-letter stream, which has to be there and must not be read by the same consumer.
    async fn address(
        &mut self,
        stream: &StreamRef,
        read: &[(StreamRef, StreamSummary)],
    ) -> Result<DeadLetters, ConsumerError> {
        let summary = self.service.describe(stream).await;
        let summary = summary.map_err(|source| ConsumerError::DeadLetter { stream: stream.clone(), source })?;
        if read.iter().any(|(_, read)| read.arn == summary.arn) {
            return Err(ConsumerError::DeadLetterLoop { stream: summary.arn });
        }
        let known = self.targets.iter().position(|(arn, _)| *arn == summary.arn);
        let target = known.unwrap_or_else(|| {
            let target = Target { stream: stream.clone(), max_record_bytes: summary.max_record_bytes };
            self.targets.push((summary.arn, target));
            self.targets.len() - 1
        });
        Ok(DeadLetters { target, letters: self.sender.clone(), room: Arc::clone(&self.room) })
    }

    fn into_writer(
        self,
        client: Arc<dyn KinesisClient>,
        backoff: Backoff,
        random: fastrand::Rng,
    ) -> Option<DeadLetterWriter> {
        let targets: Vec<Target> = self.targets.into_iter().map(|(_, target)| target).collect();
        let letters = self.letters;
        (!targets.is_empty()).then_some(DeadLetterWriter { client, targets, letters, backoff, random })
    }
}

/// The first questions about each stream.
struct Opening<'a> {
    service: Service,
    settings: &'a Settings,
    random: fastrand::Rng,
    positions: &'a dyn PositionStore,
    now: Timestamp,
    start: StartupPosition,
}

impl Opening<'_> {
    /// Waits until the stream can be read.
    async fn usable(&mut self, stream: &StreamRef) -> Result<StreamSummary, ConsumerError> {
        let began = Instant::now();
        let mut failures = 0;
        loop {
            let summary = match self.service.describe(stream).await {
                Ok(summary) => summary,
                Err(error) => return Err(self.failed(stream, error)),
            };
            if let Some(asked) = stream.arn().filter(|asked| **asked != summary.arn) {
                return Err(ConsumerError::OtherStream { asked: asked.clone(), answered: summary.arn });
            }
            if summary.status.is_usable() {
                return Ok(summary);
            }
            let waited = began.elapsed();
            let delay = self.settings.backoff.delay(failures, &mut self.random);
            if summary.status != StreamStatus::Creating || waited + delay > self.settings.startup_timeout {
                return Err(ConsumerError::StreamNotReady { stream: stream.clone(), status: summary.status, waited });
            }
            tracing::info!(%stream, status = %summary.status, "waiting for the stream");
            failures += 1;
            sleep(delay).await;
        }
    }

    /// The consumer of enhanced fan-out.
    async fn enrol(
        &mut self,
        counters: &Arc<StreamCounters>,
        stream: &Stream,
        client: &Arc<dyn FanOutClient>,
        fan_out: &FanOut,
    ) -> Result<Arc<Enrolment>, ConsumerError> {
        let Settings { backoff, startup_timeout, .. } = *self.settings;
        let (client, arn, fan_out) = (Arc::clone(client), stream.arn.clone(), fan_out.clone());
        let enrolment = Enrolment::new(client, arn, fan_out, backoff, Arc::clone(counters));
        enrolment.begin(&mut self.random, startup_timeout).await?;
        Ok(Arc::new(enrolment))
    }

    /// Lists the stream's shards and decides where each starts; stores that if nothing was stored before.
    async fn graph(
        &mut self,
        stream: &Stream,
        summary: &StreamSummary,
        moved: &Moved,
    ) -> Result<ShardGraph, ConsumerError> {
        let checkpoint = |source| ConsumerError::Checkpoint { stream: stream.arn.clone(), source };
        let stored = self.positions.load(&stream.arn).await.map_err(checkpoint)?;
        let (start, filter) = match stored {
            Some(stored) if stored.created == summary.created => return self.resume(stream, stored, moved).await,
            Some(stored) => {
                tracing::warn!(
                    stream = %stream.arn, created = %summary.created, before = %stored.created,
                    "the stream was deleted and created again since it was last read: it is read from trim horizon"
                );
                (StartPosition::TrimHorizon, ShardFilter::FromTrimHorizon)
            }
            None => self.first_start(stream, summary),
        };
        let shards = self.list(stream, filter).await?;
        let mut begin = StreamCheckpoint::new(summary.created, start);
        begin.shards = shards.iter().map(|shard| (shard.id.clone(), ShardPosition::Unread)).collect();
        self.positions.begin(&stream.arn, begin).await.map_err(checkpoint)?;
        Ok(ShardGraph::first(start, shards))
    }

    fn first_start(&self, stream: &Stream, summary: &StreamSummary) -> (StartPosition, ShardFilter) {
        let time = match self.start {
            StartupPosition::AtTimestamp(time) => time,
            StartupPosition::TrimHorizon => return (StartPosition::TrimHorizon, ShardFilter::FromTrimHorizon),
            StartupPosition::Latest => self.now,
        };
        let oldest = self.now.before(summary.retention);
        if time < oldest {
            tracing::info!(
                stream = %stream.arn, start = %time, %oldest,
                "the startup position is older than the stream's retention: reading starts at trim horizon"
            );
            return (StartPosition::TrimHorizon, ShardFilter::FromTrimHorizon);
        }
        (StartPosition::AtTimestamp(time), ShardFilter::FromTimestamp(time))
    }

    async fn resume(
        &mut self,
        stream: &Stream,
        stored: StreamCheckpoint,
        moved: &Moved,
    ) -> Result<ShardGraph, ConsumerError> {
        let shards = self.list(stream, ShardFilter::FromTrimHorizon).await?;
        let (graph, gone) = ShardGraph::resume(stored, shards);
        for (shard, _) in gone.iter().filter(|(_, position)| **position != ShardPosition::Finished) {
            tracing::warn!(
                stream = %stream.arn, %shard,
                "the shard is gone: what was not read of it was older than the stream's retention"
            );
        }
        moved.forget(stream.index, gone.into_keys().collect());
        Ok(graph)
    }

    async fn list(&mut self, stream: &Stream, filter: ShardFilter) -> Result<Vec<Shard>, ConsumerError> {
        match self.service.list(&stream.reference, filter).await {
            Ok(listing) => Ok(listing.shards),
            Err(error) => Err(self.failed(&stream.reference, error)),
        }
    }

    fn failed(&self, stream: &StreamRef, source: Error) -> ConsumerError {
        if source.kind().is_retryable() {
            let (stream, waited) = (stream.clone(), self.settings.startup_timeout);
            return ConsumerError::Unavailable { stream, waited, source };
        }
        if source.kind() == ErrorKind::NotFound {
            ConsumerError::StreamNotFound { stream: stream.clone(), source }
        } else {
            ConsumerError::from_call(stream, None, source)
        }
    }
}
