//! The answers of Kinesis that this crate reads, whole, and the calls that read them.

use std::collections::BTreeSet;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use futures::StreamExt;
use serde_json::{Value, json};
use statefun_kinesis_client::{
    ConsumerPageRequest, FanOutClient, KinesisAdmin, KinesisClient, Operation, Result, ShardFilter, ShardIterator,
    ShardPageRequest,
};
use statefun_kinesis_types::{ConsumerArn, ConsumerName, PutRecord, ShardId, StartPosition, StreamArn, StreamRef};

use crate::{AwsKinesis, loopback};

const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
const CONSUMER: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/orders/consumer/billing:1713830400";

/// An answer, in one of the forms that it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    DescribeStreamSummary,
    ListShards,
    GetShardIterator,
    GetRecords,
    /// Of a closed shard that was read to its end.
    GetRecordsAtEnd,
    PutRecords,
    RegisterStreamConsumer,
    DescribeStreamConsumer,
    ListStreamConsumers,
    ListStreams,
    SubscribeToShard,
    /// Of a closed shard that was read to its end.
    SubscribeToShardAtEnd,
}

/// The answers to a call. A new operation does not compile without them.
pub(super) fn answers_to(operation: Operation) -> &'static [Answer] {
    match operation {
        Operation::DescribeStreamSummary => &[Answer::DescribeStreamSummary],
        Operation::ListShards => &[Answer::ListShards],
        Operation::GetShardIterator => &[Answer::GetShardIterator],
        Operation::GetRecords => &[Answer::GetRecords, Answer::GetRecordsAtEnd],
        Operation::PutRecords => &[Answer::PutRecords],
        Operation::ListStreams => &[Answer::ListStreams],
        Operation::RegisterStreamConsumer => &[Answer::RegisterStreamConsumer],
        Operation::DescribeStreamConsumer => &[Answer::DescribeStreamConsumer],
        Operation::ListStreamConsumers => &[Answer::ListStreamConsumers],
        Operation::SubscribeToShard => &[Answer::SubscribeToShard, Answer::SubscribeToShardAtEnd],
        // Their answers are empty.
        Operation::CreateStream
        | Operation::DeleteStream
        | Operation::SplitShard
        | Operation::MergeShards
        | Operation::DeregisterStreamConsumer => &[],
    }
}

fn shard(number: u8, parents: &[&str]) -> Value {
    let mut shard = json!({
        "ShardId": format!("shardId-00000000000{number}"),
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "340282366920938463463374607431768211455"},
        "SequenceNumberRange": {"StartingSequenceNumber": "49", "EndingSequenceNumber": "50"},
    });
    for (field, parent) in ["ParentShardId", "AdjacentParentShardId"].into_iter().zip(parents) {
        shard[field] = (*parent).into();
    }
    shard
}

fn child(number: u8) -> Value {
    json!({
        "ShardId": format!("shardId-00000000000{number}"), "ParentShards": ["shardId-000000000003"],
        "HashKeyRange": {"StartingHashKey": "5", "EndingHashKey": "6"},
    })
}

fn record(number: u8) -> Value {
    json!({
        "SequenceNumber": number.to_string(), "ApproximateArrivalTimestamp": 1_776_902_400.123, "Data": "AP8=",
        "PartitionKey": "k", "EncryptionType": "KMS",
    })
}

fn consumer() -> Value {
    json!({
        "ConsumerName": "billing", "ConsumerARN": CONSUMER, "ConsumerStatus": "ACTIVE",
        "ConsumerCreationTimestamp": 1_713_830_400.5,
    })
}

impl Answer {
    /// The answer with all fields of the service's model.
    pub(super) fn whole(self) -> Value {
        match self {
            Self::DescribeStreamSummary => json!({"StreamDescriptionSummary": {
                "StreamName": "orders", "StreamARN": STREAM, "StreamId": "id", "StreamStatus": "ACTIVE",
                "StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "RetentionPeriodHours": 48,
                "StreamCreationTimestamp": 1_776_902_400.5,
                "EnhancedMonitoring": [{"ShardLevelMetrics": ["IncomingBytes"]}],
                "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis", "OpenShardCount": 3, "ConsumerCount": 2,
                "WarmThroughput": {"TargetMiBps": 10, "CurrentMiBps": 5}, "MaxRecordSizeInKiB": 10_240,
                "ChannelCount": 1, "RecordDistributionStrategy": "AUTO",
            }}),
            Self::ListShards => json!({
                "NextToken": "t",
                "Shards": [shard(3, &["shardId-000000000000", "shardId-000000000001"]), shard(4, &[])],
            }),
            Self::GetShardIterator => json!({"ShardIterator": "i"}),
            Self::GetRecords => json!({
                "Records": [record(7), record(8)], "NextShardIterator": "n", "MillisBehindLatest": 1_500,
            }),
            Self::GetRecordsAtEnd => json!({
                "Records": [record(7)], "MillisBehindLatest": 1_500, "ChildShards": [child(4), child(5)],
            }),
            Self::PutRecords => json!({
                "FailedRecordCount": 1, "EncryptionType": "KMS",
                "Records": [
                    {"SequenceNumber": "7", "ShardId": "shardId-000000000003"},
                    {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"},
                ],
            }),
            Self::RegisterStreamConsumer => json!({"Consumer": consumer()}),
            Self::DescribeStreamConsumer => {
                let mut description = consumer();
                description["StreamARN"] = STREAM.into();
                json!({"ConsumerDescription": description})
            }
            Self::ListStreamConsumers => json!({"Consumers": [consumer()], "NextToken": "t"}),
            Self::ListStreams => json!({
                "StreamNames": ["orders", "results"], "HasMoreStreams": false, "NextToken": "t",
                "StreamSummaries": [{
                    "StreamName": "orders", "StreamARN": STREAM, "StreamStatus": "ACTIVE",
                    "StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "StreamCreationTimestamp": 1_776_902_400.5,
                }],
            }),
            Self::SubscribeToShard => json!({
                "Records": [record(7), record(8)], "ContinuationSequenceNumber": "9", "MillisBehindLatest": 1_500,
            }),
            Self::SubscribeToShardAtEnd => json!({
                "Records": [record(7)], "MillisBehindLatest": 1_500, "ChildShards": [child(4), child(5)],
            }),
        }
    }

    /// The answer with this text, as the service sends it.
    pub(super) fn http(self, text: &str) -> loopback::Answer {
        match self {
            Self::SubscribeToShard | Self::SubscribeToShardAtEnd => {
                let kind = ("content-type", "application/vnd.amazon.eventstream".to_owned());
                let mut body = Vec::new();
                for (event, payload) in [("initial-response", "{}"), ("SubscribeToShardEvent", text)] {
                    let mut message = Message::new(payload.as_bytes().to_vec());
                    for (name, value) in [(":message-type", "event"), (":event-type", event)] {
                        message = message.add_header(Header::new(name, HeaderValue::String(value.to_owned().into())));
                    }
                    write_message_to(&message, &mut body).unwrap();
                }
                loopback::Answer::Http(200, vec![kind], body)
            }
            Self::DescribeStreamSummary
            | Self::ListShards
            | Self::GetShardIterator
            | Self::GetRecords
            | Self::GetRecordsAtEnd
            | Self::PutRecords
            | Self::RegisterStreamConsumer
            | Self::DescribeStreamConsumer
            | Self::ListStreamConsumers
            | Self::ListStreams => loopback::Answer::ok(text),
        }
    }

    /// Makes the call. Returns what it gave, in the form of `Debug`.
    pub(super) async fn call(self, client: &AwsKinesis) -> Result<String> {
        let arn: StreamArn = STREAM.parse().unwrap();
        let stream = StreamRef::Arn(arn.clone());
        let shard: ShardId = "shardId-000000000003".parse().unwrap();
        let name: ConsumerName = "billing".parse().unwrap();
        let consumer: ConsumerArn = CONSUMER.parse().unwrap();
        let from = StartPosition::TrimHorizon;
        Ok(match self {
            Self::DescribeStreamSummary => format!("{:?}", client.describe_stream_summary(&stream).await?),
            Self::ListShards => {
                let first = ShardPageRequest::First { filter: ShardFilter::FromTrimHorizon, max_results: None };
                format!("{:?}", client.list_shards(&stream, first).await?)
            }
            Self::GetShardIterator => format!("{:?}", client.get_shard_iterator(&stream, &shard, from).await?),
            Self::GetRecords | Self::GetRecordsAtEnd => {
                let page = client.get_records(&ShardIterator::new("i"), 10).await?;
                let payloads: Vec<&[u8]> = page.records.iter().map(|record| record.data.as_ref()).collect();
                format!("{page:?} with {payloads:?}")
            }
            Self::PutRecords => {
                let records = vec![PutRecord::new("k".parse().unwrap(), "v"); 2];
                format!("{:?}", client.put_records(&stream, &records).await?)
            }
            Self::RegisterStreamConsumer => format!("{:?}", client.register_stream_consumer(&arn, &name).await?),
            Self::DescribeStreamConsumer => format!("{:?}", client.describe_stream_consumer(&arn, &name).await?),
            Self::ListStreamConsumers => {
                let first = ConsumerPageRequest { token: None, max_results: None };
                format!("{:?}", client.list_stream_consumers(&arn, first).await?)
            }
            Self::ListStreams => format!("{:?}", client.list_streams().await?),
            Self::SubscribeToShard | Self::SubscribeToShardAtEnd => {
                let mut subscription = client.subscribe_to_shard(&consumer, &shard, from).await?;
                let event = subscription.next().await.expect("there is an event")?;
                assert!(subscription.next().await.is_none(), "there is no second event");
                let payloads: Vec<&[u8]> = event.records.iter().map(|record| record.data.as_ref()).collect();
                format!("{event:?} with {payloads:?}")
            }
        })
    }
}

/// A new field of the service's model has to be in the answers before this crate is built with the SDK that knows it.
#[test]
fn whole_answers_have_all_fields_of_the_model() {
    use aws_sdk_kinesis::{operation as of, types as sdk};

    /// The fields of a type of the SDK, which must be those of the objects at this place of these answers together.
    macro_rules! check {
        ($type:ty, $place:literal, $($answer:ident),+) => {
            let model: BTreeSet<&str> = <$type>::SCHEMA.members().iter().filter_map(|field| field.member_name()).collect();
            let wholes = [$(Answer::$answer.whole()),+];
            let object = |whole: &Value| whole.pointer($place).and_then(Value::as_object).cloned().unwrap_or_default();
            let written: BTreeSet<String> = wholes.iter().flat_map(object).map(|(name, _)| name).collect();
            assert_eq!(written.iter().map(String::as_str).collect::<BTreeSet<_>>(), model, "{}", stringify!($type));
        };
    }
    check!(sdk::StreamDescriptionSummary, "/StreamDescriptionSummary", DescribeStreamSummary);
    check!(of::list_shards::ListShardsOutput, "", ListShards);
    check!(sdk::Shard, "/Shards/0", ListShards);
    check!(of::get_shard_iterator::GetShardIteratorOutput, "", GetShardIterator);
    check!(of::get_records::GetRecordsOutput, "", GetRecords, GetRecordsAtEnd);
    check!(sdk::Record, "/Records/0", GetRecords);
    check!(sdk::ChildShard, "/ChildShards/0", GetRecordsAtEnd);
    check!(sdk::SubscribeToShardEvent, "", SubscribeToShard, SubscribeToShardAtEnd);
    check!(sdk::Record, "/Records/0", SubscribeToShard);
    check!(sdk::ChildShard, "/ChildShards/0", SubscribeToShardAtEnd);
    check!(of::put_records::PutRecordsOutput, "", PutRecords);
    check!(of::register_stream_consumer::RegisterStreamConsumerOutput, "", RegisterStreamConsumer);
    check!(sdk::Consumer, "/Consumer", RegisterStreamConsumer);
    check!(sdk::ConsumerDescription, "/ConsumerDescription", DescribeStreamConsumer);
    check!(of::list_stream_consumers::ListStreamConsumersOutput, "", ListStreamConsumers);
    check!(sdk::Consumer, "/Consumers/0", ListStreamConsumers);
    check!(of::list_streams::ListStreamsOutput, "", ListStreams);
    check!(sdk::StreamSummary, "/StreamSummaries/0", ListStreams);
}
