//! What a module needs from Kinesis: which streams, for what purpose, with which credentials.

use std::fmt;

use statefun_kinesis_client::Operation;
use statefun_kinesis_spec::{
    ClientSpec, ConsumerLifecycle, ConsumerSpec, EgressSpec, EndpointSpec, FailureHandling, IngressSpec,
    InvalidRecordHandling, Module,
};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, ConsumerName, StreamArn, StreamRef};

use crate::clients::region_of;

/// One stream that a document of the module uses in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) document: Document,
    pub(crate) purpose: Purpose,
    pub(crate) stream: StreamRef,
    /// The region to call: that of the stream's ARN, if it has one.
    pub(crate) region: AwsRegion,
    pub(crate) credentials: AwsCredentials,
    pub(crate) client: ClientSpec,
}

/// A document of a module file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) kind: DocumentKind,
    /// Its id. An endpoint has none, so its functions stand here.
    pub(crate) id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentKind {
    Ingress,
    Egress,
    Endpoint,
}

impl DocumentKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Endpoint => "endpoint",
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}

/// What a stream is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its shards are polled.
    Poll,
    /// Its shards are pushed to a registered consumer.
    FanOut {
        consumer: ConsumerName,
        /// Whether a run registers the consumer when it is not there.
        managed: bool,
    },
    /// Records are written to it.
    Write,
    /// Dead letters are written to it.
    DeadLetter,
}

impl Purpose {
    /// The purpose as one word, for tables and programs.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::FanOut { .. } => "fan-out",
            Self::Write => "write",
            Self::DeadLetter => "dead-letter",
        }
    }
}

/// Calls that one statement of a policy allows, with the statement's name.
pub(crate) type Grant = (&'static str, &'static [Operation]);

impl Need {
    /// The calls that a run makes, which a policy therefore has to allow.
    pub(crate) fn grants(&self) -> &'static [Grant] {
        use Operation::{
            DescribeStreamConsumer, DescribeStreamSummary, GetRecords, GetShardIterator, ListShards, PutRecords,
            RegisterStreamConsumer, SubscribeToShard,
        };
        const DESCRIBE: Grant = ("DescribeStreams", &[DescribeStreamSummary, ListShards]);
        match (&self.purpose, self.document.kind) {
            (Purpose::Poll, _) => {
                &[("PollStreams", &[DescribeStreamSummary, ListShards, GetShardIterator, GetRecords])]
            }
            (Purpose::FanOut { managed: false, .. }, _) => {
                &[DESCRIBE, ("SubscribeToShards", &[DescribeStreamConsumer, SubscribeToShard])]
            }
            (Purpose::FanOut { managed: true, .. }, _) => &[
                DESCRIBE,
                ("RegisterConsumers", &[DescribeStreamConsumer, SubscribeToShard, RegisterStreamConsumer]),
                // A stream that has reached its limit of consumers is polled.
                ("PollWithoutConsumer", &[GetShardIterator, GetRecords]),
            ],
            // The consumer writes few dead letters, so it does not list shards.
            (Purpose::DeadLetter, DocumentKind::Ingress) => {
                &[("WriteDeadLetters", &[DescribeStreamSummary, PutRecords])]
            }
            (Purpose::Write | Purpose::DeadLetter, _) => {
                &[("WriteStreams", &[DescribeStreamSummary, ListShards, PutRecords])]
            }
        }
    }

    /// All calls that a run makes.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation> {
        self.grants().iter().flat_map(|(_, operations)| *operations).copied()
    }

    /// The resources of a call in a policy: the stream, and for calls on a consumer also the consumer.
    ///
    /// A consumer's ARN ends with the time of its registration, which is unknown here, so it ends with a `*`.
    pub(crate) fn resources(&self, operation: Operation) -> Vec<String> {
        let stream = self.stream_pattern();
        let is_on_consumer = matches!(
            operation,
            Operation::RegisterStreamConsumer | Operation::DescribeStreamConsumer | Operation::SubscribeToShard
        );
        match &self.purpose {
            Purpose::FanOut { consumer, .. } if is_on_consumer => {
                vec![format!("{stream}/consumer/{consumer}:*"), stream]
            }
            Purpose::FanOut { .. } | Purpose::Poll | Purpose::Write | Purpose::DeadLetter => vec![stream],
        }
    }

    /// The stream's ARN. Without an ARN, a pattern with `*` for the unknown parts.
    pub(crate) fn stream_pattern(&self) -> String {
        match &self.stream {
            StreamRef::Arn(arn) => arn.to_string(),
            StreamRef::Name(name) => {
                let region = self.region.id();
                let any = region.and_then(|region| StreamArn::new(region, "000000000000", name).ok());
                let partition = any.as_ref().map_or("aws", StreamArn::partition);
                format!("arn:{partition}:kinesis:{}:*:stream/{name}", region.unwrap_or("*"))
            }
        }
    }
}

/// All needs of a module, in file order and without duplicates.
pub(crate) fn of(module: &Module) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut add = |need: Need| {
        if !needs.contains(&need) {
            needs.push(need);
        }
    };
    module.ingresses.iter().for_each(|ingress| of_ingress(ingress, &mut add));
    module.egresses.iter().for_each(|egress| of_egress(egress, &mut add));
    module.endpoints.iter().for_each(|endpoint| of_endpoint(module, endpoint, &mut add));
    needs
}

/// The egresses whose records may go to streams that the module does not name.
pub(crate) fn open_egresses(module: &Module) -> impl Iterator<Item = &EgressSpec> {
    module.egresses.iter().filter(|egress| egress.allowed_streams.is_none())
}

fn of_ingress(ingress: &IngressSpec, add: &mut impl FnMut(Need)) {
    let purpose = match &ingress.consumer {
        ConsumerSpec::EnhancedFanOut { name, lifecycle, .. } => {
            Purpose::FanOut { consumer: name.clone(), managed: *lifecycle == ConsumerLifecycle::Managed }
        }
        ConsumerSpec::Polling { .. } => Purpose::Poll,
    };
    let mut need = |purpose: Purpose, stream: &StreamRef, region: AwsRegion| {
        add(Need {
            document: Document { kind: DocumentKind::Ingress, id: ingress.id.to_string() },
            purpose,
            stream: stream.clone(),
            region,
            credentials: ingress.credentials.clone(),
            client: ingress.client.clone(),
        });
    };
    for route in &ingress.streams {
        need(purpose.clone(), &route.stream, region_of(route.stream.arn(), &ingress.region));
    }
    for route in &ingress.streams {
        if let InvalidRecordHandling::DeadLetter { stream, .. } = ingress.invalid_records_of(route) {
            // A name without an ARN means a stream in the region of the stream that is read.
            let beside = region_of(route.stream.arn(), &ingress.region);
            need(Purpose::DeadLetter, stream, region_of(stream.arn(), &beside));
        }
    }
}

/// A stream of an egress is in the region of its ARN, or else in the region of the egress.
fn of_egress(egress: &EgressSpec, add: &mut impl FnMut(Need)) {
    let mut need = |purpose: Purpose, stream: StreamRef| {
        add(Need {
            document: Document { kind: DocumentKind::Egress, id: egress.id.to_string() },
            purpose,
            region: region_of(stream.arn(), &egress.region),
            stream,
            credentials: egress.credentials.clone(),
            client: egress.client.clone(),
        });
    };
    let own = egress.stream_name.clone().map(StreamRef::Name);
    let others = egress.allowed_streams.iter().flatten().filter(|stream| Some(*stream) != own.as_ref());
    for stream in own.iter().chain(others) {
        need(Purpose::Write, stream.clone());
    }
    if let InvalidRecordHandling::DeadLetter { stream, .. } = &egress.failed_records.given_up {
        need(Purpose::DeadLetter, stream.clone());
    }
}

fn of_endpoint(module: &Module, endpoint: &EndpointSpec, add: &mut impl FnMut(Need)) {
    if let FailureHandling::DeadLetter { stream, .. } = &endpoint.failures {
        let (region, credentials, client) = of_dead_letters(module, stream);
        add(Need {
            document: Document { kind: DocumentKind::Endpoint, id: endpoint.functions.to_string() },
            purpose: Purpose::DeadLetter,
            stream: stream.clone(),
            region: region_of(stream.arn(), &region),
            credentials,
            client,
        });
    }
}

/// The region, credentials and client settings with which the dead letters of endpoints are written to a stream. An
/// endpoint has none of its own. They are those of the egress that writes to the stream, or else those of the module's
/// first ingress, beside whose streams the letters then are.
pub(crate) fn of_dead_letters(module: &Module, stream: &StreamRef) -> (AwsRegion, AwsCredentials, ClientSpec) {
    let writes = |egress: &&EgressSpec| {
        let own = egress.stream_name.as_ref().is_some_and(|name| *stream == StreamRef::Name(name.clone()));
        own || egress.allowed_streams.iter().flatten().any(|allowed| allowed == stream)
    };
    if let Some(EgressSpec { region, credentials, client, .. }) = module.egresses.iter().find(writes) {
        return (region.clone(), credentials.clone(), client.clone());
    }
    if let Some(IngressSpec { region, credentials, client, streams, .. }) = module.ingresses.first() {
        let beside = streams.first().and_then(|route| route.stream.arn());
        return (region_of(beside, region), credentials.clone(), client.clone());
    }
    (AwsRegion::Default, AwsCredentials::Default, ClientSpec::default())
}

/// Describes credentials, without any secret.
pub(crate) fn describe(credentials: &AwsCredentials) -> String {
    match credentials {
        AwsCredentials::Default => "the AWS default chain".to_owned(),
        AwsCredentials::Profile { name, path: None } => format!("the profile {name}"),
        AwsCredentials::Profile { name, path: Some(path) } => format!("the profile {name} of {}", path.display()),
        AwsCredentials::Basic { .. } => "the keys in the module file".to_owned(),
        AwsCredentials::WebIdentity { role_arn, .. } => {
            format!("the role {role_arn}, assumed with a web identity token")
        }
        AwsCredentials::AssumeRole { role_arn, .. } => format!("the role {role_arn}, assumed by the AWS default chain"),
    }
}
