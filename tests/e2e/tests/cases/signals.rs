//! Stopping: what was read is finished, written and counted.

use anyhow::{Result, ensure};
use statefun_kinesis_e2e::{Case, StreamReader, Suite, per_key, until};

use super::template::{numbered, simple};

pub(crate) fn add(suite: &mut Suite) {
    for signal in ["INT", "TERM"] {
        let name = format!("signals::sig{}_finishes_what_is_in_hand", signal.to_lowercase());
        suite.program_case(&name, async move |case: &Case| stop_in_the_middle(case, signal).await);
    }
    suite.program_case("signals::an_idle_run_stops_too", an_idle_run_stops_too);
}

/// The signal comes while records flow. What came out then is, key by key, a beginning of what was put: nothing of a
/// record in hand is dropped, and nothing overtakes.
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
