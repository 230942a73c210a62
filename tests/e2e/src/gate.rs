use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A way to the server that can be cut: an address of its own, whose connections lead there while the gate is open.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    server: Arc<str>,
    open: Mutex<Option<JoinHandle<()>>>,
}

impl Gate {
    /// An open gate to `endpoint` (`http://HOST:PORT`).
    ///
    /// # Errors
    ///
    /// When no port can be had, or the endpoint is not by plain HTTP.
    pub async fn to(endpoint: &str) -> Result<Self> {
        let server = endpoint.strip_prefix("http://").context("an endpoint by plain HTTP")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let gate = Self {
            address: listener.local_addr()?,
            server: server.trim_end_matches('/').into(),
            open: Mutex::default(),
        };
        gate.accept(listener);
        Ok(gate)
    }

    /// The endpoint in front of the gate.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks all connections and refuses new ones.
    pub fn cut(&self) {
        if let Some(open) = self.lock().take() {
            open.abort();
        }
    }

    /// Takes connections again.
    ///
    /// # Errors
    ///
    /// When another program has taken the port.
    pub async fn open(&self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.accept(listener);
        Ok(())
    }

    fn accept(&self, listener: TcpListener) {
        let server = Arc::clone(&self.server);
        let open = tokio::spawn(async move {
            // They end with the task that owns them.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    let mut upstream = TcpStream::connect(&*server).await?;
                    copy_bidirectional(&mut client, &mut upstream).await
                });
                while connections.try_join_next().is_some() {}
            }
        });
        *self.lock() = Some(open);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.cut();
    }
}
