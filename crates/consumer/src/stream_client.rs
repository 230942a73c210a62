//! Calls about a stream, retried while their failures pass by themselves.

use std::{future::Future, sync::Arc};

use statefun_kinesis_client::{
    Backoff, Error, ErrorKind, InstantExt as _, KinesisClient, Operation, Patience, Retry, ShardFilter,
    ShardPageRequest, StreamStatus, StreamSummary,
};
use statefun_kinesis_types::{ErrorChain, Shard, ShardId, StreamRef};
use tokio::time::{Instant, sleep};

use crate::{
    ConsumerError,
    metrics::StreamCounters,
    shard_end::{Listed, Symptom, Verdict, judge},
    stream::Stream,
    time::now,
};

/// Shards of a stream.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) shards: Vec<Shard>,
    /// Whether these are all shards that the service knows.
    pub(crate) complete: bool,
}

/// Describes streams and lists their shards. Retries with backoff, as the table of
/// [`Treatment`](statefun_kinesis_client::Treatment)s says.
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
    /// For a stream that is read: retries as long as the failure deserves.
    pub(crate) fn new(client: Arc<dyn KinesisClient>, backoff: Backoff, random: fastrand::Rng) -> Self {
        Self { client, backoff, random, deadline: None, counters: None }
    }

    /// For a start: retries until `deadline` what a start waits for.
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
                Err(error) if error.kind().treatment().retry == Retry::Renewed => {
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

    /// Finds out what the failure of a call about a shard means: the shard may have ended, or the stream may be gone.
    /// `doubt_since` is since when all answers have left open whether the shard has ended.
    ///
    /// # Errors
    ///
    /// When reading cannot go on.
    pub(crate) async fn diagnose_shard_failure(
        &mut self,
        stream: &Stream,
        shard: &ShardId,
        doubt_since: Option<std::time::Instant>,
        error: Error,
    ) -> Result<Verdict, ConsumerError> {
        let error = self.check_stream(stream, error).await?;
        let (Some(symptom), Some(since)) = (Symptom::of(&error), doubt_since) else {
            return Err(ConsumerError::from_call(&stream.reference, Some(shard), error));
        };
        let listing = self.list_again(stream, ShardFilter::FromTrimHorizon).await?;
        let listed = Listed::find(shard, &listing.shards);
        tracing::debug!(stream = %stream.arn, %shard, ?symptom, ?listed, "it is open whether the shard has ended");
        let doubted = now().saturating_duration_since(since);
        let verdict = judge(symptom, listed, doubted);
        verdict.ok_or_else(|| ConsumerError::from_call(&stream.reference, Some(shard), error))
    }

    /// Lists shards of a stream that is read. A stream that is not found, and is there when it is described, is listed
    /// again for a while.
    ///
    /// # Errors
    ///
    /// When reading cannot go on.
    pub(crate) async fn list_again(&mut self, stream: &Stream, filter: ShardFilter) -> Result<Listing, ConsumerError> {
        let (mut patience, mut failures) = (Patience::default(), 0);
        loop {
            let error = match self.list(&stream.reference, filter.clone()).await {
                Ok(listing) => return Ok(listing),
                Err(error) => self.check_stream(stream, error).await?,
            };
            if error.kind() != ErrorKind::NotFound || !patience.allows_retry(now(), error.kind()) {
                return Err(ConsumerError::from_call(&stream.reference, None, error));
            }
            let failed = |error| ConsumerError::from_call(&stream.reference, None, error);
            self.wait_to_retry(&stream.reference, failures, error).await.map_err(failed)?;
            failures = failures.saturating_add(1);
        }
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
        let (mut patience, mut failures) = (Patience::default(), 0);
        loop {
            let result = call().await;
            if let Some(counters) = &self.counters {
                counters.called(operation);
            }
            let error = match result {
                Err(error) if self.is_retried(&mut patience, error.kind()) => error,
                result => return result,
            };
            self.wait_to_retry(stream, failures, error).await?;
            failures = failures.saturating_add(1);
        }
    }

    /// Whether a call that failed so is repeated as it is.
    fn is_retried(&self, patience: &mut Patience, kind: ErrorKind) -> bool {
        let treatment = kind.treatment();
        match (treatment.retry, self.deadline) {
            // The caller has to make another call.
            (Retry::Renewed | Retry::Never, _) => false,
            (Retry::Unlimited | Retry::For(_), Some(_)) => treatment.start_waits,
            // The caller first finds out whether the stream was deleted.
            (Retry::Unlimited | Retry::For(_), None) => {
                kind != ErrorKind::NotFound && patience.allows_retry(now(), kind)
            }
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
