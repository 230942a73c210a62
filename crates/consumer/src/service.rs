//! Questions about streams, asked until there is an answer.

use std::{future::Future, sync::Arc};

use statefun_kinesis_client::{
    Backoff, Error, ErrorKind, InstantExt as _, KinesisClient, Operation, ShardFilter, ShardPageRequest, StreamStatus,
    StreamSummary,
};
use statefun_kinesis_types::{ErrorChain, Shard, ShardId, StreamArn, StreamRef, Timestamp};
use tokio::time::{Instant, sleep};

use crate::{ConsumerError, metrics::StreamCounters};

/// A stream that is read.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Which of the consumer's streams.
    pub(crate) index: usize,
    /// The stream as the caller names it: not every emulator knows ARNs.
    pub(crate) reference: StreamRef,
    pub(crate) arn: StreamArn,
    pub(crate) created: Timestamp,
    /// Whether keys decide on a record's shard. Where they do not, no user record of an aggregate is out of place.
    pub(crate) keys_decide: bool,
}

/// Shards of a stream.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) shards: Vec<Shard>,
    /// Whether these are all shards that the service knows.
    pub(crate) complete: bool,
}

/// Retention has overtaken a shard: nothing of it is left to read.
#[derive(Debug)]
pub(crate) struct Trimmed;

/// Asks about streams, and asks again after failures that pass.
#[derive(Debug)]
pub(crate) struct Service {
    client: Arc<dyn KinesisClient>,
    backoff: Backoff,
    random: fastrand::Rng,
    /// No new try after this.
    deadline: Option<Instant>,
    counters: Option<Arc<StreamCounters>>,
}

impl Service {
    /// A service that is asked for as long as it takes.
    pub(crate) fn new(client: Arc<dyn KinesisClient>, backoff: Backoff, random: fastrand::Rng) -> Self {
        Self { client, backoff, random, deadline: None, counters: None }
    }

    /// The same, until `deadline`.
    pub(crate) fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// The same, with its calls counted.
    pub(crate) fn counted(self, counters: Arc<StreamCounters>) -> Self {
        Self { counters: Some(counters), ..self }
    }

    pub(crate) async fn describe(&mut self, stream: &StreamRef) -> Result<StreamSummary, Error> {
        let client = Arc::clone(&self.client);
        let operation = Operation::DescribeStreamSummary;
        self.patiently(operation, stream, || client.describe_stream_summary(stream)).await
    }

    /// Lists shards.
    ///
    /// The filter is left out, so that the listing is complete, when the service refuses it, as it does for a time that
    /// its own clock has not reached; and when nothing passes a filter by time, which is an emulator's error, for some
    /// shard of a stream is open at any time.
    pub(crate) async fn list(&mut self, stream: &StreamRef, filter: ShardFilter) -> Result<Listing, Error> {
        let mut filter = filter;
        loop {
            let complete = filter == ShardFilter::FromTrimHorizon;
            match self.list_once(stream, filter.clone()).await {
                Ok(shards) if shards.is_empty() && matches!(filter, ShardFilter::FromTimestamp(_)) => {}
                Ok(shards) => return Ok(Listing { shards, complete }),
                Err(error) if error.kind() == ErrorKind::InvalidArgument && !complete => {
                    tracing::debug!(%stream, ?filter, %error, "the shard filter was refused; listing all shards");
                }
                Err(error) if error.kind() == ErrorKind::ExpiredToken => continue,
                Err(error) => return Err(error),
            }
            filter = ShardFilter::FromTrimHorizon;
        }
    }

    async fn list_once(&mut self, stream: &StreamRef, filter: ShardFilter) -> Result<Vec<Shard>, Error> {
        let client = Arc::clone(&self.client);
        let mut shards = Vec::new();
        let mut request = ShardPageRequest::First { filter, max_results: None };
        loop {
            let mut page =
                self.patiently(Operation::ListShards, stream, || client.list_shards(stream, request.clone())).await?;
            shards.append(&mut page.shards);
            match page.next {
                Some(token) => request = ShardPageRequest::Next { token, max_results: None },
                None => return Ok(shards),
            }
        }
    }

    /// Says what a lasting failure of a call about a shard means.
    ///
    /// # Errors
    ///
    /// When reading cannot go on.
    pub(crate) async fn judge(
        &mut self,
        stream: &Stream,
        shard: &ShardId,
        error: Error,
    ) -> Result<Trimmed, ConsumerError> {
        let error = self.rule_out_stream(stream, error).await?;
        if error.kind() == ErrorKind::NotFound {
            let listing = self.list(&stream.reference, ShardFilter::FromTrimHorizon).await;
            let listing = listing.map_err(|error| ConsumerError::from_call(&stream.reference, None, error))?;
            if listing.shards.iter().all(|listed| listed.id != *shard) {
                return Ok(Trimmed);
            }
        }
        Err(ConsumerError::from_call(&stream.reference, Some(shard), error))
    }

    /// Says what a lasting failure of a call about a stream means.
    pub(crate) async fn explain(&mut self, stream: &Stream, error: Error) -> ConsumerError {
        match self.rule_out_stream(stream, error).await {
            Ok(error) => ConsumerError::from_call(&stream.reference, None, error),
            Err(error) => error,
        }
    }

    /// Gives the failure back, unless it comes from a stream that is gone or another one by now.
    async fn rule_out_stream(&mut self, stream: &Stream, error: Error) -> Result<Error, ConsumerError> {
        if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument) {
            return Ok(error);
        }
        let summary = match self.describe(&stream.reference).await {
            Ok(summary) => summary,
            Err(source) if source.kind() == ErrorKind::NotFound => {
                return Err(ConsumerError::StreamDeleted { stream: stream.arn.clone(), source });
            }
            Err(source) => return Err(ConsumerError::from_call(&stream.reference, None, source)),
        };
        if summary.created != stream.created {
            let (stream, created) = (stream.arn.clone(), summary.created);
            return Err(ConsumerError::StreamReplaced { stream, created, source: error });
        }
        if summary.status == StreamStatus::Deleting {
            return Err(ConsumerError::StreamDeleted { stream: stream.arn.clone(), source: error });
        }
        Ok(error)
    }

    async fn patiently<T, F>(
        &mut self,
        operation: Operation,
        stream: &StreamRef,
        mut call: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut failures = 0;
        loop {
            let result = call().await;
            if let Some(counters) = &self.counters {
                counters.called(operation);
            }
            let error = match result {
                Err(error) if error.kind().is_retryable() => error,
                settled => return settled,
            };
            if let Some(counters) = &self.counters {
                counters.retried(&error);
            }
            let delay = self.backoff.delay_after(&error, failures, &mut self.random);
            if self.deadline.is_some_and(|deadline| Instant::now().saturating_add(delay) > deadline) {
                return Err(error);
            }
            failures = failures.saturating_add(1);
            tracing::warn!(%stream, error = %ErrorChain(&error), ?delay, "a call failed and is tried again");
            sleep(delay).await;
        }
    }
}
