//! The HTTP server, with limits on what a client may use.

use std::{convert::Infallible, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use statefun_kinesis_types::ErrorChain;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{address::AdminAddress, answer::answer, health::MonitoredRun, snapshot::Sources};
use crate::{ExitCode, failure::Failure, terminal};

/// Most concurrent connections. Others wait until one ends.
const CONNECTIONS: usize = 64;
/// Time limit of a connection, for request and answer. A connection serves one request, so that none stays open unused.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// Time limit for the head of the request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Most bytes of the head, which is more than any real client sends.
const HEAD_BYTES: usize = 16 << 10;
/// Pause after a connection could not be accepted, for example because the process has too many open files.
const PAUSE: Duration = Duration::from_millis(500);

/// The endpoint. Dropping this ends it, and all its connections.
#[derive(Debug)]
pub(crate) struct Admin {
    monitored: Arc<MonitoredRun>,
    serving: AbortHandle,
}

impl Admin {
    /// Listens if there is an address, and prints it. Answers that the run is starting until [`reading`](Self::reading).
    ///
    /// # Errors
    ///
    /// When the address is not available.
    pub(crate) async fn open(
        address: Option<&AdminAddress>,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, Failure> {
        let Some(address) = address else { return Ok(None) };
        let bound = async {
            let listener = address.bind().await?;
            let local = listener.local_addr()?;
            Ok((listener, local))
        };
        let (listener, local) = bound.await.map_err(|error: std::io::Error| {
            Failure::new(ExitCode::Setup, format!("cannot listen at the --admin address {address}"))
                .because(&error)
                .hint("choose another address; with port 0, the system chooses a free port")
        })?;
        terminal::tell(&format!("admin: serving /metrics, /healthz and /readyz at http://{local}"));
        let monitored = Arc::new(MonitoredRun::new(shutdown.clone()));
        let serving = tokio::spawn(serve(listener, Arc::clone(&monitored))).abort_handle();
        Ok(Some(Self { monitored, serving }))
    }

    /// Tells the endpoint that reading begins.
    pub(crate) fn reading(&self, sources: Sources) {
        self.monitored.reading(sources);
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, monitored: Arc<MonitoredRun>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Connections end with the listener.
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, _)) => {
                // An answer is one write, so waiting for more data would only delay it.
                let _ = socket.set_nodelay(true);
                let monitored = Arc::clone(&monitored);
                connections.spawn(async move {
                    serve_connection(socket, monitored).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection to --admin");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one request.
pub(super) async fn serve_connection(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    monitored: Arc<MonitoredRun>,
) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let answered = answer(&monitored, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(answered) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), service);
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = %ErrorChain(&error), "a connection to --admin ended"),
        Err(_) => debug!("a connection to --admin took too long"),
    }
}
