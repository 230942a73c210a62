//! What the module asks for and is not there: said at the start, with an exit code of its own.

use anyhow::{Result, ensure};
use statefun_kinesis_e2e::{Case, Suite};
use statefun_kinesis_types::StreamArn;

use super::template::{replaced, simple};

/// The exit code for what is missing in the world, `statefun-kinesis --help`.
const SETUP: i32 = 3;

/// The exit code for a wrong command line, also there.
const USAGE: i32 = 64;

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case("refusals::a_missing_ingress_stream", a_missing_ingress_stream);
    suite.program_case("refusals::a_missing_egress_stream", a_missing_egress_stream);
    suite.program_case("refusals::an_arn_of_another_account", an_arn_of_another_account);
    suite.program_case("refusals::an_endpoint_that_is_none", an_endpoint_that_is_none);
}

async fn a_missing_ingress_stream(case: &Case) -> Result<()> {
    let missing = case.arn(&case.name("missing"));
    check(case, &simple(case, "type: latest", &missing, None), "log", &["not found", missing.as_str()]).await
}

async fn a_missing_egress_stream(case: &Case) -> Result<()> {
    let from = case.stream("orders", 1).await?;
    let missing = case.arn(&case.name("missing"));
    let module = simple(case, "type: latest", &from, Some(&missing));
    check(case, &module, "echo", &["not found", missing.name().as_str(), "example/out"]).await
}

async fn an_arn_of_another_account(case: &Case) -> Result<()> {
    let stream = case.stream("orders", 1).await?;
    let elsewhere = StreamArn::new(Case::REGION, "123456789012", &stream.name())?;
    check(case, &simple(case, "type: latest", &elsewhere, None), "log", &["123456789012", "example/in"]).await
}

async fn an_endpoint_that_is_none(case: &Case) -> Result<()> {
    let stream = case.arn(&case.name("orders"));
    let module = simple(case, "type: latest", &stream, None);
    let program = case.run(&module, &["--functions", "log", "--endpoint-url", "localhost:4566"])?;
    let ended = program.ended().await?;
    ensure!(ended.code == Some(USAGE), "exit code {:?}, not {USAGE}", ended.code);
    ensure!(ended.stderr.contains("`localhost:4566` is not an endpoint"), "another message");
    // The module file is where it is usually written, and is checked before anything starts.
    let module = replaced(&module, &[(case.environment().endpoint.as_str(), "localhost:4566")])?;
    let ended = case.run(&module, &["--functions", "log"])?.ended().await?;
    ensure!(ended.code == Some(2), "exit code {:?}, not 2", ended.code);
    ensure!(ended.stderr.contains("localhost:4566"), "another message");
    Ok(())
}

async fn check(case: &Case, module: &str, functions: &str, says: &[&str]) -> Result<()> {
    let ended = case.run(module, &["--functions", functions])?.ended().await?;
    ensure!(ended.code == Some(SETUP), "exit code {:?}, not {SETUP}", ended.code);
    for words in says {
        ensure!(ended.stderr.contains(words), "stderr does not say `{words}`");
    }
    ensure!(ended.stdout.is_empty(), "stdout has {:?}", ended.stdout);
    Ok(())
}
