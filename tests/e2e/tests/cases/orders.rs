//! The orders module, whole: Kinesis in, functions, Kinesis out.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use statefun_kinesis_e2e::{Case, Put, StreamReader, Suite, per_key, until};

use super::template::{Orders, order_records};

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case("orders::everything_comes_out_once_and_in_order", everything_comes_out_once_and_in_order);
}

async fn everything_comes_out_once_and_in_order(case: &Case) -> Result<()> {
    let module = Orders::new(case).await?;
    let records = order_records(400)?;
    // Every fourth goes the other way; half of all is there before the run, the rest comes while it reads.
    let (mut orders, mut returns) = (Vec::new(), Vec::new());
    for (index, record) in records.into_iter().enumerate() {
        if index % 4 == 3 { returns.push(record) } else { orders.push(record) }
    }
    let (early_orders, late_orders) = orders.split_at(orders.len() / 2);
    let (early_returns, late_returns) = returns.split_at(returns.len() / 2);
    let mut put_orders = case.put(&module.orders, early_orders).await?;
    let mut put_returns = case.put(&module.returns, early_returns).await?;

    let mut program = case.run(&module.module, &["--functions", "echo"])?;
    program.ready().await?;
    put_orders.extend(case.put(&module.orders, late_orders).await?);
    put_returns.extend(case.put(&module.returns, late_returns).await?);

    // An order goes to two functions, a return to one; each function sends it on.
    let expected = 2 * put_orders.len() + put_returns.len();
    let mut egress = StreamReader::new(case, &module.notifications);
    until("everything to come out", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((egress.records().len() >= expected).then_some(()))
    })
    .await
    .map_err(|error| error.context(format!("{} of {expected} came out", egress.records().len())))?;
    let ended = program.stop("TERM").await?;

    egress.read_to_tip().await?;
    let came_out = egress.texts()?;
    // Nothing orders the two streams of a key, so each is looked at by itself.
    let (orders, returns): (Vec<_>, Vec<_>) =
        came_out.into_iter().partition(|text| put_orders.iter().any(|put| put.text == *text));
    compare("orders", per_key(&orders), &put_orders, 2)?;
    compare("returns", per_key(&returns), &put_returns, 1)?;
    ensure!(ended.stderr.contains(&expected.to_string()), "the summary does not name {expected} messages");
    Ok(())
}

/// Per key exactly what was put, each record as many times in a row as it has targets.
fn compare(what: &str, came_out: BTreeMap<String, Vec<String>>, put: &[Put], times: usize) -> Result<()> {
    let put = per_key(put.iter().map(|put| &put.text));
    let keys = |map: &BTreeMap<String, Vec<String>>| map.keys().cloned().collect::<Vec<_>>();
    ensure!(keys(&came_out) == keys(&put), "{what}: keys {:?}, not {:?}", keys(&came_out), keys(&put));
    for (key, payloads) in put {
        let expected: Vec<String> =
            payloads.into_iter().flat_map(|payload| std::iter::repeat_n(payload, times)).collect();
        ensure!(came_out[&key] == expected, "{what}, {key}: {:#?}, not {expected:#?}", came_out[&key]);
    }
    Ok(())
}
