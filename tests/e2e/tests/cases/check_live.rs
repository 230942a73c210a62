//! `check --live`: what it finds out about streams that are there, and about those that are not.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use statefun_kinesis_e2e::{Case, Ended, StreamReader, Suite};
use statefun_kinesis_types::StreamArn;

use super::{
    counter::Counter,
    functions::Language,
    template::{Orders, replaced, simple},
};

/// The exit codes, `statefun-kinesis --help`.
const DONE: i32 = 0;
const SETUP: i32 = 3;
const USAGE: i32 = 64;

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case("check_live::streams_that_are_there", streams_that_are_there);
    suite.program_case("check_live::a_consumer_is_looked_for_and_not_registered", a_consumer_is_looked_for);
    suite.program_case("check_live::a_stream_that_is_missing", a_stream_that_is_missing);
    suite.program_case("check_live::an_arn_of_another_account", an_arn_of_another_account);
    suite.program_case("check_live::an_endpoint_where_nobody_is", an_endpoint_where_nobody_is);
    for (language, name) in
        Language::each(suite, |name| format!("check_live::{name}_functions_are_asked_for_and_not_called"))
    {
        suite.program_case(&name, async move |case: &Case| functions_are_asked_for(case, language).await);
    }
}

async fn streams_that_are_there(case: &Case) -> Result<()> {
    let orders = Orders::new(case).await?;
    let table = check(case, &orders.module, &[], DONE).await?.stdout.join("\n");
    says(&table, &["ACTIVE", "4 allowed", "2 allowed, 1 not tested", "3 uses of streams checked: no problems"])?;
    let report = json(check(case, &orders.module, &["--format", "json"], DONE).await?)?;
    let uses = report["live"]["uses"].as_array().context("uses")?;
    for (found, (arn, shards)) in
        uses.iter().zip([(&orders.orders, 3), (&orders.returns, 2), (&orders.notifications, 3)])
    {
        let found = &found["found"];
        ensure!(found["arn"] == arn.as_str() && found["openShards"] == shards, "{found}");
        ensure!(found["status"] == "ACTIVE" && found["maxRecordBytes"] == 1 << 20, "{found}");
    }
    let mut reader = StreamReader::new(case, &orders.notifications);
    let stored = reader.read_to_tip().await?;
    ensure!(stored.is_empty(), "trying to write has stored {} records", stored.len());
    Ok(())
}

async fn a_consumer_is_looked_for(case: &Case) -> Result<()> {
    let stream = case.stream("orders", 1).await?;
    let module =
        simple(case, "type: latest\n  consumer:\n    type: enhanced-fan-out\n    name: billing", &stream, None);
    for _ in 0..2 {
        let table = check(case, &module, &[], DONE).await?.stdout.join("\n");
        says(&table, &["fan-out", "0 of 20", "5 allowed, 2 not tested", "a run registers it"])?;
    }
    Ok(())
}

async fn a_stream_that_is_missing(case: &Case) -> Result<()> {
    let (there, missing) = (case.stream("orders", 1).await?, case.arn(&case.name("missing")));
    let module = simple(case, "type: latest", &there, Some(&missing));
    let table = check(case, &module, &[], SETUP).await?.stdout.join("\n");
    let what = format!("egress example/out: the stream {} does not exist in us-east-1", missing.name());
    says(&table, &["4 allowed", &what, "ResourceNotFoundException", "create the stream", "1 problem"])
}

async fn an_arn_of_another_account(case: &Case) -> Result<()> {
    let stream = case.stream("orders", 1).await?;
    let elsewhere = StreamArn::new(Case::REGION, "123456789012", &stream.name())?;
    let table = check(case, &simple(case, "type: latest", &elsewhere, None), &[], SETUP).await?.stdout.join("\n");
    says(&table, &[elsewhere.as_str(), stream.as_str(), "correct the"])
}

async fn an_endpoint_where_nobody_is(case: &Case) -> Result<()> {
    let stream = case.arn(&case.name("orders"));
    let module = simple(case, "type: latest", &stream, Some(&stream));
    // Nobody listens on the first port of any machine.
    let nobody = ["--endpoint-url", "http://127.0.0.1:1"];
    let table = check(case, &module, &nobody, SETUP).await?.stdout.join("\n");
    says(
        &table,
        &["the service cannot be reached in us-east-1", "onnection refused", "2 problems", "7 permissions not tested"],
    )?;
    let report = json(check(case, &module, &[&nobody[..], &["--format", "json"]].concat(), SETUP).await?)?;
    ensure!(report["live"]["passed"] == false && report["live"]["uses"][0]["found"].is_null(), "{report}");
    let none = check(case, &module, &["--endpoint-url", "localhost:4566"], USAGE).await?.stderr;
    says(&none, &["`localhost:4566` is not an endpoint"])
}

async fn functions_are_asked_for(case: &Case, language: Language) -> Result<()> {
    let Counter { commands, results, functions, .. } = Counter::new(case, language, 1).await?;
    let module = |function: &str, url: &str| -> Result<String> {
        let ingress = replaced(&simple(case, "type: latest", &commands, None), &[("example/fn", function)])?;
        let endpoint = format!("  functions: {function}\n  urlPathTemplate: {url}\n");
        Ok(format!("{ingress}---\nkind: io.statefun.endpoints.v2/http\nspec:\n{endpoint}"))
    };
    let url = functions.url();
    let table = check(case, &module("counter.kinesis/fn", &url)?, &[], DONE).await?.stdout.join("\n");
    says(&table, &["counter.kinesis/fn at ", ": served", "1 use of streams and 1 function checked: no problems"])?;
    let table = check(case, &module("counter.kinesis/wrong", &url)?, &[], SETUP).await?.stdout.join("\n");
    says(&table, &["answered 500", "a function of exactly this name", "1 problem"])?;
    // Nobody listens on the first port of any machine.
    let table = check(case, &module("counter.kinesis/fn", "http://127.0.0.1:1/")?, &[], SETUP).await?.stdout.join("\n");
    says(&table, &["cannot be reached", "start the function's server"])?;
    let mut reader = StreamReader::new(case, &results);
    let stored = reader.read_to_tip().await?;
    ensure!(stored.is_empty(), "the function was called: {} results", stored.len());
    Ok(())
}

/// Checks a module with `--live`, which has to end with this code.
async fn check(case: &Case, module: &str, arguments: &[&str], code: i32) -> Result<Ended> {
    let module = case.file("module.yaml", module)?.display().to_string();
    let arguments = [&["check", &module, "--live"][..], arguments].concat();
    let ended = case.program(&arguments)?.ended().await?;
    ensure!(ended.code == Some(code), "exit code {:?}, not {code}", ended.code);
    Ok(ended)
}

fn json(ended: Ended) -> Result<Value> {
    Ok(serde_json::from_str(&ended.stdout.join("\n"))?)
}

fn says(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    Ok(())
}
