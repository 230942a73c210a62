//! Endpoints of functions that are in trouble: that reject large requests, that fail, that are not there.

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use statefun_kinesis_client::KinesisClient;
use statefun_kinesis_e2e::{
    Call, Canned, Case, Fault, FaultyProxy, Gate, LocalFunctions, StreamReader, Suite, Text, until,
};
use statefun_kinesis_types::PutRecord;

use super::admin::Admin;
use super::functions::{FunctionServer, Language};
use super::regions::Place;
use super::template::{numbered, place, replaced, simple};

/// The exit code for what is missing in the world, `statefun-kinesis --help`.
const SETUP: i32 = 3;

pub(crate) fn add(suite: &mut Suite) {
    let name = "endpoints::a_server_with_the_limit_of_aiohttp_gets_all_messages";
    if Language::Python.is_here(suite, name) {
        suite.program_case(name, a_server_with_a_limit);
    }
    let name = "endpoints::dead_letters_go_to_the_modules_region_endpoint_and_account";
    if ["localstack", "fake"].contains(&suite.environment().backend.as_str()) {
        suite.program_case(name, dead_letters_go_to_the_modules_place);
    } else {
        suite.not_applicable(name, "the server does not tell accounts apart by their access keys".to_owned());
    }
    suite.program_case("endpoints::a_missing_dead_letter_stream_ends_the_start", a_missing_dead_letter_stream);
    suite.program_case("endpoints::a_run_warns_of_an_endpoint_that_is_down_and_goes_on", an_endpoint_that_is_down);
}

/// 20 records of 100 kB for one address wait when the run starts. Its requests are below the limit from the beginning;
/// if the module allows larger ones, the server's 413 makes them smaller.
async fn a_server_with_a_limit(case: &Case) -> Result<()> {
    const RECORDS: usize = 20;
    const BYTES: usize = 100_000;
    for (setting, is_rejected) in [("", false), ("  maxRequestBytes: 67108864\n", true)] {
        let (from, to) = futures::try_join!(case.stream("in", 1), case.stream("out", 1))?;
        let text = replaced(include_str!("../../functions/sizes.py"), &[("results-stream", to.name().as_str())])?;
        let file = case.file("sizes.py", &text)?;
        let functions = FunctionServer::start(case.environment(), Language::Python, &file).await?;
        let module = format!(
            "kind: io.statefun.endpoints.v2/http\nspec:\n  functions: sizes.e2e/*\n  urlPathTemplate: {}\n{setting}---\n\
             kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: sizes.e2e/in\n{place}  startupPosition:\n    type: \
             trim-horizon\n  streams:\n    - streamArn: {from}\n      valueType: sizes.e2e/bytes\n      targets:\n        \
             - sizes.e2e/fn\n---\nkind: io.statefun.kinesis.v1/egress\nspec:\n  id: sizes.e2e/results\n{place}  \
             streamName: {}\n",
            functions.url(),
            to.name(),
            place = place(case),
        );
        let record = PutRecord::new("key".parse()?, "x".repeat(BYTES));
        for _ in 0..RECORDS {
            // A shard takes ten of them a second.
            until("room in the shard", async || {
                let mut outcomes =
                    case.client().put_records(&from.clone().into(), std::slice::from_ref(&record)).await?;
                match outcomes.pop().context("an outcome")? {
                    Err(_) => Ok(None),
                    Ok(stored) => Ok(Some(stored)),
                }
            })
            .await?;
        }
        let mut program = case.run(&module, &["--admin", "127.0.0.1:0"])?;
        let admin = Admin::of(&mut program).await?;
        let mut egress = StreamReader::new(case, &to);
        until("all results", async || {
            ensure!(program.is_running()?, "the program ended");
            egress.read_on().await?;
            Ok((egress.records().len() >= RECORDS).then_some(()))
        })
        .await
        .with_context(|| format!("{} of {RECORDS} came out", egress.records().len()))?;
        let failures = admin.sum("statefun_function_remote_invocation_failures_total").await?;
        program.stop("TERM").await?;
        egress.read_to_tip().await?;
        let results: Vec<String> = egress.texts()?.into_iter().map(|text| text.payload).collect();
        let expected: Vec<String> = (1..=RECORDS).map(|count| format!("{count} {BYTES}")).collect();
        ensure!(results == expected, "{results:?}, not {expected:?}");
        ensure!((failures > 0.0) == is_rejected, "{failures} requests failed");
        // 20 messages are ten at a time, or fewer: a handful of attempts, not one for each message.
        ensure!(failures <= 6.0, "{failures} requests failed");
    }
    Ok(())
}

/// A module that sends the letters of all failing messages of its function to a stream.
fn with_letters(ingress: &str, url: &str, stream: &str) -> String {
    format!(
        "{ingress}---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: example/*\n  urlPathTemplate: {url}\n  \
         failureHandling:\n    type: dead-letter\n    stream: {stream}\n    maxAttempts: 1\n"
    )
}

/// The process has no credentials, region or endpoint but those of its module, which are those of the ingress: of a region
/// and an account in which nothing else is.
async fn dead_letters_go_to_the_modules_place(case: &Case) -> Result<()> {
    const RECORDS: usize = 12;
    let (region, account) = ("eu-central-1", "444444444444");
    let from = Place::new(case, "in", region, account).await?;
    let letters = Place::new(case, "letters", region, account).await?;
    let functions = LocalFunctions::serve(|_: &mut Call| {})?;
    let failing = FaultyProxy::start(&functions.url(), |_| None).await?;
    failing.fails(Fault::Answer(Canned::html(500)), 1);
    let ingress = from.ingress(case, "in");
    let module = with_letters(ingress.trim_end_matches("---\n"), &failing.url(), letters.stream().name().as_str());
    let sent = numbered(0, RECORDS);
    let mut program = case.run(&module, &[])?;
    program.ready().await?;
    from.put(&sent).await?;
    let mut reader = StreamReader::of(letters.client(), letters.stream());
    until("all letters", async || {
        ensure!(program.is_running()?, "the program ended");
        reader.read_on().await?;
        Ok((reader.records().len() >= RECORDS).then_some(()))
    })
    .await?;
    program.stop("TERM").await?;
    reader.read_to_tip().await?;
    let mut found = Vec::new();
    for letter in reader.texts()? {
        let letter: Value = serde_json::from_str(&letter.payload)?;
        ensure!(letter["origin"] == "function", "{letter:#}");
        let id = letter["function"]["id"].as_str().with_context(|| format!("no id: {letter:#}"))?;
        let data = STANDARD.decode(letter["data"].as_str().with_context(|| format!("no data: {letter:#}"))?)?;
        found.push(Text::new(id, String::from_utf8(data)?));
    }
    found.sort();
    let mut sent = sent;
    sent.sort();
    ensure!(found == sent, "{found:?}, not {sent:?}");
    futures::try_join!(from.delete(), letters.delete())?;
    Ok(())
}

async fn a_missing_dead_letter_stream(case: &Case) -> Result<()> {
    let (from, missing) = (case.stream("in", 1).await?, case.name("missing"));
    let functions = LocalFunctions::serve(|_: &mut Call| {})?;
    let ingress = simple(case, "type: trim-horizon", &from, None);
    let ended = case.run(&with_letters(&ingress, &functions.url(), missing.as_str()), &[])?.ended().await?;
    ensure!(ended.code == Some(SETUP), "exit code {:?}, not {SETUP}", ended.code);
    for words in ["dead letters of the endpoint of example/*", missing.as_str(), "does not exist"] {
        ensure!(ended.stderr.contains(words), "stderr does not say `{words}`");
    }
    ensure!(!ended.stderr.contains("ready:"), "it was ready without the stream");
    Ok(())
}

/// The server of the functions comes up later, and everything is done then.
async fn an_endpoint_that_is_down(case: &Case) -> Result<()> {
    let (from, to) = futures::try_join!(case.stream("in", 1), case.stream("out", 1))?;
    let functions = LocalFunctions::serve(|call: &mut Call| {
        for message in std::mem::take(&mut call.messages) {
            call.emit("out", "", message);
        }
    })?;
    let gate = Gate::to(functions.url().trim_end_matches('/')).await?;
    gate.cut();
    let module = simple(case, "type: trim-horizon", &from, Some(&to))
        + &format!(
            "---\nkind: io.statefun.endpoints.v2/http\nspec:\n  functions: example/fn\n  urlPathTemplate: {}\n",
            gate.endpoint()
        );
    let mut program = case.run(&module, &[])?;
    let line = program.says("an endpoint does not answer").await?;
    for words in ["WARN", "example/fn", &gate.endpoint(), "its messages wait", "check --live", "efused"] {
        ensure!(line.contains(words), "the line does not say `{words}`: {line}");
    }
    program.ready().await?;
    let mut sent = numbered(0, 20);
    case.put(&from, &sent).await?;
    gate.open().await?;
    let mut egress = StreamReader::new(case, &to);
    until("everything to come out", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((egress.records().len() >= sent.len()).then_some(()))
    })
    .await?;
    program.stop("TERM").await?;
    egress.read_to_tip().await?;
    let mut came_out = egress.texts()?;
    came_out.sort();
    sent.sort();
    ensure!(came_out == sent, "{came_out:?}, not {sent:?}");
    Ok(())
}
