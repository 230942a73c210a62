//! The documented block for LocalStack, as it stands.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use statefun_kinesis_e2e::{Case, Relay, StreamReader, Suite, per_key, until};

use super::template::{order_records, replaced};

const BLOCK: &str = include_str!("../../../../crates/spec/tests/seed/localstack.yaml");
const INGRESS: &str = include_str!("../../../../crates/spec/tests/seed/localstack-ingress.yaml");
const EGRESS: &str = include_str!("../../../../crates/spec/tests/seed/localstack-egress.yaml");

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case(
        "custom_endpoint::the_documented_block_works_as_it_stands",
        the_documented_block_works_as_it_stands,
    );
}

/// `localstack.svc` is a name in a cluster and none here, so a proxy leads there; the block itself is not touched.
async fn the_documented_block_works_as_it_stands(case: &Case) -> Result<()> {
    let from = case.stream("orders", 2).await?;
    let to = case.stream("notifications", 1).await?;
    let module = replaced(
        &format!("{INGRESS}---\n{EGRESS}"),
        &[
            ("arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream", from.as_str()),
            ("stream: orders-stream", &format!("stream: {}", from.name())),
            ("notifications-stream", to.name().as_str()),
        ],
    )?;
    let block: String = BLOCK.lines().map(|line| format!("  {line}\n")).collect();
    ensure!(module.matches(&block).count() == 2, "the block is not in both documents:\n{module}");

    let put = case.put(&from, &order_records(100)?).await?;
    let relay = Relay::start(&case.environment().endpoint).await?;
    let variables = HashMap::from([("HTTP_PROXY", relay.url())]);
    let mut program = case.run_in(&variables, &module, &["--functions", "echo"])?;
    program.ready().await?;
    let mut egress = StreamReader::new(case, &to);
    until("everything to come out", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((egress.records().len() >= put.len()).then_some(()))
    })
    .await?;
    program.stop("TERM").await?;

    egress.read_to_tip().await?;
    let (came_out, expected) = (per_key(&egress.texts()?), per_key(put.iter().map(|put| &put.text)));
    ensure!(came_out == expected, "{came_out:#?}, not {expected:#?}");
    let named = relay.named();
    ensure!(named.len() > put.len() / 100, "only {} requests went by the proxy", named.len());
    ensure!(named.iter().all(|host| host == "localstack.svc:4566"), "requests to {named:?}");
    Ok(())
}
