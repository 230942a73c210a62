//! `--state DIR`: a run goes on where the one before it stopped, however that one ended.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use statefun_kinesis_conformance::Capabilities;
use statefun_kinesis_e2e::{Case, Program, Put, StreamReader, Suite, Text, per_key, until};
use statefun_kinesis_types::StreamArn;

use super::conformance::capabilities;
use super::reshard::{merge_two, split_one};
use super::template::{numbered, simple};

/// The exit code for what is not as a run needs it, `statefun-kinesis --help`.
const SETUP: i32 = 3;

/// The exit code for a module that cannot be run, also there.
const INVALID_MODULE: i32 = 2;

/// Records of one request: each of another key, so that the order of a key is that of the requests.
const KEYS: usize = 7;

/// Between two requests: about 100 records a second, of the 450 that LocalStack stores for all cases together.
const PACE: Duration = Duration::from_millis(70);

const POLLING: &str = "type: trim-horizon";
const FAN_OUT: &str = "type: trim-horizon\n  consumer:\n    type: enhanced-fan-out\n    name: recovery";

/// When a run is killed.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// At once, while it starts.
    Starting,
    /// When it says that it is ready.
    Ready,
    /// When so many more records came out.
    After(usize),
    /// When so many more records came out and then a position was saved.
    Saved(usize),
}

const KILLS: [Kill; 10] = [
    Kill::After(1),
    Kill::Ready,
    Kill::Saved(20),
    Kill::After(53),
    Kill::Starting,
    Kill::Saved(1),
    Kill::After(7),
    Kill::Ready,
    Kill::After(120),
    Kill::Saved(31),
];

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case("recovery::ten_kills_lose_nothing_and_keep_order", async |case: &Case| {
        ten_kills(case, POLLING).await
    });
    add_by_fan_out(suite);
    suite.program_case("recovery::clean_stops_repeat_nothing", clean_stops_repeat_nothing);
    suite.program_case("recovery::a_second_process_on_a_directory_is_refused", a_second_process_is_refused);
    suite.program_case("recovery::a_module_that_could_lose_something_is_refused", a_changed_module_is_refused);
}

/// Adds the case that asks the most of a server's enhanced fan-out.
pub(crate) fn add_by_fan_out(suite: &mut Suite) {
    let name = "recovery::ten_kills_lose_nothing_and_keep_order_by_fan_out";
    match missing_for_fan_out(&capabilities(&suite.environment().backend)) {
        Some(missing) => suite.not_applicable(name, format!("for a backend with `{missing}`")),
        None => suite.program_case(name, async |case: &Case| ten_kills(case, FAN_OUT).await),
    }
}

/// What a server lacks of that which a run by fan-out stands on when shards change and the process starts again.
pub(crate) fn missing_for_fan_out(capabilities: &Capabilities) -> Option<&'static str> {
    const NEEDED: [&str; 5] = [
        "fan_out",
        "reliable_consumers",
        "subscription_positions",
        "resumable_empty_events",
        "ends_subscriptions_with_their_shard",
    ];
    capabilities.by_name().find(|(name, has)| NEEDED.contains(name) && !has).map(|(name, _)| name)
}

/// Records flow from the first to the last moment, shards are split and merged, and the process is killed ten times.
///
/// What comes out for a key is then what was put for it, from the first record to the last one and without a gap. The
/// order may go back, to any record that came out before, as often as the process was killed, and goes on from there
/// record by record. See [`follows`].
async fn ten_kills(case: &Case, startup: &str) -> Result<()> {
    let from = case.stream("in", 2).await?;
    let to = case.stream("out", 3).await?;
    let module = simple(case, startup, &from, Some(&to));
    let state = case.path("state").display().to_string();
    let mut egress = StreamReader::new(case, &to);

    let done = AtomicBool::new(false);
    let kills = async {
        for (index, kill) in KILLS.into_iter().enumerate() {
            let mut program = case.run(&module, &["--functions", "echo", "--state", &state])?;
            let killed = kill_when(kill, &mut program, &mut egress, Path::new(&state)).await;
            killed.with_context(|| format!("kill {} of {}, {kill:?}", index + 1, KILLS.len()))?;
            program.kill().await?;
            // Nobody writes now, so that there is a tip.
            egress.read_to_tip().await?;
        }
        Ok(())
    };
    let (put, resharded, killed) =
        futures::join!(feed(case, &from, &done), change_shards(case, &from), ends_feeding(kills, &done));
    killed?;
    resharded?;
    let put = put?;

    let before_last = egress.records().len();
    let mut program = case.run(&module, &["--functions", "echo", "--state", &state])?;
    all_come_out(&put, &mut program, &mut egress).await?;
    program.stop("TERM").await?;
    egress.read_to_tip().await?;
    let texts = egress.texts()?;
    let keys = in_order(&put);
    for (key, came_out) in per_key(&texts) {
        let sent = keys.get(&key).with_context(|| format!("nobody put a record of {key}"))?;
        follows(sent, &came_out, KILLS.len()).with_context(|| format!("{key}: {came_out:?}"))?;
    }
    ensure!(per_key(&texts).len() == keys.len(), "keys are missing: {:?}", per_key(&texts).keys());
    // A run that remembers nothing keeps the order too: it reads all again. This one was killed after it had saved.
    let again: Vec<&Text> = texts[before_last..]
        .iter()
        .filter(|text| text.payload.parse::<usize>().is_ok_and(|number| number < KEYS))
        .collect();
    ensure!(again.is_empty(), "the last run began at the beginning of the stream: {again:?}");
    let shards: BTreeSet<_> = put.iter().map(|put| &put.placement.shard).collect();
    ensure!(shards.len() >= 5, "records went to {shards:?} only, so that little was tried");
    Ok(())
}

/// Puts records, request after request, until the others are done.
async fn feed(case: &Case, stream: &StreamArn, done: &AtomicBool) -> Result<Vec<Put>> {
    let mut put = Vec::new();
    let mut pace = tokio::time::interval(PACE);
    while !done.load(Ordering::Acquire) {
        pace.tick().await;
        let from = put.len();
        put.extend(case.put(stream, &numbered(from, from + KEYS)).await?);
    }
    Ok(put)
}

/// Ends the feeding when the work is over, well or not.
async fn ends_feeding(work: impl Future<Output = Result<()>>, done: &AtomicBool) -> Result<()> {
    let outcome = work.await;
    done.store(true, Ordering::Release);
    outcome
}

/// Splits and merges shards, three times each. More generations only make each start longer.
async fn change_shards(case: &Case, stream: &StreamArn) -> Result<()> {
    for _ in 0..3 {
        split_one(case, stream).await?;
        merge_two(case, stream).await?;
    }
    Ok(())
}

async fn kill_when(kill: Kill, program: &mut Program, egress: &mut StreamReader<'_>, state: &Path) -> Result<()> {
    match kill {
        Kill::Starting => {}
        Kill::Ready => program.ready().await?,
        Kill::After(count) => more_come_out(count, program, egress).await?,
        Kill::Saved(count) => {
            more_come_out(count, program, egress).await?;
            let before = SystemTime::now();
            until("a position to be saved", async || {
                ensure!(program.is_running()?, "the program ended");
                Ok(saved_since(state, before)?.then_some(()))
            })
            .await?;
        }
    }
    Ok(())
}

/// Whether something was committed to the store of a directory since: it writes down the last commit beside its data.
fn saved_since(state: &Path, time: SystemTime) -> Result<bool> {
    let last_commit = std::fs::metadata(state.join("store").join("HIGH_WATER"))?;
    Ok(last_commit.modified()? > time)
}

/// Waits until so many more records came out than were read by now.
pub(crate) async fn more_come_out(count: usize, program: &mut Program, egress: &mut StreamReader<'_>) -> Result<()> {
    let enough = egress.records().len() + count;
    until("more to come out", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((egress.records().len() >= enough).then_some(()))
    })
    .await
}

/// Waits until each record came out.
async fn all_come_out(put: &[Put], program: &mut Program, egress: &mut StreamReader<'_>) -> Result<()> {
    let mut missing = usize::MAX;
    until("everything to come out", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        let came_out: HashSet<Text> = egress.texts()?.into_iter().collect();
        missing = put.iter().filter(|put| !came_out.contains(&put.text)).count();
        Ok((missing == 0).then_some(()))
    })
    .await
    .with_context(|| format!("{missing} of {} records are missing", put.len()))
}

/// What was put for each key, in the order of the putting.
fn in_order(put: &[Put]) -> BTreeMap<String, Vec<String>> {
    let mut texts: Vec<(usize, &Text)> =
        put.iter().map(|put| (put.text.payload.parse().unwrap_or_default(), &put.text)).collect();
    texts.sort_by_key(|(number, _)| *number);
    per_key(texts.into_iter().map(|(_, text)| text))
}

/// Whether a key's records came out from the first to the last, each behind the one before it, but for going back:
/// no more often than the process was killed, and never forward over one that had not come out.
pub(crate) fn follows(sent: &[String], came_out: &[String], kills: usize) -> Result<()> {
    let mut next = 0;
    let mut furthest = 0;
    let mut returns = 0;
    for payload in came_out {
        let at = sent.iter().position(|sent| sent == payload).with_context(|| format!("nobody put {payload}"))?;
        if at != next {
            ensure!(at < next, "{payload} came before {}", sent[next]);
            returns += 1;
        }
        next = at + 1;
        furthest = furthest.max(next);
    }
    ensure!(returns <= kills, "the order goes back {returns} times, after {kills} kills");
    ensure!(furthest == sent.len(), "{:?} did not come out", &sent[furthest..]);
    ensure!(next == sent.len(), "the last run ended before {:?}", &sent[next..]);
    Ok(())
}

/// Three times the process is asked to stop while records flow, and started again: each record comes out once.
async fn clean_stops_repeat_nothing(case: &Case) -> Result<()> {
    let from = case.stream("in", 2).await?;
    let to = case.stream("out", 2).await?;
    let module = simple(case, POLLING, &from, Some(&to));
    let state = case.path("state").display().to_string();
    let mut egress = StreamReader::new(case, &to);

    let done = AtomicBool::new(false);
    let stops = async {
        for count in [1, 60, 17] {
            let mut program = case.run(&module, &["--functions", "echo", "--state", &state])?;
            more_come_out(count, &mut program, &mut egress).await?;
            program.stop("TERM").await?;
            egress.read_to_tip().await?;
        }
        Ok(())
    };
    let (put, stopped) = futures::join!(feed(case, &from, &done), ends_feeding(stops, &done));
    stopped?;
    let put = put?;
    let mut program = case.run(&module, &["--functions", "echo", "--state", &state])?;
    all_come_out(&put, &mut program, &mut egress).await?;
    program.stop("TERM").await?;
    // What a last run would repeat would come at once: it has nothing else to do.
    let mut program = case.run(&module, &["--functions", "echo", "--state", &state])?;
    program.ready().await?;
    let last = case.put(&from, &numbered(put.len(), put.len() + KEYS)).await?;
    let put = [put, last].concat();
    all_come_out(&put, &mut program, &mut egress).await?;
    program.stop("TERM").await?;

    egress.read_to_tip().await?;
    let (came_out, expected) = (per_key(&egress.texts()?), in_order(&put));
    ensure!(came_out == expected, "{came_out:#?}, not {expected:#?}");
    Ok(())
}

/// The first process is not disturbed, and when it has ended the directory can be used again.
async fn a_second_process_is_refused(case: &Case) -> Result<()> {
    let from = case.stream("in", 1).await?;
    let module = simple(case, POLLING, &from, None);
    let state = case.path("state").display().to_string();
    let arguments = ["--functions", "log", "--state", &state];
    let mut first = case.run(&module, &arguments)?;
    first.ready().await?;
    let second = case.run(&module, &arguments)?.ended().await?;
    ensure!(second.code == Some(SETUP), "exit code {:?}, not {SETUP}", second.code);
    for words in [state.as_str(), "is held by another process", "name another directory"] {
        ensure!(second.stderr.contains(words), "stderr does not say `{words}`");
    }
    ensure!(second.stdout.is_empty(), "the second process printed {:?}", second.stdout);
    case.put(&from, &numbered(0, 3)).await?;
    first.prints(3).await?;
    first.stop("TERM").await?;
    let mut third = case.run(&module, &arguments)?;
    third.ready().await?;
    third.stop("TERM").await?;
    Ok(())
}

/// A directory that was written with an egress takes no module without it, unless that is allowed, and then for good.
async fn a_changed_module_is_refused(case: &Case) -> Result<()> {
    let (from, to) = futures::try_join!(case.stream("in", 1), case.stream("out", 1))?;
    let (before, after) = (simple(case, POLLING, &from, Some(&to)), simple(case, POLLING, &from, None));
    let state = case.path("state").display().to_string();
    let arguments = ["--functions", "log", "--state", &state];
    for module in [&before, &before] {
        let mut program = case.run(module, &arguments)?;
        program.ready().await?;
        program.stop("TERM").await?;
    }
    let refused = case.run(&after, &arguments)?.ended().await?;
    ensure!(refused.code == Some(INVALID_MODULE), "exit code {:?}, not {INVALID_MODULE}", refused.code);
    for words in [state.as_str(), "the egress `example/out` is gone", "--allow-removed-egress"] {
        ensure!(refused.stderr.contains(words), "stderr does not say `{words}`");
    }
    let allowed = [&arguments[..], &["--allow-removed-egress"]].concat();
    for arguments in [&allowed[..], &arguments] {
        let mut program = case.run(&after, arguments)?;
        program.ready().await?;
        program.stop("TERM").await?;
    }
    Ok(())
}
