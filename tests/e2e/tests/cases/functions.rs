//! Processes that serve functions of the published SDKs over HTTP.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use statefun_kinesis_e2e::{Environment, Suite, until};

/// A language of functions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    Python,
    JavaScript,
}

impl Language {
    /// The languages on this machine, with their names; cases of the others are not applicable.
    pub(crate) fn each(suite: &mut Suite, case: impl Fn(&str) -> String) -> Vec<(Self, String)> {
        let names = [(Self::Python, "python"), (Self::JavaScript, "javascript")];
        let cases = names.map(|(language, name)| (language, case(name)));
        cases.into_iter().filter(|(language, name)| language.is_here(suite, name)).collect()
    }

    /// Whether this machine has the language; else the case of this name is not applicable.
    pub(crate) fn is_here(self, suite: &mut Suite, case: &str) -> bool {
        let is_here = self.command(suite.environment()).is_some();
        if !is_here {
            suite.not_applicable(case, format!("{self:?} is not on this machine"));
        }
        is_here
    }

    /// What runs a file; `None` where the language is missing.
    fn command(self, environment: &Environment) -> Option<Command> {
        match self {
            Self::Python => environment.python.as_ref().map(Command::new),
            Self::JavaScript => environment.node.as_ref().map(|(path, modules)| {
                // By itself it would listen on every interface.
                let loopback = concat!(env!("CARGO_MANIFEST_DIR"), "/server/loopback.cjs");
                let mut command = Command::new("node");
                command.env("PATH", path).env("NODE_PATH", modules).args(["--require", loopback]);
                command
            }),
        }
    }
}

/// A process that serves functions. It is killed when this is dropped.
pub(crate) struct FunctionServer {
    command: Command,
    child: Child,
    port: u16,
}

impl FunctionServer {
    /// Starts the program in this file, and waits until it listens.
    pub(crate) async fn start(environment: &Environment, language: Language, file: &Path) -> Result<Self> {
        // The programs take no open socket, so the port is looked for and left to them.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = language.command(environment).context("the language is here")?;
        command.arg(file).arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Self { command, child, port };
        server.answers().await?;
        Ok(server)
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the functions ended by themselves");
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) async fn start_again(&mut self) -> Result<()> {
        self.child = self.command.spawn()?;
        self.answers().await
    }

    /// Where the functions are, for a module file.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/statefun", self.port)
    }

    async fn answers(&mut self) -> Result<()> {
        until("the functions to be served", async || {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the functions ended ({status})");
            }
            Ok(TcpStream::connect(("127.0.0.1", self.port)).is_ok().then_some(()))
        })
        .await
    }
}

impl Drop for FunctionServer {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
