//! The writers of a module: for its egresses, and for the dead letters of its endpoints.

use std::{collections::HashMap, error::Error, sync::Arc};

use async_trait::async_trait;
use statefun_kinesis_client::{Error as ClientError, ErrorKind, KinesisClient, Operation};
use statefun_kinesis_functions::DeadLetters;
use statefun_kinesis_producer::{Clients, Producers, Reason};
use statefun_kinesis_spec::{ClientSpec, EgressSpec, FailureHandling, Module};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, ErrorChain, PutRecord, StreamRef};

use crate::{
    ExitCode,
    backend::{Backend, NoClient},
    failure::Failure,
    needs,
    output::Output,
    output_client::OutputClient,
};

/// Provides clients for the streams of one writer, in any region.
#[derive(Debug)]
pub(crate) struct Writer {
    backend: Arc<Backend>,
    region: AwsRegion,
    credentials: AwsCredentials,
    client: ClientSpec,
    /// Where to list the stored records.
    output: Option<Output>,
}

impl Writer {
    /// The writer of an egress.
    pub(crate) fn of_egress(backend: Arc<Backend>, egress: &EgressSpec, output: Option<Output>) -> Self {
        let EgressSpec { region, credentials, client, .. } = egress;
        Self { backend, region: region.clone(), credentials: credentials.clone(), client: client.clone(), output }
    }
}

#[async_trait]
impl Clients for Writer {
    async fn client(&self, stream: &StreamRef) -> Result<Arc<dyn KinesisClient>, ClientError> {
        let client = self.backend.client(&self.region, &self.credentials, &self.client, stream.arn()).await;
        let client = client.map_err(|error| {
            // A record may name a stream that is not there. But a missing profile or token is no fault of a record.
            let kind = match &error {
                NoClient::NotInMemory(_) => ErrorKind::InvalidArgument,
                NoClient::Aws(_) => ErrorKind::AccessDenied,
            };
            // The caller's message says that there is no client.
            let why = ErrorChain(&error).to_string();
            ClientError::new(Operation::DescribeStreamSummary, kind, why)
        })?;
        Ok(match &self.output {
            Some(output) => Arc::new(OutputClient::new(client, output.clone())),
            None => client,
        })
    }
}

/// Writes the dead letters of endpoints.
#[derive(Debug)]
pub(crate) struct EndpointDeadLetters(HashMap<StreamRef, Producers>);

impl EndpointDeadLetters {
    /// Connects to the streams of all endpoints. They have to exist, so that a missing one is reported before the run is
    /// ready and not when the first message has failed.
    pub(crate) async fn connect(module: &Module, backend: &Arc<Backend>) -> Result<Self, Failure> {
        let mut by_stream = HashMap::new();
        for endpoint in &module.endpoints {
            let FailureHandling::DeadLetter { stream, .. } = &endpoint.failures else { continue };
            if by_stream.contains_key(stream) {
                continue;
            }
            let (region, credentials, client) = needs::of_dead_letters(module, stream);
            let writer = Writer { backend: Arc::clone(backend), region, credentials, client, output: None };
            let producers = Producers::builder(writer).build();
            if let Err(Reason::NoProducer(error)) = producers.get(stream).await {
                let functions = &endpoint.functions;
                let message = format!("cannot write the dead letters of the endpoint of {functions} to {stream}");
                return Err(Failure::new(ExitCode::Setup, message)
                    .because(&*error)
                    .hint("`statefun-kinesis check --live` checks everything that the module needs from AWS"));
            }
            by_stream.insert(stream.clone(), producers);
        }
        Ok(Self(by_stream))
    }
}

#[async_trait]
impl DeadLetters for EndpointDeadLetters {
    async fn put(&self, stream: &StreamRef, records: Vec<PutRecord>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let producers = self.0.get(stream).ok_or_else(|| format!("no endpoint writes dead letters to {stream}"))?;
        producers.send_all(stream, records).await?.await?;
        Ok(())
    }
}
