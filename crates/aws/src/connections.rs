//! Creates an HTTP client with a limited number of connections.

use std::num::NonZeroU32;

use aws_smithy_http_client::{pool, proxy::ProxyConfig, tls};

use crate::BuildError;

/// Creates an HTTP client that opens at most this many connections to a server. Otherwise it equals the SDK's own
/// client.
pub(crate) fn bounded_connections(most: NonZeroU32) -> Result<pool::Client, BuildError> {
    let unbuilt = |source: Box<dyn std::error::Error + Send + Sync>| BuildError::Connections { source };
    let pool = pool::ConnectionPool::builder()
        .max_connections_per_host(usize::try_from(most.get()).unwrap_or(usize::MAX))
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
        .build_https()
        .map_err(|error| unbuilt(error.into()))?;
    pool::Client::new(&pool).map_err(|error| unbuilt(error.into()))
}
