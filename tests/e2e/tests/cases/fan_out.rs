//! Enhanced fan-out, where others compete for it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use statefun_kinesis_client::{ErrorKind, FanOutClient};
use statefun_kinesis_e2e::{Case, Put, Suite, until};
use statefun_kinesis_types::{ConsumerName, StreamArn};
use tokio::time::{Instant, sleep};

use super::conformance::capabilities;
use super::template::{numbered, simple};

pub(crate) fn add(suite: &mut Suite) {
    const NEEDED: [&str; 3] = ["fan_out", "reliable_consumers", "ends_subscriptions_of_removed_consumers"];
    let name = "fan_out::a_consumer_that_is_lost_to_others_is_replaced_by_polling_until_there_is_room";
    let capabilities = capabilities(&suite.environment().backend);
    match capabilities.by_name().find(|(name, has)| NEEDED.contains(name) && !has) {
        Some((missing, _)) => suite.not_applicable(name, format!("for a backend with `{missing}`")),
        None => suite.program_case(name, a_lost_consumer),
    }
}

const STARTUP: &str = "type: trim-horizon\n  consumer:\n    type: enhanced-fan-out\n    name: contested";

/// Somebody removes the program's consumer, and others take the last place before the program can take it back. It goes
/// on by polling; when there is a place again it has records pushed. Nothing is lost on the way, or read twice.
async fn a_lost_consumer(case: &Case) -> Result<()> {
    let stream = case.stream("contested", 2).await?;
    let ours: ConsumerName = "contested".parse()?;
    let last: ConsumerName = "last".parse()?;
    for number in 0..19 {
        ensure!(register(case, &stream, &format!("other-{number}").parse()?).await?, "no place for {number} others");
    }
    let module = simple(case, STARTUP, &stream, None);
    let mut program = case.run(&module, &["--functions", "log"])?;
    program.ready().await?;
    let mut put = case.put(&stream, &numbered(0, 20)).await?;
    program.prints(put.len()).await?;

    // Whether the program or another one is faster is a matter of luck.
    until("another one to be faster", async || {
        remove(case, &stream, &ours).await?;
        Ok(register(case, &stream, &last).await?.then_some(()))
    })
    .await?;
    put.extend(case.put(&stream, &numbered(20, 40)).await?);
    program.says("it is polled until it has").await?;
    program.prints(put.len()).await?;

    put.extend(case.put(&stream, &numbered(40, 60)).await?);
    program.prints(put.len()).await?;
    remove(case, &stream, &last).await?;
    program.says("its records are pushed").await?;
    put.extend(case.put(&stream, &numbered(60, 80)).await?);
    program.prints(put.len()).await?;
    let ended = program.stop("TERM").await?;
    once_each(&put, &ended.stdout)
}

/// Registers a consumer as soon as there is a place for it; whether one came.
async fn register(case: &Case, stream: &StreamArn, name: &ConsumerName) -> Result<bool> {
    // Much longer than a consumer takes to be made, or to go.
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        match case.client().register_stream_consumer(stream, name).await {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::LimitExceeded => sleep(Duration::from_millis(5)).await,
            Err(error) => bail!(error),
        }
    }
    Ok(false)
}

/// Removes a consumer, if it is there.
async fn remove(case: &Case, stream: &StreamArn, name: &ConsumerName) -> Result<()> {
    match case.client().describe_stream_consumer(stream, name).await {
        Ok(consumer) => match case.client().deregister_stream_consumer(&consumer.arn).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn once_each(put: &[Put], lines: &[String]) -> Result<()> {
    let mut printed = lines
        .iter()
        .map(|line| Ok(serde_json::from_str::<serde_json::Value>(line)?["sequenceNumber"].to_string()))
        .collect::<Result<Vec<_>>>()?;
    let mut wanted: Vec<String> = put.iter().map(|put| format!("\"{}\"", put.placement.sequence_number)).collect();
    printed.sort_unstable();
    wanted.sort_unstable();
    ensure!(printed == wanted, "{} lines for {} records", printed.len(), wanted.len());
    Ok(())
}
