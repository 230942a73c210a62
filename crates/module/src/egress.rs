use std::{num::NonZeroU32, time::Duration};

use statefun_kinesis_types::{AwsCredentials, AwsRegion, InvalidRecordHandling, StreamName, StreamRef, TypeName};

use crate::{ClientProperties, ClientSpec};

/// A Kinesis egress: the stream to which functions emit records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressSpec {
    /// The egress's name.
    pub id: TypeName,
    /// Where the service is.
    pub region: AwsRegion,
    /// The credentials for calls to AWS.
    pub credentials: AwsCredentials,
    /// The stream of records that name none themselves. Without it, as in files of Apache StateFun, each record has to
    /// name its stream, and one that does not can go nowhere.
    pub stream_name: Option<StreamName>,
    /// The streams that a record may name, besides [`EgressSpec::stream_name`]; without a list, any. A short name is
    /// the stream of that name in the egress' own region and account, whatever a record calls it.
    pub allowed_streams: Option<Vec<StreamRef>>,
    /// Records that may wait for the service's answer before functions are slowed down.
    pub max_outstanding_records: NonZeroU32,
    /// Which records keep their order.
    pub order: EgressOrder,
    /// Whether several records travel as one, and how large that one may be.
    pub aggregation: Option<AggregationSpec>,
    /// What happens to records that the service does not take.
    pub failed_records: FailedRecordHandling,
    /// How the AWS client speaks to the service.
    pub client: ClientSpec,
    /// The file's `clientConfigProperties` that have no effect here.
    pub client_properties: ClientProperties,
}

impl EgressSpec {
    /// [`EgressSpec::max_outstanding_records`] of a file that does not set it: StateFun's own default.
    pub const DEFAULT_MAX_OUTSTANDING_RECORDS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

    /// An egress to a stream, with region and credentials of the AWS default chain, order per partition key and no
    /// aggregation.
    pub fn new(id: TypeName, stream_name: StreamName) -> Self {
        Self { stream_name: Some(stream_name), ..Self::without_stream(id) }
    }

    /// The same without a stream of its own: each record has to name the one that it goes to.
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
    /// None: what fails is sent again behind what came later.
    None,
}

/// How large an aggregate may become: a module file's `aggregation`.
///
/// What is `None` is left to the producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AggregationSpec {
    /// Most bytes of an aggregate.
    pub max_bytes: Option<NonZeroU32>,
    /// Most records of an aggregate.
    pub max_records: Option<NonZeroU32>,
}

/// What happens to a record that the service does not take: a module file's `failedRecordHandling`.
///
/// What the service will never take (a record that is too large, an unknown stream) is given up at once. What it may
/// take later is retried until the attempts or the time are over; without a time, that is two minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FailedRecordHandling {
    /// What happens to a record that was given up.
    pub given_up: InvalidRecordHandling,
    /// How often a record is sent at most.
    pub max_attempts: Option<NonZeroU32>,
    /// How long a record is tried at most, from its first attempt on.
    pub timeout: Option<Duration>,
}
