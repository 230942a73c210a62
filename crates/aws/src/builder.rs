use std::{num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use aws_config::{SdkConfig, identity::IdentityCache};
use aws_sdk_kinesis::config::{
    Builder as ServiceConfigBuilder, Config as ServiceConfig, SharedHttpClient, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use statefun_kinesis_client::{Clock, SystemClock};
use statefun_kinesis_types::{AwsCredentials, AwsRegion};

use crate::{
    AwsKinesis, BuildError,
    connections::Connections,
    credentials::{check_credentials, credentials},
    endpoint::check_endpoint,
    profile::Profile,
    region::find_region,
    sdk::Sdk,
};

/// Default time limit for opening a connection with TCP and TLS; the same as the SDK's default.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// Default time limit of a call, from its start to the last byte of its answer: 60 s.
///
/// Kinesis answers within milliseconds to a second, but an answer of 10 MiB over a slow connection takes longer. Local
/// servers are slow too: LocalStack stores about 450 records of 1 KiB per second, and starts its Kinesis engine during
/// the first call.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

/// Default time limit between two events of a subscription of enhanced fan-out: 60 s.
///
/// The service sends an event every few seconds, also without records, but does not document how often. After a silence
/// of many times that length the connection is considered broken.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Builds an [`AwsKinesis`]; see [`AwsKinesis::builder`].
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
    connections: Connections,
    default_chain: String,
    pub(crate) http_client: Option<SharedHttpClient>,
    /// Tells when credentials expire.
    pub(crate) clock: Arc<dyn Clock>,
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
            connections: Connections { ca_bundle: None, use_proxies: true },
            default_chain: "the AWS default chain".to_owned(),
            http_client: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl AwsKinesisBuilder {
    /// Sets the region. Default: the region of `AWS_REGION`, `AWS_DEFAULT_REGION`, or the profile.
    ///
    /// An endpoint of [`AwsRegion::CustomEndpoint`] takes precedence over `AWS_ENDPOINT_URL` and over the profile's
    /// endpoint. With the other two variants these still apply.
    pub fn region(mut self, region: AwsRegion) -> Self {
        self.region = region;
        self
    }

    /// Sets the credentials for calls to AWS. Default: the AWS default chain, which is environment, profile (static,
    /// SSO, process, assumed role), web identity (IRSA), ECS and EKS Pod Identity, EC2 instance metadata.
    ///
    /// Roles are assumed at the STS of the client's region, also if Kinesis has a custom endpoint; only
    /// `AWS_ENDPOINT_URL_STS` or `AWS_ENDPOINT_URL` changes that. [`AwsCredentials::AssumeRole`] uses the credentials
    /// of the default chain for it.
    ///
    /// A [profile](AwsCredentials::Profile) takes precedence over the environment. Its file may have the format of a
    /// credentials file (`[name]`) or of a configuration file (`[profile name]`). Its region and endpoint apply if they
    /// are set nowhere else.
    pub fn credentials(mut self, credentials: AwsCredentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Sets the URL of the server, `http://` or `https://`, in place of the region's.
    pub fn endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint_url = Some(url.into());
        self
    }

    /// Sets whether [`build`](Self::build) may request the region from the EC2 instance metadata service if it is set
    /// nowhere else. Default: no.
    ///
    /// This is the only case in which building a client uses the network. On a machine that is not an EC2 instance, it
    /// takes seconds until the request fails.
    pub fn ask_instance_for_region(mut self, ask: bool) -> Self {
        self.ask_instance_for_region = ask;
        self
    }

    /// Sets the time limit for opening a connection. Default: [`CONNECT_TIMEOUT`].
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the time limit of a call. Default: [`OPERATION_TIMEOUT`].
    ///
    /// A call is one attempt, so there is no separate limit per attempt. In addition, the SDK's protection against
    /// stalled streams ends a transfer that made no progress for 5 s.
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets the time limit from the end of a request to the head of its answer. Default: none, except the
    /// [operation timeout](Self::operation_timeout).
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = Some(timeout);
        self
    }

    /// Sets the time limit between two events of a subscription of enhanced fan-out. Default: [`EVENT_TIMEOUT`].
    ///
    /// The operation timeout and the protection against stalled streams do not apply to a running subscription. The
    /// time counts only while the reader waits for the next event, so that a slow reader does not end its own
    /// subscription.
    pub fn event_timeout(mut self, timeout: Duration) -> Self {
        self.event_timeout = timeout;
        self
    }

    /// Sets the maximum number of connections to the server. Default: no limit. A call that needs another connection
    /// waits for it within its operation timeout.
    ///
    /// With HTTP/2, which AWS supports, one connection serves many calls and subscriptions. With HTTP/1.1, as on local
    /// servers, each running call and each subscription needs its own.
    pub fn max_connections(mut self, connections: NonZeroU32) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Sets a file of certificates, in the PEM format, that are trusted in place of those of the system. Default: none.
    ///
    /// It applies to all connections, also to those of the services that give credentials. The AWS CLI reads its path from
    /// `AWS_CA_BUNDLE`.
    pub fn ca_bundle(mut self, file: impl Into<PathBuf>) -> Self {
        self.connections.ca_bundle = Some(file.into());
        self
    }

    /// Sets whether connections go through the proxies of `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY`, except for the hosts
    /// of `NO_PROXY`. Default: yes.
    ///
    /// `NO_PROXY=*` does not cover endpoints that are IP addresses, so a program that reads this value turns proxies off.
    pub fn use_proxies(mut self, use_proxies: bool) -> Self {
        self.connections.use_proxies = use_proxies;
        self
    }

    /// Sets what errors call the default chain of credentials. Default: `the AWS default chain`.
    ///
    /// The SDK reads the chain's variables, and its errors do not name their values. A program that knows them can add
    /// them, such as the path in `AWS_WEB_IDENTITY_TOKEN_FILE`.
    pub fn default_chain_name(mut self, name: impl Into<String>) -> Self {
        self.default_chain = name.into();
        self
    }

    /// Builds the client. Reads the environment and the AWS files, and does not use the network.
    ///
    /// The first call loads the credentials, and reports an error if there are none.
    ///
    /// # Errors
    ///
    /// When no region is set, the profile or its file does not exist, the token of a web identity or the file of trusted
    /// certificates cannot be read, or the endpoint is not a URL.
    pub async fn build(self) -> Result<AwsKinesis, BuildError> {
        let endpoint = self.endpoint()?;
        let sdk = Sdk {
            http_client: match &self.http_client {
                Some(http_client) => Some(http_client.clone()),
                None => self.connections.client()?,
            },
            default_chain: self.default_chain.clone(),
        };
        let profile = Profile::of(&self.credentials).await?;
        check_credentials(&self.credentials)?;
        let region = find_region(&self.region, &profile, self.ask_instance_for_region, &sdk).await?;
        let credentials = credentials(&self.credentials, &profile, &region, &sdk, Arc::clone(&self.clock));

        let mut loader = sdk.loader(region);
        if let Some(endpoint) = endpoint {
            // A custom endpoint has no FIPS or dual-stack variant, also if the environment requests one of AWS.
            loader = loader.endpoint_url(endpoint).use_fips(false).use_dual_stack(false);
        }
        if let Some(name) = profile.name {
            loader = loader.profile_files(profile.files).profile_name(name);
        }
        // The SDK asks for each call, because its own cache would fail calls whose credentials are still good.
        loader = loader.credentials_provider(credentials.clone()).identity_cache(IdentityCache::no_cache());

        let config = self.service_config(&loader.load().await)?;
        let client = AwsKinesis::new(aws_sdk_kinesis::Client::from_conf(config));
        Ok(AwsKinesis { event_timeout: self.event_timeout, credentials: Some(credentials), ..client })
    }

    /// The URL of the server in place of the region's; `None` for AWS itself.
    fn endpoint(&self) -> Result<Option<&str>, BuildError> {
        let of_region = match &self.region {
            AwsRegion::CustomEndpoint { endpoint, .. } => Some(endpoint),
            AwsRegion::Default | AwsRegion::Specific { .. } => None,
        };
        let endpoint = self.endpoint_url.as_ref().or(of_region);
        endpoint.map(|url| check_endpoint(url).map(|()| url.as_str())).transpose()
    }

    /// The configuration of Kinesis calls. Its retries and timeouts do not apply to calls for credentials, which use
    /// the SDK's.
    fn service_config(&self, loaded: &SdkConfig) -> Result<ServiceConfig, BuildError> {
        let mut timeouts =
            TimeoutConfig::builder().connect_timeout(self.connect_timeout).operation_timeout(self.operation_timeout);
        timeouts.set_read_timeout(self.read_timeout);
        let mut config =
            ServiceConfigBuilder::from(loaded).retry_config(RetryConfig::disabled()).timeout_config(timeouts.build());
        if let (Some(most), None) = (self.max_connections, &self.http_client) {
            config = config.http_client(self.connections.bounded_client(most)?);
        }
        Ok(config.build())
    }
}

#[cfg(test)]
mod tests;
