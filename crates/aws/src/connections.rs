//! The HTTP clients of connections that differ from the SDK's own: with a limit, other trusted certificates, or no proxy.

use std::{
    error::Error as StdError,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use aws_sdk_kinesis::config::SharedHttpClient;
use aws_smithy_http_client::{
    pool,
    proxy::ProxyConfig,
    tls::{self, TlsContext, TrustStore},
};
use aws_smithy_types::base64;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::BuildError;

/// How servers are connected to.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    /// A file of certificates that are trusted in place of those of the system.
    pub(crate) ca_bundle: Option<PathBuf>,
    /// Whether the proxies of the environment are used.
    pub(crate) use_proxies: bool,
}

impl Connections {
    /// An HTTP client for all servers; `None` where the SDK's own is as good.
    pub(crate) fn client(&self) -> Result<Option<SharedHttpClient>, BuildError> {
        match self {
            Self { ca_bundle: None, use_proxies: true } => Ok(None),
            Self { ca_bundle: Some(_), .. } | Self { use_proxies: false, .. } => {
                self.pool(pool::ConnectionPool::builder()).map(Some)
            }
        }
    }

    /// An HTTP client that opens at most this many connections to a server.
    pub(crate) fn bounded_client(&self, most: NonZeroU32) -> Result<SharedHttpClient, BuildError> {
        let most = usize::try_from(most.get()).unwrap_or(usize::MAX);
        self.pool(pool::ConnectionPool::builder().max_connections_per_host(most))
    }

    fn pool(&self, builder: pool::Builder) -> Result<SharedHttpClient, BuildError> {
        let unbuilt = |source: Box<dyn StdError + Send + Sync>| BuildError::Connections { source };
        let proxies = if self.use_proxies { ProxyConfig::from_env() } else { ProxyConfig::disabled() };
        let mut builder =
            builder.proxy_config(proxies).tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc));
        if let Some(file) = &self.ca_bundle {
            let trusted = TlsContext::builder().with_trust_store(trust_store(file)?).build();
            builder = builder.tls_context(trusted.map_err(|error| unbuilt(error.into()))?);
        }
        let pool = builder.build_https().map_err(|error| unbuilt(error.into()))?;
        Ok(SharedHttpClient::new(pool::Client::new(&pool).map_err(|error| unbuilt(error.into()))?))
    }
}

/// Reads the certificates of a file.
///
/// Those that cannot be trusted are left out, as for the certificates of the system: large bundles have some. The SDK
/// would panic.
fn trust_store(file: &Path) -> Result<TrustStore, BuildError> {
    let refused = |source: Box<dyn StdError + Send + Sync>| BuildError::CaBundle { file: file.to_owned(), source };
    let text = std::fs::read(file).map_err(|error| refused(error.into()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let (mut roots, mut store, mut last) = (RootCertStore::empty(), TrustStore::empty(), None);
    for certificate in read.map_err(|error| refused(error.into()))? {
        match roots.add(certificate.clone()) {
            Ok(()) => store = store.with_pem_certificate(pem(&certificate)),
            Err(error) => last = Some(error),
        }
    }
    match last {
        _ if !roots.is_empty() => Ok(store),
        Some(error) => Err(refused(error.into())),
        None => Err(refused("the file has no certificate in the PEM format (-----BEGIN CERTIFICATE-----)".into())),
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64::encode(certificate))
}

#[cfg(test)]
mod tests;
