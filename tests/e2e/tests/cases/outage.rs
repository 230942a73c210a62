//! A server that goes away and comes back.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use statefun_kinesis_e2e::{Case, Gate, StreamReader, Suite, Text, per_key, until};

use super::startup::text;
use super::template::{numbered, simple};

/// The exit code for a Kinesis that failed for good, `statefun-kinesis --help`.
const KINESIS: i32 = 4;

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case(
        "outage::reading_and_writing_go_on_when_the_server_can_be_reached_again",
        reading_and_writing_go_on,
    );
    suite.program_case("outage::a_run_can_be_stopped_while_the_server_is_away", a_run_can_be_stopped);
    suite.program_case_alone("outage::a_server_that_comes_back_empty_ends_the_run", a_server_that_comes_back_empty);
}

/// The way is cut in the middle of the work, for longer than a few retries last.
async fn reading_and_writing_go_on(case: &Case) -> Result<()> {
    let from = case.stream("in", 2).await?;
    let to = case.stream("out", 2).await?;
    let gate = Gate::to(&case.environment().endpoint).await?;
    let module = simple(case, "type: trim-horizon", &from, Some(&to));
    let mut program = case.run(&module, &["--functions", "echo", "--endpoint-url", &gate.endpoint()])?;
    program.ready().await?;
    let mut put = case.put(&from, &numbered(0, 300)).await?;
    let mut egress = StreamReader::new(case, &to);
    until("something to come out", async || {
        egress.read_on().await?;
        Ok((!egress.records().is_empty()).then_some(()))
    })
    .await?;

    gate.cut();
    program.says("no connection").await?;
    // The case has a way of its own.
    put.extend(case.put(&from, &numbered(300, 400)).await?);
    gate.open().await?;

    let wanted: HashSet<&Text> = put.iter().map(|put| &put.text).collect();
    until("everything to come out", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        let texts = egress.texts()?;
        Ok(wanted.is_subset(&texts.iter().collect()).then_some(()))
    })
    .await?;
    program.stop("TERM").await?;

    // What was stored while the answer was lost is stored again. Apart from that each key is in order.
    egress.read_to_tip().await?;
    let mut seen = HashSet::new();
    let texts = egress.texts()?;
    let came_out = per_key(texts.iter().filter(|&text| seen.insert(text)));
    let expected = per_key(put.iter().map(|put| &put.text));
    ensure!(came_out == expected, "{came_out:#?}, not {expected:#?}");
    Ok(())
}

async fn a_run_can_be_stopped(case: &Case) -> Result<()> {
    let from = case.stream("in", 2).await?;
    let gate = Gate::to(&case.environment().endpoint).await?;
    let module = simple(case, "type: latest", &from, None);
    let mut program = case.run(&module, &["--functions", "log", "--endpoint-url", &gate.endpoint()])?;
    program.ready().await?;
    gate.cut();
    program.says("no connection").await?;
    program.stop("TERM").await?;
    Ok(())
}

/// The servers keep nothing over a restart, so the stream is gone with its records. The run must not end while nobody
/// answers; when it learns that its stream is no more, it must not read another one of the same name as if it were the
/// old one. A new run then reads the new stream.
async fn a_server_that_comes_back_empty(case: &Case) -> Result<()> {
    let control = case.control()?;
    let stream = case.stream("in", 2).await?;
    let module = simple(case, "type: trim-horizon", &stream, None);
    let mut program = case.run(&module, &["--functions", "log"])?;
    program.ready().await?;
    case.put(&stream, &numbered(0, 20)).await?;
    program.prints(20).await?;

    control.stop()?;
    program.says("no connection").await?;
    ensure!(program.is_running()?, "the program ended");
    control.start()?;
    let ended = program.ended().await?;
    ensure!(ended.code == Some(KINESIS), "exit code {:?}, not {KINESIS}", ended.code);
    ensure!(ended.stdout.len() == 20, "{} lines on stdout, not 20", ended.stdout.len());
    for words in ["was deleted", stream.as_str()] {
        ensure!(ended.stderr.contains(words), "stderr does not say `{words}`");
    }

    case.create(&stream, 2).await?;
    let mut program = case.run(&module, &["--functions", "log"])?;
    program.ready().await?;
    let mut expected = numbered(20, 40);
    case.put(&stream, &expected).await?;
    program.prints(20).await?;
    let ended = program.stop("TERM").await?;
    let mut printed = ended.stdout.iter().map(|line| text(line)).collect::<Result<Vec<_>>>()?;
    printed.sort();
    expected.sort();
    ensure!(printed == expected, "{printed:?}, not {expected:?}");
    Ok(())
}
