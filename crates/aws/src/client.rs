use std::{error::Error as StdError, fmt, time::Duration};

use async_trait::async_trait;
use aws_sdk_kinesis::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::{Blob, DateTime},
    types::{self as sdk, PutRecordsRequestEntry, ShardFilterType, ShardIteratorType},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use statefun_kinesis_client::{
    Error, ErrorKind, Fault, KinesisClient, Operation, PutOutcome, RecordPage, Result, ShardFilter, ShardIterator,
    ShardPage, ShardPageRequest, StreamSummary,
};
use statefun_kinesis_types::{PutRecord, ShardId, StartPosition, StreamRef, Timestamp};

use crate::{
    AwsKinesisBuilder, CredentialsStatus, EVENT_TIMEOUT, answer, failure::Call, kept_credentials::KeptCredentials,
    record_page::PageReader,
};

/// A client of Kinesis Data Streams that uses the AWS SDK. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct AwsKinesis {
    pub(crate) sdk: Client,
    /// Time limit between two events of a subscription.
    pub(crate) event_timeout: Duration,
    /// The credentials of a client that the builder made; those of other clients are the SDK's business.
    pub(crate) credentials: Option<KeptCredentials>,
}

impl AwsKinesis {
    /// Returns a builder of a client with its own region and credentials.
    pub fn builder() -> AwsKinesisBuilder {
        AwsKinesisBuilder::default()
    }

    /// Creates a client from one of the SDK's, for settings that the builder does not have.
    ///
    /// Turn its retries off (`RetryConfig::disabled()`): the layers above this crate retry too, and the attempts would
    /// multiply.
    pub fn new(sdk: Client) -> Self {
        Self { sdk, event_timeout: EVENT_TIMEOUT, credentials: None }
    }

    /// How the credentials are doing; `None` for a client that was made [from one of the SDK's](Self::new).
    pub fn credentials(&self) -> Option<CredentialsStatus> {
        self.credentials.as_ref().map(KeptCredentials::status)
    }

    /// Converts the error of a call. Credentials that may be at fault are reloaded before the next call.
    pub(crate) fn failed<E>(&self, call: &Call<'_>, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let error = call.failed(error);
        if let Some(credentials) = &self.credentials
            && matches!(error.kind().treatment().fault, Fault::Credentials | Fault::Clock)
        {
            credentials.rejected();
        }
        error
    }

    /// The region for which requests are signed.
    pub fn region(&self) -> Option<&str> {
        self.sdk.config().region().map(AsRef::as_ref)
    }
}

impl fmt::Debug for AwsKinesis {
    /// Prints only the region, because the SDK's client would print all of its configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKinesis").field("region", &self.region()).finish_non_exhaustive()
    }
}

/// A stream as the two parameters of the API, of which exactly one is set.
pub(crate) fn name_and_arn(stream: &StreamRef) -> (Option<String>, Option<String>) {
    match stream {
        StreamRef::Name(name) => (Some(name.to_string()), None),
        StreamRef::Arn(arn) => (None, Some(arn.to_string())),
    }
}

pub(crate) fn date_time(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.as_millis())
}

fn shard_filter(filter: ShardFilter) -> Result<Option<sdk::ShardFilter>, String> {
    let builder = sdk::ShardFilter::builder();
    let builder = match filter {
        // This is the service's default, so it is left out: servers without support for filters then work too.
        ShardFilter::FromTrimHorizon => return Ok(None),
        ShardFilter::AtTrimHorizon => builder.r#type(ShardFilterType::AtTrimHorizon),
        ShardFilter::AtLatest => builder.r#type(ShardFilterType::AtLatest),
        ShardFilter::AtTimestamp(time) => builder.r#type(ShardFilterType::AtTimestamp).timestamp(date_time(time)),
        ShardFilter::FromTimestamp(time) => builder.r#type(ShardFilterType::FromTimestamp).timestamp(date_time(time)),
        ShardFilter::AfterShardId(shard) => builder.r#type(ShardFilterType::AfterShardId).shard_id(shard.as_str()),
    };
    builder.build().map(Some).map_err(|error| error.to_string())
}

#[async_trait]
impl KinesisClient for AwsKinesis {
    async fn describe_stream_summary(&self, stream: &StreamRef) -> Result<StreamSummary> {
        let call = Call::on_stream(Operation::DescribeStreamSummary, stream);
        let (name, arn) = name_and_arn(stream);
        let request = self.sdk.describe_stream_summary().set_stream_name(name).set_stream_arn(arn);
        let output = request.send().await.map_err(|error| self.failed(&call, error))?;
        answer::stream_summary(output).map_err(|invalid| call.makes_no_sense(invalid))
    }

    async fn list_shards(&self, stream: &StreamRef, page: ShardPageRequest) -> Result<ShardPage> {
        let call = Call::on_stream(Operation::ListShards, stream);
        let request = match page {
            ShardPageRequest::First { filter, max_results } => {
                let (name, arn) = name_and_arn(stream);
                let filter = shard_filter(filter).map_err(|message| {
                    Error::new(call.operation, ErrorKind::InvalidArgument, format!("{stream}: {message}"))
                })?;
                self.sdk
                    .list_shards()
                    .set_stream_name(name)
                    .set_stream_arn(arn)
                    .set_shard_filter(filter)
                    .set_max_results(max_results.map(|most| most.get().into()))
            }
            // The token includes the stream and the filter; the service rejects both next to it.
            ShardPageRequest::Next { token, max_results } => self
                .sdk
                .list_shards()
                .next_token(token.as_str())
                .set_max_results(max_results.map(|most| most.get().into())),
        };
        let output = request.send().await.map_err(|error| self.failed(&call, error))?;
        answer::shard_page(output).map_err(|invalid| call.makes_no_sense(invalid))
    }

    async fn get_shard_iterator(
        &self,
        stream: &StreamRef,
        shard: &ShardId,
        from: StartPosition,
    ) -> Result<ShardIterator> {
        let call = Call::on_shard(Operation::GetShardIterator, stream, shard);
        let (name, arn) = name_and_arn(stream);
        let request = self.sdk.get_shard_iterator().set_stream_name(name).set_stream_arn(arn).shard_id(shard.as_str());
        let request = match from {
            StartPosition::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            StartPosition::Latest => request.shard_iterator_type(ShardIteratorType::Latest),
            StartPosition::AtTimestamp(time) => {
                request.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(date_time(time))
            }
            StartPosition::AtSequenceNumber(number) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(number.to_string()),
            StartPosition::AfterSequenceNumber(number) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(number.to_string()),
        };
        let output = request.send().await.map_err(|error| self.failed(&call, error))?;
        answer::shard_iterator(output).map_err(|invalid| call.makes_no_sense(invalid))
    }

    async fn get_records(&self, iterator: &ShardIterator, limit: usize) -> Result<RecordPage> {
        let call = Call::on_iterator(Operation::GetRecords);
        // A limit that exceeds the type also exceeds the service's 10 000, and the service will reject it.
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let request = self.sdk.get_records().shard_iterator(iterator.as_str()).limit(limit);
        let reader = PageReader::default();
        let output = request.customize().interceptor(reader.clone()).send().await;
        let output = output.map_err(|error| self.failed(&call, error))?;
        match reader.take() {
            Some(page) => page,
            None => answer::record_page(output),
        }
        .map_err(|invalid| call.makes_no_sense(invalid))
    }

    async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> Result<Vec<PutOutcome>> {
        let call = Call::on_stream(Operation::PutRecords, stream);
        let entries = records.iter().map(entry).collect::<Result<_, _>>().map_err(|error| {
            // All fields that the SDK requires are set, so only a change of the SDK can cause this error.
            Error::new(call.operation, ErrorKind::Unexpected, format!("{stream}: the SDK refused an entry"))
                .with_source(error)
        })?;
        let (name, arn) = name_and_arn(stream);
        let request = self.sdk.put_records().set_stream_name(name).set_stream_arn(arn).set_records(Some(entries));
        let output = request.send().await.map_err(|error| self.failed(&call, error))?;
        answer::put_outcomes(output, records.len()).map_err(|invalid| call.makes_no_sense(invalid))
    }
}

fn entry(record: &PutRecord) -> Result<PutRecordsRequestEntry, aws_sdk_kinesis::error::BuildError> {
    PutRecordsRequestEntry::builder()
        // Shares the payload's allocation.
        .data(Blob::from_maybe_shared(record.data.clone()))
        .partition_key(record.partition_key.as_str())
        .set_explicit_hash_key(record.explicit_hash_key.map(|key| key.to_string()))
        .build()
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU16, sync::Arc};

    use bytes::Bytes;
    use serde_json::{Value, json};
    use statefun_kinesis_client::{KinesisAdmin, RecordDistribution, StreamMode, StreamStatus};
    use statefun_kinesis_types::{HashKey, Timestamp};

    use super::*;
    use crate::replay::{Replay, Reply};

    const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";

    fn name() -> StreamRef {
        "orders".parse().unwrap()
    }

    fn arn() -> StreamRef {
        ARN.parse().unwrap()
    }

    fn shard() -> ShardId {
        "shardId-000000000003".parse().unwrap()
    }

    /// Makes one call. Returns the request and the result of the answer.
    async fn call<T>(answer: Value, make: impl AsyncFnOnce(AwsKinesis) -> Result<T>) -> (String, Value, Result<T>) {
        let replay = Replay::new([Reply::json(answer)]);
        let result = make(replay.kinesis()).await;
        let asked = replay.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        (asked[0].operation().to_owned(), asked[0].body.clone(), result)
    }

    async fn check_request<T: std::fmt::Debug>(
        make: impl AsyncFnOnce(AwsKinesis) -> Result<T>,
        operation: &str,
        body: Value,
    ) {
        let (asked, sent, _) = call(json!({}), make).await;
        assert_eq!((asked.as_str(), sent), (operation, body));
    }

    #[tokio::test]
    async fn a_stream_goes_by_name_or_by_arn_in_every_call() {
        for (stream, key, text) in [(name(), "StreamName", "orders"), (arn(), "StreamARN", ARN)] {
            let stream = &stream;
            let mut sent = Vec::new();
            let ok = json!({"Records": []});
            sent.push(call(ok.clone(), async |c| c.describe_stream_summary(stream).await.map(drop)).await);
            let first = ShardPageRequest::First { filter: ShardFilter::FromTrimHorizon, max_results: None };
            sent.push(call(ok.clone(), async |c| c.list_shards(stream, first).await.map(drop)).await);
            let from = StartPosition::Latest;
            sent.push(call(ok.clone(), async |c| c.get_shard_iterator(stream, &shard(), from).await.map(drop)).await);
            sent.push(call(ok.clone(), async |c| c.put_records(stream, &[]).await.map(drop)).await);
            sent.push(call(ok.clone(), async |c| c.delete_stream(stream).await).await);
            sent.push(call(ok.clone(), async |c| c.split_shard(stream, &shard(), HashKey::MAX).await).await);
            sent.push(call(ok.clone(), async |c| c.merge_shards(stream, &shard(), &shard()).await).await);
            for (operation, body, _) in sent {
                let named: Vec<&String> =
                    body.as_object().unwrap().keys().filter(|k| k.starts_with("Stream")).collect();
                assert_eq!(named, [key], "{operation}: {body}");
                assert_eq!(body[key], text, "{operation}: {body}");
            }
        }
    }

    #[tokio::test]
    async fn shard_filters_and_page_sizes_are_sent() {
        let time = Timestamp::from_millis(1_776_902_400_123);
        for (filter, body) in [
            (ShardFilter::FromTrimHorizon, json!({"StreamName": "orders", "MaxResults": 7})),
            (
                ShardFilter::AtTrimHorizon,
                json!({"StreamName": "orders", "MaxResults": 7, "ShardFilter": {"Type": "AT_TRIM_HORIZON"}}),
            ),
            (
                ShardFilter::AtLatest,
                json!({"StreamName": "orders", "MaxResults": 7, "ShardFilter": {"Type": "AT_LATEST"}}),
            ),
            (
                ShardFilter::AtTimestamp(time),
                json!({"StreamName": "orders", "MaxResults": 7,
                    "ShardFilter": {"Type": "AT_TIMESTAMP", "Timestamp": 1_776_902_400.123}}),
            ),
            (
                ShardFilter::FromTimestamp(time),
                json!({"StreamName": "orders", "MaxResults": 7,
                    "ShardFilter": {"Type": "FROM_TIMESTAMP", "Timestamp": 1_776_902_400.123}}),
            ),
            (
                ShardFilter::AfterShardId(shard()),
                json!({"StreamName": "orders", "MaxResults": 7,
                    "ShardFilter": {"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000003"}}),
            ),
        ] {
            let page = ShardPageRequest::First { filter, max_results: NonZeroU16::new(7) };
            check_request(async |c| c.list_shards(&name(), page).await, "ListShards", body).await;
        }
    }

    #[tokio::test]
    async fn a_later_page_is_asked_for_by_its_token_alone() {
        for stream in [name(), arn()] {
            let page = ShardPageRequest::Next {
                token: statefun_kinesis_client::PageToken::new("t"),
                max_results: NonZeroU16::new(7),
            };
            let body = json!({"NextToken": "t", "MaxResults": 7});
            check_request(async |c| c.list_shards(&stream, page).await, "ListShards", body).await;
        }
    }

    #[tokio::test]
    async fn all_five_positions_are_sent() {
        let number = "49590338271490256608559692538361571095921575989136588898";
        let timestamp = Timestamp::from_millis(1_776_902_400_001);
        for (from, kind, key, value) in [
            (StartPosition::TrimHorizon, "TRIM_HORIZON", None, Value::Null),
            (StartPosition::Latest, "LATEST", None, Value::Null),
            (StartPosition::AtTimestamp(timestamp), "AT_TIMESTAMP", Some("Timestamp"), json!(1_776_902_400.001)),
            (
                StartPosition::AtSequenceNumber(number.parse().unwrap()),
                "AT_SEQUENCE_NUMBER",
                Some("StartingSequenceNumber"),
                json!(number),
            ),
            (
                StartPosition::AfterSequenceNumber(number.parse().unwrap()),
                "AFTER_SEQUENCE_NUMBER",
                Some("StartingSequenceNumber"),
                json!(number),
            ),
        ] {
            let mut body =
                json!({"StreamName": "orders", "ShardId": "shardId-000000000003", "ShardIteratorType": kind});
            if let Some(key) = key {
                body[key] = value;
            }
            let make = async |c: AwsKinesis| c.get_shard_iterator(&name(), &shard(), from).await;
            check_request(make, "GetShardIterator", body).await;
        }
    }

    #[tokio::test]
    async fn records_are_sent_with_their_keys_and_bytes() {
        let records = [
            PutRecord::new("k".parse().unwrap(), Bytes::from_static(b"\x00\xff")),
            PutRecord::new("ü".parse().unwrap(), "").with_explicit_hash_key(HashKey::MAX),
        ];
        let body = json!({"StreamName": "orders", "Records": [
            {"PartitionKey": "k", "Data": "AP8="},
            {"PartitionKey": "ü", "Data": "", "ExplicitHashKey": "340282366920938463463374607431768211455"},
        ]});
        check_request(async |c| c.put_records(&name(), &records).await, "PutRecords", body).await;
    }

    #[test]
    fn a_payload_is_not_copied_on_its_way_to_the_sdk() {
        let data = Bytes::from(vec![7; 100]);
        let entry = entry(&PutRecord::new("k".parse().unwrap(), data.clone())).unwrap();
        assert_eq!(entry.data.into_bytes().as_ptr(), data.as_ptr());
    }

    #[tokio::test]
    async fn administration_is_sent() {
        let body = json!({"StreamName": "orders", "ShardCount": 4, "StreamModeDetails": {"StreamMode": "PROVISIONED"}});
        check_request(async |c| c.create_stream(&name().name(), 4).await, "CreateStream", body).await;
        let body = json!({"StreamName": "orders", "ShardToSplit": "shardId-000000000003", "NewStartingHashKey": "17"});
        let make = async |c: AwsKinesis| c.split_shard(&name(), &shard(), HashKey::new(17)).await;
        check_request(make, "SplitShard", body).await;
        let body = json!({"StreamName": "orders", "ShardToMerge": "shardId-000000000003",
            "AdjacentShardToMerge": "shardId-000000000004"});
        let adjacent = "shardId-000000000004".parse().unwrap();
        let make = async |c: AwsKinesis| c.merge_shards(&name(), &shard(), &adjacent).await;
        check_request(make, "MergeShards", body).await;
        check_request(async |c| c.delete_stream(&name()).await, "DeleteStream", json!({"StreamName": "orders"})).await;
        let iterator = ShardIterator::new("i");
        let body = json!({"ShardIterator": "i", "Limit": 10_001});
        check_request(async |c| c.get_records(&iterator, 10_001).await, "GetRecords", body).await;
        let body = json!({"ShardIterator": "i", "Limit": i32::MAX});
        check_request(async |c| c.get_records(&iterator, usize::MAX).await, "GetRecords", body).await;
    }

    #[tokio::test]
    async fn all_streams_are_listed_page_by_page_in_order() {
        let pages = [
            json!({"StreamNames": ["c", "d"], "HasMoreStreams": true, "NextToken": "t"}),
            json!({"StreamNames": ["e"], "HasMoreStreams": true}),
            json!({"StreamNames": ["a"], "HasMoreStreams": false}),
        ];
        let replay = Replay::new(pages.map(Reply::json));
        let names = replay.kinesis().list_streams().await.unwrap();
        assert_eq!(names.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["a", "c", "d", "e"]);
        let asked: Vec<Value> = replay.asked().into_iter().map(|asked| asked.body).collect();
        assert_eq!(asked, [json!({}), json!({"NextToken": "t"}), json!({"ExclusiveStartStreamName": "e"})]);

        // An empty page that announces more must not cause endless calls.
        let replay = Replay::new([Reply::json(json!({"StreamNames": [], "HasMoreStreams": true}))]);
        let error = replay.kinesis().list_streams().await.unwrap_err();
        assert!(error.to_string().contains("the answer has no `NextToken`"), "{error}");
    }

    fn summary() -> Value {
        json!({
            "StreamName": "orders", "StreamARN": ARN, "StreamStatus": "UPDATING", "RetentionPeriodHours": 48,
            "StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "StreamCreationTimestamp": 1_776_902_400.5,
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}], "EncryptionType": "NONE", "OpenShardCount": 3,
            "ConsumerCount": 2, "MaxRecordSizeInKiB": 10240, "RecordDistributionStrategy": "AUTO",
        })
    }

    #[tokio::test]
    async fn a_summary_is_read_whole() {
        let describe = async |c: AwsKinesis| c.describe_stream_summary(&name()).await;
        let (_, _, read) = call(json!({"StreamDescriptionSummary": summary()}), describe).await;
        let read = read.unwrap();
        assert_eq!((read.arn.as_str(), read.name.as_str()), (ARN, "orders"));
        assert_eq!(read.status, StreamStatus::Updating);
        assert_eq!(read.created.as_millis(), 1_776_902_400_500);
        assert_eq!(read.retention, Duration::from_secs(48 * 3_600));
        assert_eq!((read.open_shards, read.mode), (3, StreamMode::OnDemand));
        assert_eq!((read.max_record_bytes, read.distribution), (10 << 20, RecordDistribution::Auto));
        assert_eq!((read.consumers, read.kms_key), (2, None));

        let mut encrypted = summary();
        encrypted["EncryptionType"] = json!("KMS");
        encrypted["KeyId"] = json!("alias/aws/kinesis");
        let (_, _, read) = call(json!({"StreamDescriptionSummary": encrypted}), describe).await;
        assert_eq!(read.unwrap().kms_key.as_deref(), Some("alias/aws/kinesis"));

        let mut plain = summary();
        for key in ["StreamModeDetails", "MaxRecordSizeInKiB", "RecordDistributionStrategy", "ConsumerCount"] {
            plain.as_object_mut().unwrap().remove(key);
        }
        let (_, _, read) = call(json!({"StreamDescriptionSummary": plain}), describe).await;
        let read = read.unwrap();
        assert_eq!((read.max_record_bytes, read.mode), (1 << 20, StreamMode::Provisioned));
        assert_eq!((read.distribution, read.consumers), (RecordDistribution::UserPartitionKey, 0));
    }

    #[tokio::test]
    async fn a_page_of_shards_is_read_whole() {
        let answer = json!({"NextToken": "t", "Shards": [
            {"ShardId": "shardId-000000000002", "ParentShardId": "shardId-000000000000",
             "AdjacentParentShardId": "shardId-000000000001",
             "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "340282366920938463463374607431768211455"},
             "SequenceNumberRange": {"StartingSequenceNumber": "49", "EndingSequenceNumber": "50"}},
            {"ShardId": "shardId-000000000003",
             "HashKeyRange": {"StartingHashKey": "1", "EndingHashKey": "2"},
             "SequenceNumberRange": {"StartingSequenceNumber": "51"}},
        ]});
        let first = ShardPageRequest::First { filter: ShardFilter::FromTrimHorizon, max_results: None };
        let (_, _, page) = call(answer, async |c| c.list_shards(&name(), first).await).await;
        let page = page.unwrap();
        assert_eq!(page.next.unwrap().as_str(), "t");
        let [merged, open] = &page.shards[..] else { panic!("{:?}", page.shards) };
        assert_eq!(
            merged.parents().map(ShardId::as_str).collect::<Vec<_>>(),
            ["shardId-000000000000", "shardId-000000000001"]
        );
        assert_eq!(merged.ending_sequence_number, Some("50".parse().unwrap()));
        assert_eq!(merged.hash_range, statefun_kinesis_types::HashKeyRange::FULL);
        assert!(open.is_open() && !open.is_child());
        assert_eq!(open.starting_sequence_number, "51".parse().unwrap());
    }

    #[tokio::test]
    async fn a_page_of_records_is_read_whole() {
        let answer = json!({
            "MillisBehindLatest": 1_500,
            "Records": [
                {"SequenceNumber": "7", "ApproximateArrivalTimestamp": 1_776_902_400.123, "Data": "AP8=",
                 "PartitionKey": "ü", "EncryptionType": "KMS"},
                {"SequenceNumber": "8", "ApproximateArrivalTimestamp": 1_776_902_401, "Data": ""},
            ],
            "ChildShards": [{"ShardId": "shardId-000000000004", "ParentShards": ["shardId-000000000003"],
                "HashKeyRange": {"StartingHashKey": "5", "EndingHashKey": "6"}}],
        });
        let get = async |c: AwsKinesis| c.get_records(&ShardIterator::new("i"), 10).await;
        let (_, _, page) = call(answer, get).await;
        let page = page.unwrap();
        assert_eq!(page.next_iterator, None, "the end of the shard");
        assert_eq!(page.behind_latest, Duration::from_millis(1_500));
        let [first, second] = &page.records[..] else { panic!("{:?}", page.records) };
        assert_eq!(first.partition_key, Some("ü".parse().unwrap()));
        assert_eq!((first.data.as_ref(), first.approximate_arrival.as_millis()), (&[0, 255][..], 1_776_902_400_123));
        assert_eq!((second.partition_key.as_ref(), second.data.len()), (None, 0));
        let [child] = &page.child_shards[..] else { panic!("{:?}", page.child_shards) };
        assert_eq!((child.id.as_str(), child.parents.len()), ("shardId-000000000004", 1));
        assert_eq!(child.hash_range.start(), HashKey::new(5));

        let (_, _, page) = call(json!({"Records": [], "NextShardIterator": "j"}), get).await;
        let page = page.unwrap();
        assert_eq!(page.next_iterator.unwrap().as_str(), "j");
        assert!(page.behind_latest.is_zero() && page.records.is_empty() && page.child_shards.is_empty());
    }

    #[tokio::test]
    async fn each_record_has_its_own_outcome() {
        let answer = json!({"FailedRecordCount": 3, "Records": [
            {"SequenceNumber": "7", "ShardId": "shardId-000000000003"},
            {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded for shard"},
            {"ErrorCode": "InternalFailure", "ErrorMessage": "Internal service failure."},
            {"ErrorCode": "SomethingNew"},
            {"SequenceNumber": "8", "ShardId": "shardId-000000000003"},
        ]});
        let records = vec![PutRecord::new("k".parse().unwrap(), "x"); 5];
        let (_, _, outcomes) = call(answer, async |c| c.put_records(&name(), &records).await).await;
        let outcomes = outcomes.unwrap();
        let kinds: Vec<Option<ErrorKind>> =
            outcomes.iter().map(|outcome| outcome.as_ref().err().map(|failure| failure.kind)).collect();
        let (throttled, unavailable) = (Some(ErrorKind::Throttled), Some(ErrorKind::Unavailable));
        assert_eq!(kinds, [None, throttled, unavailable, unavailable, None]);
        assert_eq!(outcomes[4].as_ref().unwrap().sequence_number, "8".parse().unwrap());
        let throttled = outcomes[1].as_ref().unwrap_err();
        assert_eq!(throttled.code, "ProvisionedThroughputExceededException");
        assert_eq!(throttled.message, "Rate exceeded for shard");
    }

    #[tokio::test]
    async fn an_answer_that_says_nothing_usable_names_the_field() {
        #[track_caller]
        fn check<T: std::fmt::Debug>(field: &str, result: (String, Value, Result<T>)) {
            let error = result.2.expect_err(field);
            let is_absent = error.to_string().contains("the answer has no `");
            let kind = if is_absent { ErrorKind::Incomplete } else { ErrorKind::Unexpected };
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(&format!("`{field}`")), "{field}: {error}");
        }
        let changed = |key: &str, value: Value| {
            let mut summary = summary();
            summary[key] = value;
            json!({"StreamDescriptionSummary": summary})
        };
        let describe = async |c: AwsKinesis| c.describe_stream_summary(&name()).await;
        check("StreamARN", call(json!({}), describe).await);
        for (field, value) in [
            ("StreamARN", json!("orders")),
            ("StreamName", json!("a name")),
            ("StreamStatus", json!("SLEEPING")),
            ("StreamARN", json!("")),
            ("StreamCreationTimestamp", Value::Null),
            ("RetentionPeriodHours", Value::Null),
            ("RetentionPeriodHours", json!(-1)),
            ("OpenShardCount", json!(-1)),
            ("MaxRecordSizeInKiB", json!(-1)),
            ("RecordDistributionStrategy", json!("RANDOM")),
        ] {
            check(field, call(changed(field, value), describe).await);
        }
        let mode = changed("StreamModeDetails", json!({"StreamMode": "SOMETIMES"}));
        check("StreamModeDetails.StreamMode", call(mode, describe).await);

        let shard_with = |key: &str, value: Value| {
            let mut shard = json!({"ShardId": "shardId-000000000003",
                "HashKeyRange": {"StartingHashKey": "1", "EndingHashKey": "2"},
                "SequenceNumberRange": {"StartingSequenceNumber": "51"}});
            shard[key] = value;
            json!({"Shards": [shard]})
        };
        let first = ShardPageRequest::First { filter: ShardFilter::FromTrimHorizon, max_results: None };
        let list = async |c: AwsKinesis| c.list_shards(&name(), first.clone()).await;
        for (field, key, value) in [
            ("ShardId", "ShardId", json!("a shard")),
            ("ShardId", "ShardId", json!("")),
            ("ParentShardId", "ParentShardId", json!("?")),
            ("AdjacentParentShardId", "AdjacentParentShardId", json!("?")),
            ("HashKeyRange", "HashKeyRange", Value::Null),
            ("HashKeyRange", "HashKeyRange", json!({"StartingHashKey": "2", "EndingHashKey": "1"})),
            ("HashKeyRange.EndingHashKey", "HashKeyRange", json!({"StartingHashKey": "2", "EndingHashKey": "x"})),
            ("SequenceNumberRange", "SequenceNumberRange", Value::Null),
            (
                "SequenceNumberRange.EndingSequenceNumber",
                "SequenceNumberRange",
                json!({"StartingSequenceNumber": "1", "EndingSequenceNumber": "-1"}),
            ),
        ] {
            check(field, call(shard_with(key, value), list).await);
        }

        let iterator = async |c: AwsKinesis| c.get_shard_iterator(&name(), &shard(), StartPosition::Latest).await;
        check("ShardIterator", call(json!({}), iterator).await);
        check("ShardIterator", call(json!({"ShardIterator": ""}), iterator).await);
        check("ShardIterator", call(json!({"ShardIterator": null}), iterator).await);

        let record_with = |key: &str, value: Value| {
            let mut record =
                json!({"SequenceNumber": "7", "ApproximateArrivalTimestamp": 1, "Data": "", "PartitionKey": "k"});
            record[key] = value;
            json!({"Records": [record], "MillisBehindLatest": 0})
        };
        let get = async |c: AwsKinesis| c.get_records(&ShardIterator::new("i"), 10).await;
        for (key, value) in [
            ("SequenceNumber", json!("seven")),
            ("SequenceNumber", json!("")),
            ("SequenceNumber", Value::Null),
            ("Data", Value::Null),
            ("ApproximateArrivalTimestamp", Value::Null),
            ("PartitionKey", json!("x".repeat(257))),
        ] {
            check(&format!("Records.{key}"), call(record_with(key, value), get).await);
        }
        check("MillisBehindLatest", call(json!({"Records": [], "MillisBehindLatest": -1}), get).await);

        let records = [PutRecord::new("k".parse().unwrap(), "x")];
        let put = async |c: AwsKinesis| c.put_records(&name(), &records).await;
        check("Records", call(json!({}), put).await);
        check("Records", call(json!({"Records": []}), put).await);
        check("Records", call(json!({}), get).await);
        check("Records", call(json!({"Records": null, "NextShardIterator": "n"}), get).await);
        check("Shards", call(json!({}), list).await);
        check("Shards", call(json!({"NextToken": "n"}), list).await);
        check("Records.ShardId", call(json!({"Records": [{"SequenceNumber": "1"}]}), put).await);
        let no_number = json!({"Records": [{"ShardId": "shardId-000000000003"}]});
        check("Records.SequenceNumber", call(no_number, put).await);
    }

    #[tokio::test]
    async fn an_empty_optional_field_is_an_absent_one() {
        let get = async |c: AwsKinesis| c.get_records(&ShardIterator::new("i"), 10).await;
        for next in [json!(""), Value::Null] {
            let (_, _, page) = call(json!({"Records": [], "NextShardIterator": next}), get).await;
            assert_eq!(page.unwrap().next_iterator, None);
        }
        let shard = json!({"ShardId": "shardId-000000000003", "ParentShardId": "", "AdjacentParentShardId": "",
            "HashKeyRange": {"StartingHashKey": "1", "EndingHashKey": "2"},
            "SequenceNumberRange": {"StartingSequenceNumber": "51", "EndingSequenceNumber": ""}});
        let first = ShardPageRequest::First { filter: ShardFilter::FromTrimHorizon, max_results: None };
        let list = async |c: AwsKinesis| c.list_shards(&name(), first.clone()).await;
        let (_, _, page) = call(json!({"Shards": [shard], "NextToken": "", "Unknown": [7]}), list).await;
        let page = page.unwrap();
        assert_eq!((page.next, page.shards[0].parents().count(), page.shards[0].is_open()), (None, 0, true));
    }

    #[test]
    fn a_client_is_a_client_behind_the_seam() {
        fn takes(_: Arc<dyn KinesisAdmin>) {}
        takes(Arc::new(Replay::new([]).kinesis()));
    }
}
