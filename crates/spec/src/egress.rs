use std::{num::NonZeroU32, time::Duration};

use statefun_kinesis_types::{AwsCredentials, AwsRegion, InvalidRecordHandling, StreamName, StreamRef, TypeName};

use crate::{ClientProperties, ClientSpec};

/// A Kinesis egress: the stream to which functions emit records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EgressSpec {
    /// The egress's name.
    pub id: TypeName,
    /// Where the service is.
    pub region: AwsRegion,
    /// Who asks.
    pub credentials: AwsCredentials,
    /// The stream of records that name none themselves. Without it, as in files of Apache StateFun, each record has to
    /// name its stream, and one that does not can go nowhere.
    pub stream_name: Option<StreamName>,
    /// The streams that a record may name, besides [`EgressSpec::stream_name`]; without a list, any.
    pub allowed_streams: Option<Vec<StreamRef>>,
    /// Records that may wait for the service's answer before functions are slowed down.
    pub max_outstanding_records: NonZeroU32,
    /// Which records keep their order.
    pub order: EgressOrder,
    /// Whether several records travel as one, and how large that one may be.
    pub aggregation: Option<AggregationSpec>,
    /// What becomes of records that the service does not take.
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

    /// Whether a record may name this stream as the one that it goes to.
    ///
    /// Names are compared with names and ARNs with ARNs; a short name and an ARN are the same stream if the ARN has
    /// that name, since an egress speaks to one region of one account.
    pub fn allows(&self, stream: &StreamRef) -> bool {
        let is = |allowed: &StreamRef| match (allowed, stream) {
            (StreamRef::Arn(allowed), StreamRef::Arn(stream)) => allowed == stream,
            (allowed, stream) => allowed.name() == stream.name(),
        };
        let own = || self.stream_name.as_ref().is_some_and(|own| *own == stream.name());
        self.allowed_streams.as_ref().is_none_or(|allowed| allowed.iter().any(is) || own())
    }
}

/// Which records of an egress keep their order: a module file's `order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EgressOrder {
    /// Those of one partition key, also when some of them have to be sent again.
    #[default]
    PerPartitionKey,
    /// None: what fails is sent again behind what came later.
    None,
}

/// How large an aggregate may become: a module file's `aggregation`.
///
/// What is `None` is left to the producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AggregationSpec {
    /// Most bytes of an aggregate.
    pub max_bytes: Option<NonZeroU32>,
    /// Most records of an aggregate.
    pub max_records: Option<NonZeroU32>,
}

/// What becomes of a record that the service does not take: a module file's `failedRecordHandling`.
///
/// What the service will never take (a record that is too large, an unknown stream) is given up at once. What it may
/// take later is tried again until the attempts or the time are over; without a time, that is two minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FailedRecordHandling {
    /// What becomes of a record that was given up.
    pub given_up: InvalidRecordHandling,
    /// How often a record is sent at most.
    pub max_attempts: Option<NonZeroU32>,
    /// How long a record is tried at most, from its first attempt on.
    pub timeout: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_streams_allows_what_it_names_and_the_egress_own_stream() {
        let mut egress = EgressSpec::new("a/b".parse().unwrap(), "out".parse().unwrap());
        let arn = |name: &str| format!("arn:aws:kinesis:us-east-1:123456789012:stream/{name}");
        let allows = |egress: &EgressSpec, stream: &str| egress.allows(&stream.parse().unwrap());
        assert!(allows(&egress, "any"));
        egress.allowed_streams = Some(vec!["one".parse().unwrap(), arn("two").parse().unwrap()]);
        for (stream, is_allowed) in [
            ("one", true),
            ("two", true),
            ("out", true),
            (arn("one").as_str(), true),
            (arn("two").as_str(), true),
            (arn("two").replace("us-east-1", "eu-west-1").as_str(), false),
            ("three", false),
        ] {
            assert_eq!(allows(&egress, stream), is_allowed, "{stream}");
        }
    }

    #[test]
    fn without_a_stream_of_its_own_an_egress_allows_what_its_list_names() {
        let mut egress = EgressSpec::without_stream("a/b".parse().unwrap());
        let allows = |egress: &EgressSpec, stream: &str| egress.allows(&stream.parse().unwrap());
        assert!(allows(&egress, "out"));
        egress.allowed_streams = Some(vec!["one".parse().unwrap()]);
        assert!(allows(&egress, "one"));
        assert!(!allows(&egress, "out"));
    }
}
