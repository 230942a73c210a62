//! Full load while a part of that which takes it stands still: memory stays, and the other part does not notice.
//!
//! `STATEFUN_KINESIS_SOAK_SECONDS` is how long each case lasts, a minute without it.

use std::time::Duration;

use anyhow::{Result, ensure};
use statefun_kinesis_e2e::{Call, Case, Fault, FaultyProxy, LocalFunctions, Suite, seconds, until};
use statefun_kinesis_types::StreamArn;
use tokio::time::Instant;

use super::flow::{Curve, Flow, Totals};
use super::template::{place, place_at};

/// Addresses of each function: enough for full requests of PutRecords, which have one record of a key.
const KEYS: usize = 400;
/// For each of them: 200 commands a second, which become [`SPREAD`] messages to each of two functions. Each message to the
/// one that writes to a stalled egress becomes a record, so that half a minute fills what there is for all egresses.
const PACE: Duration = Duration::from_secs(2);
const SPREAD: usize = 10;
/// Bytes of a message, and of a record that is emitted.
const BYTES: usize = 100;
const SHARDS: usize = 8;
/// How far behind the commands the totals of what does not stand still may be.
const LAG: Duration = Duration::from_secs(10);
/// Between two looks at them.
const LOOK: Duration = Duration::from_millis(500);
/// Seconds without [`LENGTH`].
const SECONDS: u64 = 60;
const LENGTH: &str = "STATEFUN_KINESIS_SOAK_SECONDS";

/// What stands still.
#[derive(Clone, Copy, Debug)]
enum Stalled {
    Function,
    Egress,
}

pub(crate) fn add(suite: &mut Suite) {
    for (name, stalled) in [
        ("soak::a_stalled_function_takes_no_memory_and_holds_up_no_other", Stalled::Function),
        ("soak::a_stalled_egress_takes_no_memory_and_holds_up_no_other", Stalled::Egress),
    ] {
        if !cfg!(target_os = "linux") {
            suite.not_applicable(name, "only Linux says how much memory a process has".to_owned());
        } else if suite.environment().backend != "fake" {
            suite.not_applicable(name, "for a server that stores thousands of records a second: the fake".to_owned());
        } else {
            let length = seconds(LENGTH, SECONDS);
            suite.long_heavy_program_case(2 * length, name, async move |case: &Case| soak(case, stalled, length).await);
        }
    }
}

/// Where a function and its egress are, as the module says it.
struct Way<'a> {
    functions: &'a str,
    egress: &'a str,
}

/// A module of one stream of commands, whose function sends messages to two others, each with an egress of its own.
fn module(case: &Case, commands: &StreamArn, functions: &str, halves: [(&str, &StreamArn, Way<'_>); 2]) -> String {
    let place = place(case);
    let endpoint = |name: &str, url: &str| {
        format!(
            "kind: io.statefun.endpoints.v2/http\nspec:\n  functions: soak.e2e/{name}\n  urlPathTemplate: {url}\n---\n"
        )
    };
    let mut module = endpoint("spread", functions);
    for (name, results, Way { functions, egress }) in halves {
        module.push_str(&endpoint(name, functions));
        module.push_str(&format!(
            "kind: io.statefun.kinesis.v1/egress\nspec:\n  id: soak.e2e/{name}\n{egress}  streamName: {}\n  \
             failedRecordHandling:\n    type: fail\n    timeout: 2 h\n---\n",
            results.name(),
        ));
    }
    module.push_str(&format!(
        "kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: soak.e2e/commands\n{place}  startupPosition:\n    type: \
         trim-horizon\n  streams:\n    - stream: {}\n      streamArn: {commands}\n      valueType: soak.e2e/command\n      \
         targets:\n        - soak.e2e/spread\n",
        commands.name(),
    ));
    module
}

/// Sends messages to the others, or counts those that came and emits the total as often as is asked.
fn spread_and_count(call: &mut Call, stalled: Stalled) {
    let id = call.id.clone();
    if call.function == "spread" {
        for _ in 0..call.messages.len() * SPREAD {
            for function in ["healthy", "stalled"] {
                call.send(function, &id, vec![b'm'; BYTES], 0);
            }
        }
        return;
    }
    let before = call.state.as_deref().map_or(Ok(0), |state| String::from_utf8_lossy(state).parse());
    let before: usize = before.expect("the state is a number");
    let total = before + call.messages.len();
    call.state = Some(total.to_string().into());
    let egress = call.function.clone();
    let is_stalled = matches!((stalled, &*egress), (Stalled::Egress, "stalled"));
    let totals = if is_stalled { before + 1 } else { total }..=total;
    for total in totals {
        call.emit(&egress, "", format!("{total:0$}", BYTES));
    }
}

/// Both halves are at work, then one stands still for the length of the case, and in the end all is exact.
async fn soak(case: &Case, stalled: Stalled, length: Duration) -> Result<()> {
    let (commands, healthy, still) =
        futures::try_join!(case.stream("commands", 2), case.stream("healthy", 2), case.stream("stalled", SHARDS))?;
    let functions = LocalFunctions::serve(move |call| spread_and_count(call, stalled))?;
    let server = match stalled {
        Stalled::Function => functions.url(),
        Stalled::Egress => case.environment().endpoint.clone(),
    };
    let faulty = FaultyProxy::start(&server, |_| None).await?;
    let (url, faulty_url, here, faulty_place) = (functions.url(), faulty.url(), place(case), place_at(&faulty.url()));
    let way = match stalled {
        Stalled::Function => Way { functions: &faulty_url, egress: &here },
        Stalled::Egress => Way { functions: &url, egress: &faulty_place },
    };
    let halves = [("healthy", &healthy, Way { functions: &url, egress: &here }), ("stalled", &still, way)];
    let module = module(case, &commands, &url, halves);
    let state = case.path("state").display().to_string();
    let mut program = case.run(&module, &["--state", &state])?;
    program.ready().await?;

    let flow = Flow::new(&commands, "key", KEYS);
    let (mut healthy, mut still) = (Totals::by_batch(case, &healthy), Totals::by_batch(case, &still));
    let end = Instant::now() + length;
    let (.., curve) = futures::try_join!(
        flow.feed(case, PACE, end),
        stalls(&faulty, &mut still, end),
        keeps_up(&flow, &mut healthy, end),
        Curve::follow(&mut program, end),
    )?;
    let missing = flow.rounds() * KEYS * SPREAD - still.sum();
    faulty.heals();
    let released = Instant::now();
    for totals in [&mut healthy, &mut still] {
        totals.are_complete(&flow, SPREAD, &mut program).await?;
    }
    case.tell(&format!(
        "{stalled:?} stalled for {length:?}: {missing} messages were missing, which took {:?}; memory in MiB {:?}",
        released.elapsed(),
        curve.thinned(),
    ));
    program.stop("TERM").await?;
    ensure!(missing > flow.rounds() * KEYS * SPREAD / 2, "only {missing} messages were stalled");
    ensure!(healthy.repeats() == 0, "{} totals came again", healthy.repeats());
    curve.is_flat()
}

/// Lets totals come out first, and then nothing more.
async fn stalls(way: &FaultyProxy, totals: &mut Totals<'_>, end: Instant) -> Result<()> {
    until("the first totals", async || {
        totals.read_on().await?;
        Ok((totals.sum() >= KEYS * SPREAD).then_some(()))
    })
    .await?;
    way.fails(Fault::Stall, 1);
    tokio::time::sleep_until(end).await;
    totals.read_on().await
}

/// Whether the totals of a flow are never far behind its commands.
async fn keeps_up(flow: &Flow, totals: &mut Totals<'_>, end: Instant) -> Result<()> {
    let begun = Instant::now();
    let mut sent = vec![(begun, 0)];
    while Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        totals.read_on().await?;
        sent.push((Instant::now(), flow.rounds() * KEYS * SPREAD));
        let then = sent.iter().rev().find(|(at, _)| at.elapsed() >= LAG);
        let (_, wanted) = then.copied().unwrap_or((begun, 0));
        let sum = totals.sum();
        ensure!(
            sum >= wanted,
            "{:?} after the start, {sum} totals came out, of {wanted} for commands that are older than \
            {LAG:?}",
            begun.elapsed()
        );
    }
    Ok(())
}
