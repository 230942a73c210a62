use std::{sync::Arc, time::Duration};

use statefun_kinesis_client::{
    ErrorKind, KinesisClient, KinesisClientExt, Operation, RecordDistribution, ShardFilter, StreamStatus, StreamSummary,
};
use statefun_kinesis_types::{ErrorChain, PUT_RECORDS_MAX_BYTES, Shard, StreamRef, TypeName};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    OnFailure, Order, Producer, ProducerError, Settings,
    dead_letter::DeadLetters,
    driver::{Driver, no_answer},
    inner::{Event, ProducerInner},
    machine::Limits,
    shard_map::ShardMap,
};

/// Builds a [`Producer`].
#[derive(Debug)]
#[must_use = "nothing happens before `build`"]
pub struct ProducerBuilder {
    client: Arc<dyn KinesisClient>,
    stream: StreamRef,
    settings: Settings,
    on_failure: OnFailure,
    egress: Option<TypeName>,
}

impl Producer {
    /// Starts to build a producer for a stream.
    pub fn builder(client: Arc<dyn KinesisClient>, stream: impl Into<StreamRef>) -> ProducerBuilder {
        ProducerBuilder::new(client, stream.into())
    }
}

impl ProducerBuilder {
    fn new(client: Arc<dyn KinesisClient>, stream: StreamRef) -> Self {
        Self { client, stream, settings: Settings::default(), on_failure: OnFailure::Fail, egress: None }
    }

    /// Replaces the [default settings](Settings::default).
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets what is done about records that fail permanently. Default: [`OnFailure::Fail`].
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sets the id of the egress that the producer writes for. Dead letters name it. Default: none.
    pub fn egress(mut self, id: TypeName) -> Self {
        self.egress = Some(id);
        self
    }

    /// Reads the stream's limits, waits while it is being created, and starts the producer's task.
    ///
    /// # Errors
    ///
    /// [`ProducerError::NotFound`] when there is no such stream; [`ProducerError::NotReady`] when it is being deleted, or
    /// is still being created after [`Settings::give_up_after`]; [`ProducerError::Describe`] when it cannot be described.
    /// With [`Settings::aggregation`] also [`ProducerError::AggregationUnderAuto`] and [`ProducerError::ListShards`].
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with time.
    pub async fn build(self) -> Result<Producer, ProducerError> {
        let Self { client, stream, mut settings, on_failure, egress } = self;
        let summary = ready(&*client, &stream, &settings).await?;
        let hash_decides = summary.distribution != RecordDistribution::Auto;
        if !hash_decides {
            if settings.aggregation.is_some() {
                return Err(ProducerError::AggregationUnderAuto { stream });
            }
            settings.order = Order::None;
        }
        // No request has room for a larger record, whatever the stream says.
        let max_record_bytes = summary.max_record_bytes.min(PUT_RECORDS_MAX_BYTES);
        let shards = match settings.aggregation {
            Some(_) => Some(ShardMap::new(shards(&*client, &stream, &settings).await?)),
            None => None,
        };
        let limits = Limits { max_record_bytes, hash_decides };
        let inner = ProducerInner::new(stream, summary.arn, limits, settings.clone(), on_failure.policy());
        let inner = Arc::new(inner);
        if shards.is_some() {
            inner.step([Event::Shards(shards)]);
        }
        let dead_letters = DeadLetters::new(&on_failure, egress);
        tokio::spawn(Driver::new(Arc::clone(&inner), client, settings, dead_letters).run_supervised());
        Ok(Producer::new(inner))
    }
}

/// Describes the stream until it is usable.
async fn ready(
    client: &dyn KinesisClient,
    stream: &StreamRef,
    settings: &Settings,
) -> Result<StreamSummary, ProducerError> {
    let start = Instant::now();
    let mut attempts = Attempts::new(settings);
    loop {
        let limit = settings.request_timeout;
        let answer = timeout(limit, client.describe_stream_summary(stream)).await;
        let waited = start.elapsed();
        let (delay, over) = attempts.next(waited);
        let stream = || stream.clone();
        match answer.unwrap_or_else(|_| Err(no_answer(Operation::DescribeStreamSummary, limit))) {
            Ok(summary) if summary.status.is_usable() => return Ok(summary),
            Ok(summary) if over || summary.status != StreamStatus::Creating => {
                return Err(ProducerError::NotReady { stream: stream(), status: summary.status, waited });
            }
            Err(source) if source.kind() == ErrorKind::NotFound => {
                return Err(ProducerError::NotFound { stream: stream(), source });
            }
            Err(source) if over || !source.kind().treatment().start_waits => {
                return Err(ProducerError::Describe { stream: stream(), source });
            }
            Ok(summary) => tracing::info!(stream = %stream(), status = %summary.status, "waiting for the stream"),
            Err(error) => {
                tracing::warn!(stream = %stream(), error = %ErrorChain(&error), ?delay, "cannot describe the stream; retrying");
            }
        }
        sleep(delay).await;
    }
}

/// Lists the shards that take records.
async fn shards(
    client: &dyn KinesisClient,
    stream: &StreamRef,
    settings: &Settings,
) -> Result<Vec<Shard>, ProducerError> {
    let start = Instant::now();
    let mut attempts = Attempts::new(settings);
    loop {
        let limit = settings.request_timeout;
        let answer = timeout(limit, client.all_shards(stream, ShardFilter::AtLatest)).await;
        let (delay, over) = attempts.next(start.elapsed());
        match answer.unwrap_or_else(|_| Err(no_answer(Operation::ListShards, limit))) {
            Ok(shards) => return Ok(shards),
            Err(source) if over || !source.kind().treatment().start_waits => {
                return Err(ProducerError::ListShards { stream: stream.clone(), source });
            }
            Err(error) => {
                tracing::warn!(%stream, error = %ErrorChain(&error), ?delay, "cannot list the shards; retrying");
            }
        }
        sleep(delay).await;
    }
}

/// The delays between the attempts of a call while a producer is built.
struct Attempts<'a> {
    settings: &'a Settings,
    random: fastrand::Rng,
    count: u32,
}

impl<'a> Attempts<'a> {
    fn new(settings: &'a Settings) -> Self {
        let random = settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        Self { settings, random, count: 0 }
    }

    /// The next delay, and whether it would take too long.
    fn next(&mut self, waited: Duration) -> (Duration, bool) {
        let delay = self.settings.backoff.delay(self.count, &mut self.random);
        self.count = self.count.saturating_add(1);
        (delay, waited.saturating_add(delay) > self.settings.give_up_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_starts_no_later_than_the_time_for_it_ends() {
        let settings = Settings { seed: Some(7), ..Settings::default() };
        let first_delay = settings.backoff.delay(0, &mut fastrand::Rng::with_seed(7));
        let latest = settings.give_up_after - first_delay;
        for (waited, is_over) in [(latest, false), (latest + Duration::from_nanos(1), true)] {
            assert_eq!(Attempts::new(&settings).next(waited), (first_delay, is_over));
        }
    }
}
