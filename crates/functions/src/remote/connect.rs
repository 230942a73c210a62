//! Connections to endpoints: TCP or a unix socket, with or without TLS.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use statefun_kinesis_spec::TransportSpec;
use tokio::net::{TcpStream, UnixStream};
use tower_service::Service;

use super::endpoint::EndpointError;

/// Opens connections, with TLS where the address says `https`.
pub(super) type Connector = HttpsConnector<Dial>;

/// Makes the connector of an endpoint; `socket` is where it connects to, when that is not what addresses say.
pub(super) fn connector(
    transport: &TransportSpec,
    uses_tls: bool,
    socket: Option<PathBuf>,
) -> Result<Connector, EndpointError> {
    let tls = if uses_tls { tls(transport)? } else { without_trust()? };
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().enable_http2();
    Ok(builder.wrap_connector(Dial::new(transport.connect_timeout, socket)))
}

fn client_config() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, EndpointError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.map_err(|error| EndpointError::new("cannot set TLS up").because(error))
}

/// For an endpoint that uses no TLS: nobody has to read certificates for it.
fn without_trust() -> Result<ClientConfig, EndpointError> {
    Ok(client_config()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn tls(transport: &TransportSpec) -> Result<ClientConfig, EndpointError> {
    let builder = client_config()?.with_root_certificates(roots(transport.trust_ca_certs.as_deref())?);
    let (Some(certificate), Some(key)) = (&transport.client_cert, &transport.client_key) else {
        if transport.client_cert.is_some() || transport.client_key.is_some() {
            return Err(EndpointError::new(
                "`client_cert` and `client_key` belong together, and one of them is missing",
            ));
        }
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(Path::new(certificate))?;
    let read = std::fs::read(key).map_err(|error| cannot_read(key, error))?;
    if transport.client_key_password.is_some() || is_encrypted(&read) {
        return Err(EndpointError::new(format!(
            "the client key {key} is encrypted, which is not supported; write it without a password (`openssl pkcs8`), \
             and let the file's permissions protect it"
        )));
    }
    let key = PrivateKeyDer::from_pem_slice(&read).map_err(|error| cannot_read(key, error))?;
    let configured = builder.with_client_auth_cert(chain, key);
    configured.map_err(|error| EndpointError::new("the client certificate and its key cannot be used").because(error))
}

fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// The certificates in a file, or else those of the machine.
fn roots(file: Option<&str>) -> Result<RootCertStore, EndpointError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        for certificate in certificates(Path::new(file))? {
            roots.add(certificate).map_err(|error| cannot_read(file, error))?;
        }
        return Ok(roots);
    }
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        let mut error = EndpointError::new("no certificate of an authority was found; name a file by `trust_cacerts`");
        if let Some(first) = native.errors.into_iter().next() {
            error = error.because(first);
        }
        return Err(error);
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, EndpointError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| cannot_read(&file.display(), error))?;
    if certificates.is_empty() {
        return Err(EndpointError::new(format!("there is no certificate in {}", file.display())));
    }
    Ok(certificates)
}

fn cannot_read(
    file: &(impl std::fmt::Display + ?Sized),
    error: impl std::error::Error + Send + Sync + 'static,
) -> EndpointError {
    EndpointError::new(format!("cannot read {file}")).because(error)
}

/// Opens connections without TLS.
#[derive(Clone, Debug)]
pub(super) enum Dial {
    Tcp(HttpConnector),
    Unix { socket: Arc<Path>, timeout: Duration },
}

impl Dial {
    fn new(timeout: Duration, socket: Option<PathBuf>) -> Self {
        if let Some(socket) = socket {
            return Self::Unix { socket: socket.into(), timeout };
        }
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout));
        tcp.enforce_http(false);
        Self::Tcp(tcp)
    }
}

impl Service<Uri> for Dial {
    type Response = Stream;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_ready(context).map_err(Into::into),
            Self::Unix { .. } => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Tcp(tcp) => {
                let connecting = tcp.call(uri);
                Box::pin(async move { Ok(Stream::Tcp(connecting.await?)) })
            }
            Self::Unix { socket, timeout } => {
                let (socket, timeout) = (Arc::clone(socket), *timeout);
                Box::pin(async move {
                    let connected = tokio::time::timeout(timeout, UnixStream::connect(&socket)).await;
                    Ok(Stream::Unix(TokioIo::new(connected??)))
                })
            }
        }
    }
}

/// A connection without TLS.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TokioIo<TcpStream>),
    Unix(TokioIo<UnixStream>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tcp(stream) => stream.connected(),
            Self::Unix(_) => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }
}
