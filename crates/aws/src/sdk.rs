//! What every part of the SDK that a client is made of is configured with.

use aws_config::{BehaviorVersion, ConfigLoader, Region, provider_config::ProviderConfig};
use aws_sdk_kinesis::config::SharedHttpClient;

/// The SDK's defaults as of January 2026; a later SDK changes nothing here until this line does.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The defaults of the SDK, with the HTTP client that a test gave.
#[derive(Clone, Debug)]
pub(crate) struct Sdk {
    pub(crate) http_client: Option<SharedHttpClient>,
}

impl Sdk {
    /// The start of a configuration of clients.
    pub(crate) fn loader(&self, region: Region) -> ConfigLoader {
        let loader = aws_config::defaults(behavior()).region(region);
        match &self.http_client {
            Some(http_client) => loader.http_client(http_client.clone()),
            None => loader,
        }
    }

    /// The configuration of a provider of a region or of credentials.
    pub(crate) fn provider(&self, region: Option<Region>) -> ProviderConfig {
        let config = ProviderConfig::without_region().with_behavior_version(Some(behavior())).with_region(region);
        match &self.http_client {
            Some(http_client) => config.with_http_client(http_client.clone()),
            None => config,
        }
    }
}
