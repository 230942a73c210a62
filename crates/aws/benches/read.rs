//! What reading through a consumer costs beside a loop over the SDK's own GetRecords, where both decode the same answers.
//!
//! The HTTP client answers from memory: there is no network, and what is left is the work of this process. Between the
//! two stands this crate's client in a loop, which tells its share, the SDK's values made the project's, from the
//! consumer's.

use std::sync::Arc;

use aws_sdk_kinesis::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_smithy_types::{base64, body::SdkBody};
use bytes::Bytes;
use divan::{Bencher, black_box, counter::ItemsCount};
use serde_json::{Value, json};
use statefun_kinesis_aws::AwsKinesis;
use statefun_kinesis_client::{KinesisClient, ShardIterator};
use statefun_kinesis_consumer::{Consumer, Settings};
use statefun_kinesis_types::{StartupPosition, StreamRef};

const RECORDS_PER_PAGE: usize = 5_000;
/// Few, so that a sample is short: the fastest of many is then one that nothing else on the machine interrupted.
const PAGES: usize = 2;
const RECORDS: usize = RECORDS_PER_PAGE * PAGES;

const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
const SHARD: &str = "shardId-000000000000";
const KEY: &str = "customer-17";

fn main() {
    divan::main();
}

/// A stream of one shard, as the answers of the service: an iterator is the number of its page.
#[derive(Debug)]
struct Answers {
    summary: Bytes,
    shards: Bytes,
    iterator: Bytes,
    pages: Vec<Bytes>,
}

impl Answers {
    fn new(record_bytes: usize) -> Self {
        let summary = json!({"StreamDescriptionSummary": {
            "StreamName": "orders", "StreamARN": ARN, "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_776_902_400.5, "EnhancedMonitoring": [], "OpenShardCount": 1,
        }});
        let shards = json!({"Shards": [{
            "ShardId": SHARD, "SequenceNumberRange": {"StartingSequenceNumber": "0"},
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "340282366920938463463374607431768211455"},
        }]});
        let data: Vec<u8> = (0..record_bytes - KEY.len()).map(|at| at as u8).collect();
        let data = base64::encode(data);
        let page = |page: usize| {
            let record = |index: usize| {
                // As long as those of the service.
                let number = format!("495903382714902566085596925383615710{:020}", page * RECORDS_PER_PAGE + index);
                json!({"SequenceNumber": number, "ApproximateArrivalTimestamp": 1_776_902_400.123, "Data": data,
                    "PartitionKey": KEY})
            };
            let records: Vec<Value> = (0..RECORDS_PER_PAGE).map(record).collect();
            let next = (page + 1).to_string();
            text(&json!({"Records": records, "NextShardIterator": next, "MillisBehindLatest": 1_000}))
        };
        Self {
            summary: text(&summary),
            shards: text(&shards),
            iterator: text(&json!({"ShardIterator": "0"})),
            pages: (0..PAGES).map(page).collect(),
        }
    }

    fn answer(&self, request: &HttpRequest) -> Option<Bytes> {
        let operation = request.headers().get("x-amz-target")?.rsplit('.').next()?;
        Some(match operation {
            "DescribeStreamSummary" => self.summary.clone(),
            "ListShards" => self.shards.clone(),
            "GetShardIterator" => self.iterator.clone(),
            "GetRecords" => {
                let asked: Value = serde_json::from_slice(request.body().bytes()?).ok()?;
                let page: usize = asked["ShardIterator"].as_str()?.parse().ok()?;
                // A consumer may ask once more before it is dropped.
                self.pages.get(page).cloned().unwrap_or_else(|| text(&json!({"Records": [], "NextShardIterator": "0"})))
            }
            _ => return None,
        })
    }
}

fn text(answer: &Value) -> Bytes {
    answer.to_string().into()
}

#[derive(Clone, Debug)]
struct Canned(Arc<Answers>);

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = self.0.answer(&request).map(SdkBody::from);
        let response = body.map(|body| HttpResponse::new(StatusCode::try_from(200).unwrap(), body));
        HttpConnectorFuture::ready(response.ok_or_else(|| ConnectorError::user("a call without an answer".into())))
    }
}

fn sdk(record_bytes: usize) -> Client {
    let connector = SharedHttpConnector::new(Canned(Arc::new(Answers::new(record_bytes))));
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("AKID", "secret", None, None, "bench"))
        .retry_config(RetryConfig::disabled())
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    Client::from_conf(config)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// Times `read` with what `make` made of the SDK's client.
fn bench<R>(
    bencher: Bencher<'_, '_>,
    record_bytes: usize,
    make: impl AsyncFn(Client) -> R,
    read: impl AsyncFn(R) -> usize,
) {
    let (runtime, sdk) = (runtime(), sdk(record_bytes));
    let made = || runtime.block_on(make(sdk.clone()));
    bencher.counter(ItemsCount::new(RECORDS)).with_inputs(made).bench_local_values(|reader| {
        let sum = runtime.block_on(read(reader));
        assert!(sum >= RECORDS * record_bytes, "some records did not come");
        black_box(sum)
    });
}

/// A loop over the SDK's calls that looks at each record.
#[divan::bench(args = [100, 1024])]
fn floor_sdk(bencher: Bencher<'_, '_>, record_bytes: usize) {
    let read = async |sdk: Client| {
        let (mut iterator, mut read, mut sum) = ("0".to_owned(), 0, 0);
        while read < RECORDS {
            let request = sdk.get_records().shard_iterator(iterator).limit(10_000);
            let page = request.send().await.unwrap();
            for record in page.records() {
                let data = record.data().as_ref();
                sum += data.len() + record.partition_key().map_or(0, str::len) + usize::from(data[0]);
            }
            read += page.records().len();
            iterator = page.next_shard_iterator.unwrap();
        }
        sum
    };
    bench(bencher, record_bytes, async |sdk| sdk, read);
}

/// The same loop over this crate's client.
#[divan::bench(args = [100, 1024])]
fn client(bencher: Bencher<'_, '_>, record_bytes: usize) {
    let read = async |client: AwsKinesis| {
        let (mut iterator, mut read, mut sum) = (ShardIterator::new("0"), 0, 0);
        while read < RECORDS {
            let page = client.get_records(&iterator, 10_000).await.unwrap();
            sum += page.records.iter().map(|record| record.size() + usize::from(record.data[0])).sum::<usize>();
            read += page.records.len();
            iterator = page.next_iterator.unwrap();
        }
        sum
    };
    bench(bencher, record_bytes, async |sdk| AwsKinesis::new(sdk), read);
}

/// A consumer over this crate's client, every batch acknowledged.
#[divan::bench(args = [100, 1024])]
fn consumer(bencher: Bencher<'_, '_>, record_bytes: usize) {
    let make = async |sdk| {
        let stream: StreamRef = ARN.parse().unwrap();
        // Without pacing: it is the work that is measured, not the waiting.
        let settings =
            Settings { read_calls_per_second: u32::MAX, read_bytes_per_second: usize::MAX, ..Settings::default() };
        let builder = Consumer::builder(Arc::new(AwsKinesis::new(sdk))).stream(stream);
        builder.start(StartupPosition::TrimHorizon).settings(settings).build().await.unwrap()
    };
    let read = async |mut consumer: Consumer| {
        let (mut read, mut sum) = (0, 0);
        while read < RECORDS {
            let batch = consumer.next().await.unwrap().unwrap();
            sum += batch.records().iter().map(|record| record.size() + usize::from(record.data[0])).sum::<usize>();
            read += batch.records().len();
            batch.done();
        }
        sum
    };
    bench(bencher, record_bytes, make, read);
}
