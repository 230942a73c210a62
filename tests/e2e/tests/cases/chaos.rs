//! Everything that a run depends on fails at random, each by a schedule of its own, while records flow.
//!
//! `STATEFUN_KINESIS_CHAOS_SECONDS` is the length, two minutes without it. `STATEFUN_KINESIS_SEED` repeats the schedules of
//! an earlier run: a failure names its seed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use statefun_kinesis_e2e::{Canned, Case, Chance, Ended, Fault, FaultyProxy, PATIENCE, Seed, Suite, seconds};
use tokio::time::{Instant, sleep};

use super::counter::Counter;
use super::flow::{Curve, Flow, Totals};
use super::functions::{FunctionServer, Language};
use super::template::replaced;
use super::vault::{PROFILE, Vault};

const COUNTERS: usize = 100;
/// Commands for each counter: 250 records a second together.
const PACE: Duration = Duration::from_millis(400);
/// Seconds without [`LENGTH`].
const SECONDS: u64 = 120;
const LENGTH: &str = "STATEFUN_KINESIS_CHAOS_SECONDS";

pub(crate) fn add(suite: &mut Suite) {
    let name = "chaos::all_recovers_and_every_total_is_exact";
    if !cfg!(target_os = "linux") {
        suite.not_applicable(name, "only Linux says how much memory a process has".to_owned());
    } else if suite.environment().backend != "fake" {
        suite.not_applicable(name, "for a server that keeps up beside the other cases: the fake".to_owned());
    } else if Language::Python.is_here(suite, name) {
        let length = seconds(LENGTH, SECONDS);
        suite.long_program_case(length, name, async move |case: &Case| {
            let seed = Seed::read();
            case.tell(&format!("chaos for {length:?}: STATEFUN_KINESIS_SEED={}", seed.number()));
            chaos(case, seed, length).await.with_context(|| format!("STATEFUN_KINESIS_SEED={}", seed.number()))
        });
    }
}

/// The run never ends, its memory stays, and in the end each counter and each of its totals is exact.
async fn chaos(case: &Case, seed: Seed, length: Duration) -> Result<()> {
    let Counter { commands, results, mut functions, module, .. } = Counter::new(case, Language::Python, 2).await?;
    let vault = Arc::new(Vault::new(case)?);
    let kinesis = FaultyProxy::start(&case.environment().endpoint, {
        let vault = Arc::clone(&vault);
        move |fields| vault.judges(fields)
    })
    .await?;
    let calls = FaultyProxy::start(&functions.url(), |_| None).await?;
    let place = format!(
        "  awsRegion:\n    type: custom-endpoint\n    endpoint: {}\n    id: {}\n  awsCredentials:\n    type: profile\n    \
         profile: {PROFILE}\n",
        kinesis.url(),
        Case::REGION,
    );
    let url = format!("{}/statefun", calls.url());
    let module = replaced(
        &module,
        &[
            ("${FUNCTIONS_URL:-http://localhost:8000/statefun}", url.as_str()),
            ("  id: counter.kinesis/commands\n", &format!("  id: counter.kinesis/commands\n{place}")),
            ("  id: counter.kinesis/results\n", &format!("  id: counter.kinesis/results\n{place}")),
        ],
    )?;
    let state = case.path("state").display().to_string();

    vault.deliver()?;
    let mut program = case.run(&module, &["--state", &state])?;
    program.ready().await?;
    let flow = Flow::new(&commands, "counter", COUNTERS);
    let mut totals = Totals::new(case, &results);
    let end = Instant::now() + length;
    let (kinesis_faults, function_faults) = (kinesis_faults(), function_faults());
    let (_, _, curve, ..) = futures::try_join!(
        flow.feed(case, PACE, end),
        totals.follow(end),
        Curve::follow(&mut program, end),
        functions_restart(&mut functions, seed.chance("restarts"), end),
        vault.fails(seed.chance("credentials"), end),
        vault.clock_jumps(seed.chance("clock"), end),
        misbehaves(&kinesis, &kinesis_faults, seed.chance("kinesis"), end),
        misbehaves(&calls, &function_faults, seed.chance("functions"), end),
    )?;
    // Whichever ends first: the keys of the last second are not good for long enough.
    tokio::select! {
        complete = totals.are_complete(&flow, 1, &mut program) => complete?,
        issued = vault.is_in_order(end + 2 * PATIENCE) => issued?,
    }
    program.stop("TERM").await?;
    case.tell(&format!(
        "chaos: {} commands, {} totals came again; (requests, disturbed) of Kinesis {:?}, of functions {:?}; rejected \
         (expired, revoked, clock) {:?}; memory in MiB {:?}",
        flow.rounds() * COUNTERS,
        totals.repeats(),
        kinesis.counts(),
        calls.counts(),
        vault.rejected(),
        curve.thinned(),
    ));
    curve.is_flat()?;
    states_are_exact(case, &state, flow.rounds()).await?;
    // Else the schedules have tried little.
    for (what, (_, disturbed)) in [("Kinesis", kinesis.counts()), ("functions", calls.counts())] {
        ensure!(disturbed >= 20, "{disturbed} requests to {what} were disturbed");
    }
    let [_, _, by_clock] = vault.rejected();
    ensure!(by_clock > 0, "no request was rejected for its time");
    Ok(())
}

/// What may come in place of an answer of Kinesis, and for one in how many requests.
fn kinesis_faults() -> Vec<(Fault, u64)> {
    let error = |status, code| Fault::Answer(Canned::kinesis_error(status, code, "not now"));
    vec![
        (Fault::Reset, 1),
        (Fault::Reset, 2),
        (Fault::LostAnswer, 3),
        (Fault::CutAnswer, 3),
        (Fault::Stall, 1),
        (Fault::Stall, 5),
        (error(500, "InternalFailure"), 1),
        (error(503, "ServiceUnavailable"), 2),
        (error(400, "ProvisionedThroughputExceededException"), 1),
        (error(400, "LimitExceededException"), 2),
        (Fault::Answer(Canned::html(200)), 1),
        (Fault::Answer(Canned::html(403)), 2),
        (Fault::Answer(Canned::html(413)), 2),
        (Fault::Answer(Canned::new(200, "application/x-amz-json-1.1", "")), 2),
        (Fault::Answer(Canned::new(200, "application/x-amz-json-1.1", "{}")), 2),
    ]
}

/// What may come in place of an answer of a function. An empty one with status 200 is not among them: it is an answer, that
/// of a function without anything to say.
fn function_faults() -> Vec<(Fault, u64)> {
    vec![
        (Fault::Reset, 1),
        (Fault::Reset, 3),
        (Fault::LostAnswer, 1),
        (Fault::LostAnswer, 3),
        (Fault::CutAnswer, 3),
        (Fault::Stall, 1),
        (Fault::Stall, 4),
        (Fault::Answer(Canned::html(500)), 1),
        (Fault::Answer(Canned::html(500)), 3),
        (Fault::Answer(Canned::html(502)), 1),
        (Fault::Answer(Canned::html(503).retry_after(Duration::from_secs(1))), 1),
        (Fault::Answer(Canned::html(429)), 2),
        (Fault::Answer(Canned::html(404)), 2),
        (Fault::Answer(Canned::html(413)), 4),
        (Fault::Answer(Canned::html(200)), 3),
    ]
}

/// Lets a proxy misbehave now and then until the end, by which it has healed.
async fn misbehaves(proxy: &FaultyProxy, faults: &[(Fault, u64)], mut chance: Chance, end: Instant) -> Result<()> {
    while Instant::now() < end {
        sleep(chance.time(1_000, 6_000)).await;
        let (fault, one_in) = chance.one_of(faults);
        proxy.fails(fault.clone(), *one_in);
        sleep(chance.time(300, 6_000)).await;
        proxy.heals();
    }
    Ok(())
}

/// Kills the functions now and then until the end, by which they are back.
async fn functions_restart(functions: &mut FunctionServer, mut chance: Chance, end: Instant) -> Result<()> {
    while Instant::now() < end {
        sleep(chance.time(10_000, 30_000)).await;
        functions.kill()?;
        sleep(chance.time(100, 4_000)).await;
        functions.start_again().await?;
    }
    Ok(())
}

/// Whether the state of each counter in a directory is this total.
async fn states_are_exact(case: &Case, state: &str, total: usize) -> Result<()> {
    let Ended { code, stdout, .. } = case.program(&["state", "export", state])?.ended().await?;
    ensure!(code == Some(0), "`state export` ended with {code:?}");
    let mut states = 0;
    for line in stdout {
        let line: serde_json::Value = serde_json::from_str(&line)?;
        if line["table"] == "state" {
            states += 1;
            ensure!(line["value"] == total, "not {total}: {line}");
        }
    }
    ensure!(states == COUNTERS, "{states} states of {COUNTERS}");
    Ok(())
}
