//! What the service's answers are made of.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use statefun_kinesis_client::{
    ChildShard, PutOutcome, RecordDistribution, StreamConsumer, StreamMode, StreamSummary, SubscriptionEvent,
};
use statefun_kinesis_types::{HashKeyRange, Record, Shard, ShardId, Timestamp};

/// Milliseconds as the protocol has them: a fraction of seconds.
fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1_000.0
}

fn range(range: HashKeyRange) -> Value {
    json!({"StartingHashKey": range.start().to_string(), "EndingHashKey": range.end().to_string()})
}

pub(crate) fn summary(summary: &StreamSummary) -> Value {
    let on_demand = summary.mode == StreamMode::OnDemand;
    let auto = summary.distribution == RecordDistribution::Auto;
    json!({
        "StreamName": summary.name.as_str(),
        "StreamARN": summary.arn.as_str(),
        "StreamStatus": summary.status.to_string(),
        "StreamModeDetails": {"StreamMode": if on_demand { "ON_DEMAND" } else { "PROVISIONED" }},
        "RetentionPeriodHours": summary.retention.as_secs() / 3_600,
        "StreamCreationTimestamp": seconds(summary.created),
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": if summary.kms_key.is_some() { "KMS" } else { "NONE" },
        "KeyId": summary.kms_key,
        "OpenShardCount": summary.open_shards,
        "ConsumerCount": summary.consumers,
        "MaxRecordSizeInKiB": summary.max_record_bytes / 1_024,
        "RecordDistributionStrategy": if auto { "AUTO" } else { "USER_PARTITION_KEY" },
    })
}

pub(crate) fn shard(shard: &Shard) -> Value {
    json!({
        "ShardId": shard.id.as_str(),
        "ParentShardId": shard.parent.as_ref().map(ShardId::as_str),
        "AdjacentParentShardId": shard.adjacent_parent.as_ref().map(ShardId::as_str),
        "HashKeyRange": range(shard.hash_range),
        "SequenceNumberRange": {
            "StartingSequenceNumber": shard.starting_sequence_number.to_string(),
            "EndingSequenceNumber": shard.ending_sequence_number.map(|number| number.to_string()),
        },
    })
}

pub(crate) fn child(child: &ChildShard) -> Value {
    let parents: Vec<&str> = child.parents.iter().map(ShardId::as_str).collect();
    json!({"ShardId": child.id.as_str(), "ParentShards": parents, "HashKeyRange": range(child.hash_range)})
}

pub(crate) fn record(record: &Record) -> Value {
    json!({
        "SequenceNumber": record.sequence_number.to_string(),
        "ApproximateArrivalTimestamp": seconds(record.approximate_arrival),
        "Data": BASE64_STANDARD.encode(&record.data),
        "PartitionKey": record.partition_key.as_ref().map(|key| key.as_str()),
    })
}

pub(crate) fn outcome(outcome: &PutOutcome) -> Value {
    match outcome {
        Ok(place) => {
            json!({"ShardId": place.shard.as_str(), "SequenceNumber": place.sequence_number.to_string()})
        }
        Err(failure) => json!({"ErrorCode": failure.code, "ErrorMessage": failure.message}),
    }
}

pub(crate) fn consumer(consumer: &StreamConsumer) -> Value {
    json!({
        "ConsumerName": consumer.name.as_str(),
        "ConsumerARN": consumer.arn.as_str(),
        "ConsumerStatus": consumer.status.to_string(),
        "ConsumerCreationTimestamp": seconds(consumer.created),
    })
}

pub(crate) fn event(event: &SubscriptionEvent) -> Value {
    let mut value = json!({
        "Records": event.records.iter().map(record).collect::<Vec<_>>(),
        "MillisBehindLatest": event.behind_latest.as_millis() as u64,
    });
    match event.continuation {
        Some(number) => value["ContinuationSequenceNumber"] = number.to_string().into(),
        None => value["ChildShards"] = event.children.iter().map(child).collect(),
    }
    value
}
