//! Which Kinesis a module's ingresses and egresses talk to.

use std::{collections::HashMap, sync::Arc, time::Duration};

use statefun_kinesis_aws::AwsKinesis;
use statefun_kinesis_client::{Clock, KinesisAdmin, KinesisClient, SystemClock};
use statefun_kinesis_consumer::Settings;
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_spec::{EgressSpec, IngressSpec, Module};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, StreamArn, StreamName, Timestamp};

use crate::{ExitCode, args::Client, failure::Failure};

/// The clients of a module.
#[derive(Debug)]
pub(crate) enum Backend {
    Aws(Aws),
    Memory(Memory),
}

impl Backend {
    /// Gets ready to talk to the chosen Kinesis. AWS is not asked anything yet; in memory, the module's streams are made.
    pub(crate) async fn new(client: Client, endpoint_url: Option<String>, module: &Module) -> Result<Self, Failure> {
        match client {
            Client::Aws => Ok(Self::Aws(Aws { endpoint_url, clients: HashMap::new() })),
            Client::Memory => Memory::with_streams_of(module).await.map(Self::Memory),
        }
    }

    /// The client that reads the streams of one region for an ingress.
    pub(crate) async fn reader(
        &mut self,
        ingress: &IngressSpec,
        arn: &StreamArn,
    ) -> Result<Arc<dyn KinesisClient>, Failure> {
        match self {
            Self::Aws(aws) => {
                // The region in the ARN is the one where the stream is; the module file's own may differ by mistake.
                let id = arn.region().to_owned();
                let region = match &ingress.region {
                    AwsRegion::CustomEndpoint { endpoint, .. } => {
                        AwsRegion::CustomEndpoint { endpoint: endpoint.clone(), id }
                    }
                    _ => AwsRegion::Specific { id },
                };
                aws.client(region, &ingress.credentials).await
            }
            Self::Memory(memory) => Ok(memory.at(arn.region(), arn.account())),
        }
    }

    /// The client that writes the stream of an egress.
    pub(crate) async fn writer(&mut self, egress: &EgressSpec) -> Result<Arc<dyn KinesisClient>, Failure> {
        match self {
            Self::Aws(aws) => aws.client(egress.region.clone(), &egress.credentials).await,
            Self::Memory(memory) => {
                let (region, account) = memory.place_of(egress);
                Ok(memory.at(&region, &account))
            }
        }
    }

    /// How streams are read: within the service's limits; in memory, where nobody else reads, as fast as they can be.
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

    /// The clock by which the service dates records.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Self::Aws(_) => Arc::new(SystemClock),
            Self::Memory(memory) => memory.clock(),
        }
    }
}

/// AWS, or a server that speaks its protocol.
#[derive(Debug)]
pub(crate) struct Aws {
    endpoint_url: Option<String>,
    /// One client for each region and credentials, so that those who share both share connections too.
    clients: HashMap<(AwsRegion, AwsCredentials), Arc<dyn KinesisClient>>,
}

impl Aws {
    async fn client(
        &mut self,
        region: AwsRegion,
        credentials: &AwsCredentials,
    ) -> Result<Arc<dyn KinesisClient>, Failure> {
        let key = (region, credentials.clone());
        if let Some(client) = self.clients.get(&key) {
            return Ok(Arc::clone(client));
        }
        let mut builder = AwsKinesis::builder().region(key.0.clone()).credentials(key.1.clone());
        // An egress may leave the region to the place where it runs, which the instance itself then knows.
        builder = builder.ask_instance_for_region(key.0 == AwsRegion::Default);
        if let Some(url) = &self.endpoint_url {
            builder = builder.endpoint_url(url.clone());
        }
        let client = builder.build().await.map_err(|error| Failure::from_error(ExitCode::Setup, &error))?;
        let client: Arc<dyn KinesisClient> = Arc::new(client);
        self.clients.insert(key, Arc::clone(&client));
        Ok(client)
    }
}

/// Kinesis in memory: one for each region and account that the module names.
#[derive(Debug)]
pub(crate) struct Memory {
    /// When all of them began, so that they agree about the time.
    epoch: Timestamp,
    places: HashMap<(String, String), FakeKinesis>,
    default_region: String,
    default_account: String,
}

impl Memory {
    /// Shards of each stream that is made: enough to see records spread and order kept per key.
    const SHARDS: usize = 4;

    async fn with_streams_of(module: &Module) -> Result<Self, Failure> {
        let first = module.ingresses.iter().flat_map(|ingress| &ingress.streams).map(|route| &route.stream_arn).next();
        let mut memory = Self {
            epoch: Timestamp::now(),
            places: HashMap::new(),
            default_region: first.map_or("us-east-1", |arn| arn.region()).to_owned(),
            default_account: first.map_or("000000000000", |arn| arn.account()).to_owned(),
        };
        for route in module.ingresses.iter().flat_map(|ingress| &ingress.streams) {
            let arn = &route.stream_arn;
            memory.make(arn.region().to_owned(), arn.account().to_owned(), arn.name()).await?;
        }
        for egress in &module.egresses {
            let (region, account) = memory.place_of(egress);
            memory.make(region, account, egress.stream_name.clone()).await?;
        }
        Ok(memory)
    }

    /// Where an egress' stream is: in the region that it names, and in the account of the module's first ingress.
    fn place_of(&self, egress: &EgressSpec) -> (String, String) {
        (egress.region.id().unwrap_or(&self.default_region).to_owned(), self.default_account.clone())
    }

    async fn make(&mut self, region: String, account: String, name: StreamName) -> Result<(), Failure> {
        let place = (region, account);
        if !self.places.contains_key(&place) {
            let kinesis = FakeKinesis::builder().region(&place.0).account(&place.1).epoch(self.epoch).try_build();
            let kinesis = kinesis.map_err(|error| Failure::from_error(ExitCode::Setup, &error))?;
            self.places.insert(place.clone(), kinesis);
        }
        let kinesis = &self.places[&place];
        match kinesis.create_stream(&name, Self::SHARDS).await {
            // Two ingresses, or an ingress and an egress, may share a stream.
            Err(error) if error.kind() == statefun_kinesis_client::ErrorKind::InUse => Ok(()),
            made => made.map_err(|error| Failure::from_error(ExitCode::Setup, &error)),
        }
    }

    /// The Kinesis of a place that a stream of the module is in.
    fn at(&self, region: &str, account: &str) -> Arc<dyn KinesisClient> {
        Arc::new(self.places[&(region.to_owned(), account.to_owned())].clone())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.places.values().next().map_or_else(|| Arc::new(SystemClock) as Arc<dyn Clock>, FakeKinesis::clock)
    }
}
