//! The configuration that all parts of the SDK share.

use aws_config::{BehaviorVersion, ConfigLoader, Region, provider_config::ProviderConfig};
use aws_sdk_kinesis::config::SharedHttpClient;

/// The SDK's defaults as of January 2026. A later SDK keeps this behaviour until this line is changed.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The SDK's defaults, and what differs from them.
#[derive(Clone, Debug)]
pub(crate) struct Sdk {
    /// The HTTP client, if it is not the SDK's own.
    pub(crate) http_client: Option<SharedHttpClient>,
    /// What errors call the default chain.
    pub(crate) default_chain: String,
}

impl Sdk {
    /// Returns a loader for the configuration of clients.
    pub(crate) fn loader(&self, region: Region) -> ConfigLoader {
        let loader = aws_config::defaults(behavior()).region(region);
        match &self.http_client {
            Some(http_client) => loader.http_client(http_client.clone()),
            None => loader,
        }
    }

    /// Returns the configuration of a provider of a region or of credentials.
    pub(crate) fn provider(&self, region: Option<Region>) -> ProviderConfig {
        let config = ProviderConfig::without_region().with_behavior_version(Some(behavior())).with_region(region);
        match &self.http_client {
            Some(http_client) => config.with_http_client(http_client.clone()),
            None => config,
        }
    }
}
