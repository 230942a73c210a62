use std::{num::NonZeroU32, time::Duration};

use statefun_kinesis_types::{
    AwsCredentials, AwsRegion, ConsumerName, FunctionType, InvalidRecordHandling, StartupPosition, StreamRef, TypeName,
};

use crate::{ClientProperties, ClientSpec};

/// A Kinesis ingress: the streams to read, the startup position, and the functions that get the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressSpec {
    /// The ingress's name.
    pub id: TypeName,
    /// The AWS region, or the endpoint of the service.
    pub region: AwsRegion,
    /// The credentials for calls to AWS.
    pub credentials: AwsCredentials,
    /// Where reading starts in a shard without a stored position.
    pub startup: StartupPosition,
    /// The streams, each with its route; at least one when it comes from a module file.
    pub streams: Vec<StreamRoute>,
    /// How records are read.
    pub consumer: ConsumerSpec,
    /// The handling of records that cannot become messages, for streams without their own.
    pub invalid_records: InvalidRecordHandling,
    /// The handling of user records of aggregates that are in another shard than the one that they belong to.
    pub out_of_range_records: OutOfRangeRecords,
    /// What remote functions learn about the record of a message.
    pub record_metadata: RecordMetadata,
    /// The connection settings of the AWS client.
    pub client: ClientSpec,
    /// The file's `clientConfigProperties` that have no effect here.
    pub client_properties: ClientProperties,
}

impl IngressSpec {
    /// Creates an ingress that polls these streams from the latest record on, with region and credentials of the AWS
    /// default chain, and that fails on an invalid record.
    pub fn new(id: TypeName, streams: Vec<StreamRoute>) -> Self {
        Self {
            id,
            region: AwsRegion::default(),
            credentials: AwsCredentials::default(),
            startup: StartupPosition::default(),
            streams,
            consumer: ConsumerSpec::default(),
            invalid_records: InvalidRecordHandling::default(),
            out_of_range_records: OutOfRangeRecords::default(),
            record_metadata: RecordMetadata::default(),
            client: ClientSpec::default(),
            client_properties: ClientProperties::default(),
        }
    }

    /// The handling of invalid records of a stream of this ingress.
    pub fn invalid_records_of<'s>(&'s self, route: &'s StreamRoute) -> &'s InvalidRecordHandling {
        route.invalid_records.as_ref().unwrap_or(&self.invalid_records)
    }
}

/// What remote functions learn about the record that a message came from. Functions in process know all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RecordMetadata {
    /// Nothing: a message has the record's bytes, and the record's partition key as the id of its target.
    #[default]
    Omit,
    /// Stream, shard, sequence number, arrival time and, if known, the explicit hash key, as metadata of the value.
    Send,
}

/// The handling of user records of an aggregate whose hash keys belong to another shard than the one that the aggregate is
/// in.
///
/// A writer such as the KPL makes an aggregate for one shard. When the shard is split meanwhile, the aggregate is in one of
/// the children, and the writer sends the user records of the other child again. Writers that put keys of several shards
/// into one aggregate never send them again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OutOfRangeRecords {
    /// Leaves them out, as the Kinesis Client Library does. Records of the KPL are then read once.
    #[default]
    Skip,
    /// Reads them where they are. After a split, records of the KPL are then read twice and out of order.
    Keep,
}

/// One stream of an ingress: the type of its records and the functions that get them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRoute {
    /// The stream. Records are routed by the exact ARN; the ARN of a short name is looked up before the module runs.
    pub stream: StreamRef,
    /// The type name of the messages' values.
    pub value_type: TypeName,
    /// The functions that get each record, in this order; at least one when it comes from a module file.
    pub targets: Vec<FunctionType>,
    /// The handling of records that cannot become messages; `None` uses the ingress' setting.
    pub invalid_records: Option<InvalidRecordHandling>,
}

impl StreamRoute {
    /// Creates a route from a stream to functions.
    pub fn new(stream: impl Into<StreamRef>, value_type: TypeName, targets: Vec<FunctionType>) -> Self {
        Self { stream: stream.into(), value_type, targets, invalid_records: None }
    }
}

/// How an ingress reads records: a module file's `consumer`.
///
/// Fields that are `None` use the consumer's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ConsumerSpec {
    /// Polls each shard. All polling consumers of a shard share 5 calls and 2 MiB per second.
    Polling {
        /// Most records of one call, 1 to 10 000.
        max_records: Option<NonZeroU32>,
        /// How long to wait before the next call when a shard had no new records.
        idle_interval: Option<Duration>,
        /// How often to look for new shards in each stream.
        discovery_interval: Option<Duration>,
    },
    /// Subscribes to each shard, with 2 MiB per second for this consumer alone.
    EnhancedFanOut {
        /// The name under which the consumer is registered at each stream.
        name: ConsumerName,
        /// Who registers it.
        lifecycle: ConsumerLifecycle,
        /// How often to look for new shards in each stream.
        discovery_interval: Option<Duration>,
    },
}

impl Default for ConsumerSpec {
    fn default() -> Self {
        Self::Polling { max_records: None, idle_interval: None, discovery_interval: None }
    }
}

/// Who registers the consumer of enhanced fan-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConsumerLifecycle {
    /// The ingress registers it at its start, if it is not registered.
    #[default]
    Managed,
    /// It has to be registered before. It is an error if it is missing.
    Given,
}
