use std::{collections::BTreeMap, fmt, num::NonZeroU32};

use statefun_kinesis_types::{
    AwsCredentials, AwsRegion, FunctionType, StartupPosition, StreamArn, StreamName, TypeName,
};

use crate::EndpointSpec;

/// What the documents of a module file declare, checked one by one and against each other.
///
/// Ids are unique among the ingresses and among the egresses, and no two routes of an ingress share a stream.
///
/// What variables of the file stand for may be secret, so `Debug` prints only how many of each there are.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Module {
    /// Where records come from, in file order.
    pub ingresses: Vec<IngressSpec>,
    /// Where records go to, in file order.
    pub egresses: Vec<EgressSpec>,
    /// Which remote functions are served where, in file order.
    pub endpoints: Vec<EndpointSpec>,
}

impl Module {
    /// The endpoint that serves a function: the one that names it, else the one that names its namespace.
    pub fn endpoint_for(&self, function: &FunctionType) -> Option<&EndpointSpec> {
        let serving = || self.endpoints.iter().filter(|endpoint| endpoint.functions.matches(function));
        serving().find(|endpoint| endpoint.functions.is_specific()).or_else(|| serving().next())
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("ingresses", &self.ingresses.len())
            .field("egresses", &self.egresses.len())
            .field("endpoints", &self.endpoints.len())
            .finish()
    }
}

/// A Kinesis ingress: which streams are read, from where on, and to which functions their records go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngressSpec {
    /// The ingress's name.
    pub id: TypeName,
    /// Where the service is.
    pub region: AwsRegion,
    /// Who asks.
    pub credentials: AwsCredentials,
    /// Where reading starts on a shard that has no stored position.
    pub startup: StartupPosition,
    /// The streams, each with its route; at least one when it comes from a module file.
    pub streams: Vec<StreamRoute>,
    /// The file's `clientConfigProperties`.
    pub client_properties: ClientProperties,
}

impl IngressSpec {
    /// An ingress that reads these streams from the latest record on, with region and credentials of the AWS default
    /// chain.
    pub fn new(id: TypeName, streams: Vec<StreamRoute>) -> Self {
        Self {
            id,
            region: AwsRegion::default(),
            credentials: AwsCredentials::default(),
            startup: StartupPosition::default(),
            streams,
            client_properties: ClientProperties::default(),
        }
    }
}

/// One stream of an ingress: the type of its records and the functions that get them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamRoute {
    /// The stream; records are routed by exactly this ARN.
    pub stream_arn: StreamArn,
    /// The short name, if the file gives one. It is for humans: where it differs from the ARN's, the ARN counts.
    pub stream: Option<StreamName>,
    /// The type name that every record's value carries.
    pub value_type: TypeName,
    /// The functions that get each record, in this order; at least one when it comes from a module file.
    pub targets: Vec<FunctionType>,
}

impl StreamRoute {
    /// A route from a stream to functions.
    pub fn new(stream_arn: StreamArn, value_type: TypeName, targets: Vec<FunctionType>) -> Self {
        Self { stream_arn, stream: None, value_type, targets }
    }
}

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
    /// The stream of records that name none themselves.
    pub stream_name: StreamName,
    /// Records that may wait for the service's answer before functions are slowed down.
    pub max_outstanding_records: NonZeroU32,
    /// The file's `clientConfigProperties`.
    pub client_properties: ClientProperties,
}

impl EgressSpec {
    /// [`EgressSpec::max_outstanding_records`] of a file that does not set it: StateFun's own default.
    pub const DEFAULT_MAX_OUTSTANDING_RECORDS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

    /// An egress to a stream, with region and credentials of the AWS default chain.
    pub fn new(id: TypeName, stream_name: StreamName) -> Self {
        Self {
            id,
            region: AwsRegion::default(),
            credentials: AwsCredentials::default(),
            stream_name,
            max_outstanding_records: Self::DEFAULT_MAX_OUTSTANDING_RECORDS,
            client_properties: ClientProperties::default(),
        }
    }
}

/// Settings of the AWS client by the names that Flink and the AWS SDK for Java give them (`clientConfigProperties`).
///
/// Some of them carry keys and passwords, so `Debug` prints the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientProperties(BTreeMap<String, String>);

impl ClientProperties {
    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets a property, and returns the value that it had.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        self.0.insert(name.into(), value.into())
    }

    /// All properties, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether no property is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ClientProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_that_names_a_function_wins_over_the_one_of_its_namespace() {
        let endpoint =
            |functions: &str| EndpointSpec::new(functions.parse().unwrap(), "http://localhost/".parse().unwrap());
        let module = Module { endpoints: vec![endpoint("a/*"), endpoint("a/one")], ..Module::default() };
        for (function, served) in [("a/one", Some("a/one")), ("a/two", Some("a/*")), ("b/one", None)] {
            let found = module.endpoint_for(&function.parse().unwrap()).map(|endpoint| endpoint.functions.to_string());
            assert_eq!(found.as_deref(), served, "{function}");
        }
    }

    #[test]
    fn debug_output_hides_the_values_of_client_properties() {
        let mut properties = ClientProperties::default();
        properties.set("aws.credentials.provider.basic.secretkey", "hunter2");
        let printed = format!("{properties:?}");
        assert!(printed.contains("secretkey") && !printed.contains("hunter2"), "{printed}");
    }
}
