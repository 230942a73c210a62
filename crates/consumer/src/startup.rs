//! What a consumer finds out and stores about each stream before it is read.

use std::{collections::BTreeSet, sync::Arc};

use statefun_kinesis_client::{
    Backoff, Error, ErrorKind, FanOutClient, KinesisClient, PositionStore, ShardFilter, StreamStatus, StreamSummary,
};
use statefun_kinesis_types::{Shard, ShardId, StartPosition, StartupPosition, StreamArn, StreamRef, Timestamp};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    ConsumerError, FanOut, Settings, ShardPosition, StreamCheckpoint,
    dead_letter::{DeadLetterWriter, Letter, Target},
    graph::ShardGraph,
    invalid_handling::DeadLetters,
    metrics::StreamCounters,
    prefetch::{Amount, Prefetch},
    registration::Registration,
    shard_end::{LISTING_LAG, covers_hash_keys},
    stream::Stream,
    stream_client::StreamClient,
    time::now,
};

/// Most dead letters in flight, and most of their bytes.
const LETTERS_MAX: Amount = Amount { records: 1_000, bytes: 16 << 20 };

/// The dead-letter streams of a consumer. Several streams may share one.
pub(crate) struct DeadLetterRoutes {
    client: StreamClient,
    targets: Vec<(StreamArn, Target)>,
    letters: mpsc::UnboundedReceiver<Letter>,
    sender: mpsc::UnboundedSender<Letter>,
    room: Arc<Prefetch>,
}

impl DeadLetterRoutes {
    pub(crate) fn new(client: StreamClient) -> Self {
        let (sender, letters) = mpsc::unbounded_channel();
        Self { client, targets: Vec::new(), letters, sender, room: Prefetch::new(LETTERS_MAX) }
    }

    /// The route to a dead-letter stream.
    ///
    /// # Errors
    ///
    /// When the stream does not exist, or the same consumer reads it.
    pub(crate) async fn add(
        &mut self,
        stream: &StreamRef,
        read: &[(StreamRef, StreamSummary)],
    ) -> Result<DeadLetters, ConsumerError> {
        let summary = self.client.describe(stream).await;
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

    /// The task that stores the letters; `None` when there are no dead-letter streams.
    pub(crate) fn into_writer(
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

/// Finds streams and their shards, and decides where reading of each begins.
pub(crate) struct Startup<'a> {
    pub(crate) client: StreamClient,
    pub(crate) settings: &'a Settings,
    pub(crate) random: fastrand::Rng,
    pub(crate) positions: &'a dyn PositionStore,
    /// The time of day at the very beginning of the start, to which `latest` is pinned.
    pub(crate) now: Timestamp,
    pub(crate) start: StartupPosition,
}

impl Startup<'_> {
    /// Waits until the stream can be read.
    ///
    /// # Errors
    ///
    /// When it does not exist, is another one, or does not become ACTIVE in time.
    pub(crate) async fn wait_until_usable(&mut self, stream: &StreamRef) -> Result<StreamSummary, ConsumerError> {
        let began = Instant::now();
        let mut failures = 0;
        loop {
            let summary = match self.client.describe(stream).await {
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
            if summary.status != StreamStatus::Creating || waited.saturating_add(delay) > self.settings.startup_timeout
            {
                return Err(ConsumerError::StreamNotReady { stream: stream.clone(), status: summary.status, waited });
            }
            tracing::info!(%stream, status = %summary.status, "waiting for the stream");
            failures = failures.saturating_add(1);
            sleep(delay).await;
        }
    }

    /// Registers the stream's consumer of enhanced fan-out.
    pub(crate) async fn register(
        &mut self,
        counters: &Arc<StreamCounters>,
        stream: &Stream,
        client: &Arc<dyn FanOutClient>,
        fan_out: &FanOut,
    ) -> Result<Arc<Registration>, ConsumerError> {
        let Settings { backoff, startup_timeout, .. } = *self.settings;
        let (client, arn, fan_out) = (Arc::clone(client), stream.arn.clone(), fan_out.clone());
        let registration = Registration::new(client, arn, fan_out, backoff, Arc::clone(counters));
        registration.register(&mut self.random, startup_timeout).await?;
        Ok(Arc::new(registration))
    }

    /// Lists the stream's shards and decides where each starts. At a first start stores that, so that a restart before
    /// the first checkpoint begins at the same place.
    pub(crate) async fn graph(
        &mut self,
        stream: &Stream,
        summary: &StreamSummary,
    ) -> Result<ShardGraph, ConsumerError> {
        let checkpoint = |source| ConsumerError::Checkpoint { stream: stream.arn.clone(), source };
        let stored = self.positions.load(&stream.arn).await.map_err(checkpoint)?;
        let (start, filter) = match stored {
            Some(stored) if stored.created == summary.created => return self.resume(stream, stored).await,
            Some(stored) => {
                tracing::warn!(
                    stream = %stream.arn, created = %summary.created, before = %stored.created,
                    "the stream was deleted and created again since it was last read: reading starts at trim horizon"
                );
                (StartPosition::TrimHorizon, ShardFilter::FromTrimHorizon)
            }
            None => self.first_start(stream, summary),
        };
        let is_doubtful = |listed: &[Shard]| !ShardGraph::with_unknown_parents(|_| false, false, listed).is_empty();
        let shards = self.list(stream, filter, is_doubtful).await?;
        let mut begin = StreamCheckpoint::new(summary.created, start);
        begin.shards = shards.iter().map(|shard| (shard.id.clone(), ShardPosition::Unread)).collect();
        self.positions.begin(&stream.arn, begin).await.map_err(checkpoint)?;
        Ok(ShardGraph::first(start, shards))
    }

    /// Where a stream is read from that was never read before, and which shards that concerns.
    fn first_start(&self, stream: &Stream, summary: &StreamSummary) -> (StartPosition, ShardFilter) {
        let time = match self.start {
            StartupPosition::AtTimestamp(time) => time,
            StartupPosition::TrimHorizon => return (StartPosition::TrimHorizon, ShardFilter::FromTrimHorizon),
            // LATEST means the moment of each call, so that a restart before the first checkpoint would skip the records
            // in between. The instant of the first start is stored instead.
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

    /// The graph of a stream that was read before: stored positions win over the startup position.
    async fn resume(&mut self, stream: &Stream, stored: StreamCheckpoint) -> Result<ShardGraph, ConsumerError> {
        let is_doubtful = |listed: &[Shard]| {
            let missing = |(id, position): (&ShardId, &ShardPosition)| {
                *position != ShardPosition::Finished && listed.iter().all(|shard| shard.id != *id)
            };
            stored.shards.iter().any(missing)
                || !ShardGraph::finished_but_open(&stored, listed).is_empty()
                || !ShardGraph::with_unknown_parents(|id| stored.shards.contains_key(id), true, listed).is_empty()
        };
        let shards = self.list(stream, ShardFilter::FromTrimHorizon, is_doubtful).await?;
        for shard in ShardGraph::finished_but_open(&stored, &shards) {
            tracing::warn!(
                stream = %stream.arn, %shard, start = ?stored.start,
                "the shard is stored as finished, but it is open: it is read again from where the stream was read from \
                 first, and its records that were processed before are repeated"
            );
        }
        for (shard, position) in &stored.shards {
            if *position != ShardPosition::Finished && shards.iter().all(|listed| listed.id != *shard) {
                tracing::warn!(
                    stream = %stream.arn, %shard,
                    "the service does not list the shard any more: its records that were not read are older than the stream's retention"
                );
            }
        }
        Ok(ShardGraph::resume(now(), stored, shards))
    }

    /// Lists shards, and lists them once more a little later if the listing contradicts what is known: listings lag
    /// behind.
    async fn list(
        &mut self,
        stream: &Stream,
        filter: ShardFilter,
        is_doubtful: impl Fn(&[Shard]) -> bool,
    ) -> Result<Vec<Shard>, ConsumerError> {
        let first = self.list_once(stream, filter.clone()).await?;
        if covers_hash_keys(&first) && !is_doubtful(&first) {
            return Ok(first);
        }
        tracing::debug!(stream = %stream.arn, ?first, "the shards are listed once more");
        sleep(LISTING_LAG).await;
        let mut shards = self.list_once(stream, filter).await?;
        let ids: BTreeSet<ShardId> = shards.iter().map(|shard| shard.id.clone()).collect();
        shards.extend(first.into_iter().filter(|shard| !ids.contains(&shard.id)));
        Ok(shards)
    }

    async fn list_once(&mut self, stream: &Stream, filter: ShardFilter) -> Result<Vec<Shard>, ConsumerError> {
        match self.client.list(&stream.reference, filter.clone()).await {
            Ok(listing) => Ok(listing.shards),
            // The stream was described a moment ago.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(self.client.list_again(stream, filter).await?.shards)
            }
            Err(error) => Err(self.failed(&stream.reference, error)),
        }
    }

    /// The error for a call that failed permanently, or until the startup timeout.
    fn failed(&self, stream: &StreamRef, source: Error) -> ConsumerError {
        if source.kind().treatment().start_waits {
            let (stream, waited) = (stream.clone(), self.settings.startup_timeout);
            return ConsumerError::Unavailable { stream, waited, source };
        }
        ConsumerError::from_call(stream, None, source)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use statefun_kinesis_client::{KinesisAdmin, Operation};
    use statefun_kinesis_fake::FakeKinesis;

    use super::*;
    use crate::MemoryCheckpoints;

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_looked_at_no_later_than_the_startup_timeout_ends() {
        let fake = FakeKinesis::builder().status_delay(Duration::from_secs(3_600)).build();
        fake.create_stream(&"orders".parse().unwrap(), 1).await.unwrap();
        let random = fastrand::Rng::with_seed(7);
        let first_delay = Settings::default().backoff.delay(0, &mut random.clone());
        for (startup_timeout, calls) in
            [(Duration::ZERO, 1), (first_delay - Duration::from_nanos(1), 1), (first_delay, 2)]
        {
            let settings = Settings { startup_timeout, ..Settings::default() };
            let mut startup = Startup {
                client: StreamClient::new(Arc::new(fake.clone()), settings.backoff, random.clone()),
                settings: &settings,
                random: random.clone(),
                positions: &MemoryCheckpoints::default(),
                now: Timestamp::EPOCH,
                start: StartupPosition::TrimHorizon,
            };
            let before = fake.calls(Operation::DescribeStreamSummary);
            let error = startup.wait_until_usable(&"orders".parse().unwrap()).await.unwrap_err();
            assert!(matches!(error, ConsumerError::StreamNotReady { .. }), "{error:?}");
            assert_eq!(fake.calls(Operation::DescribeStreamSummary) - before, calls, "{startup_timeout:?}");
        }
    }
}
