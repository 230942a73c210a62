//! Calls about a stream, retried while their failures pass by themselves.

use std::{future::Future, sync::Arc};

use statefun_kinesis_client::{
    Backoff, Error, ErrorKind, InstantExt as _, KinesisClient, Operation, ShardFilter, ShardPageRequest, StreamStatus,
    StreamSummary,
};
use statefun_kinesis_types::{ErrorChain, Shard, ShardId, StreamRef};
use tokio::time::{Instant, sleep};

use crate::{ConsumerError, metrics::StreamCounters, stream::Stream};

/// Shards of a stream.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) shards: Vec<Shard>,
    /// Whether these are all shards that the service knows.
    pub(crate) complete: bool,
}

/// The service does not list a shard any more: its records are older than the stream's retention.
#[derive(Debug)]
pub(crate) struct Trimmed;

/// Describes streams and lists their shards. Retries with backoff what is retryable.
#[derive(Debug)]
pub(crate) struct StreamClient {
    client: Arc<dyn KinesisClient>,
    backoff: Backoff,
    random: fastrand::Rng,
    /// No retry starts after this.
    deadline: Option<Instant>,
    counters: Option<Arc<StreamCounters>>,
}

impl StreamClient {
    /// Retries without a time limit.
    pub(crate) fn new(client: Arc<dyn KinesisClient>, backoff: Backoff, random: fastrand::Rng) -> Self {
        Self { client, backoff, random, deadline: None, counters: None }
    }

    /// Retries until `deadline`.
    pub(crate) fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Counts the calls of this client.
    pub(crate) fn counted(self, counters: Arc<StreamCounters>) -> Self {
        Self { counters: Some(counters), ..self }
    }

    pub(crate) async fn describe(&mut self, stream: &StreamRef) -> Result<StreamSummary, Error> {
        let client = Arc::clone(&self.client);
        let operation = Operation::DescribeStreamSummary;
        self.retrying(operation, stream, || client.describe_stream_summary(stream)).await
    }

    /// Lists shards.
    ///
    /// Lists all shards, without the filter, when the service rejects the filter, as it does for a time that its own clock
    /// has not reached. Also when no shard passes a filter by time: a stream always has an open shard, so that an empty
    /// listing is an emulator's error.
    ///
    /// A listing whose token expires between two pages starts over: what the service lists has changed by then, and its
    /// first pages are not combined with later ones.
    pub(crate) async fn list(&mut self, stream: &StreamRef, filter: ShardFilter) -> Result<Listing, Error> {
        let mut filter = filter;
        let mut expired: u32 = 0;
        loop {
            let complete = filter == ShardFilter::FromTrimHorizon;
            match self.list_once(stream, filter.clone()).await {
                Ok(shards) if shards.is_empty() && matches!(filter, ShardFilter::FromTimestamp(_)) => {}
                Ok(shards) => return Ok(Listing { shards, complete }),
                Err(error) if error.kind() == ErrorKind::InvalidArgument && !complete => {
                    tracing::debug!(%stream, ?filter, %error, "the shard filter was rejected; listing all shards");
                }
                Err(error) if error.kind() == ErrorKind::ExpiredToken => {
                    // The first time at once and whatever the deadline: a long listing over a slow network is no failure.
                    // Then as a failure is retried, because tokens that expire at once would make this a hot loop.
                    if let Some(retries) = expired.checked_sub(1) {
                        self.wait_to_retry(stream, retries, error).await?;
                    }
                    expired = expired.saturating_add(1);
                    continue;
                }
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
                self.retrying(Operation::ListShards, stream, || client.list_shards(stream, request.clone())).await?;
            shards.append(&mut page.shards);
            match page.next {
                Some(token) => request = ShardPageRequest::Next { token, max_results: None },
                None => return Ok(shards),
            }
        }
    }

    /// Finds out why a call about a shard failed permanently: the shard or the stream may be gone.
    ///
    /// # Errors
    ///
    /// When reading cannot go on.
    pub(crate) async fn diagnose_shard_failure(
        &mut self,
        stream: &Stream,
        shard: &ShardId,
        error: Error,
    ) -> Result<Trimmed, ConsumerError> {
        let error = self.check_stream(stream, error).await?;
        if error.kind() == ErrorKind::NotFound {
            let listing = self.list(&stream.reference, ShardFilter::FromTrimHorizon).await;
            let listing = listing.map_err(|error| ConsumerError::from_call(&stream.reference, None, error))?;
            if listing.shards.iter().all(|listed| listed.id != *shard) {
                return Ok(Trimmed);
            }
        }
        Err(ConsumerError::from_call(&stream.reference, Some(shard), error))
    }

    /// Finds out why a call about a stream failed permanently.
    pub(crate) async fn diagnose_stream_failure(&mut self, stream: &Stream, error: Error) -> ConsumerError {
        match self.check_stream(stream, error).await {
            Ok(error) => ConsumerError::from_call(&stream.reference, None, error),
            Err(error) => error,
        }
    }

    /// Returns the failure unchanged when the stream is still there and still the same.
    async fn check_stream(&mut self, stream: &Stream, error: Error) -> Result<Error, ConsumerError> {
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

    async fn retrying<T, F>(
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
                result => return result,
            };
            self.wait_to_retry(stream, failures, error).await?;
            failures = failures.saturating_add(1);
        }
    }

    /// Waits before a retry, the first one after no `failures`.
    ///
    /// # Errors
    ///
    /// The error itself when there is no time left for a retry.
    async fn wait_to_retry(&mut self, stream: &StreamRef, failures: u32, error: Error) -> Result<(), Error> {
        if let Some(counters) = &self.counters {
            counters.retried(&error);
        }
        let delay = self.backoff.delay(failures, &mut self.random).max(error.retry_after().unwrap_or_default());
        let retry_at = Instant::now().saturating_add(delay);
        if self.deadline.is_some_and(|deadline| retry_at > deadline) {
            return Err(error);
        }
        tracing::warn!(%stream, error = %ErrorChain(&error), ?delay, "a call failed and is retried");
        sleep(delay).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use statefun_kinesis_fake::FakeKinesis;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_retry_starts_no_later_than_the_deadline() {
        let (fake, backoff) = (FakeKinesis::new(), Backoff::default());
        let random = fastrand::Rng::with_seed(7);
        let first_delay = backoff.delay(0, &mut random.clone());
        for (until, calls) in [(Duration::ZERO, 1), (first_delay - Duration::from_nanos(1), 1), (first_delay, 2)] {
            fake.faults().clear();
            fake.faults().fail_next_n(Operation::DescribeStreamSummary, ErrorKind::Unavailable, 100);
            let before = fake.calls(Operation::DescribeStreamSummary);
            let client = StreamClient::new(Arc::new(fake.clone()), backoff, random.clone());
            let mut client = client.until(Instant::now() + until);
            let error = client.describe(&"orders".parse().unwrap()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(fake.calls(Operation::DescribeStreamSummary) - before, calls, "{until:?}");
        }
    }
}
