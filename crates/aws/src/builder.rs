use std::{
    borrow::Cow,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_config::{
    BehaviorVersion, ConfigLoader, Region,
    environment::EnvironmentVariableRegionProvider,
    identity::IdentityCache,
    imds::region::ImdsRegionProvider,
    meta::region::ProvideRegion,
    profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider, ProfileSet},
    provider_config::ProviderConfig,
    sts::AssumeRoleProvider,
    web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider},
};
use aws_credential_types::Credentials;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_kinesis::config::{
    Builder as ServiceConfigBuilder, SharedHttpClient, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::{pool, proxy::ProxyConfig, tls};
use statefun_kinesis_types::{AwsCredentials, AwsRegion};

use crate::{AwsKinesis, BuildError, role::RoleCredentials};

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

/// The name of a role's session in CloudTrail when none is given.
const SESSION_NAME: &str = "statefun-kinesis";

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
        let endpoint_of_region = match &self.region {
            AwsRegion::CustomEndpoint { endpoint, .. } => Some(endpoint),
            AwsRegion::Default | AwsRegion::Specific { .. } => None,
        };
        let endpoint = self.endpoint_url.as_ref().or(endpoint_of_region);
        if let Some(endpoint) = endpoint {
            check_endpoint(endpoint)?;
        }

        let files = self.profile_files();
        if let AwsCredentials::Profile { name, path } = &self.credentials {
            check_profile(name, path.as_ref(), &files).await?;
        }
        if let AwsCredentials::WebIdentity { token_file, .. } = &self.credentials {
            check_token(token_file)?;
        }
        let region = self.find_region(&files).await?;

        let mut loader: ConfigLoader = aws_config::defaults(behavior()).region(region.clone());
        if let Some(http_client) = &self.http_client {
            loader = loader.http_client(http_client.clone());
        }
        if let Some(endpoint) = endpoint {
            // A server named by its address has no FIPS or dual-stack variant, whatever the environment asks of AWS.
            loader = loader.endpoint_url(endpoint).use_fips(false).use_dual_stack(false);
        }
        // The identity cache would else allow one short try, as it reckons from the retries that are off below.
        loader = loader.identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS_TIMEOUT).build());
        loader = match &self.credentials {
            AwsCredentials::Profile { name, .. } => {
                let provider = ProfileFileCredentialsProvider::builder()
                    .configure(&self.provider_config(Some(region)))
                    .profile_files(files.clone())
                    .profile_name(name)
                    .build();
                loader.profile_files(files).profile_name(name).credentials_provider(provider)
            }
            AwsCredentials::Basic { access_key_id, secret_access_key, session_token } => {
                loader.credentials_provider(Credentials::new(
                    access_key_id.expose(),
                    secret_access_key.expose(),
                    session_token.as_ref().map(|token| token.expose().to_owned()),
                    None,
                    "statefun-kinesis",
                ))
            }
            AwsCredentials::WebIdentity { role_arn, token_file, session_name } => {
                let provider = WebIdentityTokenCredentialsProvider::builder()
                    .configure(&self.provider_config(Some(region)))
                    .static_configuration(StaticConfiguration {
                        web_identity_token_file: token_file.clone(),
                        role_arn: role_arn.clone(),
                        session_name: session_name.clone().unwrap_or_else(|| SESSION_NAME.to_owned()),
                    })
                    .build();
                loader.credentials_provider(RoleCredentials {
                    provider,
                    role_arn: role_arn.clone(),
                    token_file: Some(token_file.clone()),
                })
            }
            AwsCredentials::AssumeRole { role_arn, session_name, external_id } => {
                // A loader of its own: an endpoint that was named for Kinesis is not one of STS.
                let mut base = aws_config::defaults(behavior()).region(region);
                if let Some(http_client) = &self.http_client {
                    base = base.http_client(http_client.clone());
                }
                let mut role = AssumeRoleProvider::builder(role_arn)
                    .session_name(session_name.as_deref().unwrap_or(SESSION_NAME))
                    .configure(&base.load().await);
                if let Some(external_id) = external_id {
                    role = role.external_id(external_id.expose());
                }
                loader.credentials_provider(RoleCredentials {
                    provider: role.build().await,
                    role_arn: role_arn.clone(),
                    token_file: None,
                })
            }
            // The default chain is the loader's own.
            AwsCredentials::Default => loader,
        };
        let loaded = loader.load().await;

        // Retries and timeouts are those of Kinesis calls only: calls for credentials keep the SDK's.
        let mut timeouts =
            TimeoutConfig::builder().connect_timeout(self.connect_timeout).operation_timeout(self.operation_timeout);
        timeouts.set_read_timeout(self.read_timeout);
        let mut config =
            ServiceConfigBuilder::from(&loaded).retry_config(RetryConfig::disabled()).timeout_config(timeouts.build());
        if let (Some(most), None) = (self.max_connections, &self.http_client) {
            config = config.http_client(bounded_connections(most)?);
        }
        let client = AwsKinesis::new(aws_sdk_kinesis::Client::from_conf(config.build()));
        Ok(AwsKinesis { event_timeout: self.event_timeout, ..client })
    }

    /// The files in which profiles are looked up.
    fn profile_files(&self) -> EnvConfigFiles {
        match &self.credentials {
            // Both kinds of file, as which one it is shows only in how its sections are headed.
            AwsCredentials::Profile { path: Some(path), .. } => EnvConfigFiles::builder()
                .with_file(EnvConfigFileKind::Config, path)
                .with_file(EnvConfigFileKind::Credentials, path)
                .build(),
            AwsCredentials::Default
            | AwsCredentials::Profile { path: None, .. }
            | AwsCredentials::Basic { .. }
            | AwsCredentials::WebIdentity { .. }
            | AwsCredentials::AssumeRole { .. } => EnvConfigFiles::default(),
        }
    }

    fn provider_config(&self, region: Option<Region>) -> ProviderConfig {
        let config = ProviderConfig::without_region().with_behavior_version(Some(behavior())).with_region(region);
        match &self.http_client {
            Some(http_client) => config.with_http_client(http_client.clone()),
            None => config,
        }
    }

    async fn find_region(&self, files: &EnvConfigFiles) -> Result<Region, BuildError> {
        if let Some(id) = self.region.id() {
            return checked_region(Region::new(id.to_owned()));
        }
        if let Some(region) = EnvironmentVariableRegionProvider::new().region().await {
            return checked_region(region);
        }
        let config = self.provider_config(None);
        let mut profile = ProfileFileRegionProvider::builder().configure(&config).profile_files(files.clone());
        if let AwsCredentials::Profile { name, .. } = &self.credentials {
            profile = profile.profile_name(name);
        }
        if let Some(region) = profile.build().region().await {
            return checked_region(region);
        }
        if self.ask_instance_for_region
            && let Some(region) = ImdsRegionProvider::builder().configure(&config).build().region().await
        {
            return checked_region(region);
        }
        Err(BuildError::NoRegion)
    }
}

/// The SDK's defaults as of January 2026; a later SDK changes nothing here until this line does.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

async fn check_profile(name: &str, path: Option<&PathBuf>, files: &EnvConfigFiles) -> Result<(), BuildError> {
    let place = match path {
        Some(path) => format!("`{}`", path.display()),
        None => "~/.aws/config and ~/.aws/credentials (or AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE)".to_owned(),
    };
    let found: ProfileSet = match aws_config::profile::load(
        &Default::default(),
        &Default::default(),
        files,
        Some(Cow::Owned(name.to_owned())),
    )
    .await
    {
        Ok(found) => found,
        Err(source) => return Err(BuildError::ProfileFile { place, source: source.into() }),
    };
    if found.get_profile(name).is_some() {
        return Ok(());
    }
    let mut known: Vec<String> = found.profiles().map(str::to_owned).collect();
    known.sort_unstable();
    Err(BuildError::NoProfile { name: name.to_owned(), place, known })
}

/// Refuses at once what STS could never be asked with.
fn check_token(file: &Path) -> Result<(), BuildError> {
    let refused =
        |source: Box<dyn std::error::Error + Send + Sync>| Err(BuildError::NoToken { file: file.to_owned(), source });
    match std::fs::read_to_string(file) {
        Ok(token) if token.trim().is_empty() => refused("the file is empty".into()),
        Ok(_) => Ok(()),
        Err(error) => refused(error.into()),
    }
}

/// An HTTP client that opens no more connections than this; as the SDK's own but for that.
fn bounded_connections(most: NonZeroU32) -> Result<pool::Client, BuildError> {
    let unbuilt = |source: Box<dyn std::error::Error + Send + Sync>| BuildError::Connections { source };
    let pool = pool::ConnectionPool::builder()
        .max_connections_per_host(usize::try_from(most.get()).unwrap_or(usize::MAX))
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
        .build_https()
        .map_err(|error| unbuilt(error.into()))?;
    pool::Client::new(&pool).map_err(|error| unbuilt(error.into()))
}

/// A region's id becomes part of a host name and of the signature.
fn checked_region(region: Region) -> Result<Region, BuildError> {
    let id = region.as_ref();
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=63).contains(&id.len()) && id.bytes().all(valid) && !id.starts_with('-') && !id.ends_with('-') {
        Ok(region)
    } else {
        Err(BuildError::InvalidRegion { id: id.to_owned() })
    }
}

/// Whether a URL can be an endpoint of a client, as [`build`](AwsKinesisBuilder::build) finds it out too: for those who
/// take URLs from people. It calls no service.
///
/// # Errors
///
/// [`BuildError::InvalidEndpoint`], where the SDK would only stumble at the first call.
///
/// ```
/// assert!(statefun_kinesis_aws::check_endpoint("http://localhost:4566").is_ok());
/// assert!(statefun_kinesis_aws::check_endpoint("localhost:4566").is_err());
/// ```
pub fn check_endpoint(url: &str) -> Result<(), BuildError> {
    let invalid = |reason| Err(BuildError::InvalidEndpoint { url: url.to_owned(), reason });
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return invalid("it must start with http:// or https://");
    };
    if !rest.bytes().all(|byte| byte.is_ascii_graphic())
        || rest.contains(['?', '#', '"', '<', '>', '\\', '^', '`', '{', '|', '}'])
    {
        return invalid("it has characters that a plain URL has not");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return invalid("a user name or password has no place in it");
    }
    // The last colon divides, unless it is part of an IPv6 address in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() {
        return invalid("it names no host");
    }
    match port {
        Some(port) if !matches!(port.parse::<u16>(), Ok(1..)) => invalid("the port must be a number from 1 to 65535"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
