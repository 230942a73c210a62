//! Stopping: what was read is finished, written and counted.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use statefun_kinesis_e2e::{Case, Program, Refused, StreamReader, Suite, per_key, until};

use super::template::{numbered, simple};

pub(crate) fn add(suite: &mut Suite) {
    for signal in ["INT", "TERM"] {
        let name = format!("signals::sig{}_finishes_in_flight_records", signal.to_lowercase());
        suite.program_case(&name, async move |case: &Case| stop_in_the_middle(case, signal).await);
    }
    suite.program_case("signals::an_idle_run_stops_too", an_idle_run_stops_too);
    suite.program_case("signals::a_dead_function_server_holds_up_no_stop_with_state", stop_with_state);
    suite.program_case("signals::a_stop_that_leaves_something_says_how_much", stop_without_state);
}

/// The signal comes while records flow. What came out then is, key by key, a beginning of what was put: no
/// in-flight record is dropped, and nothing overtakes.
async fn stop_in_the_middle(case: &Case, signal: &str) -> Result<()> {
    let from = case.stream("in", 2).await?;
    let to = case.stream("out", 2).await?;
    let put = case.put(&from, &numbered(0, 700)).await?;
    let module = simple(case, "type: trim-horizon", &from, Some(&to));
    let mut program = case.run(&module, &["--functions", "echo"])?;
    program.ready().await?;
    let mut egress = StreamReader::new(case, &to);
    until("something to come out", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((!egress.records().is_empty()).then_some(()))
    })
    .await?;
    let ended = program.stop(signal).await?;
    ensure!(ended.stderr.contains("stopping"), "stderr does not say that the program stops");

    egress.read_to_tip().await?;
    let came_out = per_key(&egress.texts()?);
    let expected = per_key(put.iter().map(|put| &put.text));
    for (key, payloads) in &came_out {
        ensure!(expected[key].starts_with(payloads), "{key}: {payloads:?} does not begin {:?}", expected[key]);
    }
    Ok(())
}

async fn an_idle_run_stops_too(case: &Case) -> Result<()> {
    let from = case.stream("in", 3).await?;
    let mut program = case.run(&simple(case, "type: latest", &from, None), &["--functions", "log"])?;
    program.ready().await?;
    let ended = program.stop("TERM").await?;
    ensure!(ended.stdout.is_empty(), "stdout has {:?}", ended.stdout);
    Ok(())
}

/// The exit code of a stop that left something unfinished, `statefun-kinesis --help`.
const UNFINISHED: i32 = 9;

/// A run that has taken so many records, whose functions no server serves.
async fn with_dead_functions(case: &Case, refused: &Refused, records: usize, state: Option<&str>) -> Result<Program> {
    let from = case.stream("in", 1).await?;
    case.put(&from, &numbered(0, records)).await?;
    let module = simple(case, "type: trim-horizon", &from, None)
        + &format!(
            "---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: example/*\n  urlPathTemplate: http://{}/\n",
            refused.address()
        );
    let arguments: Vec<&str> = state.map(|directory| ["--state", directory]).into_iter().flatten().collect();
    let mut program = case.run(&module, &arguments)?;
    program.says("a request failed").await?;
    Ok(program)
}

/// With a state directory a stop is a commit: 30 s of waiting for functions would be noticed.
async fn stop_with_state(case: &Case) -> Result<()> {
    let refused = Refused::new()?;
    let state = case.path("state").display().to_string();
    let program = with_dead_functions(case, &refused, 20, Some(&state)).await?;
    let began = Instant::now();
    let ended = program.stop("TERM").await?;
    ensure!(began.elapsed() < Duration::from_secs(15), "the stop took {:?}", began.elapsed());
    ensure!(!ended.stderr.contains("not finished"), "everything is in the state directory: {}", ended.stderr);
    let inspected = case.program(&["state", "inspect", &state, "--format", "json"])?.ended().await?;
    ensure!(inspected.stdout.join("\n").contains("\"table\":\"mailboxes\",\"entries\":20,"), "{:?}", inspected.stdout);
    Ok(())
}

async fn stop_without_state(case: &Case) -> Result<()> {
    let refused = Refused::new()?;
    let mut program = with_dead_functions(case, &refused, 20, None).await?;
    program.signal("TERM")?;
    let ended = program.ended().await?;
    ensure!(ended.code == Some(UNFINISHED), "exit code {:?}, not {UNFINISHED}: {}", ended.code, ended.stderr);
    let said = "20 messages to example/fn were not finished";
    ensure!(ended.stderr.contains(said), "stderr does not say `{said}`: {}", ended.stderr);
    Ok(())
}
