//! `--functions log`: one line for each message, with its origin.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use statefun_kinesis_e2e::{Case, Put, Suite};

use super::template::{Orders, order_records};

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case("log::every_message_is_one_line_with_its_origin", every_message_is_one_line_with_its_origin);
}

async fn every_message_is_one_line_with_its_origin(case: &Case) -> Result<()> {
    let module = Orders::new(case).await?;
    let records = order_records(90)?;
    let (orders, returns) = records.split_at(60);
    let orders = case.put(&module.orders, orders).await?;
    let returns = case.put(&module.returns, returns).await?;
    let expected = 2 * orders.len() + returns.len();

    let mut program = case.run(&module.module, &["--functions", "log"])?;
    program.ready().await?;
    program.prints(expected).await?;
    let ended = program.stop("INT").await?;

    // The order within a shard is a promise, between shards there is none.
    let mut printed: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for line in &ended.stdout {
        let line: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        printed.entry((field("streamArn"), field("shardId"))).or_default().push(line);
    }
    let mut wanted: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for put in &orders {
        add_lines(&mut wanted, put, "example/Order", &["example/order-handler", "example/audit"]);
    }
    for put in &returns {
        add_lines(&mut wanted, put, "example/Return", &["example/order-handler"]);
    }
    ensure!(printed.keys().eq(wanted.keys()), "shards {:?}, not {:?}", printed.keys(), wanted.keys());
    for (shard, lines) in wanted {
        ensure!(printed[&shard] == lines, "{shard:?}: {:#?}, not {lines:#?}", printed[&shard]);
    }
    Ok(())
}

fn add_lines(wanted: &mut BTreeMap<(String, String), Vec<Value>>, put: &Put, value_type: &str, targets: &[&str]) {
    let shard = (put.stream.to_string(), put.placement.shard.to_string());
    let lines = wanted.entry(shard).or_default();
    lines.extend(targets.iter().map(|target| {
        json!({
            "ingress": "example/orders",
            "streamArn": put.stream.as_str(),
            "shardId": put.placement.shard.as_str(),
            "sequenceNumber": put.placement.sequence_number.to_string(),
            "target": target,
            "id": put.text.key,
            "valueType": value_type,
            "payload": put.text.payload,
        })
    }));
}
