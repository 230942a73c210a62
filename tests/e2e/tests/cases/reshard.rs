//! Shards that are split and merged while records flow.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt, ShardFilter};
use statefun_kinesis_e2e::{Case, Ended, Gate, Put, Suite, until};
use statefun_kinesis_types::{HashKey, Shard, StreamArn, StreamRef};

use super::conformance::capabilities;
use super::recovery::missing_for_fan_out;
use super::template::{numbered, simple};

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case("reshard::a_split_and_a_merge_lose_nothing_and_keep_order", a_split_and_a_merge_lose_nothing);
    suite.program_case(
        "reshard::shards_that_nobody_saw_being_made_are_read_from_their_beginning",
        async |case: &Case| shards_that_nobody_saw(case, POLLING).await,
    );
    add_by_fan_out(suite);
}

/// Adds the case in which records are pushed.
pub(crate) fn add_by_fan_out(suite: &mut Suite) {
    let name = "reshard::shards_that_nobody_saw_being_made_are_read_from_their_beginning_by_fan_out";
    match missing_for_fan_out(&capabilities(&suite.environment().backend)) {
        Some(missing) => suite.not_applicable(name, format!("for a backend with `{missing}`")),
        None => suite.program_case(name, async |case: &Case| shards_that_nobody_saw(case, FAN_OUT).await),
    }
}

/// With these a stream is read from its newest record on, but a new shard from its oldest one.
const POLLING: &str = "type: latest";
const FAN_OUT: &str = "type: latest\n  consumer:\n    type: enhanced-fan-out\n    name: reshard";

async fn a_split_and_a_merge_lose_nothing(case: &Case) -> Result<()> {
    let stream = case.stream("reshard", 2).await?;
    let module = simple(case, "type: trim-horizon", &stream, None);
    let mut program = case.run(&module, &["--functions", "log"])?;
    program.ready().await?;

    let done = AtomicBool::new(false);
    let (fed, resharded) = futures::join!(feed(case, &stream, &done), async {
        let resharded = reshard(case, &stream).await;
        done.store(true, Ordering::Release);
        resharded
    });
    resharded?;
    let mut put = fed?;
    // Records that can only be in the last generation of shards.
    let last = put.len();
    put.extend(case.put(&stream, &numbered(last, last + 50)).await?);

    program.prints(put.len()).await?;
    let lines = lines(&program.stop("TERM").await?)?;
    nothing_is_lost_and_keys_are_in_order(&lines, put.len())?;
    parents_come_before_children(&lines, case, &stream).await?;
    let shards: std::collections::BTreeSet<_> = put.iter().map(|put| &put.placement.shard).collect();
    ensure!(shards.len() >= 4, "records went to {shards:?} only, so that little was tried");
    Ok(())
}

/// Shards change while the server cannot be reached, and have records by the time when it can be again.
async fn shards_that_nobody_saw(case: &Case, startup: &str) -> Result<()> {
    const RECORDS: usize = 70;
    let stream = case.stream("reshard", 2).await?;
    let gate = Gate::to(&case.environment().endpoint).await?;
    let module = simple(case, startup, &stream, None);
    let mut program = case.run(&module, &["--functions", "log", "--endpoint-url", &gate.endpoint()])?;
    program.ready().await?;
    let mut count = 0;
    let mut put_more = async || {
        count += RECORDS;
        case.put(&stream, &numbered(count - RECORDS, count)).await.map(|_| count)
    };
    program.prints(put_more().await?).await?;

    gate.cut();
    program.says("no connection").await?;
    split_one(case, &stream).await?;
    put_more().await?;
    merge_two(case, &stream).await?;
    let count = put_more().await?;
    gate.open().await?;
    program.prints(count).await?;
    let lines = lines(&program.stop("TERM").await?)?;
    nothing_is_lost_and_keys_are_in_order(&lines, count)?;
    parents_come_before_children(&lines, case, &stream).await
}

/// What `--functions log` has printed.
fn lines(ended: &Ended) -> Result<Vec<Value>> {
    ended
        .stdout
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).with_context(|| format!("not JSON: {line}")))
        .collect()
}

/// Puts records, one small request after the other, until the shards are what they shall be.
async fn feed(case: &Case, stream: &StreamArn, done: &AtomicBool) -> Result<Vec<Put>> {
    let mut put = Vec::new();
    while !done.load(Ordering::Acquire) {
        let from = put.len();
        put.extend(case.put(stream, &numbered(from, from + 14)).await?);
    }
    Ok(put)
}

/// Splits the first shard, then merges its second child with the other shard.
async fn reshard(case: &Case, stream: &StreamArn) -> Result<()> {
    split_one(case, stream).await?;
    merge_two(case, stream).await
}

/// Splits the first shard in the middle.
pub(crate) async fn split_one(case: &Case, stream: &StreamArn) -> Result<()> {
    let shards = open_shards(case, stream).await?;
    let first = shards.first().context("the stream has no open shard")?;
    let (start, end) = (first.hash_range.start().get(), first.hash_range.end().get());
    let middle = HashKey::new(start + (end - start) / 2 + 1);
    case.client().split_shard(&StreamRef::from(stream.clone()), &first.id, middle).await?;
    wait_for_open_shards(case, stream, shards.len() + 1).await.map(drop)
}

/// Merges the second of three shards with the third.
pub(crate) async fn merge_two(case: &Case, stream: &StreamArn) -> Result<()> {
    let shards = open_shards(case, stream).await?;
    let [_, second, third] = &shards[..] else { anyhow::bail!("three shards, not {shards:?}") };
    case.client().merge_shards(&StreamRef::from(stream.clone()), &second.id, &third.id).await?;
    wait_for_open_shards(case, stream, 2).await.map(drop)
}

/// The open shards, in the order of their hash keys.
async fn open_shards(case: &Case, stream: &StreamArn) -> Result<Vec<Shard>> {
    let shards = case.client().all_shards(&stream.clone().into(), ShardFilter::FromTrimHorizon).await?;
    let mut shards: Vec<Shard> = shards.into_iter().filter(Shard::is_open).collect();
    shards.sort_by_key(|shard| shard.hash_range.start());
    Ok(shards)
}

async fn wait_for_open_shards(case: &Case, stream: &StreamArn, count: usize) -> Result<Vec<Shard>> {
    let shards = until("the shards to change", async || {
        let shards = open_shards(case, stream).await?;
        Ok((shards.len() == count).then_some(shards))
    })
    .await?;
    case.wait_until_active(stream).await?;
    Ok(shards)
}

fn nothing_is_lost_and_keys_are_in_order(lines: &[Value], count: usize) -> Result<()> {
    let mut keys: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for line in lines {
        let number = line["payload"].as_str().unwrap_or_default().parse()?;
        keys.entry(line["id"].as_str().unwrap_or_default()).or_default().push(number);
    }
    for (key, numbers) in &keys {
        ensure!(numbers.is_sorted(), "{key} is out of order: {numbers:?}");
    }
    let mut all: Vec<usize> = keys.into_values().flatten().collect();
    all.sort_unstable();
    let missing: Vec<usize> = (0..count).filter(|number| all.binary_search(number).is_err()).collect();
    ensure!(missing.is_empty(), "lost: {missing:?}");
    ensure!(all.len() == count, "{} messages for {count} records: some came twice", all.len());
    Ok(())
}

/// No record of a shard comes before the last one of a shard that it came from.
async fn parents_come_before_children(lines: &[Value], case: &Case, stream: &StreamArn) -> Result<()> {
    let (mut first, mut last) = (HashMap::new(), HashMap::new());
    for (index, line) in lines.iter().enumerate() {
        let shard = line["shardId"].as_str().unwrap_or_default();
        first.entry(shard).or_insert(index);
        last.insert(shard, index);
    }
    let mut families = 0;
    for shard in case.client().all_shards(&stream.clone().into(), ShardFilter::FromTrimHorizon).await? {
        for parent in shard.parents() {
            if let (Some(child), Some(parent_last)) = (first.get(shard.id.as_str()), last.get(parent.as_str())) {
                families += 1;
                ensure!(parent_last < child, "{} was read before the end of {parent}", shard.id);
            }
        }
    }
    ensure!(families >= 3, "only {families} parents and children had records, so that little was tried");
    Ok(())
}
