//! Converts the SDK's values to the project's values. Nothing is guessed: the error for an unusable field names it.

use std::{fmt, str::FromStr, time::Duration};

use aws_sdk_kinesis::{
    operation::{
        describe_stream_consumer::DescribeStreamConsumerOutput, describe_stream_summary::DescribeStreamSummaryOutput,
        get_records::GetRecordsOutput, get_shard_iterator::GetShardIteratorOutput, list_shards::ListShardsOutput,
        list_stream_consumers::ListStreamConsumersOutput, list_streams::ListStreamsOutput,
        put_records::PutRecordsOutput, register_stream_consumer::RegisterStreamConsumerOutput,
    },
    primitives::DateTime,
    types as sdk,
};
use statefun_kinesis_client::{
    ChildShard, ConsumerPage, ConsumerStatus, PageToken, Placement, PutFailure, PutOutcome, RecordDistribution,
    RecordPage, ShardIterator, ShardPage, StreamConsumer, StreamMode, StreamStatus, StreamSummary, SubscriptionEvent,
};
use statefun_kinesis_types::{
    HashKey, HashKeyRange, InvalidValue, PartitionKey, Record, Shard, StreamArn, StreamName, Timestamp,
};

use crate::code;

/// The error for a required field of an answer that is absent or has an invalid value.
#[derive(Debug)]
pub(crate) struct Invalid {
    field: &'static str,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Absent,
    NotA(InvalidValue),
    Unknown(String),
}

impl Invalid {
    pub(crate) fn absent(field: &'static str) -> Self {
        Self { field, problem: Problem::Absent }
    }

    /// Whether the field is absent, rather than invalid.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.problem, Problem::Absent)
    }

    fn unknown(field: &'static str, shown: impl fmt::Display) -> Self {
        Self { field, problem: Problem::Unknown(shown.to_string()) }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Absent => write!(f, "the answer has no `{}`", self.field),
            Problem::NotA(invalid) => write!(f, "`{}` of the answer: {invalid}", self.field),
            Problem::Unknown(shown) => write!(f, "`{}` of the answer: `{}` is unknown here", self.field, shown),
        }
    }
}

type Read<T> = Result<T, Invalid>;

/// Parses a required field. The SDK gives a missing one as an empty text, and none of them can be empty.
fn parse<T: FromStr<Err = InvalidValue>>(field: &'static str, text: &str) -> Read<T> {
    if text.is_empty() {
        return Err(Invalid::absent(field));
    }
    text.parse().map_err(|invalid| Invalid { field, problem: Problem::NotA(invalid) })
}

fn parse_some<T: FromStr<Err = InvalidValue>>(field: &'static str, text: Option<&str>) -> Read<Option<T>> {
    present(text).map(|text| parse(field, text)).transpose()
}

/// An optional field. Some services write an empty text for none.
fn present<T: AsRef<str>>(text: Option<T>) -> Option<T> {
    text.filter(|text| !text.as_ref().is_empty())
}

/// The error for a value of a list of the service's that this crate does not know. The SDK gives a missing one as these
/// words.
fn unknown_value(field: &'static str, value: &str) -> Invalid {
    match value {
        "" | "no value was set" => Invalid::absent(field),
        other => Invalid::unknown(field, other),
    }
}

/// Converts a time that is in the past. The SDK gives a missing one as 1970.
fn past_time(field: &'static str, of: &DateTime) -> Read<Timestamp> {
    let time = time(field, of)?;
    if time == Timestamp::EPOCH { Err(Invalid::absent(field)) } else { Ok(time) }
}

/// Converts a time. The protocol writes times as fractions of seconds, which may be slightly below the original
/// millisecond, so they are rounded and not cut.
pub(crate) fn time(field: &'static str, time: &DateTime) -> Read<Timestamp> {
    let within = i64::from(time.subsec_nanos()).saturating_add(500_000) / 1_000_000;
    let millis = time.secs().checked_mul(1_000).and_then(|millis| millis.checked_add(within));
    millis.map(Timestamp::from_millis).ok_or_else(|| Invalid::unknown(field, format_args!("{time:?}")))
}

fn hash_range(range: Option<&sdk::HashKeyRange>) -> Read<HashKeyRange> {
    let range = range.ok_or(Invalid::absent("HashKeyRange"))?;
    let start: HashKey = parse("HashKeyRange.StartingHashKey", range.starting_hash_key())?;
    let end: HashKey = parse("HashKeyRange.EndingHashKey", range.ending_hash_key())?;
    HashKeyRange::new(start, end).ok_or_else(|| Invalid::unknown("HashKeyRange", format_args!("{start}–{end}")))
}

pub(crate) fn stream_summary(output: DescribeStreamSummaryOutput) -> Read<StreamSummary> {
    let summary = output.stream_description_summary.ok_or(Invalid::absent("StreamDescriptionSummary"))?;
    let arn: StreamArn = parse("StreamARN", summary.stream_arn())?;
    let created = past_time("StreamCreationTimestamp", summary.stream_creation_timestamp())?;
    // The SDK gives a missing number as 0.
    if summary.retention_period_hours() == 0 {
        return Err(Invalid::absent("RetentionPeriodHours"));
    }
    let open_shards = usize::try_from(summary.open_shard_count())
        .map_err(|_| Invalid::unknown("OpenShardCount", summary.open_shard_count()))?;
    let mut read = StreamSummary::new(arn, created, open_shards);
    read.name = parse("StreamName", summary.stream_name())?;
    read.status = match summary.stream_status() {
        sdk::StreamStatus::Creating => StreamStatus::Creating,
        sdk::StreamStatus::Active => StreamStatus::Active,
        sdk::StreamStatus::Updating => StreamStatus::Updating,
        sdk::StreamStatus::Deleting => StreamStatus::Deleting,
        other => return Err(unknown_value("StreamStatus", other.as_str())),
    };
    let hours = u64::try_from(summary.retention_period_hours())
        .map_err(|_| Invalid::unknown("RetentionPeriodHours", summary.retention_period_hours()))?;
    read.retention = Duration::from_secs(hours * 60 * 60);
    if let Some(details) = summary.stream_mode_details() {
        read.mode = match details.stream_mode() {
            sdk::StreamMode::Provisioned => StreamMode::Provisioned,
            sdk::StreamMode::OnDemand => StreamMode::OnDemand,
            other => return Err(unknown_value("StreamModeDetails.StreamMode", other.as_str())),
        };
    }
    if let Some(kib) = summary.max_record_size_in_kib() {
        read.max_record_bytes = usize::try_from(kib).map_err(|_| Invalid::unknown("MaxRecordSizeInKiB", kib))? * 1024;
    }
    if let Some(strategy) = summary.record_distribution_strategy().filter(|strategy| !strategy.as_str().is_empty()) {
        read.distribution = match strategy {
            sdk::RecordDistributionStrategy::UserPartitionKey => RecordDistribution::UserPartitionKey,
            sdk::RecordDistributionStrategy::Auto => RecordDistribution::Auto,
            other => return Err(Invalid::unknown("RecordDistributionStrategy", other)),
        };
    }
    if let Some(count) = summary.consumer_count() {
        read.consumers = usize::try_from(count).map_err(|_| Invalid::unknown("ConsumerCount", count))?;
    }
    read.kms_key = match summary.encryption_type().filter(|kind| !kind.as_str().is_empty()) {
        None | Some(sdk::EncryptionType::None) => None,
        Some(sdk::EncryptionType::Kms) => Some(present(summary.key_id()).ok_or(Invalid::absent("KeyId"))?.to_owned()),
        Some(other) => return Err(Invalid::unknown("EncryptionType", other)),
    };
    Ok(read)
}

pub(crate) fn registered_consumer(output: RegisterStreamConsumerOutput) -> Read<StreamConsumer> {
    consumer(output.consumer().ok_or(Invalid::absent("Consumer"))?)
}

fn consumer(consumer: &sdk::Consumer) -> Read<StreamConsumer> {
    stream_consumer(
        consumer.consumer_name(),
        consumer.consumer_arn(),
        consumer.consumer_status(),
        consumer.consumer_creation_timestamp(),
    )
}

pub(crate) fn described_consumer(output: DescribeStreamConsumerOutput) -> Read<StreamConsumer> {
    let consumer = output.consumer_description().ok_or(Invalid::absent("ConsumerDescription"))?;
    stream_consumer(
        consumer.consumer_name(),
        consumer.consumer_arn(),
        consumer.consumer_status(),
        consumer.consumer_creation_timestamp(),
    )
}

fn stream_consumer(name: &str, arn: &str, status: &sdk::ConsumerStatus, created: &DateTime) -> Read<StreamConsumer> {
    let status = match status {
        sdk::ConsumerStatus::Creating => ConsumerStatus::Creating,
        sdk::ConsumerStatus::Active => ConsumerStatus::Active,
        sdk::ConsumerStatus::Deleting => ConsumerStatus::Deleting,
        other => return Err(unknown_value("ConsumerStatus", other.as_str())),
    };
    let created = past_time("ConsumerCreationTimestamp", created)?;
    let mut read = StreamConsumer::new(parse("ConsumerARN", arn)?, status, created);
    read.name = parse("ConsumerName", name)?;
    Ok(read)
}

pub(crate) fn consumer_page(output: ListStreamConsumersOutput) -> Read<ConsumerPage> {
    let consumers = output.consumers.ok_or(Invalid::absent("Consumers"))?;
    let consumers = consumers.iter().map(consumer).collect::<Read<_>>()?;
    Ok(ConsumerPage::new(consumers, present(output.next_token).map(PageToken::new)))
}

pub(crate) fn subscription_event(event: sdk::SubscribeToShardEvent) -> Read<SubscriptionEvent> {
    let records = event.records.into_iter().map(record).collect::<Read<_>>()?;
    let children = event.child_shards.unwrap_or_default().iter().map(child_shard).collect::<Read<_>>()?;
    let behind = u64::try_from(event.millis_behind_latest)
        .map_err(|_| Invalid::unknown("MillisBehindLatest", event.millis_behind_latest))?;
    // At the end of a shard there is no sequence number, which the SDK returns as an empty string. So it does where the
    // number is missing; the code that reads the event finds out which it is.
    if event.continuation_sequence_number.is_empty() {
        return Ok(SubscriptionEvent::end(records, children));
    }
    let continuation = parse("ContinuationSequenceNumber", &event.continuation_sequence_number)?;
    Ok(SubscriptionEvent::new(records, continuation, Duration::from_millis(behind)))
}

pub(crate) fn shard_page(output: ListShardsOutput) -> Read<ShardPage> {
    let shards = output.shards.ok_or(Invalid::absent("Shards"))?;
    let shards = shards.iter().map(shard).collect::<Read<_>>()?;
    Ok(ShardPage::new(shards, present(output.next_token).map(PageToken::new)))
}

fn shard(shard: &sdk::Shard) -> Read<Shard> {
    let numbers = shard.sequence_number_range().ok_or(Invalid::absent("SequenceNumberRange"))?;
    let mut read = Shard::new(
        parse("ShardId", shard.shard_id())?,
        hash_range(shard.hash_key_range())?,
        parse("SequenceNumberRange.StartingSequenceNumber", numbers.starting_sequence_number())?,
    );
    read.parent = parse_some("ParentShardId", shard.parent_shard_id())?;
    read.adjacent_parent = parse_some("AdjacentParentShardId", shard.adjacent_parent_shard_id())?;
    read.ending_sequence_number =
        parse_some("SequenceNumberRange.EndingSequenceNumber", numbers.ending_sequence_number())?;
    Ok(read)
}

pub(crate) fn shard_iterator(output: GetShardIteratorOutput) -> Read<ShardIterator> {
    present(output.shard_iterator).map(ShardIterator::new).ok_or(Invalid::absent("ShardIterator"))
}

pub(crate) fn record_page(output: GetRecordsOutput) -> Read<RecordPage> {
    let records = output.records.into_iter().map(record).collect::<Read<_>>()?;
    let behind = output.millis_behind_latest.unwrap_or(0);
    let behind = u64::try_from(behind).map_err(|_| Invalid::unknown("MillisBehindLatest", behind))?;
    let next = present(output.next_shard_iterator).map(ShardIterator::new);
    let mut page = RecordPage::new(records, next, Duration::from_millis(behind));
    page.child_shards = output.child_shards.unwrap_or_default().iter().map(child_shard).collect::<Read<_>>()?;
    Ok(page)
}

fn record(record: sdk::Record) -> Read<Record> {
    let arrival = record.approximate_arrival_timestamp.as_ref();
    let partition_key: Option<PartitionKey> = parse_some("Records.PartitionKey", record.partition_key.as_deref())?;
    Ok(Record::new(
        parse("Records.SequenceNumber", &record.sequence_number)?,
        partition_key,
        time(
            "Records.ApproximateArrivalTimestamp",
            arrival.ok_or(Invalid::absent("Records.ApproximateArrivalTimestamp"))?,
        )?,
        record.data.into_bytes(),
    ))
}

fn child_shard(child: &sdk::ChildShard) -> Read<ChildShard> {
    let parents = child.parent_shards().iter().map(|id| parse("ChildShards.ParentShards", id)).collect::<Read<_>>()?;
    Ok(ChildShard::new(parse("ChildShards.ShardId", child.shard_id())?, parents, hash_range(child.hash_key_range())?))
}

pub(crate) fn put_outcomes(output: PutRecordsOutput, expected: usize) -> Read<Vec<PutOutcome>> {
    if output.records.is_empty() && expected > 0 {
        return Err(Invalid::absent("Records"));
    }
    if output.records.len() != expected {
        // The results could not be assigned to their records then.
        let shown = format_args!("{} outcomes for {expected} records", output.records.len()).to_string();
        return Err(Invalid::unknown("Records", shown));
    }
    output.records.into_iter().map(put_outcome).collect()
}

fn put_outcome(entry: sdk::PutRecordsResultEntry) -> Read<PutOutcome> {
    if let Some(code) = present(entry.error_code) {
        let message = entry.error_message.unwrap_or_default();
        return Ok(Err(PutFailure::new(code::kind_of_entry(&code), code, message)));
    }
    match (present(entry.shard_id), present(entry.sequence_number)) {
        (Some(shard), Some(number)) => Ok(Ok(Placement {
            shard: parse("Records.ShardId", &shard)?,
            sequence_number: parse("Records.SequenceNumber", &number)?,
        })),
        (None, _) => Err(Invalid::absent("Records.ShardId")),
        (_, None) => Err(Invalid::absent("Records.SequenceNumber")),
    }
}

pub(crate) fn stream_names(output: &ListStreamsOutput) -> Read<Vec<StreamName>> {
    output.stream_names().iter().map(|name| parse("StreamNames", name)).collect()
}
