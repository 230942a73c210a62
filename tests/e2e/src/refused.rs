use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::net::TcpSocket;

/// An address at which nobody listens, and nobody else can for as long as this is there: connections are refused.
#[derive(Debug)]
pub struct Refused(TcpSocket, SocketAddr);

impl Refused {
    /// An address of the loopback interface.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn new() -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = socket.local_addr()?;
        Ok(Self(socket, address))
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        let Self(_held, address) = self;
        *address
    }
}
