//! The operations of the API, over the fake.

use std::num::NonZeroU16;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use statefun_kinesis_client::{
    ConsumerPageRequest, ErrorKind, FanOutClient, KinesisAdmin, KinesisClient, PageToken, ShardFilter, ShardIterator,
    ShardPage, ShardPageRequest, Subscription,
};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{
    GET_RECORDS_MAX_RECORDS, HashKey, PartitionKey, PutRecord, ShardId, StartPosition, StreamName,
};

use crate::{
    parameters::{Parameters, Refusal},
    values,
};

/// What an operation gives.
pub(crate) enum Answer {
    Json(Value),
    /// The answer to SubscribeToShard.
    Events(Subscription),
}

/// Carries out one request.
pub(crate) async fn answer(kinesis: &FakeKinesis, operation: &str, body: &Value) -> Result<Answer, Refusal> {
    let asked = Parameters(body);
    let value = match operation {
        "SubscribeToShard" => {
            let (consumer, shard): (_, ShardId) = (asked.parsed("ConsumerARN")?, asked.parsed("ShardId")?);
            let from = asked.object("StartingPosition").ok_or_else(|| Refusal::validation("no StartingPosition"))?;
            let from = position(from, "Type", "SequenceNumber")?;
            return Ok(Answer::Events(kinesis.subscribe_to_shard(&consumer, &shard, from).await?));
        }
        "CreateStream" => {
            let name: StreamName = asked.parsed("StreamName")?;
            kinesis.create_stream(&name, asked.number("ShardCount")?.unwrap_or(4)).await?;
            Value::Null
        }
        "DeleteStream" => {
            kinesis.delete_stream(&asked.stream()?).await?;
            Value::Null
        }
        "ListStreams" => {
            let names = kinesis.list_streams().await?;
            let names: Vec<&str> = names.iter().map(StreamName::as_str).collect();
            json!({"StreamNames": names, "HasMoreStreams": false})
        }
        "DescribeStreamSummary" => {
            let summary = kinesis.describe_stream_summary(&asked.stream()?).await?;
            json!({"StreamDescriptionSummary": values::summary(&summary)})
        }
        "SplitShard" => {
            let key: HashKey = asked.parsed("NewStartingHashKey")?;
            kinesis.split_shard(&asked.stream()?, &asked.parsed("ShardToSplit")?, key).await?;
            Value::Null
        }
        "MergeShards" => {
            let (shard, adjacent) = (asked.parsed("ShardToMerge")?, asked.parsed("AdjacentShardToMerge")?);
            kinesis.merge_shards(&asked.stream()?, &shard, &adjacent).await?;
            Value::Null
        }
        "ListShards" => list_shards(kinesis, asked).await?,
        "GetShardIterator" => {
            let from = position(asked, "ShardIteratorType", "StartingSequenceNumber")?;
            let iterator = kinesis.get_shard_iterator(&asked.stream()?, &asked.parsed("ShardId")?, from).await?;
            json!({"ShardIterator": iterator.as_str()})
        }
        "GetRecords" => get_records(kinesis, asked).await?,
        "PutRecords" => put_records(kinesis, asked).await?,
        "RegisterStreamConsumer" => {
            let (stream, name) = (asked.parsed("StreamARN")?, asked.parsed("ConsumerName")?);
            json!({"Consumer": values::consumer(&kinesis.register_stream_consumer(&stream, &name).await?)})
        }
        "DescribeStreamConsumer" => {
            let (stream, name) = (asked.parsed("StreamARN")?, asked.parsed("ConsumerName")?);
            let mut consumer = values::consumer(&kinesis.describe_stream_consumer(&stream, &name).await?);
            consumer["StreamARN"] = stream.to_string().into();
            json!({"ConsumerDescription": consumer})
        }
        "ListStreamConsumers" => {
            let token = asked.object("NextToken").is_some().then(|| asked.text("NextToken")).transpose()?;
            let page = ConsumerPageRequest { token: token.map(PageToken::new), max_results: asked.page_size()? };
            let page = kinesis.list_stream_consumers(&asked.parsed("StreamARN")?, page).await?;
            let consumers: Vec<Value> = page.consumers.iter().map(values::consumer).collect();
            json!({"Consumers": consumers, "NextToken": page.next.as_ref().map(PageToken::as_str)})
        }
        "DeregisterStreamConsumer" => {
            kinesis.deregister_stream_consumer(&asked.parsed("ConsumerARN")?).await?;
            Value::Null
        }
        other => return Err(Refusal::new("UnknownOperationException", format!("there is no {other} here"))),
    };
    Ok(Answer::Json(value))
}

/// A starting position, in the parameters of this name.
fn position(asked: Parameters<'_>, kind: &str, number: &str) -> Result<StartPosition, Refusal> {
    Ok(match asked.text(kind)? {
        "TRIM_HORIZON" => StartPosition::TrimHorizon,
        "LATEST" => StartPosition::Latest,
        "AT_TIMESTAMP" => StartPosition::AtTimestamp(asked.time("Timestamp")?),
        "AT_SEQUENCE_NUMBER" => StartPosition::AtSequenceNumber(asked.parsed(number)?),
        "AFTER_SEQUENCE_NUMBER" => StartPosition::AfterSequenceNumber(asked.parsed(number)?),
        other => return Err(Refusal::validation(format!("there is no position {other}"))),
    })
}

fn filter(asked: Parameters<'_>) -> Result<ShardFilter, Refusal> {
    Ok(match asked.text("Type")? {
        "FROM_TRIM_HORIZON" => ShardFilter::FromTrimHorizon,
        "AT_TRIM_HORIZON" => ShardFilter::AtTrimHorizon,
        "AT_LATEST" => ShardFilter::AtLatest,
        "AT_TIMESTAMP" => ShardFilter::AtTimestamp(asked.time("Timestamp")?),
        "FROM_TIMESTAMP" => ShardFilter::FromTimestamp(asked.time("Timestamp")?),
        "AFTER_SHARD_ID" => ShardFilter::AfterShardId(asked.parsed("ShardId")?),
        other => return Err(Refusal::validation(format!("there is no filter {other}"))),
    })
}

async fn list_shards(kinesis: &FakeKinesis, asked: Parameters<'_>) -> Result<Value, Refusal> {
    let max_results = asked.page_size()?;
    if asked.object("NextToken").is_some() {
        return next_shards(kinesis, PageToken::new(asked.text("NextToken")?), max_results).await;
    }
    let filter = asked.object("ShardFilter").map(filter).transpose()?.unwrap_or_default();
    let page = ShardPageRequest::First { filter, max_results };
    Ok(shard_page(&kinesis.list_shards(&asked.stream()?, page).await?))
}

/// The page behind an earlier one. A token stands for its stream, which the request does not name and the fake wants to
/// be told: it is the one for which the fake takes the token.
async fn next_shards(
    kinesis: &FakeKinesis,
    token: PageToken,
    max_results: Option<NonZeroU16>,
) -> Result<Value, Refusal> {
    for stream in kinesis.list_streams().await? {
        let page = ShardPageRequest::Next { token: token.clone(), max_results };
        match kinesis.list_shards(&stream.into(), page).await {
            Ok(page) => return Ok(shard_page(&page)),
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::new("InvalidArgumentException", "no listing gave out this token"))
}

fn shard_page(page: &ShardPage) -> Value {
    let shards: Vec<Value> = page.shards.iter().map(values::shard).collect();
    json!({"Shards": shards, "NextToken": page.next.as_ref().map(PageToken::as_str)})
}

async fn get_records(kinesis: &FakeKinesis, asked: Parameters<'_>) -> Result<Value, Refusal> {
    let limit = asked.number("Limit")?.unwrap_or(GET_RECORDS_MAX_RECORDS);
    let page = kinesis.get_records(&ShardIterator::new(asked.text("ShardIterator")?), limit).await?;
    let mut value = json!({
        "Records": page.records.iter().map(values::record).collect::<Vec<_>>(),
        "NextShardIterator": page.next_iterator.as_ref().map(ShardIterator::as_str),
        "MillisBehindLatest": page.behind_latest.as_millis() as u64,
    });
    if !page.child_shards.is_empty() {
        value["ChildShards"] = page.child_shards.iter().map(values::child).collect();
    }
    Ok(value)
}

async fn put_records(kinesis: &FakeKinesis, asked: Parameters<'_>) -> Result<Value, Refusal> {
    let record = |entry: Parameters<'_>| {
        let data = BASE64_STANDARD.decode(entry.text("Data")?).map_err(Refusal::validation)?;
        let record = PutRecord::new(entry.parsed::<PartitionKey>("PartitionKey")?, data);
        let key: Option<HashKey> = entry.parsed_if_there("ExplicitHashKey")?;
        Ok(key.into_iter().fold(record, PutRecord::with_explicit_hash_key))
    };
    let records: Vec<PutRecord> = asked.list("Records")?.map(record).collect::<Result<_, Refusal>>()?;
    let outcomes = kinesis.put_records(&asked.stream()?, &records).await?;
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    let entries: Vec<Value> = outcomes.iter().map(values::outcome).collect();
    Ok(json!({"FailedRecordCount": failed, "Records": entries, "EncryptionType": "NONE"}))
}
