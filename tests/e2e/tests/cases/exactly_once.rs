//! States, messages and delayed messages of functions of the published SDKs, while the process is killed again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use statefun_kinesis_e2e::{Case, StreamReader, Suite, Text, per_key, until};
use tokio::time::Instant;

use super::counter::{Counter, add_one};
use super::functions::{FunctionServer, Language};
use super::recovery::{follows, more_come_out};
use super::reshard::split_one;
use super::template::{place, replaced};

/// How many more results come out before the process is killed, each time; with 0 it is killed while it starts.
const KILLS: [usize; 10] = [1, 60, 350, 0, 130, 500, 20, 210, 0, 400];

pub(crate) fn add(suite: &mut Suite) {
    let counters = |name: &str| format!("exactly_once::{name}_counters_are_exact_after_ten_kills");
    for (language, name) in Language::each(suite, counters) {
        suite.heavy_program_case(&name, async move |case: &Case| counters_are_exact(case, language).await);
    }
    let reminders = |name: &str| format!("exactly_once::{name}_reminders_ring_once_and_sessions_expire");
    for (language, name) in Language::each(suite, reminders) {
        suite.program_case(&name, async move |case: &Case| reminders_ring_once(case, language).await);
    }
}

/// 5 000 commands for 200 counters, ten kills of the process, one of the functions, and a split: the results of each
/// counter are 1 to 25, from which they may go back once per kill, and never skip one.
async fn counters_are_exact(case: &Case, language: Language) -> Result<()> {
    const COUNTERS: usize = 200;
    const TIMES: usize = 25;
    let Counter { commands, results, mut functions, module, variables } = Counter::new(case, language, 4).await?;
    let state = case.path("state").display().to_string();
    let arguments = ["--state", &state, "--endpoint-url", &case.environment().endpoint];
    let mut egress = StreamReader::new(case, &results);

    let fed = AtomicUsize::new(0);
    let feed = async {
        for _ in 0..TIMES {
            let round: Vec<Text> = (0..COUNTERS).map(|index| add_one(format!("counter-{index}"))).collect();
            case.put(&commands, &round).await?;
            fed.fetch_add(1, Ordering::Release);
        }
        Ok(())
    };
    let split = async {
        until("some commands to be sent", async || Ok((fed.load(Ordering::Acquire) >= 8).then_some(()))).await?;
        split_one(case, &commands).await
    };
    let kills = async {
        for (index, count) in KILLS.into_iter().enumerate() {
            let mut program = case.run_in(&variables, &module, &arguments)?;
            if count > 0 {
                more_come_out(count, &mut program, &mut egress).await.with_context(|| format!("kill {index}"))?;
            }
            if index == 4 {
                functions.kill()?;
            }
            program.kill().await?;
            if index == 4 {
                functions.start_again().await?;
            }
        }
        Ok(())
    };
    let (put, split, killed): (Result<()>, _, Result<()>) = futures::join!(feed, split, kills);
    put?;
    split?;
    killed?;

    let mut program = case.run_in(&variables, &module, &arguments)?;
    let last = TIMES.to_string();
    until("the last result of each counter", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        let done: BTreeSet<String> =
            egress.texts()?.into_iter().filter(|text| text.payload == last).map(|text| text.key).collect();
        Ok((done.len() == COUNTERS).then_some(()))
    })
    .await?;
    program.stop("TERM").await?;
    egress.read_to_tip().await?;
    let totals: Vec<String> = (1..=TIMES).map(|total| total.to_string()).collect();
    for (key, came_out) in per_key(&egress.texts()?) {
        follows(&totals, &came_out, KILLS.len()).with_context(|| format!("{key}: {came_out:?}"))?;
    }
    Ok(())
}

/// A module of the functions in `functions/reminders.*`.
fn reminders_module(case: &Case, functions: &FunctionServer, commands: &str, results: &str) -> String {
    format!(
        "kind: io.statefun.endpoints.v2/http\nspec:\n  functions: reminders.e2e/*\n  urlPathTemplate: {}\n---\n\
         kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: reminders.e2e/commands\n{place}  recordMetadata: send\n  \
         startupPosition:\n    type: trim-horizon\n  streams:\n    - stream: {commands}\n      valueType: reminders.e2e/command\n      \
         targets:\n        - reminders.e2e/reminders\n---\nkind: io.statefun.kinesis.v1/egress\nspec:\n  \
         id: reminders.e2e/results\n{place}  streamName: {results}\n",
        functions.url(),
        place = place(case),
    )
}

/// Every third reminder is cancelled right after it was asked for. The others ring once: the states that count them
/// say so, in the function itself and in the one that it tells of each, after five kills.
async fn reminders_ring_once(case: &Case, language: Language) -> Result<()> {
    const KEYS: usize = 10;
    const REMINDERS: usize = 60;
    /// What is cancelled would ring by then: long enough for a restart in between, and before the case looks.
    const CANCELLED_AFTER: Duration = Duration::from_secs(45);
    let (commands, results) = futures::try_join!(case.stream("commands", 2), case.stream("results", 2))?;
    let (file, text) = match language {
        Language::Python => ("reminders.py", include_str!("../../functions/reminders.py")),
        Language::JavaScript => ("reminders.js", include_str!("../../functions/reminders.js")),
    };
    let file = case.file(file, &replaced(text, &[("results-stream", results.name().as_str())])?)?;
    let functions = FunctionServer::start(case.environment(), language, &file).await?;
    let module = reminders_module(case, &functions, commands.name().as_str(), results.name().as_str());
    let state = case.path("state").display().to_string();
    let mut egress = StreamReader::new(case, &results);
    let to_all = |command: &dyn Fn(usize) -> serde_json::Value| -> Vec<Text> {
        (0..KEYS).map(|key| Text::new(format!("key-{key}"), command(key).to_string())).collect()
    };

    let feed = async {
        for n in [1, 2] {
            case.put(&commands, &to_all(&|_| json!({"do": "login", "n": n}))).await?;
        }
        for n in 0..REMINDERS {
            let is_cancelled = n % 3 == 0;
            let soon = |key| Duration::from_millis(200 + (n * 37 + key * 101) as u64 % 4_000);
            let after = |key| if is_cancelled { CANCELLED_AFTER } else { soon(key) };
            case.put(
                &commands,
                &to_all(&|key| json!({"do": "remind", "n": n, "after": after(key).as_millis() as u64})),
            )
            .await?;
            if is_cancelled {
                case.put(&commands, &to_all(&|_| json!({"do": "cancel", "n": n}))).await?;
            }
        }
        Ok(Instant::now())
    };
    let kills = async {
        for count in [1, 40, 0, 150, 60] {
            let mut program = case.run(&module, &["--state", &state])?;
            if count > 0 {
                more_come_out(count, &mut program, &mut egress).await?;
            }
            program.kill().await?;
        }
        Ok(())
    };
    let (fed, killed): (Result<Instant>, Result<()>) = futures::join!(feed, kills);
    let fed = fed?;
    killed?;

    let mut program = case.run(&module, &["--state", &state])?;
    let rings: BTreeSet<usize> = (0..REMINDERS).filter(|n| n % 3 != 0).collect();
    until("every reminder to ring", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        let rung = rung(&egress.texts()?)?;
        Ok((rung.len() == KEYS && rung.values().all(|rung| rung.is_superset(&rings))).then_some(()))
    })
    .await?;
    // The cancelled ones would have rung by now. Sessions have expired too.
    tokio::time::sleep_until(fed + CANCELLED_AFTER + Duration::from_secs(5)).await;
    case.put(&commands, &to_all(&|_| json!({"do": "login", "n": 3}))).await?;
    case.put(&commands, &to_all(&|_| json!({"do": "look", "n": 4}))).await?;
    until("the last answers", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        let texts = egress.texts()?;
        Ok((texts.iter().filter(|text| text.payload.starts_with("tally 4")).count() >= KEYS).then_some(()))
    })
    .await?;
    program.stop("TERM").await?;
    egress.read_to_tip().await?;

    let texts = egress.texts()?;
    for (key, rung) in rung(&texts)? {
        ensure!(rung == rings, "{key}: {rung:?} have rung, not {rings:?}");
    }
    for (key, said) in per_key(&texts) {
        let says = |text: &str| said.iter().any(|said| said == text);
        for expected in [
            "login 1 none".to_owned(),
            "login 2 1".to_owned(),
            "login 3 none".to_owned(),
            format!("look 4 asked {REMINDERS} rung {}", rings.len()),
            format!("tally 4 {}", rings.len()),
        ] {
            ensure!(says(&expected), "{key} does not say `{expected}`: {said:?}");
        }
        let counts: Vec<usize> =
            said.iter().filter_map(|said| said.strip_prefix("rung ")?.split_once(' ')?.1.parse().ok()).collect();
        ensure!(counts.iter().max() == Some(&rings.len()), "{key} has counted {counts:?}");
    }
    Ok(())
}

/// Which reminders have rung, per key.
fn rung(texts: &[Text]) -> Result<BTreeMap<String, BTreeSet<usize>>> {
    let mut keys: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for text in texts {
        if let Some((number, _)) = text.payload.strip_prefix("rung ").and_then(|rest| rest.split_once(' ')) {
            keys.entry(text.key.clone()).or_default().insert(number.parse()?);
        }
    }
    Ok(keys)
}
