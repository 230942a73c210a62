//! The endpoint of `--admin`: what somebody who watches a run sees of it.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use statefun_kinesis_e2e::{Case, Gate, Program, Refused, Suite, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::template::{numbered, simple};

const RECORDS: usize = 40;
/// Connections that the program answers at a time, docs/metrics.md.
const SILENT: usize = 64;
/// The exit code for what is missing in the world, `statefun-kinesis --help`.
const SETUP: i32 = 3;

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case("admin::the_numbers_of_a_run_move", the_numbers_of_a_run_move);
    suite.program_case("admin::a_function_that_fails_is_seen", a_function_that_fails_is_seen);
    suite.program_case("admin::a_run_that_starts_or_stops_is_alive_and_not_ready", starts_and_stops);
    suite.program_case("admin::an_address_that_is_taken", an_address_that_is_taken);
}

async fn the_numbers_of_a_run_move(case: &Case) -> Result<()> {
    let (from, to) = futures::try_join!(case.stream("orders", 2), case.stream("results", 1))?;
    let module = simple(case, "type: trim-horizon", &from, Some(&to));
    let mut program = case.run(&module, &["--functions", "echo", "--admin", "127.0.0.1:0"])?;
    let admin = Admin::of(&mut program).await?;
    ensure!(admin.get("/healthz").await? == (200, "alive\n".to_owned()), "it is not alive");
    until("the run to be ready", async || {
        let (status, body) = admin.get("/readyz").await?;
        ensure!(status == 200 || body.contains("starting"), "{status}: {body}");
        Ok((status == 200).then_some(()))
    })
    .await?;
    ensure!(admin.sum("statefun_ingress_records_total").await? == 0.0, "records before there were any");

    case.put(&from, &numbered(0, RECORDS)).await?;
    let all = RECORDS as f64;
    until("all records to be stored", async || {
        Ok((admin.sum("statefun_egress_records_total").await? >= all).then_some(()))
    })
    .await?;
    for (name, value) in [
        ("statefun_ingress_records_total", all),
        ("statefun_ingress_shard_records_total", all),
        ("statefun_ingress_shards", 2.0),
        ("statefun_messages_routed_total", all),
        ("statefun_egress_records_total", all),
        ("statefun_egress_given_up_records_total", 0.0),
        ("statefun_ready", 1.0),
    ] {
        let found = admin.sum(name).await?;
        ensure!(found == value, "{name} is {found}, not {value}");
    }
    ensure!(admin.sum("statefun_ingress_calls_total").await? > 0.0, "no call was counted");
    // After the last record the answers say that there is nothing newer.
    until("both shards to be read to their end", async || {
        let behind = admin.samples("statefun_ingress_behind_latest_seconds").await?;
        Ok((behind.len() == 2 && behind.iter().all(|seconds| *seconds == 0.0)).then_some(()))
    })
    .await?;
    until("all records to be done", async || {
        Ok((admin.sum("statefun_record_latency_seconds_count").await? == all).then_some(()))
    })
    .await?;
    ensure!(admin.get("/nothing").await?.0 == 404, "there is something at /nothing");
    // As many as are answered at a time; who comes next waits until they are let go.
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(&admin.address).await?);
    }
    ensure!(admin.get("/healthz").await?.0 == 200, "those who say nothing are waited for");
    // Nor do they hold up the end.
    silent.push(TcpStream::connect(&admin.address).await?);
    program.stop("TERM").await?;
    ensure!(TcpStream::connect(&admin.address).await.is_err(), "somebody still listens");
    Ok(())
}

async fn a_function_that_fails_is_seen(case: &Case) -> Result<()> {
    let from = case.stream("orders", 1).await?;
    let nobody = Refused::new()?;
    let module = simple(case, "type: trim-horizon", &from, None)
        + &format!(
            "---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: example/*\n  urlPathTemplate: \
             http://{}/\n",
            nobody.address()
        );
    case.put(&from, &numbered(0, RECORDS)).await?;
    let state = case.path("state").display().to_string();
    let mut program = case.run(&module, &["--state", &state, "--admin", "127.0.0.1:0"])?;
    let admin = Admin::of(&mut program).await?;
    until("requests to fail", async || {
        Ok((admin.sum("statefun_function_remote_invocation_failures_total").await? > 0.0).then_some(()))
    })
    .await?;
    until("all messages to come, and a checkpoint of them", async || {
        let messages = admin.sum("statefun_function_in_total").await?;
        Ok((messages == RECORDS as f64 && admin.sum("statefun_checkpoints_total").await? > 0.0).then_some(()))
    })
    .await?;
    ensure!(admin.sum("statefun_mailbox_messages").await? == RECORDS as f64, "a message was handled by nobody");
    // Nothing is wrong with the run itself.
    let (status, body) = admin.get("/readyz").await?;
    ensure!(status == 200, "{status}: {body}");

    let inspect = ["state", "inspect", &state, "--format", "json"];
    let held = case.program(&inspect)?.ended().await?;
    ensure!(held.code == Some(SETUP), "exit code {:?}, not {SETUP}, while the run has its store", held.code);
    ensure!(held.stderr.contains("is held by another process"), "another message");
    program.kill().await?;
    // What the run had not handled is there after its sudden end.
    let found = case.program(&inspect)?.ended().await?;
    ensure!(found.code == Some(0), "exit code {:?}, not 0", found.code);
    let found: Value = serde_json::from_str(&found.stdout.join("\n"))?;
    let tables = found["tables"].as_array().context("tables")?;
    let mailboxes = tables.iter().find(|table| table["table"] == "mailboxes").context("mailboxes")?;
    ensure!(mailboxes["entries"] == RECORDS, "{found:#}");
    ensure!(found["positions"][0]["streamArn"] == from.as_str(), "{found:#}");
    Ok(())
}

/// It starts while nobody answers for Kinesis, and stops while a function does not answer.
async fn starts_and_stops(case: &Case) -> Result<()> {
    let from = case.stream("orders", 1).await?;
    let gate = Gate::to(&case.environment().endpoint).await?;
    gate.cut();
    // The system takes connections, and nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let module = simple(case, "type: trim-horizon", &from, None)
        + &format!(
            "---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: example/*\n  urlPathTemplate: http://{}/\n",
            silent.local_addr()?
        );
    let mut program = case.run(&module, &["--endpoint-url", &gate.endpoint(), "--admin", "127.0.0.1:0"])?;
    let admin = Admin::of(&mut program).await?;
    admin.is_not_ready("starting").await?;

    gate.open().await?;
    until("the run to be ready", async || Ok((admin.get("/readyz").await?.0 == 200).then_some(()))).await?;
    ensure!(admin.sum("statefun_ready").await? == 1.0, "/metrics does not say that it is ready");
    case.put(&from, &numbered(0, 1)).await?;
    until("a request to a function", async || {
        Ok((admin.sum("statefun_function_inflight_async_ops").await? == 1.0).then_some(()))
    })
    .await?;

    program.signal("TERM")?;
    program.says("stopping").await?;
    admin.is_not_ready("stopping").await?;
    program.kill().await
}

async fn an_address_that_is_taken(case: &Case) -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    // The stream is not there, which would be told next.
    let module = simple(case, "type: latest", &case.arn(&case.name("missing")), None);
    let ended = case.run(&module, &["--functions", "log", "--admin", &address])?.ended().await?;
    ensure!(ended.code == Some(SETUP), "exit code {:?}, not {SETUP}", ended.code);
    ensure!(ended.stderr.contains(&format!("cannot listen at the --admin address {address}")), "another message");
    ensure!(!ended.stderr.contains("missing"), "something was started");
    Ok(())
}

/// The endpoint of a run.
pub(crate) struct Admin {
    address: String,
}

impl Admin {
    /// Waits until the program says where it is.
    pub(crate) async fn of(program: &mut Program) -> Result<Self> {
        let line = program.says("admin: serving").await?;
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        Ok(Self { address: address.with_context(|| format!("no address: {line}"))?.to_owned() })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut connection = TcpStream::connect(&self.address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer}"))?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// Whether the run says that it is alive, and for what reason it is not ready.
    async fn is_not_ready(&self, why: &str) -> Result<()> {
        let (status, body) = self.get("/readyz").await?;
        ensure!(status == 503 && body.contains(why), "{status}: {body}");
        ensure!(self.get("/healthz").await?.0 == 200, "it is not alive");
        ensure!(self.sum("statefun_ready").await? == 0.0, "/metrics says that it is ready");
        Ok(())
    }

    /// The values of all samples of this name, whatever their labels.
    async fn samples(&self, name: &str) -> Result<Vec<f64>> {
        let (status, text) = self.get("/metrics").await?;
        ensure!(status == 200 && text.ends_with("# EOF\n"), "{status}: {text}");
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value = |line: &str| line.rsplit(' ').next().context("no value")?.parse().context("no number");
        text.lines().filter(of_name).map(value).collect()
    }

    pub(crate) async fn sum(&self, name: &str) -> Result<f64> {
        Ok(self.samples(name).await?.iter().sum())
    }
}
