use std::sync::Arc;

use statefun_kinesis_client::{
    Clock, Error, ErrorKind, KinesisClient, ShardFilter, StreamStatus, StreamSummary, SystemClock,
};
use statefun_kinesis_types::{Shard, StartPosition, StartupPosition, StreamRef, Timestamp};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    CheckpointStore, Consumer, ConsumerError, MemoryCheckpoints, Settings, ShardPosition, StreamCheckpoint,
    ack::Moved,
    graph::ShardGraph,
    prefetch::{Amount, Prefetch},
    saver::Saver,
    service::{Service, Stream},
    stream::{Shared, StreamReader},
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
        let shutdown = self.shutdown.clone();
        shutdown.run_until_cancelled(self.prepare()).await.unwrap_or(Err(ConsumerError::ShutDown))
    }

    async fn prepare(self) -> Result<Consumer, ConsumerError> {
        let Self { client, streams: wanted, start, checkpoints, clock, settings, shutdown } = self;
        let settings = settings.in_range();
        let mut random = settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let mut opening = Opening {
            service: Service::new(Arc::clone(&client), settings.backoff, random.fork())
                .until(Instant::now() + settings.startup_timeout),
            settings: &settings,
            random: random.fork(),
            checkpoints: &*checkpoints,
            // Taken before anything else: what arrives while streams are being found belongs to this start.
            now: clock.now(),
            start,
        };
        if wanted.is_empty() {
            return Err(ConsumerError::NoStreams);
        }
        let mut streams: Vec<Arc<Stream>> = Vec::new();
        let mut graphs = Vec::new();
        let moved = Arc::<Moved>::default();
        for reference in wanted {
            let summary = opening.usable(&reference).await?;
            if streams.iter().any(|known| known.arn == summary.arn) {
                continue;
            }
            let (arn, created) = (summary.arn.clone(), summary.created);
            let stream = Arc::new(Stream { index: streams.len(), reference, arn, created });
            graphs.push(opening.graph(&stream, &summary, &moved).await?);
            streams.push(stream);
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
        let saver = Saver::new(checkpoints, streams.clone(), moved, interval, backoff, random.fork());
        let arns = streams.iter().map(|stream| stream.arn.clone()).collect();
        let (output, batches) = mpsc::unbounded_channel();
        let reader = |(stream, graph)| {
            StreamReader::new(Arc::clone(&shared), stream, graph, output.clone(), random.fork()).run()
        };
        let readers = streams.into_iter().zip(graphs).map(reader).collect();
        Ok(Consumer::start(shared.stop.clone(), arns, readers, saver, output, batches))
    }
}

/// The first questions about each stream.
struct Opening<'a> {
    service: Service,
    settings: &'a Settings,
    random: fastrand::Rng,
    checkpoints: &'a dyn CheckpointStore,
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

    /// Lists the stream's shards and decides where each starts; stores that if nothing was stored before.
    async fn graph(
        &mut self,
        stream: &Stream,
        summary: &StreamSummary,
        moved: &Moved,
    ) -> Result<ShardGraph, ConsumerError> {
        let checkpoint = |source| ConsumerError::Checkpoint { stream: stream.arn.clone(), source };
        let stored = self.checkpoints.load(&stream.arn).await.map_err(checkpoint)?;
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
        self.checkpoints.begin(&stream.arn, begin).await.map_err(checkpoint)?;
        Ok(ShardGraph::first(start, shards))
    }

    fn first_start(&self, stream: &Stream, summary: &StreamSummary) -> (StartPosition, ShardFilter) {
        let time = match self.start {
            StartupPosition::AtTimestamp(time) => time,
            StartupPosition::TrimHorizon => return (StartPosition::TrimHorizon, ShardFilter::FromTrimHorizon),
            _ => self.now,
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
        match source.kind() {
            ErrorKind::NotFound => ConsumerError::StreamNotFound { stream: stream.clone(), source },
            _ => ConsumerError::from_call(stream, None, source),
        }
    }
}
