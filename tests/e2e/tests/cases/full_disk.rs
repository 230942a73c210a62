//! A disk without room below `--state`, which a limit on the size of files stands for: every file system has that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use statefun_kinesis_e2e::{Case, Files, Program, StreamReader, Suite, Text, per_key, until};
use statefun_kinesis_types::StreamArn;

use super::admin::Admin;
use super::counter::{Counter, add_one};
use super::functions::Language;
use super::recovery::follows;

const COUNTERS: usize = 10;

/// Bytes by which a file may grow beyond the largest one: a commit or a few, and then one that is torn.
const ROOM: u64 = 100;

pub(crate) fn add(suite: &mut Suite) {
    let name = "full_disk::nothing_is_damaged_or_taken_in_and_it_goes_on_when_there_is_room";
    if !cfg!(target_os = "linux") {
        suite.not_applicable(name, "only Linux sets the limits of a process that runs".to_owned());
    } else if Language::Python.is_here(suite, name) {
        suite.program_case(name, a_full_disk);
    }
}

/// The disk fills up twice. The first time there is room again, and every total has come out once; the second time the
/// process is killed, and so is the next one, before there is room: what was not durable comes out again.
async fn a_full_disk(case: &Case) -> Result<()> {
    let counter = Counter::new(case, Language::Python, 2).await?;
    let state = case.path("state").display().to_string();
    let arguments = ["--state", &state, "--endpoint-url", &case.environment().endpoint, "--admin", "127.0.0.1:0"];
    let run = |files| case.run_with(files, &counter.variables, &counter.module, &arguments);
    let mut commands = Commands { case, stream: &counter.commands, sent: BTreeMap::new() };
    let mut egress = StreamReader::new(case, &counter.results);

    // The room that the store reserves for its first journal is given up at the next start.
    let mut program = run(Files::AsEver)?;
    let by_the_first = commands.put("early", 3).await?;
    commands.come_out(&mut program, &mut egress).await?;
    program.stop("TERM").await?;

    let mut program = run(Files::Limited(None))?;
    let admin = Admin::of(&mut program).await?;
    until("the run to be ready", async || Ok((admin.get("/readyz").await?.0 == 200).then_some(()))).await?;
    let before = commands.fill(&mut program, &admin, Path::new(&state)).await? - by_the_first;
    let line = program.says("make room on the disk of the state directory").await?;
    for words in [" ERROR ", "a checkpoint could not be written", state.as_str(), "no room", "nothing is lost"] {
        ensure!(line.contains(words), "the line does not say `{words}`: {line}");
    }
    commands.put("late", 3).await?;
    until("the run not to be ready", async || {
        let (status, body) = admin.get("/readyz").await?;
        ensure!(status == 200 || body.contains("the store cannot be written"), "{status}: {body}");
        Ok((status == 503).then_some(()))
    })
    .await?;
    ensure!(admin.get("/healthz").await?.0 == 200, "it is not alive");
    let taken = admin.sum("statefun_function_in_total").await?;
    ensure!(taken <= before as f64, "{taken} messages of {before} records were taken in");
    egress.read_to_tip().await?;
    let late = egress.texts()?.into_iter().find(|text| text.key.starts_with("late"));
    ensure!(late.is_none(), "a record that came later was handled: {late:?}");

    program.limit_files(None)?;
    program.says("checkpoints are written again").await?;
    commands.come_out(&mut program, &mut egress).await?;
    until("the run to be ready again", async || Ok((admin.get("/readyz").await?.0 == 200).then_some(()))).await?;
    // The process was the same all the time, so that nothing was done again.
    commands.came_out(&egress.texts()?, 0)?;

    commands.fill(&mut program, &admin, Path::new(&state)).await?;
    commands.put("late", 3).await?;
    program.kill().await?;

    // Nor does a start without any room do harm.
    let mut program = run(Files::Limited(Some(0)))?;
    program.says("make room on the disk of the state directory").await?;
    program.kill().await?;

    let mut program = run(Files::AsEver)?;
    program.ready().await?;
    // All totals may be out, of the process before. Those that follow stand on what this one has.
    for group in ["early", "late"] {
        commands.put(group, 1).await?;
    }
    commands.come_out(&mut program, &mut egress).await?;
    program.stop("TERM").await?;
    egress.read_to_tip().await?;
    commands.came_out(&egress.texts()?, 2)
}

/// The bytes of the largest file in a folder and those in it.
fn largest_file(folder: &Path) -> Result<u64> {
    let mut largest = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // One that the program has removed meanwhile has no size.
        let bytes = || entry.metadata().map_or(0, |metadata| metadata.len());
        largest = largest.max(if entry.file_type()?.is_dir() { largest_file(&entry.path())? } else { bytes() });
    }
    Ok(largest)
}

/// The commands of a case, each of which adds one to a counter.
struct Commands<'a> {
    case: &'a Case,
    stream: &'a StreamArn,
    /// How many were sent to each counter.
    sent: BTreeMap<String, usize>,
}

impl Commands<'_> {
    /// Sends so many commands to each counter of a group, and says how many were sent to all counters by now.
    async fn put(&mut self, group: &str, times: usize) -> Result<usize> {
        for _ in 0..times {
            let keys: Vec<String> = (0..COUNTERS).map(|index| format!("{group}-{index}")).collect();
            let texts: Vec<Text> = keys.iter().cloned().map(add_one).collect();
            self.case.put(self.stream, &texts).await?;
            for key in keys {
                *self.sent.entry(key).or_default() += 1;
            }
        }
        Ok(self.sent.values().sum())
    }

    /// Leaves little room, and sends commands to the early counters until a checkpoint does not fit. Says how many
    /// commands were sent by then, at whatever time.
    async fn fill(&mut self, program: &mut Program, admin: &Admin, state: &Path) -> Result<usize> {
        let failures = admin.sum("statefun_checkpoint_failures_total").await?;
        let largest = largest_file(state)?;
        // To fill a reserve would take long.
        ensure!(largest < 1024 * 1024, "there is a file of {largest} bytes");
        program.limit_files(Some(largest + ROOM))?;
        until("a checkpoint to fail", async || {
            ensure!(program.is_running()?, "the program ended");
            let sent = self.put("early", 1).await?;
            let fails = admin.sum("statefun_checkpoint_failures_total").await? > failures;
            Ok(fails.then_some(sent))
        })
        .await
    }

    /// Waits until the total of each counter is out.
    async fn come_out(&self, program: &mut Program, egress: &mut StreamReader<'_>) -> Result<()> {
        until("the total of each counter", async || {
            ensure!(program.is_running()?, "the program ended");
            egress.read_on().await?;
            let totals = per_key(&egress.texts()?);
            let is_out = |(key, sent): (&String, &usize)| {
                totals.get(key).is_some_and(|totals| totals.contains(&sent.to_string()))
            };
            Ok(self.sent.iter().all(is_out).then_some(()))
        })
        .await
    }

    /// Whether the totals of each counter came out one after the other, but for going back so often.
    fn came_out(&self, texts: &[Text], returns: usize) -> Result<()> {
        let came_out = per_key(texts);
        ensure!(came_out.keys().eq(self.sent.keys()), "totals of {:?}", came_out.keys());
        for (key, sent) in &self.sent {
            let totals: Vec<String> = (1..=*sent).map(|total| total.to_string()).collect();
            let came_out = &came_out[key];
            follows(&totals, came_out, returns).with_context(|| format!("{key}: {came_out:?}"))?;
        }
        Ok(())
    }
}
