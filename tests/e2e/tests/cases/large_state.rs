//! More states than memory is given for, in a process that stays small.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use statefun_kinesis_e2e::{Case, StreamReader, Suite, Text, until};

use super::admin::Admin;
use super::functions::{FunctionServer, Language};
use super::template::{place, replaced};

/// 20 kB each, 450 MB together.
const ADDRESSES: usize = 22_500;
/// Addresses that are asked for after the restart.
const ASKED: usize = 1_000;
/// MiB that states may take.
const STATE_MEMORY: &str = "16";
/// Bytes that a process may take with that, built without optimisation: a quarter more than it does.
const MEMORY_MAX: u64 = 320 * 1024 * 1024;
/// A shard takes 1 000 records a second.
const SHARDS: usize = 16;

pub(crate) fn add(suite: &mut Suite) {
    let name = "large_state::more_states_than_memory_are_kept_in_little_of_it";
    if !cfg!(target_os = "linux") {
        suite.not_applicable(name, "only Linux says how much memory a process has had".to_owned());
    } else if suite.environment().backend != "fake" {
        suite.not_applicable(name, "for a server that stores thousands of records a second: the fake".to_owned());
    } else if Language::Python.is_here(suite, name) {
        suite.heavy_program_case(name, large_state);
    }
}

/// The process is killed behind the last command, and one that asks for a part of the states afterwards finds them right.
async fn large_state(case: &Case) -> Result<()> {
    let (commands, results) = futures::try_join!(case.stream("commands", SHARDS), case.stream("results", 4))?;
    let text = replaced(include_str!("../../functions/blobs.py"), &[("results-stream", results.name().as_str())])?;
    let functions = FunctionServer::start(case.environment(), Language::Python, &case.file("blobs.py", &text)?).await?;
    let place = place(case);
    let module = format!(
        "kind: io.statefun.endpoints.v2/http\nspec:\n  functions: blobs.e2e/*\n  urlPathTemplate: {}\n---\n\
         kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: blobs.e2e/commands\n{place}  startupPosition:\n    \
         type: trim-horizon\n  streams:\n    - stream: {}\n      valueType: blobs.e2e/command\n      targets:\n        - \
         blobs.e2e/fn\n---\nkind: io.statefun.kinesis.v1/egress\nspec:\n  id: blobs.e2e/results\n{place}  streamName: {}\n",
        functions.url(),
        commands.name(),
        results.name(),
    );
    let state = case.path("state").display().to_string();
    let arguments = ["--state", &state, "--state-memory", STATE_MEMORY, "--admin", "127.0.0.1:0"];
    let to = |numbers: &mut dyn Iterator<Item = usize>, what: &str| -> Vec<Text> {
        let command = serde_json::json!({"do": what}).to_string();
        numbers.map(|number| Text::new(format!("address-{number}"), command.clone())).collect()
    };

    let mut program = case.run(&module, &arguments)?;
    let admin = Admin::of(&mut program).await?;
    program.ready().await?;
    case.put(&commands, &to(&mut (0..ADDRESSES), "fill")).await?;
    until("all states to be written", async || {
        ensure!(program.is_running()?, "the program ended");
        let done = admin.sum("statefun_checkpoint_written_bytes_total").await?;
        Ok((done >= ADDRESSES as f64 * 20_000.0).then_some(()))
    })
    .await?;
    let peak = program.peak_memory()?;
    ensure!(peak <= MEMORY_MAX, "the process has taken {peak} bytes to write, and {MEMORY_MAX} are allowed");
    program.kill().await?;

    // Each of them once, in an order that is not that of the filling.
    let asked = (0..ASKED).map(|index| index * 7_919 % ADDRESSES);
    case.put(&commands, &to(&mut asked.clone(), "ask")).await?;
    let mut program = case.run(&module, &arguments)?;
    let mut egress = StreamReader::new(case, &results);
    let wanted: HashSet<Text> = asked.map(|number| Text::new(format!("address-{number}"), "right")).collect();
    ensure!(wanted.len() == ASKED, "an address is asked for twice");
    until("all answers", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        let came_out: HashSet<Text> = egress.texts()?.into_iter().collect();
        let other = came_out.difference(&wanted).next();
        ensure!(other.is_none(), "not `right`: {other:?}");
        Ok((came_out.len() == ASKED).then_some(()))
    })
    .await?;
    let peak = program.peak_memory()?;
    ensure!(peak <= MEMORY_MAX, "the process has taken {peak} bytes to read, and {MEMORY_MAX} are allowed");
    program.stop("TERM").await?;
    Ok(())
}
