//! Records that cannot become messages, and aggregates of the Kinesis Producer Library, which can.

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use md5::{Digest, Md5};
use serde_json::Value;
use statefun_kinesis_aggregation::{Aggregator, MAGIC};
use statefun_kinesis_client::{KinesisClient, Placement};
use statefun_kinesis_e2e::{Case, StreamReader, Suite, Text, per_key, until};
use statefun_kinesis_types::{PutRecord, StreamArn};

use super::template::{numbered, simple};

pub(crate) fn add(suite: &mut Suite) {
    suite.program_case("dead_letters::a_corrupt_aggregate_goes_aside_and_the_rest_goes_on", a_corrupt_aggregate);
    suite.program_case("dead_letters::aggregates_come_out_as_single_messages", aggregates_come_out);
}

/// Between good records comes one with the frame of an aggregate, its checksum right, and nonsense within.
async fn a_corrupt_aggregate(case: &Case) -> Result<()> {
    let (from, to, dead) =
        futures::try_join!(case.stream("in", 1), case.stream("out", 2), case.stream("dead-letters", 1))?;
    let handling =
        format!("type: trim-horizon\n  invalidRecordHandling:\n    type: dead-letter\n    stream: {}", dead.name());
    let module = simple(case, &handling, &from, Some(&to));
    let mut put = case.put(&from, &numbered(0, 10)).await?;
    let corrupt = corrupt_aggregate();
    let placement = put_one(case, &from, &PutRecord::new("broken".parse()?, corrupt.clone())).await?;
    put.extend(case.put(&from, &numbered(10, 20)).await?);
    let mut program = case.run(&module, &["--functions", "echo"])?;
    let (mut egress, mut letters) = (StreamReader::new(case, &to), StreamReader::new(case, &dead));
    until("everything to come out", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        letters.read_on().await?;
        Ok((egress.records().len() >= put.len() && !letters.records().is_empty()).then_some(()))
    })
    .await?;
    let ended = program.stop("TERM").await?;
    ensure!(ended.stderr.contains("corrupt-aggregate"), "the log does not name the record");

    egress.read_to_tip().await?;
    let (came_out, expected) = (per_key(&egress.texts()?), per_key(put.iter().map(|put| &put.text)));
    ensure!(came_out == expected, "{came_out:#?}, not {expected:#?}");
    letters.read_to_tip().await?;
    let [letter] = &letters.texts()?[..] else { anyhow::bail!("one dead letter, not {:?}", letters.texts()) };
    ensure!(letter.key == "broken", "the letter's key is {}", letter.key);
    let mut envelope: Value = serde_json::from_str(&letter.payload).context("the envelope")?;
    let message = envelope["message"].take();
    ensure!(message.as_str().is_some_and(|message| !message.is_empty()), "the message is {message}");
    let arrival = envelope["ingress"]["arrival"].take();
    ensure!(arrival.as_str().is_some_and(|arrival| arrival.ends_with('Z')), "the arrival is {arrival}");
    let expected = serde_json::json!({
        "version": 2,
        "origin": "ingress",
        "reason": "corrupt-aggregate",
        "message": null,
        "ingress": {
            "stream": from.as_str(),
            "shard": placement.shard.as_str(),
            "sequenceNumber": placement.sequence_number.to_string(),
            "subSequenceNumber": 0,
            "arrival": null,
        },
        "partitionKey": "broken",
        "size": corrupt.len(),
        "md5": format!("{:032x}", u128::from_be_bytes(Md5::digest(&corrupt).into())),
        "part": 1,
        "parts": 1,
        "data": STANDARD.encode(&corrupt),
    });
    ensure!(envelope == expected, "{envelope:#}, not {expected:#}");
    Ok(())
}

/// The aggregates lie between records that are none, on one shard, and keep their places.
async fn aggregates_come_out(case: &Case) -> Result<()> {
    const AGGREGATE: usize = 30;
    let (from, to) = futures::try_join!(case.stream("in", 1), case.stream("out", 2))?;
    let mut program = case.run(&simple(case, "type: trim-horizon", &from, Some(&to)), &["--functions", "echo"])?;
    let all = numbered(0, 4 * AGGREGATE);
    let mut stored = 0;
    for (index, texts) in all.chunks(AGGREGATE).enumerate() {
        if index % 2 == 0 {
            stored += case.put(&from, texts).await?.len();
            continue;
        }
        let mut aggregator = Aggregator::new(51_200, AGGREGATE);
        for text in texts {
            aggregator.push(&PutRecord::new(text.key.parse()?, text.payload.clone()))?;
        }
        let aggregate = aggregator.finish().context("an aggregate")?;
        ensure!(aggregate.data.starts_with(&MAGIC), "nothing was aggregated");
        put_one(case, &from, &aggregate).await?;
        stored += 1;
    }
    ensure!(stored == 2 * AGGREGATE + 2, "{stored} records were stored");
    let mut egress = StreamReader::new(case, &to);
    until("everything to come out", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((egress.records().len() >= all.len()).then_some(()))
    })
    .await?;
    program.stop("TERM").await?;
    egress.read_to_tip().await?;
    let (came_out, expected) = (per_key(&egress.texts()?), per_key::<'_>(all.iter().collect::<Vec<&Text>>()));
    ensure!(came_out == expected, "{came_out:#?}, not {expected:#?}");
    Ok(())
}

/// Field 3, a record, that claims to be longer than the message is.
fn corrupt_aggregate() -> Bytes {
    let message = b"\x1a\x7fnonsense";
    [&MAGIC[..], message, &Md5::digest(message)].concat().into()
}

async fn put_one(case: &Case, stream: &StreamArn, record: &PutRecord) -> Result<Placement> {
    let outcomes = case.client().put_records(&stream.clone().into(), std::slice::from_ref(record)).await?;
    Ok(outcomes.into_iter().next().context("an outcome")??)
}
