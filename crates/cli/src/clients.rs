//! The AWS clients of a module.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use statefun_kinesis_aws::{AwsKinesis, AwsKinesisBuilder, BuildError, CredentialsStatus};
use statefun_kinesis_client::{FanOutClient, KinesisClient};
use statefun_kinesis_spec::ClientSpec;
use statefun_kinesis_types::{AwsCredentials, AwsRegion, StreamArn};
use tokio::sync::Mutex;

use crate::aws_environment::AwsEnvironment;

/// All operations on streams that a module needs.
pub(crate) trait StreamClient: KinesisClient + FanOutClient {}

impl<T: KinesisClient + FanOutClient> StreamClient for T {}

/// AWS, or a server that speaks its protocol.
///
/// There is one client for each combination of region, credentials and settings, so that connections are shared and
/// credentials are fetched once.
#[derive(Debug)]
pub(crate) struct AwsClients {
    endpoint_url: Option<String>,
    environment: AwsEnvironment,
    clients: Mutex<HashMap<Key, Arc<dyn StreamClient>>>,
    /// The same clients with what they get their credentials from, for monitoring.
    credentials: std::sync::Mutex<Vec<(&'static str, AwsKinesis)>>,
}

/// How credentials that clients share a source and a region for are doing.
#[derive(Clone, Debug)]
pub(crate) struct ClientCredentials {
    pub(crate) region: String,
    /// What they come from: the name of the field of `awsCredentials`.
    pub(crate) source: &'static str,
    pub(crate) status: CredentialsStatus,
}

/// The configuration of a client.
type Key = (AwsRegion, AwsCredentials, ClientSpec);

impl AwsClients {
    /// Clients of AWS, or of one server instead of all regions.
    pub(crate) fn new(endpoint_url: Option<String>) -> Self {
        let environment = AwsEnvironment::of(|name| std::env::var_os(name));
        Self { endpoint_url, environment, clients: Mutex::default(), credentials: std::sync::Mutex::default() }
    }

    /// A client. Does not call AWS yet, except for the instance's region when nothing names one.
    pub(crate) async fn get(
        &self,
        region: &AwsRegion,
        credentials: &AwsCredentials,
        spec: &ClientSpec,
    ) -> Result<Arc<dyn StreamClient>, BuildError> {
        let mut clients = self.clients.lock().await;
        let key = (region.clone(), credentials.clone(), spec.clone());
        if let Some(client) = clients.get(&key) {
            return Ok(Arc::clone(client));
        }
        let kinesis = self.builder(region, credentials, spec).build().await?;
        let mut all = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((source_of(credentials), kinesis.clone()));
        let client: Arc<dyn StreamClient> = Arc::new(kinesis);
        clients.insert(key, Arc::clone(&client));
        Ok(client)
    }

    /// How the credentials of the clients are doing, once for each region and source. Of several clients with the same
    /// ones, the one that is worst off counts.
    pub(crate) fn credentials(&self) -> Vec<ClientCredentials> {
        let mut found: Vec<ClientCredentials> = Vec::new();
        for (source, kinesis) in self.credentials.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let Some(status) = kinesis.credentials() else { continue };
            let region = kinesis.region().unwrap_or_default();
            match found.iter_mut().find(|other| other.region == region && other.source == *source) {
                Some(other) => other.status = worse(other.status, status),
                None => found.push(ClientCredentials { region: region.to_owned(), source, status }),
            }
        }
        found
    }

    fn builder(&self, region: &AwsRegion, credentials: &AwsCredentials, spec: &ClientSpec) -> AwsKinesisBuilder {
        // Each field is named, so that a new one does not compile before it has an effect.
        let ClientSpec { connect_timeout, read_timeout, request_timeout, max_connections } = spec;
        let mut builder = AwsKinesis::builder().region(region.clone()).credentials(credentials.clone());
        // A module may leave the region to the machine on which it runs.
        builder = builder.ask_instance_for_region(*region == AwsRegion::Default);
        if let Some(url) = &self.endpoint_url {
            builder = builder.endpoint_url(url.clone());
        }
        builder = self.environment.apply(builder);
        if let Some(timeout) = connect_timeout {
            builder = builder.connect_timeout(*timeout);
        }
        if let Some(timeout) = read_timeout {
            builder = builder.read_timeout(*timeout);
        }
        if let Some(timeout) = request_timeout {
            builder = builder.operation_timeout(*timeout);
        }
        if let Some(connections) = max_connections {
            builder = builder.max_connections(*connections);
        }
        builder
    }

    /// Whether calls for a region go to AWS itself, according to the module, the command line and the environment.
    pub(crate) fn is_aws(&self, region: &AwsRegion) -> bool {
        let of_region = match region {
            AwsRegion::CustomEndpoint { endpoint, .. } => Some(endpoint),
            AwsRegion::Default | AwsRegion::Specific { .. } => None,
        };
        let of_environment = || {
            let variables = ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"];
            variables.into_iter().find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()))
        };
        let endpoint = self.endpoint_url.as_ref().or(of_region).cloned().or_else(of_environment);
        endpoint.is_none_or(|url| {
            let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let host = authority.split(['/', ':']).next().unwrap_or_default();
            host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
        })
    }
}

/// What credentials come from, as a label of metrics.
fn source_of(credentials: &AwsCredentials) -> &'static str {
    match credentials {
        AwsCredentials::Default => "default",
        AwsCredentials::Profile { .. } => "profile",
        AwsCredentials::Basic { .. } => "basic",
        AwsCredentials::WebIdentity { .. } => "web-identity",
        AwsCredentials::AssumeRole { .. } => "assume-role",
    }
}

/// Of two clients: the older load, the earlier expiry, all failures, and the longer outage.
fn worse(a: CredentialsStatus, b: CredentialsStatus) -> CredentialsStatus {
    CredentialsStatus {
        loaded_at: a.loaded_at.into_iter().chain(b.loaded_at).min(),
        expires_at: a.expires_at.into_iter().chain(b.expires_at).min(),
        failures: a.failures + b.failures,
        failing_since: a.failing_since.into_iter().chain(b.failing_since).min(),
    }
}

/// The region of a stream: that of its ARN, even if the module file names another one by mistake.
pub(crate) fn region_of(stream: Option<&StreamArn>, region: &AwsRegion) -> AwsRegion {
    let Some(arn) = stream else { return region.clone() };
    let id = arn.region().to_owned();
    match region {
        AwsRegion::CustomEndpoint { endpoint, .. } => AwsRegion::CustomEndpoint { endpoint: endpoint.clone(), id },
        AwsRegion::Default | AwsRegion::Specific { .. } => AwsRegion::Specific { id },
    }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_spec::{EgressSpec, IngressSpec, assert_fields_arrive};
    use statefun_kinesis_types::Secret;

    use super::*;

    /// Each field about region, credentials and connections changes the client.
    #[test]
    fn each_field_of_a_client_arrives() {
        let clients = AwsClients::new(None);
        let is_of_the_router =
            |path: &[&str]| !["awsRegion", "awsCredentials", "clientConfigProperties"].contains(&path[0]);
        let shown = |region: &AwsRegion, credentials: &AwsCredentials, spec: &ClientSpec| {
            // `Debug` of secrets hides them.
            let secrets = match credentials {
                AwsCredentials::Basic { access_key_id, secret_access_key, session_token } => {
                    [Some(access_key_id), Some(secret_access_key), session_token.as_ref()]
                        .map(|secret| secret.map(Secret::expose))
                }
                AwsCredentials::Default
                | AwsCredentials::Profile { .. }
                | AwsCredentials::WebIdentity { .. }
                | AwsCredentials::AssumeRole { .. } => [None; 3],
            };
            format!("{:#?} {secrets:?}", clients.builder(region, credentials, spec))
        };
        assert_fields_arrive("io.statefun.kinesis.v1/ingress", is_of_the_router, |module| {
            let IngressSpec { region, credentials, client, .. } = &module.ingresses[0];
            shown(region, credentials, client)
        });
        assert_fields_arrive("io.statefun.kinesis.v1/egress", is_of_the_router, |module| {
            let EgressSpec { region, credentials, client, .. } = &module.egresses[0];
            shown(region, credentials, client)
        });
    }

    #[test]
    fn a_server_of_ones_own_is_not_aws() {
        let is_aws = |url: &str, endpoint: &str| {
            let region = AwsRegion::CustomEndpoint { endpoint: endpoint.to_owned(), id: "us-east-1".to_owned() };
            AwsClients::new((!url.is_empty()).then(|| url.to_owned())).is_aws(&region)
        };
        let aws = "https://vpce-1-2.kinesis.us-east-1.vpce.amazonaws.com";
        assert!(is_aws("", aws) && is_aws(aws, "http://localhost:4566") && is_aws("", &format!("{aws}:443/")));
        assert!(!is_aws("", "http://localhost:4566") && !is_aws("http://amazonaws.com.example/", aws));
    }
}
