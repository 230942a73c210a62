//! The listener, and how much of it anyone gets.

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

use super::{AdminAddress, Sources, answer::answer, health::Watched};
use crate::{ExitCode, failure::Failure, terminal};

/// Connections at a time. One more waits until another one has ended.
const CONNECTIONS: usize = 64;
/// Whoever connects has that long to ask and to take the answer. A connection is for one request, so that none is kept
/// open for nothing.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// Of that, for the head of the request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Most bytes of the head: no client that means us has as many.
const HEAD_BYTES: usize = 16 << 10;
/// After a connection could not be taken, as when the process has too many files open.
const PAUSE: Duration = Duration::from_millis(500);

/// The endpoint. It ends when this is dropped, whatever anybody is asking.
#[derive(Debug)]
pub(crate) struct Admin {
    watched: Arc<Watched>,
    serving: AbortHandle,
}

impl Admin {
    /// Listens, if there is an address to listen at, and says where. Answers that the run starts until
    /// [`reading`](Self::reading).
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
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
            Failure::new(ExitCode::Setup, format!("cannot listen at {address} for --admin"))
                .because(&error)
                .hint("choose another address; with port 0 the system chooses a port that is free")
        })?;
        terminal::tell(&format!("admin: http://{local} has /metrics, /healthz and /readyz"));
        let watched = Arc::new(Watched::new(shutdown.clone()));
        let serving = tokio::spawn(serve(listener, Arc::clone(&watched))).abort_handle();
        Ok(Some(Self { watched, serving }))
    }

    /// The run reads from now on.
    pub(crate) fn reading(&self, sources: Sources) {
        self.watched.reading(sources);
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, watched: Arc<Watched>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Connections end with the listener.
    let mut connections = JoinSet::new();
    loop {
        // Nobody closes the semaphore.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, _)) => {
                // An answer is one write, which should not wait for more.
                let _ = socket.set_nodelay(true);
                let watched = Arc::clone(&watched);
                connections.spawn(async move {
                    serve_connection(socket, watched).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "a connection to --admin could not be taken");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one request.
pub(super) async fn serve_connection(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    watched: Arc<Watched>,
) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let answered = answer(&watched, request.method(), request.uri().path());
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
