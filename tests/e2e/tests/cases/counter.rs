//! `examples/counter`: functions of the published SDKs, over HTTP, in another process.

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use statefun_kinesis_client::KinesisClient;
use statefun_kinesis_e2e::{Case, Environment, StreamReader, Suite, per_key, until};
use statefun_kinesis_types::{PutRecord, StreamArn};

use super::template::replaced;

const MODULE: &str = include_str!("../../../../examples/counter/module.yaml");
const KEYS: usize = 5;

/// A language of the functions: what the file of the example is called, and what is in it.
#[derive(Clone, Copy, Debug)]
enum Language {
    Python,
    JavaScript,
}

impl Language {
    /// The example's functions, and the name of a file for them.
    const fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Python => ("functions.py", include_str!("../../../../examples/counter/functions.py")),
            Self::JavaScript => ("functions.js", include_str!("../../../../examples/counter/functions.js")),
        }
    }

    /// What runs the file; `None` where the language is missing.
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

pub(crate) fn add(suite: &mut Suite) {
    for (language, name) in [(Language::Python, "python"), (Language::JavaScript, "javascript")] {
        let name = format!("counter::{name}_functions_count_and_may_be_killed");
        if language.command(suite.environment()).is_none() {
            suite.not_applicable(&name, format!("{language:?} is not on this machine"));
            continue;
        }
        suite.program_case(&name, async move |case: &Case| functions_count(case, language).await);
    }
}

/// Each command adds one, so that the results of a key are 1, 2, 3 and so on up to the number of its commands, in this
/// order and each once: a call that nobody answered has changed nothing, and is made again.
async fn functions_count(case: &Case, language: Language) -> Result<()> {
    let (commands, results) = futures::try_join!(case.stream("commands", 2), case.stream("results", 2))?;
    let module = replaced(
        MODULE,
        &[("counter.commands", commands.name().as_str()), ("counter.results", results.name().as_str())],
    )?;
    let (file, text) = language.file();
    let file = case.file(file, &replaced(text, &[("counter.results", results.name().as_str())])?)?;
    let mut functions = FunctionServer::start(case.environment(), language, file).await?;
    let variables = HashMap::from([
        ("FUNCTIONS_URL", format!("http://127.0.0.1:{}/statefun", functions.port)),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", Case::REGION.to_owned()),
    ]);
    let arguments = ["--functions", "remote", "--endpoint-url", &case.environment().endpoint];
    let mut program = case.run_in(&variables, &module, &arguments)?;
    program.ready().await?;
    let mut egress = StreamReader::new(case, &results);
    let mut sent = put(case, &commands, 20).await?;
    until("the first results", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((egress.records().len() >= 10).then_some(()))
    })
    .await?;

    sent += put(case, &commands, 10).await?;
    functions.kill()?;
    sent += put(case, &commands, 10).await?;
    program.says("refused").await?;
    functions.start_again().await?;
    sent += put(case, &commands, 10).await?;
    until("all results", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((egress.records().len() >= sent * KEYS).then_some(()))
    })
    .await
    .with_context(|| format!("{} of {} came out", egress.records().len(), sent * KEYS))?;
    program.stop("TERM").await?;
    egress.read_to_tip().await?;
    let totals: Vec<String> = (1..=sent).map(|total| total.to_string()).collect();
    let came_out = per_key(&egress.texts()?);
    ensure!(came_out.len() == KEYS, "results of {:?}", came_out.keys());
    for (key, results) in came_out {
        ensure!(results == totals, "{key}: {results:?}, not 1 to {sent}");
    }
    Ok(())
}

/// Sends `times` commands to each key, and says how many that were of each.
async fn put(case: &Case, stream: &StreamArn, times: usize) -> Result<usize> {
    // A message of protocol buffers with the number 1, of 64 bits, in field 1.
    const ONE: [u8; 9] = [0x09, 1, 0, 0, 0, 0, 0, 0, 0];
    let records = (0..times * KEYS)
        .map(|index| Ok(PutRecord::new(format!("counter-{}", index % KEYS).parse()?, ONE.to_vec())))
        .collect::<Result<Vec<_>>>()?;
    for outcome in case.client().put_records(&stream.clone().into(), &records).await? {
        outcome?;
    }
    Ok(times)
}

/// A process that serves functions. It is killed when this is dropped.
struct FunctionServer {
    command: Command,
    child: Child,
    port: u16,
}

impl FunctionServer {
    async fn start(environment: &Environment, language: Language, file: PathBuf) -> Result<Self> {
        // The programs take no open socket, so the port is looked for and left to them.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = language.command(environment).context("the language is here")?;
        command.arg(file).arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Self { command, child, port };
        server.answers().await?;
        Ok(server)
    }

    fn kill(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the functions ended by themselves");
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    async fn start_again(&mut self) -> Result<()> {
        self.child = self.command.spawn()?;
        self.answers().await
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
