//! Where reading starts.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use statefun_kinesis_e2e::{Case, StreamReader, Suite, Text, until};
use statefun_kinesis_types::{StreamArn, Timestamp};

use super::template::{numbered, simple};

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case("startup::trim_horizon_begins_with_the_oldest_record", async |case: &Case| {
        check(case, |_| "type: trim-horizon".to_owned(), true).await
    });
    suite.program_case("startup::latest_begins_with_what_comes_after_the_start", async |case: &Case| {
        check(case, |_| "type: latest".to_owned(), false).await
    });
    suite.program_case("startup::at_timestamp_begins_with_what_arrived_from_then_on", async |case: &Case| {
        check(case, |time| format!("type: at-timestamp\n    timestamp: \"{time}\""), false).await
    });
    suite.program_case("startup::a_timestamp_before_retention_begins_with_the_oldest_record", async |case: &Case| {
        check(case, |_| "type: at-timestamp\n    timestamp: \"2020-01-01T00:00:00.000Z\"".to_owned(), true).await
    });
}

/// Records from before and from after the start; `startup` gets an instant between the two.
async fn check(case: &Case, startup: impl FnOnce(Timestamp) -> String, with_older: bool) -> Result<()> {
    let stream = case.stream("startup", 2).await?;
    let older = numbered(0, 20);
    case.put(&stream, &older).await?;
    let between = after_all_of(case, &stream).await?;

    let module = simple(case, &startup(between), &stream, None);
    let mut program = case.run(&module, &["--functions", "log"])?;
    program.ready().await?;
    let newer = numbered(20, 40);
    case.put(&stream, &newer).await?;

    let mut expected = newer;
    if with_older {
        expected.extend(older);
    }
    program.prints(expected.len()).await?;
    let ended = program.stop("TERM").await?;
    let mut printed = ended.stdout.iter().map(|line| text(line)).collect::<Result<Vec<_>>>()?;
    printed.sort();
    expected.sort();
    ensure!(printed == expected, "{printed:?}, not {expected:?}");
    Ok(())
}

/// A full second behind the arrival of every record that is there, and before that of any that comes.
///
/// kinesis-mock 0.6.2 cuts the timestamp of an iterator to the second, so nothing finer can be tried on it.
async fn after_all_of(case: &Case, stream: &StreamArn) -> Result<Timestamp> {
    let mut reader = StreamReader::new(case, stream);
    let newest = reader.read_to_tip().await?.iter().map(|(_, record)| record.approximate_arrival).max();
    let newest = newest.context("there are records")?.as_millis();
    let between = Timestamp::from_millis((newest / 1_000 + 1) * 1_000);
    until("the next second", async || Ok((Timestamp::now() > between).then_some(()))).await?;
    Ok(between)
}

/// The record that a line of `--functions log` tells of.
pub(crate) fn text(line: &str) -> Result<Text> {
    let line: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    let field = |name: &str| line[name].as_str().with_context(|| format!("{line} has no `{name}`"));
    Ok(Text::new(field("id")?, field("payload")?))
}
