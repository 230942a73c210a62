use std::{num::NonZeroU32, time::Duration};

use aws_config::{SdkConfig, identity::IdentityCache};
use aws_sdk_kinesis::config::{
    Builder as ServiceConfigBuilder, Config as ServiceConfig, SharedHttpClient, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use statefun_kinesis_types::{AwsCredentials, AwsRegion};

use crate::{
    AwsKinesis, BuildError,
    connections::bounded_connections,
    credentials::{check_credentials, credentials_provider},
    endpoint::check_endpoint,
    profile::Profile,
    region::find_region,
    sdk::Sdk,
};

/// How long a TCP and TLS connection may take to come about: the SDK's own default.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// How long a call may take from its start to the last byte of its answer: 60 s.
///
/// Kinesis answers within milliseconds to a second, but an answer of 10 MiB over a slow line takes longer, and the
/// local servers are slow: LocalStack stores about 450 records of 1 KiB per second, and starts its Kinesis engine
/// within the first call.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a subscription of enhanced fan-out may be silent: 60 s.
///
/// The service sends an event every few seconds whether there are records or not, and does not say how often; a
/// silence of so many such times is that of a broken connection.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the sources of credentials may take together, all their tries included: about what the SDK gives them
/// when its retries are on.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(22);

/// Makes an [`AwsKinesis`]: [`AwsKinesis::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct AwsKinesisBuilder {
    region: AwsRegion,
    credentials: AwsCredentials,
    endpoint_url: Option<String>,
    ask_instance_for_region: bool,
    connect_timeout: Duration,
    read_timeout: Option<Duration>,
    operation_timeout: Duration,
    event_timeout: Duration,
    max_connections: Option<NonZeroU32>,
    pub(crate) http_client: Option<SharedHttpClient>,
}

impl Default for AwsKinesisBuilder {
    fn default() -> Self {
        Self {
            region: AwsRegion::default(),
            credentials: AwsCredentials::default(),
            endpoint_url: None,
            ask_instance_for_region: false,
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: None,
            operation_timeout: OPERATION_TIMEOUT,
            event_timeout: EVENT_TIMEOUT,
            max_connections: None,
            http_client: None,
        }
    }
}

impl AwsKinesisBuilder {
    /// Where the service is. The default takes the region from `AWS_REGION`, `AWS_DEFAULT_REGION`, or the profile.
    ///
    /// An endpoint of [`AwsRegion::CustomEndpoint`] wins over `AWS_ENDPOINT_URL` and over the profile's; the other two
    /// leave those in force.
    pub fn region(mut self, region: AwsRegion) -> Self {
        self.region = region;
        self
    }

    /// The credentials for calls to AWS. The default is the AWS default chain: environment, profile (static, SSO,
    /// process, assumed role), web identity (IRSA), ECS and EKS Pod Identity, EC2 instance metadata.
    ///
    /// A role is asked for at the STS of the client's region, also where Kinesis has an endpoint of its own; only
    /// `AWS_ENDPOINT_URL_STS` or `AWS_ENDPOINT_URL` changes that. [`AwsCredentials::AssumeRole`] asks with the
    /// credentials of the default chain.
    ///
    /// A [profile](AwsCredentials::Profile) is used whatever the environment says. Its file may be written as a
    /// credentials file (`[name]`) or as a configuration file (`[profile name]`), and its region and endpoint count
    /// where nothing else names them.
    pub fn credentials(mut self, credentials: AwsCredentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// The server to talk to, an `http://` or `https://` URL, in place of the region's.
    pub fn endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint_url = Some(url.into());
        self
    }

    /// Whether [`build`](Self::build) may ask the EC2 instance metadata service for a region that nothing else names.
    ///
    /// Off unless switched on: it is the one case in which building a client uses the network, and on a machine that is
    /// not an EC2 instance the answer takes seconds to not come.
    pub fn ask_instance_for_region(mut self, ask: bool) -> Self {
        self.ask_instance_for_region = ask;
        self
    }

    /// How long a connection may take to come about; [`CONNECT_TIMEOUT`] by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take; [`OPERATION_TIMEOUT`] by default.
    ///
    /// As a call is one attempt, there is no other timeout per attempt. Beside it, the SDK's protection against stalled
    /// streams ends a transfer that has not moved a byte for 5 s.
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// How long the head of an answer may take to come once the request is sent; not limited by default, but for the
    /// [operation timeout](Self::operation_timeout).
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = Some(timeout);
        self
    }

    /// How long a subscription of enhanced fan-out may be silent; [`EVENT_TIMEOUT`] by default.
    ///
    /// Neither the operation timeout nor the protection against stalled streams concerns a subscription that runs. The
    /// time counts only while the next event is waited for, so that a slow reader never ends its own subscription.
    pub fn event_timeout(mut self, timeout: Duration) -> Self {
        self.event_timeout = timeout;
        self
    }

    /// Most connections to the server at a time; unlimited by default. A call that needs one more waits for it within
    /// its operation timeout.
    ///
    /// Over HTTP/2, which AWS speaks, one connection carries many calls and subscriptions. Over HTTP/1.1, as local
    /// servers have it, each running call and each subscription has one to itself.
    pub fn max_connections(mut self, connections: NonZeroU32) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Builds the client: reads the environment and the AWS files, and asks nothing over the network.
    ///
    /// Credentials are loaded, and reported as missing, by the first call.
    ///
    /// # Errors
    ///
    /// When no region is named anywhere, the profile or its file does not exist, the token of a web identity cannot be
    /// read, or the endpoint is not a URL.
    pub async fn build(self) -> Result<AwsKinesis, BuildError> {
        let endpoint = self.endpoint()?;
        let sdk = Sdk { http_client: self.http_client.clone() };
        let profile = Profile::of(&self.credentials).await?;
        check_credentials(&self.credentials)?;
        let region = find_region(&self.region, &profile, self.ask_instance_for_region, &sdk).await?;
        let credentials = credentials_provider(&self.credentials, &profile, region.clone(), &sdk).await;

        let mut loader = sdk.loader(region);
        if let Some(endpoint) = endpoint {
            // A server named by its address has no FIPS or dual-stack variant, whatever the environment asks of AWS.
            loader = loader.endpoint_url(endpoint).use_fips(false).use_dual_stack(false);
        }
        if let Some(name) = profile.name {
            loader = loader.profile_files(profile.files).profile_name(name);
        }
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        // The identity cache would otherwise allow one short attempt, because it goes by the retries that
        // `service_config` turns off.
        loader = loader.identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS_TIMEOUT).build());

        let config = self.service_config(&loader.load().await)?;
        let client = AwsKinesis::new(aws_sdk_kinesis::Client::from_conf(config));
        Ok(AwsKinesis { event_timeout: self.event_timeout, ..client })
    }

    /// The server to talk to in place of the region's.
    fn endpoint(&self) -> Result<Option<&str>, BuildError> {
        let of_region = match &self.region {
            AwsRegion::CustomEndpoint { endpoint, .. } => Some(endpoint),
            AwsRegion::Default | AwsRegion::Specific { .. } => None,
        };
        let endpoint = self.endpoint_url.as_ref().or(of_region);
        endpoint.map(|url| check_endpoint(url).map(|()| url.as_str())).transpose()
    }

    /// The configuration of Kinesis calls. Its retries and timeouts are not those of calls for credentials, which keep
    /// the SDK's.
    fn service_config(&self, loaded: &SdkConfig) -> Result<ServiceConfig, BuildError> {
        let mut timeouts =
            TimeoutConfig::builder().connect_timeout(self.connect_timeout).operation_timeout(self.operation_timeout);
        timeouts.set_read_timeout(self.read_timeout);
        let mut config =
            ServiceConfigBuilder::from(loaded).retry_config(RetryConfig::disabled()).timeout_config(timeouts.build());
        if let (Some(most), None) = (self.max_connections, &self.http_client) {
            config = config.http_client(bounded_connections(most)?);
        }
        Ok(config.build())
    }
}

#[cfg(test)]
mod tests;
