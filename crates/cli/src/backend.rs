//! The Kinesis that a module's ingresses and egresses use.

use std::{collections::HashMap, sync::Arc, time::Duration};

use statefun_kinesis_aws::BuildError;
use statefun_kinesis_client::{Clock, ErrorKind, KinesisAdmin, SystemClock};
use statefun_kinesis_consumer::Settings;
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_spec::{ClientSpec, IngressSpec, Module};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, StreamArn, StreamName, Timestamp};

use crate::{
    ExitCode,
    args::Client,
    clients::{AwsClients, ClientCredentials, StreamClient, region_of},
    failure::Failure,
    needs,
};

/// The Kinesis of a module.
#[derive(Debug)]
pub(crate) enum Backend {
    Aws(AwsClients),
    Memory(Memory),
}

impl Backend {
    /// Prepares the chosen Kinesis. Does not call AWS yet; in memory, creates the module's streams.
    pub(crate) async fn new(client: Client, endpoint_url: Option<String>, module: &Module) -> Result<Self, Failure> {
        match client {
            Client::Aws => Ok(Self::Aws(AwsClients::new(endpoint_url))),
            Client::Memory => Memory::with_streams_of(module).await.map(Self::Memory),
        }
    }

    /// The client for an ingress' streams in the region of `place`, or in the ingress' own region.
    pub(crate) async fn ingress_client(
        &self,
        ingress: &IngressSpec,
        place: Option<&StreamArn>,
    ) -> Result<Arc<dyn StreamClient>, Failure> {
        let client = self.client(&ingress.region, &ingress.credentials, &ingress.client, place).await;
        client.map_err(|error| {
            let who = needs::describe(&ingress.credentials);
            let failure = Failure::new(
                ExitCode::Setup,
                format!("cannot create an AWS client for the ingress {}: {who}", ingress.id),
            );
            let failure = failure.because(&error);
            // It says itself what to do.
            if matches!(error, NoClient::Aws(BuildError::CaBundle { .. })) {
                return failure;
            }
            failure.hint(
                "check `awsRegion` and `awsCredentials`, and that this machine has the profile or keys that they name",
            )
        })
    }

    /// The client for a stream: in the region of its ARN, or else in `region`.
    pub(crate) async fn client(
        &self,
        region: &AwsRegion,
        credentials: &AwsCredentials,
        spec: &ClientSpec,
        stream: Option<&StreamArn>,
    ) -> Result<Arc<dyn StreamClient>, NoClient> {
        match self {
            Self::Aws(aws) => Ok(aws.get(&region_of(stream, region), credentials, spec).await?),
            Self::Memory(memory) => memory.at(region, stream).ok_or_else(|| NoClient::NotInMemory(stream.cloned())),
        }
    }

    /// How to read streams: within the limits of the service; in memory, where there are no other readers, faster.
    pub(crate) fn reading(&self) -> Settings {
        match self {
            Self::Aws(_) => Settings::default(),
            Self::Memory(_) => Settings {
                read_calls_per_second: 1_000,
                read_bytes_per_second: 1 << 30,
                poll_idle_min: Duration::from_millis(10),
                poll_idle_max: Duration::from_millis(100),
                ..Settings::default()
            },
        }
    }

    /// How the credentials of the clients are doing. Kinesis in memory needs none.
    pub(crate) fn credentials(&self) -> Vec<ClientCredentials> {
        match self {
            Self::Aws(aws) => aws.credentials(),
            Self::Memory(_) => Vec::new(),
        }
    }

    /// The clock of the service's arrival times.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Self::Aws(_) => Arc::new(SystemClock),
            Self::Memory(memory) => memory.clock(),
        }
    }
}

/// Why no client could be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoClient {
    #[error(transparent)]
    Aws(#[from] BuildError),
    #[error(
        "the in-memory Kinesis has only the module's streams, and none of them is in the region and account of {}",
        .0.as_ref().map_or("the default region", StreamArn::as_str)
    )]
    NotInMemory(Option<StreamArn>),
}

/// Kinesis in memory: one for each region and account that the module names.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The start of all of them, so that they have the same time.
    epoch: Timestamp,
    places: HashMap<Place, FakeKinesis>,
    /// The region and account of streams without an ARN: those of the module's first stream ARN.
    default: Place,
}

/// Region and account.
type Place = (String, String);

impl Memory {
    /// Shards of each created stream: enough to see how records spread.
    const SHARDS: usize = 4;

    async fn with_streams_of(module: &Module) -> Result<Self, Failure> {
        let needs = needs::of(module);
        let default = needs.iter().find_map(|need| need.stream.arn()).map_or_else(
            || ("us-east-1".to_owned(), "000000000000".to_owned()),
            |arn| (arn.region().to_owned(), arn.account().to_owned()),
        );
        let mut memory = Self { epoch: Timestamp::now(), places: HashMap::new(), default };
        for need in &needs {
            let place = memory.place_of(&need.region, need.stream.arn());
            memory.create(place, need.stream.name()).await?;
        }
        Ok(memory)
    }

    fn place_of(&self, region: &AwsRegion, stream: Option<&StreamArn>) -> Place {
        match stream {
            Some(arn) => (arn.region().to_owned(), arn.account().to_owned()),
            None => (region.id().unwrap_or(&self.default.0).to_owned(), self.default.1.clone()),
        }
    }

    async fn create(&mut self, place: Place, name: StreamName) -> Result<(), Failure> {
        if !self.places.contains_key(&place) {
            let kinesis = FakeKinesis::builder().region(&place.0).account(&place.1).epoch(self.epoch).try_build();
            let kinesis = kinesis.map_err(|error| Failure::from_error(ExitCode::Setup, &error))?;
            self.places.insert(place.clone(), kinesis);
        }
        match self.places[&place].create_stream(&name, Self::SHARDS).await {
            // Two ingresses, or an ingress and an egress, may share a stream.
            Err(error) if error.kind() == ErrorKind::InUse => Ok(()),
            created => created.map_err(|error| Failure::from_error(ExitCode::Setup, &error)),
        }
    }

    /// The Kinesis of a region and account, if it has a stream of the module.
    fn at(&self, region: &AwsRegion, stream: Option<&StreamArn>) -> Option<Arc<dyn StreamClient>> {
        let kinesis = self.places.get(&self.place_of(region, stream))?;
        Some(Arc::new(kinesis.clone()))
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.places.values().next().map_or_else(|| Arc::new(SystemClock) as Arc<dyn Clock>, FakeKinesis::clock)
    }
}
