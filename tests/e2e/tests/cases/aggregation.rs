//! The KPL's record format, against the Python module of those who made it.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use statefun_kinesis_aggregation::{Decoded, decode};
use statefun_kinesis_client::KinesisClient;
use statefun_kinesis_consumer::Consumer;
use statefun_kinesis_e2e::{Case, StreamReader, Suite, until};
use statefun_kinesis_producer::{Aggregation, Producer, Settings};
use statefun_kinesis_types::{HashKey, PutRecord, StartupPosition, StreamRef};

/// Small, so that there are several aggregates of few records.
const MAX_BYTES: u32 = 2_000;

pub(crate) fn add(suite: &mut Suite) {
    let ours = "aggregation::the_kpls_python_module_reads_what_the_producer_writes";
    let theirs = "aggregation::the_consumer_reads_what_the_kpls_python_module_writes";
    let Some(python) = suite.environment().aggregation_python.clone() else {
        for name in [ours, theirs] {
            suite.not_applicable(name, "Python is not on this machine".to_owned());
        }
        return;
    };
    let oracle = Oracle(python);
    let same = oracle.clone();
    suite.case(ours, async move |case: &Case| read_by_them(case, &oracle).await);
    suite.case(theirs, async move |case: &Case| read_by_us(case, &same).await);
}

/// The program that knows the format.
#[derive(Clone)]
struct Oracle(PathBuf);

impl Oracle {
    async fn run(&self, arguments: &[&str], records: Vec<Value>) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.0);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/server/aggregation.py")).args(arguments);
        tokio::task::spawn_blocking(move || {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            let input = serde_json::to_vec(&records)?;
            // It reads all of its input before it writes anything.
            child.stdin.take().context("it has an input")?.write_all(&input)?;
            let output = child.wait_with_output()?;
            let (status, errors) = (output.status, String::from_utf8_lossy(&output.stderr));
            // The module reports what it cannot read on standard error, and goes on.
            ensure!(status.success() && errors.is_empty(), "{command:?} ended with {status}: {errors}");
            Ok(serde_json::from_slice(&output.stdout)?)
        })
        .await?
    }
}

fn shown(record: &PutRecord) -> Value {
    let hash_key = record.explicit_hash_key.map(|key| key.to_string());
    json!({"key": record.partition_key.as_str(), "hashKey": hash_key, "data": STANDARD.encode(&record.data)})
}

fn text<'a>(record: &'a Value, field: &str) -> Result<&'a str> {
    record[field].as_str().with_context(|| format!("{field} of {record}"))
}

/// Records of several keys, some of them with an explicit hash key of their own: each is known by its number.
fn records(count: usize) -> Result<Vec<PutRecord>> {
    // The longest there may be for an emulator that counts in UTF-16.
    let long = "🦀".repeat(128);
    let keys = ["a", "customer-17", "ü", &long, "with an explicit hash key", "with another one"];
    let hash_keys = [None, None, None, None, Some(HashKey::MAX), Some(HashKey::new(7))];
    let record = |number: usize| {
        let index = number * 7 % keys.len();
        let mut data = format!("{number}:").into_bytes();
        // All bytes there are, and lengths around those that need one more byte to be written.
        data.extend((0..number * 3 % 300).map(|byte| byte as u8));
        let record = PutRecord::new(keys[index].parse()?, data);
        Ok(match hash_keys[index] {
            Some(key) => record.with_explicit_hash_key(key),
            None => record,
        })
    };
    (0..count).map(record).collect()
}

/// The producer's aggregates, read by the module: the same records with the same keys, in order per key, at the places
/// that the receipts name.
async fn read_by_them(case: &Case, oracle: &Oracle) -> Result<()> {
    let stream = case.stream("aggregated", 2).await?;
    let aggregation = Aggregation { max_bytes: NonZeroU32::new(MAX_BYTES).context("not 0")?, ..Aggregation::default() };
    let settings = Settings { aggregation: Some(aggregation), ..Settings::default() };
    let client: Arc<dyn KinesisClient> = Arc::new(case.client().clone());
    let producer = Producer::builder(client, stream.clone()).settings(settings).build().await?;
    let mut sent = records(200)?;
    let delivered = producer.send_all(sent.clone()).await?.await?;
    let mut places: Vec<_> = delivered.stored().collect();
    // One that travels alone goes as it is.
    let alone = PutRecord::new("alone".parse()?, "alone");
    places.push(producer.send(alone.clone()).await?.await?);
    sent.push(alone);
    producer.close().await;

    let mut reader = StreamReader::new(case, &stream);
    let stored = reader.read_to_tip().await?;
    let aggregates = stored.iter().filter(|(_, record)| matches!(decode(&record.data), Decoded::Aggregate(_))).count();
    ensure!((4..stored.len()).contains(&aggregates), "{aggregates} of {} records are aggregates", stored.len());
    let whole = |record: &statefun_kinesis_types::Record| {
        let key = record.partition_key.as_ref().context("it has a key")?.as_str();
        let data = STANDARD.encode(&record.data);
        Ok(json!({"key": key, "data": data, "sequence": record.sequence_number.to_string()}))
    };
    let stored = stored.iter().map(|(_, record)| whole(record)).collect::<Result<Vec<_>>>()?;
    let read = oracle.run(&["apart"], stored).await?;
    ensure!(read.len() == sent.len(), "{} records were sent, and {} are read", sent.len(), read.len());

    let mut by_key: BTreeMap<&str, Vec<(&PutRecord, String, u64)>> = BTreeMap::new();
    for (record, place) in sent.iter().zip(&places) {
        let place = (record, place.sequence_number.to_string(), place.sub_sequence_number);
        by_key.entry(record.partition_key.as_str()).or_default().push(place);
    }
    for (key, sent) in by_key {
        let read: Vec<_> = read.iter().filter(|user| user["key"] == key).collect();
        ensure!(read.len() == sent.len(), "{key}: {} records were sent, and {} are read", sent.len(), read.len());
        for ((record, sequence, sub), user) in sent.into_iter().zip(read) {
            ensure!(text(user, "data")? == STANDARD.encode(&record.data), "{key}: {record:?} is read as {user}");
            // The module takes the aggregate's first explicit hash key for that of a record that has none.
            let hash_key = record.explicit_hash_key.map(|key| key.to_string());
            ensure!(
                hash_key.is_none() || user["hashKey"].as_str() == hash_key.as_deref(),
                "{record:?} is read as {user}"
            );
            ensure!(text(user, "sequence")? == sequence && user["sub"] == sub, "{user} is not at {sequence} {sub}");
        }
    }
    Ok(())
}

/// The module's aggregates, read by the consumer: the same records with the same keys, in their order.
async fn read_by_us(case: &Case, oracle: &Oracle) -> Result<()> {
    let stream = case.stream("aggregated-elsewhere", 1).await?;
    let sent = records(150)?;
    let packed = oracle.run(&["together", &MAX_BYTES.to_string()], sent.iter().map(shown).collect()).await?;
    let mut aggregates = Vec::new();
    for whole in &packed {
        let record = PutRecord::new(text(whole, "key")?.parse()?, STANDARD.decode(text(whole, "data")?)?);
        aggregates.push(match whole["hashKey"].as_str() {
            Some(key) => record.with_explicit_hash_key(key.parse()?),
            None => record,
        });
    }
    ensure!((4..40).contains(&aggregates.len()), "{} aggregates", aggregates.len());
    let mut users = Vec::new();
    for record in &aggregates {
        let Decoded::Aggregate(aggregate) = decode(&record.data) else { anyhow::bail!("no aggregate: {record:?}") };
        users.extend(aggregate.iter());
    }
    ensure!(users.len() == sent.len(), "{} records were packed, and {} are read", sent.len(), users.len());
    for (record, user) in sent.iter().zip(&users) {
        let read = (&user.partition_key, user.explicit_hash_key, &user.data);
        ensure!(
            read == (&record.partition_key, record.explicit_hash_key, &record.data),
            "{record:?} is read as {user:?}"
        );
    }

    let stream_ref = StreamRef::from(stream.clone());
    for record in aggregates {
        case.client().put_records(&stream_ref, &[record]).await?.remove(0)?;
    }
    let client: Arc<dyn KinesisClient> = Arc::new(case.client().clone());
    let consumer = Consumer::builder(client).stream(stream_ref).start(StartupPosition::TrimHorizon).build();
    let mut consumer = consumer.await?;
    let mut read: Vec<(String, Bytes)> = Vec::new();
    until("the consumer to read all records", async || {
        let batch = consumer.next().await.context("the stream has not ended")??;
        for record in batch.records() {
            let key = record.partition_key.as_ref().context("it has a key")?;
            read.push((key.as_str().to_owned(), record.data.clone()));
        }
        batch.done();
        Ok((read.len() >= sent.len()).then_some(()))
    })
    .await?;
    consumer.close().await?;
    let sent: Vec<_> = sent.into_iter().map(|record| (record.partition_key.as_str().to_owned(), record.data)).collect();
    ensure!(read == sent, "{} records were packed, and others are read", sent.len());
    Ok(())
}
