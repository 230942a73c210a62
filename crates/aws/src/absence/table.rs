//! What is expected of a changed answer, where that is not the same as of the whole one.

use super::{
    answers::Answer::{self, *},
    change::Change::{self, Doubled, Empty, Null, Removed},
};

/// What a call gives for a changed answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// The same as for the whole answer.
    Whole,
    /// An error that names the absent field.
    Incomplete(&'static str),
    /// An error with these words.
    Unexpected(&'static str),
    /// Something else, with this in it.
    Reads(&'static str),
}

use Expected::{Incomplete, Reads, Unexpected};

/// Answers, places (without the numbers of elements) and changes: what each combination of them gives, and why.
pub(super) type Row = (&'static [Answer], &'static [&'static str], &'static [Change], Expected, &'static str);

const ABSENT: &[Change] = &[Removed, Null, Empty];
/// Of fields that have no empty value, and of records, whose payload may be empty.
const GONE: &[Change] = &[Removed, Null];

const REQUIRED: &str = "the service's model says that it is always there";
const OPTIONAL: &str = "an optional field, and its default";
const ELEMENT: &str = "no list has such an element";

const RECORDS: &[Answer] = &[GetRecords, GetRecordsAtEnd, SubscribeToShard, SubscribeToShardAtEnd];
const ENDS: &[Answer] = &[GetRecordsAtEnd, SubscribeToShardAtEnd];
const CONSUMERS: &[Answer] = &[RegisterStreamConsumer, DescribeStreamConsumer, ListStreamConsumers];

pub(super) const TABLE: &[Row] = &[
    // DescribeStreamSummary.
    (&[DescribeStreamSummary], &[""], &[Empty], Incomplete("StreamARN"), REQUIRED),
    (&[DescribeStreamSummary], &["StreamDescriptionSummary"], GONE, Incomplete("StreamARN"), REQUIRED),
    (&[DescribeStreamSummary], &["StreamDescriptionSummary"], &[Empty], Incomplete("StreamStatus"), REQUIRED),
    (&[DescribeStreamSummary], &["StreamDescriptionSummary.StreamARN"], ABSENT, Incomplete("StreamARN"), REQUIRED),
    (&[DescribeStreamSummary], &["StreamDescriptionSummary.StreamName"], ABSENT, Incomplete("StreamName"), REQUIRED),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.StreamStatus"],
        ABSENT,
        Incomplete("StreamStatus"),
        REQUIRED,
    ),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.StreamCreationTimestamp"],
        GONE,
        Incomplete("StreamCreationTimestamp"),
        REQUIRED,
    ),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.RetentionPeriodHours"],
        GONE,
        Incomplete("RetentionPeriodHours"),
        REQUIRED,
    ),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.OpenShardCount"],
        GONE,
        Reads("open_shards: 0"),
        "the SDK gives no other sign of it; the consumer does not take it alone for the end of a stream",
    ),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.StreamModeDetails"],
        GONE,
        Reads("mode: Provisioned"),
        OPTIONAL,
    ),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.StreamModeDetails"],
        &[Empty],
        Incomplete("StreamMode"),
        REQUIRED,
    ),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.StreamModeDetails.StreamMode"],
        GONE,
        Incomplete("StreamMode"),
        REQUIRED,
    ),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.StreamModeDetails.StreamMode"],
        &[Empty],
        Incomplete("StreamModeDetails.StreamMode"),
        REQUIRED,
    ),
    (&[DescribeStreamSummary], &["StreamDescriptionSummary.EncryptionType"], ABSENT, Reads("kms_key: None"), OPTIONAL),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.KeyId"],
        ABSENT,
        Incomplete("KeyId"),
        "an encrypted stream has a key",
    ),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.MaxRecordSizeInKiB"],
        GONE,
        Reads("max_record_bytes: 1048576"),
        OPTIONAL,
    ),
    (
        &[DescribeStreamSummary],
        &["StreamDescriptionSummary.RecordDistributionStrategy"],
        ABSENT,
        Reads("distribution: UserPartitionKey"),
        OPTIONAL,
    ),
    (&[DescribeStreamSummary], &["StreamDescriptionSummary.ConsumerCount"], GONE, Reads("consumers: 0"), OPTIONAL),
    (
        &[DescribeStreamSummary],
        &[
            "StreamDescriptionSummary.EnhancedMonitoring[]",
            "StreamDescriptionSummary.EnhancedMonitoring[].ShardLevelMetrics[]",
        ],
        &[Null],
        Unexpected("HTTP 200"),
        ELEMENT,
    ),
    // ListShards.
    (&[ListShards], &[""], &[Empty], Incomplete("Shards"), REQUIRED),
    (&[ListShards], &["Shards"], GONE, Incomplete("Shards"), REQUIRED),
    (&[ListShards], &["Shards"], &[Empty], Reads("shards: []"), "a filter may match no shard"),
    (
        &[ListShards],
        &["NextToken"],
        ABSENT,
        Reads("next: None"),
        "the last page has none; the consumer lists again before it believes that a shard is missing",
    ),
    (
        &[ListShards],
        &["Shards[]"],
        &[Removed],
        Reads("shards: [Shard {"),
        "the consumer lists again before it believes that a shard is missing",
    ),
    (&[ListShards], &["Shards[]"], &[Doubled], Reads("shards: [Shard {"), "the consumer knows shards by their ids"),
    (&[ListShards], &["Shards[]"], &[Null], Unexpected("HTTP 200"), ELEMENT),
    (&[ListShards], &["Shards[]"], &[Empty], Incomplete("SequenceNumberRange"), REQUIRED),
    (&[ListShards], &["Shards[].ShardId"], ABSENT, Incomplete("ShardId"), REQUIRED),
    (
        &[ListShards],
        &["Shards[].ParentShardId"],
        ABSENT,
        Reads(" parent: None"),
        "the first shards of a stream have none",
    ),
    (
        &[ListShards],
        &["Shards[].AdjacentParentShardId"],
        ABSENT,
        Reads("adjacent_parent: None"),
        "only merged shards have one",
    ),
    (
        &[ListShards],
        &["Shards[].SequenceNumberRange.EndingSequenceNumber"],
        ABSENT,
        Reads("ending_sequence_number: None"),
        "open shards have none; the consumer also sees from its children that a shard is closed",
    ),
    (&[ListShards], &["Shards[].SequenceNumberRange"], GONE, Incomplete("SequenceNumberRange"), REQUIRED),
    (
        &[ListShards],
        &["Shards[].SequenceNumberRange"],
        &[Empty],
        Incomplete("SequenceNumberRange.StartingSequenceNumber"),
        REQUIRED,
    ),
    (
        &[ListShards],
        &["Shards[].SequenceNumberRange.StartingSequenceNumber"],
        ABSENT,
        Incomplete("SequenceNumberRange.StartingSequenceNumber"),
        REQUIRED,
    ),
    (&[ListShards], &["Shards[].HashKeyRange"], GONE, Incomplete("HashKeyRange"), REQUIRED),
    (&[ListShards], &["Shards[].HashKeyRange"], &[Empty], Incomplete("HashKeyRange.StartingHashKey"), REQUIRED),
    (
        &[ListShards],
        &["Shards[].HashKeyRange.StartingHashKey"],
        ABSENT,
        Incomplete("HashKeyRange.StartingHashKey"),
        REQUIRED,
    ),
    (
        &[ListShards],
        &["Shards[].HashKeyRange.EndingHashKey"],
        ABSENT,
        Incomplete("HashKeyRange.EndingHashKey"),
        REQUIRED,
    ),
    // GetShardIterator.
    (&[GetShardIterator], &[""], &[Empty], Incomplete("ShardIterator"), REQUIRED),
    (&[GetShardIterator], &["ShardIterator"], ABSENT, Incomplete("ShardIterator"), REQUIRED),
    // Records.
    (RECORDS, &[""], &[Empty], Incomplete("Records"), "no records would be taken for an answer without records"),
    (RECORDS, &["Records"], GONE, Incomplete("Records"), "no records would be taken for an answer without records"),
    (RECORDS, &["Records"], &[Empty], Reads("records: []"), "nothing new has come"),
    (
        &[GetRecords, SubscribeToShard],
        &["Records[]"],
        &[Removed],
        Reads("records: [Record {"),
        "sequence numbers have gaps, so that it cannot be seen",
    ),
    (ENDS, &["Records[]"], &[Removed], Reads("records: []"), "sequence numbers have gaps, so that it cannot be seen"),
    (RECORDS, &["Records[]"], &[Doubled], Reads("records: [Record {"), "the consumer leaves out the second one"),
    (&[GetRecords, GetRecordsAtEnd], &["Records[]"], &[Null, Empty], Incomplete("Records.SequenceNumber"), ELEMENT),
    (
        &[SubscribeToShard, SubscribeToShardAtEnd],
        &["Records[]"],
        &[Null],
        Unexpected("an event of the subscription is invalid"),
        ELEMENT,
    ),
    (&[SubscribeToShard, SubscribeToShardAtEnd], &["Records[]"], &[Empty], Incomplete("Records.Data"), ELEMENT),
    (RECORDS, &["Records[].SequenceNumber"], ABSENT, Incomplete("Records.SequenceNumber"), REQUIRED),
    (RECORDS, &["Records[].Data"], GONE, Incomplete("Records.Data"), "an empty payload would be made of it"),
    (RECORDS, &["Records[].Data"], &[Empty], Reads("data: b\"\""), "a payload may be empty"),
    (
        RECORDS,
        &["Records[].ApproximateArrivalTimestamp"],
        GONE,
        Incomplete("Records.ApproximateArrivalTimestamp"),
        "the service always sends it, and start positions depend on it",
    ),
    (
        RECORDS,
        &["Records[].PartitionKey"],
        ABSENT,
        Reads("partition_key: None"),
        "a record without a key is an invalid record for the router",
    ),
    (
        &[GetRecords, GetRecordsAtEnd, SubscribeToShard],
        &["MillisBehindLatest"],
        GONE,
        Reads("behind_latest: 0ns"),
        "it is a measurement, and reading goes on",
    ),
    (
        &[GetRecords],
        &["NextShardIterator"],
        ABSENT,
        Reads("next_iterator: None"),
        "without children it is no end: the consumer reads the same place again",
    ),
    (
        &[SubscribeToShard],
        &["ContinuationSequenceNumber"],
        ABSENT,
        Reads("continuation: None"),
        "without children it is no end: the consumer subscribes again at the same place",
    ),
    // The end of a shard.
    (
        &[GetRecordsAtEnd],
        &["ChildShards"],
        ABSENT,
        Reads("child_shards: []"),
        "without a way to go on it is no end: the consumer reads the same place again",
    ),
    (
        &[SubscribeToShardAtEnd],
        &["ChildShards"],
        ABSENT,
        Reads("children: []"),
        "without a way to go on it is no end: the consumer subscribes again at the same place",
    ),
    (ENDS, &["ChildShards[]"], &[Removed], Reads("shardId-00000000000"), "the consumer lists the shards at an end"),
    (ENDS, &["ChildShards[]"], &[Doubled], Reads("shardId-00000000000"), "the consumer knows shards by their ids"),
    (ENDS, &["ChildShards[]"], &[Empty], Incomplete("ChildShards.ShardId"), ELEMENT),
    (&[GetRecordsAtEnd], &["ChildShards[]"], &[Null], Unexpected("HTTP 200"), ELEMENT),
    (
        &[SubscribeToShardAtEnd],
        &["ChildShards[]"],
        &[Null],
        Unexpected("an event of the subscription is invalid"),
        ELEMENT,
    ),
    (ENDS, &["ChildShards[].ShardId"], ABSENT, Incomplete("ChildShards.ShardId"), REQUIRED),
    (
        ENDS,
        &["ChildShards[].ParentShards"],
        ABSENT,
        Reads("parents: []"),
        "the consumer takes the parents of such a child from a listing",
    ),
    (
        ENDS,
        &["ChildShards[].ParentShards[]"],
        &[Removed],
        Reads("parents: []"),
        "the consumer takes the parents of such a child from a listing",
    ),
    (
        ENDS,
        &["ChildShards[].ParentShards[]"],
        &[Doubled],
        Reads("parents: [\"shardId-000000000003\", \"shardId-000000000003\"]"),
        "the consumer knows shards by their ids",
    ),
    (ENDS, &["ChildShards[].ParentShards[]"], &[Empty], Incomplete("ChildShards.ParentShards"), ELEMENT),
    (&[GetRecordsAtEnd], &["ChildShards[].ParentShards[]"], &[Null], Unexpected("HTTP 200"), ELEMENT),
    (
        &[SubscribeToShardAtEnd],
        &["ChildShards[].ParentShards[]"],
        &[Null],
        Unexpected("an event of the subscription is invalid"),
        ELEMENT,
    ),
    (ENDS, &["ChildShards[].HashKeyRange"], GONE, Incomplete("HashKeyRange"), REQUIRED),
    (ENDS, &["ChildShards[].HashKeyRange"], &[Empty], Incomplete("HashKeyRange.StartingHashKey"), REQUIRED),
    (
        ENDS,
        &["ChildShards[].HashKeyRange.StartingHashKey"],
        ABSENT,
        Incomplete("HashKeyRange.StartingHashKey"),
        REQUIRED,
    ),
    (ENDS, &["ChildShards[].HashKeyRange.EndingHashKey"], ABSENT, Incomplete("HashKeyRange.EndingHashKey"), REQUIRED),
    // PutRecords.
    (&[PutRecords], &["", "Records"], &[Empty], Incomplete("Records"), "each record has an outcome"),
    (&[PutRecords], &["Records"], GONE, Incomplete("Records"), REQUIRED),
    (&[PutRecords], &["Records[]"], &[Removed], Unexpected("1 outcomes for 2 records"), "each record has an outcome"),
    (&[PutRecords], &["Records[]"], &[Doubled], Unexpected("3 outcomes for 2 records"), "each record has one outcome"),
    (&[PutRecords], &["Records[]"], &[Null], Unexpected("HTTP 200"), ELEMENT),
    (&[PutRecords], &["Records[]"], &[Empty], Incomplete("Records.ShardId"), "neither stored nor failed"),
    (&[PutRecords], &["Records[].ShardId"], ABSENT, Incomplete("Records.ShardId"), "a stored record is in a shard"),
    (
        &[PutRecords],
        &["Records[].SequenceNumber"],
        ABSENT,
        Incomplete("Records.SequenceNumber"),
        "a stored record has a number",
    ),
    (&[PutRecords], &["Records[].ErrorCode"], ABSENT, Incomplete("Records.ShardId"), "neither stored nor failed"),
    (&[PutRecords], &["Records[].ErrorMessage"], ABSENT, Reads("message: \"\""), "it is for people"),
    // Consumers.
    (&[RegisterStreamConsumer, DescribeStreamConsumer], &[""], &[Empty], Incomplete("ConsumerStatus"), REQUIRED),
    (&[RegisterStreamConsumer], &["Consumer"], ABSENT, Incomplete("ConsumerStatus"), REQUIRED),
    (&[DescribeStreamConsumer], &["ConsumerDescription"], ABSENT, Incomplete("ConsumerStatus"), REQUIRED),
    (CONSUMERS, &["CONSUMER.ConsumerName"], ABSENT, Incomplete("ConsumerName"), REQUIRED),
    (CONSUMERS, &["CONSUMER.ConsumerARN"], ABSENT, Incomplete("ConsumerARN"), REQUIRED),
    (CONSUMERS, &["CONSUMER.ConsumerStatus"], ABSENT, Incomplete("ConsumerStatus"), REQUIRED),
    (CONSUMERS, &["CONSUMER.ConsumerCreationTimestamp"], GONE, Incomplete("ConsumerCreationTimestamp"), REQUIRED),
    (&[ListStreamConsumers], &[""], &[Empty], Incomplete("Consumers"), REQUIRED),
    (&[ListStreamConsumers], &["Consumers"], GONE, Incomplete("Consumers"), "a registered consumer would be missed"),
    (&[ListStreamConsumers], &["Consumers"], &[Empty], Reads("consumers: []"), "none is registered"),
    (&[ListStreamConsumers], &["Consumers[]"], &[Removed], Reads("consumers: []"), "it may have been removed"),
    (
        &[ListStreamConsumers],
        &["Consumers[]"],
        &[Doubled],
        Reads("consumers: [StreamConsumer {"),
        "it is looked up by name",
    ),
    (&[ListStreamConsumers], &["Consumers[]"], &[Null], Unexpected("HTTP 200"), ELEMENT),
    (&[ListStreamConsumers], &["Consumers[]"], &[Empty], Incomplete("ConsumerStatus"), REQUIRED),
    (&[ListStreamConsumers], &["NextToken"], ABSENT, Reads("next: None"), "the last page has none"),
    // ListStreams.
    (
        &[ListStreams],
        &["", "StreamNames"],
        &[Empty],
        Reads("[]"),
        "an account may have no stream; only tests list streams",
    ),
    (&[ListStreams], &["StreamNames"], GONE, Reads("[]"), "the SDK gives no sign of it; only tests list streams"),
    (&[ListStreams], &["StreamNames[]"], &[Removed], Reads("["), "it cannot be seen; only tests list streams"),
    (&[ListStreams], &["StreamNames[]"], &[Empty], Incomplete("StreamNames"), ELEMENT),
    (&[ListStreams], &["StreamNames[]", "StreamSummaries[]"], &[Null], Unexpected("HTTP 200"), ELEMENT),
    (&[ListStreams], &["StreamSummaries[]"], &[Empty], Incomplete("StreamStatus"), REQUIRED),
    (&[ListStreams], &["StreamSummaries[].StreamStatus"], GONE, Incomplete("StreamStatus"), REQUIRED),
    (&[ListStreams], &["StreamSummaries[].StreamModeDetails"], &[Empty], Incomplete("StreamMode"), REQUIRED),
    (&[ListStreams], &["StreamSummaries[].StreamModeDetails.StreamMode"], GONE, Incomplete("StreamMode"), REQUIRED),
];
