use std::{error::Error as StdError, fmt, future::Future};

use statefun_kinesis_types::{PutRecord, Shard, StreamRef};

use crate::{Error, ErrorKind, KinesisClient, Operation, Placement, PutFailure, Result, ShardFilter, ShardPageRequest};

/// What callers add to any [`KinesisClient`].
pub trait KinesisClientExt: KinesisClient {
    /// Lists all shards that the filter names, from as many pages as there are.
    ///
    /// [`ShardFilter::FromTrimHorizon`], the default, names every shard that still holds records or takes them;
    /// [`ShardFilter::AtLatest`] those that take records now.
    ///
    /// ```
    /// use statefun_kinesis_client::{KinesisClient, KinesisClientExt, Result, ShardFilter};
    /// use statefun_kinesis_types::StreamRef;
    ///
    /// async fn print_shards(client: &dyn KinesisClient, stream: &StreamRef) -> Result<()> {
    ///     for shard in client.all_shards(stream, ShardFilter::default()).await? {
    ///         println!("{} {} child: {}", shard.id, shard.hash_range, shard.is_child());
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`KinesisClient::list_shards`].
    fn all_shards(&self, stream: &StreamRef, filter: ShardFilter) -> impl Future<Output = Result<Vec<Shard>>> + Send;

    /// Stores one record, and says where it is.
    ///
    /// For more than a few records, a producer is cheaper: it puts many of them into one request.
    ///
    /// # Errors
    ///
    /// [`PutRecordError::Call`] when the call failed, as [`KinesisClient::put_records`] does; after a
    /// [`Timeout`](ErrorKind::Timeout) the record may be stored. [`PutRecordError::Record`] when the call succeeded
    /// and the service did not store the record.
    fn put_record(
        &self,
        stream: &StreamRef,
        record: PutRecord,
    ) -> impl Future<Output = Result<Placement, PutRecordError>> + Send;
}

impl<T: KinesisClient + ?Sized> KinesisClientExt for T {
    async fn all_shards(&self, stream: &StreamRef, filter: ShardFilter) -> Result<Vec<Shard>> {
        let mut page = self.list_shards(stream, ShardPageRequest::First { filter, max_results: None }).await?;
        let mut shards = page.shards;
        while let Some(token) = page.next {
            page = self.list_shards(stream, ShardPageRequest::Next { token, max_results: None }).await?;
            shards.append(&mut page.shards);
        }
        Ok(shards)
    }

    async fn put_record(&self, stream: &StreamRef, record: PutRecord) -> Result<Placement, PutRecordError> {
        let mut outcomes = self.put_records(stream, &[record]).await?;
        let (Some(outcome), true) = (outcomes.pop(), outcomes.is_empty()) else {
            let message = format!("the answer for one record of {stream} does not have one outcome");
            return Err(Error::new(Operation::PutRecords, ErrorKind::Unexpected, message).into());
        };
        Ok(outcome?)
    }
}

/// Why [`put_record`](KinesisClientExt::put_record) did not store the record.
#[derive(Debug)]
pub enum PutRecordError {
    /// The call failed.
    Call(Error),
    /// The call succeeded, and the service did not store the record.
    Record(PutFailure),
}

impl PutRecordError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Call(error) => error.kind(),
            Self::Record(failure) => failure.kind,
        }
    }
}

impl fmt::Display for PutRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Record(failure) => write!(f, "the record was not stored: {failure}"),
        }
    }
}

impl StdError for PutRecordError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Call(error) => error.source(),
            Self::Record(_) => None,
        }
    }
}

impl From<Error> for PutRecordError {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<PutFailure> for PutRecordError {
    fn from(failure: PutFailure) -> Self {
        Self::Record(failure)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use crate::{PutOutcome, RecordPage, ShardIterator, ShardPage, StreamSummary};
    use statefun_kinesis_types::{ShardId, StartPosition};

    use super::*;

    /// Answers PutRecords once, with what it is made of.
    #[derive(Debug)]
    struct Answers(Mutex<Option<Result<Vec<PutOutcome>>>>);

    fn not_asked() -> Error {
        Error::new(Operation::PutRecords, ErrorKind::InvalidArgument, "it only answers PutRecords, and once")
    }

    #[async_trait::async_trait]
    impl KinesisClient for Answers {
        async fn describe_stream_summary(&self, _: &StreamRef) -> Result<StreamSummary> {
            Err(not_asked())
        }

        async fn list_shards(&self, _: &StreamRef, _: ShardPageRequest) -> Result<ShardPage> {
            Err(not_asked())
        }

        async fn get_shard_iterator(&self, _: &StreamRef, _: &ShardId, _: StartPosition) -> Result<ShardIterator> {
            Err(not_asked())
        }

        async fn get_records(&self, _: &ShardIterator, _: usize) -> Result<RecordPage> {
            Err(not_asked())
        }

        async fn put_records(&self, _: &StreamRef, records: &[PutRecord]) -> Result<Vec<PutOutcome>> {
            assert_eq!(records.len(), 1);
            self.0.lock().unwrap().take().unwrap_or_else(|| Err(not_asked()))
        }
    }

    async fn put(answer: Result<Vec<PutOutcome>>) -> Result<Placement, PutRecordError> {
        let client = Answers(Mutex::new(Some(answer)));
        let record = PutRecord::new("k".parse().unwrap(), "v");
        client.put_record(&"orders".parse().unwrap(), record).await
    }

    fn placement() -> Placement {
        Placement { shard: "shardId-000000000000".parse().unwrap(), sequence_number: 7_u64.into() }
    }

    #[tokio::test]
    async fn one_error_says_whether_the_call_or_the_record_failed() {
        assert_eq!(put(Ok(vec![Ok(placement())])).await.unwrap(), placement());

        let call = Error::new(Operation::PutRecords, ErrorKind::Timeout, "no answer").with_source("the lower layer");
        let error = put(Err(call)).await.unwrap_err();
        assert!(matches!(error, PutRecordError::Call(_)));
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(error.to_string(), "PutRecords failed: timed out: no answer");
        assert_eq!(error.source().unwrap().to_string(), "the lower layer");

        let record = PutFailure::new(ErrorKind::Throttled, "ProvisionedThroughputExceededException", "rate exceeded");
        let error = put(Ok(vec![Err(record)])).await.unwrap_err();
        assert!(matches!(error, PutRecordError::Record(_)));
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert_eq!(
            error.to_string(),
            "the record was not stored: throttled: rate exceeded (ProvisionedThroughputExceededException)"
        );
        assert!(error.source().is_none());
    }

    #[tokio::test]
    async fn an_answer_without_exactly_one_outcome_is_unexpected() {
        for outcomes in [vec![], vec![Ok(placement()), Ok(placement())]] {
            let error = put(Ok(outcomes)).await.unwrap_err();
            assert!(matches!(error, PutRecordError::Call(_)), "{error}");
            assert_eq!(error.kind(), ErrorKind::Unexpected);
        }
    }
}
