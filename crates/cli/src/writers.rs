//! The writers of a module: for its egresses, and for the dead letters of its endpoints.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use statefun_kinesis_client::{Error as ClientError, ErrorKind, KinesisClient, Operation};
use statefun_kinesis_functions::DeadLetters;
use statefun_kinesis_producer::{Clients, Producers};
use statefun_kinesis_spec::{ClientSpec, EgressSpec};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, ErrorChain, PutRecord, StreamRef};

use crate::{backend::Backend, output::Output, output_client::OutputClient};

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
            // The caller's message says that there is no client.
            let why = ErrorChain(&error).to_string();
            ClientError::new(Operation::DescribeStreamSummary, ErrorKind::InvalidArgument, why)
        })?;
        Ok(match &self.output {
            Some(output) => Arc::new(OutputClient::new(client, output.clone())),
            None => client,
        })
    }
}

/// Writes the dead letters of endpoints, with the credentials of the AWS default chain.
#[derive(Debug)]
pub(crate) struct EndpointDeadLetters(Producers);

impl EndpointDeadLetters {
    pub(crate) fn new(backend: Arc<Backend>) -> Self {
        let writer = Writer {
            backend,
            region: AwsRegion::Default,
            credentials: AwsCredentials::Default,
            client: ClientSpec::default(),
            output: None,
        };
        Self(Producers::builder(writer).build())
    }
}

#[async_trait]
impl DeadLetters for EndpointDeadLetters {
    async fn put(&self, stream: &StreamRef, records: Vec<PutRecord>) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.send_all(stream, records).await?.await?;
        Ok(())
    }
}
