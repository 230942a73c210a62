//! Stops and starts the server that `cargo xtask e2e` owns.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

/// The control of the server under test: a line protocol on the loopback interface, documented at
/// `xtask/src/e2e/keeper.rs`.
///
/// A server that is started again has the same endpoint and no data. Other cases that run meanwhile fail, so a case
/// that uses this has to run alone.
#[derive(Clone, Debug)]
pub struct Control {
    address: String,
    mark: String,
}

impl Control {
    /// Reads `ADDRESS/MARK`, the content of `STATEFUN_KINESIS_E2E_CONTROL`.
    ///
    /// # Errors
    ///
    /// When the slash is missing.
    pub fn parse(text: &str) -> io::Result<Self> {
        let (address, mark) =
            text.split_once('/').ok_or_else(|| io::Error::other(format!("`{text}` is no ADDRESS/MARK")))?;
        Ok(Self { address: address.to_owned(), mark: mark.to_owned() })
    }

    /// Kills the server, as `kill -9` does, and returns when all of its processes are gone.
    ///
    /// # Errors
    ///
    /// The control's own message, or what broke the connection to it.
    pub fn stop(&self) -> io::Result<()> {
        self.ask("stop")
    }

    /// Starts the server and returns when it is ready, which takes 4 to 15 s for LocalStack. One that runs is left
    /// alone.
    ///
    /// # Errors
    ///
    /// As [`Control::stop`], and when the server is not ready after 150 s.
    pub fn start(&self) -> io::Result<()> {
        self.ask("start")
    }

    fn ask(&self, command: &str) -> io::Result<()> {
        let mut stream = TcpStream::connect(&self.address)?;
        write!(stream, "{}\n{command}\n", self.mark)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        match answer.trim_end() {
            "ok" => Ok(()),
            "" => Err(io::Error::other("the server's control is gone")),
            answer => Err(io::Error::other(format!("{command}: {answer}"))),
        }
    }
}
