use std::{num::NonZeroU32, time::Duration};

use statefun_kinesis_types::{AwsCredentials, AwsRegion, InvalidRecordHandling, StreamName, StreamRef, TypeName};

use crate::{ClientProperties, ClientSpec};

/// A Kinesis egress: the stream to which functions send records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressSpec {
    /// The egress's name.
    pub id: TypeName,
    /// The AWS region, or the endpoint of the service.
    pub region: AwsRegion,
    /// The credentials for calls to AWS.
    pub credentials: AwsCredentials,
    /// The default stream, for records that do not name a stream. Without it, as in files of Apache StateFun, each
    /// record has to name its stream; one that does not fails.
    pub stream_name: Option<StreamName>,
    /// The streams that a record may name, in addition to [`EgressSpec::stream_name`]; `None` allows any. A short name
    /// means the stream in the egress' own region and account, also for records that use its ARN.
    pub allowed_streams: Option<Vec<StreamRef>>,
    /// Most unacknowledged records per stream. Functions wait beyond that.
    pub max_outstanding_records: NonZeroU32,
    /// Which records keep their order.
    pub order: EgressOrder,
    /// The limits of KPL aggregation; `None` turns aggregation off.
    pub aggregation: Option<AggregationSpec>,
    /// The handling of records that cannot be stored.
    pub failed_records: FailedRecordHandling,
    /// The connection settings of the AWS client.
    pub client: ClientSpec,
    /// The file's `clientConfigProperties` that have no effect here.
    pub client_properties: ClientProperties,
}

impl EgressSpec {
    /// The default of [`EgressSpec::max_outstanding_records`], the same as StateFun's.
    pub const DEFAULT_MAX_OUTSTANDING_RECORDS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

    /// Creates an egress to a stream, with region and credentials of the AWS default chain, order per partition key and
    /// no aggregation.
    pub fn new(id: TypeName, stream_name: StreamName) -> Self {
        Self { stream_name: Some(stream_name), ..Self::without_stream(id) }
    }

    /// Creates an egress without a default stream: each record has to name its stream.
    pub fn without_stream(id: TypeName) -> Self {
        Self {
            id,
            region: AwsRegion::default(),
            credentials: AwsCredentials::default(),
            stream_name: None,
            allowed_streams: None,
            max_outstanding_records: Self::DEFAULT_MAX_OUTSTANDING_RECORDS,
            order: EgressOrder::default(),
            aggregation: None,
            failed_records: FailedRecordHandling::default(),
            client: ClientSpec::default(),
            client_properties: ClientProperties::default(),
        }
    }
}

/// Which records of an egress keep their order: a module file's `order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EgressOrder {
    /// Records of one partition key keep their order, also when some of them are retried.
    #[default]
    PerPartitionKey,
    /// No order is kept: a record that is retried may be stored after later ones.
    None,
}

/// The limits of an aggregate: a module file's `aggregation`.
///
/// Fields that are `None` use the producer's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AggregationSpec {
    /// Most bytes of an aggregate.
    pub max_bytes: Option<NonZeroU32>,
    /// Most records of an aggregate.
    pub max_records: Option<NonZeroU32>,
}

/// The handling of records that cannot be stored: a module file's `failedRecordHandling`.
///
/// A record that can never be stored, because it is too large or its stream does not exist, is given up at once. Other
/// failures are retried until the attempts or the time are used up. The default time is two minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FailedRecordHandling {
    /// The handling of a record that was given up.
    pub given_up: InvalidRecordHandling,
    /// Most attempts to send a record.
    pub max_attempts: Option<NonZeroU32>,
    /// Longest time from the first attempt on.
    pub timeout: Option<Duration>,
}
