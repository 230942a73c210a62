use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use statefun_kinesis_aws::AwsKinesis;
use statefun_kinesis_client::{ErrorKind, KinesisClient, KinesisClientExt, Placement, ShardFilter, ShardIterator};
use statefun_kinesis_types::{PutRecord, Record, ShardId, StartPosition, StreamArn, StreamRef};

use crate::Case;

/// A record as the cases see it: its key and its payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text {
    /// The partition key.
    pub key: String,
    /// The payload.
    pub payload: String,
}

impl Text {
    /// A record.
    pub fn new(key: impl Into<String>, payload: impl Into<String>) -> Self {
        Self { key: key.into(), payload: payload.into() }
    }
}

/// A record that was put, and where.
#[derive(Clone, Debug)]
pub struct Put {
    /// The stream.
    pub stream: StreamArn,
    /// The record.
    pub text: Text,
    /// Where the server has put it.
    pub placement: Placement,
}

impl Case {
    /// Puts records into a stream, in batches, and gives them in the order of their places in it.
    ///
    /// # Errors
    ///
    /// The server's, for the request or for a single record.
    pub async fn put(&self, stream: &StreamArn, texts: &[Text]) -> Result<Vec<Put>> {
        /// LocalStack stores about 450 records a second; smaller requests let other cases in between.
        const BATCH: usize = 100;
        let stream_ref = StreamRef::from(stream.clone());
        let mut put = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            let records = batch
                .iter()
                .map(|text| Ok(PutRecord::new(text.key.parse()?, text.payload.clone())))
                .collect::<Result<Vec<_>>>()?;
            let outcomes = self.client().put_records(&stream_ref, &records).await?;
            for (text, outcome) in batch.iter().zip(outcomes) {
                put.push(Put { stream: stream.clone(), text: text.clone(), placement: outcome? });
            }
        }
        // The order of a request is not promised to be the order in a shard.
        put.sort_by_key(|put| (put.placement.shard.clone(), put.placement.sequence_number));
        Ok(put)
    }
}

/// Reads a stream from its oldest record on, all shards, new ones too.
#[derive(Debug)]
pub struct StreamReader<'a> {
    client: &'a AwsKinesis,
    stream: StreamRef,
    /// `None` once the shard has ended.
    shards: BTreeMap<ShardId, Option<ShardIterator>>,
    records: Vec<(ShardId, Record)>,
}

impl<'a> StreamReader<'a> {
    /// A reader at the beginning of a stream.
    pub fn new(case: &'a Case, stream: &StreamArn) -> Self {
        Self::of(case.client(), stream)
    }

    /// A reader at the beginning of a stream that this client can see.
    pub fn of(client: &'a AwsKinesis, stream: &StreamArn) -> Self {
        Self { client, stream: stream.clone().into(), shards: BTreeMap::new(), records: Vec::new() }
    }

    /// Reads one page of each shard, and says whether all were at the tip.
    ///
    /// # Errors
    ///
    /// The server's.
    pub async fn read_on(&mut self) -> Result<bool> {
        for shard in self.client.all_shards(&self.stream, ShardFilter::FromTrimHorizon).await? {
            if !self.shards.contains_key(&shard.id) {
                let from = StartPosition::TrimHorizon;
                let iterator =
                    patiently(async || self.client.get_shard_iterator(&self.stream, &shard.id, from).await).await?;
                self.shards.insert(shard.id, Some(iterator));
            }
        }
        let mut at_tip = true;
        for (shard, place) in &mut self.shards {
            let Some(iterator) = place else { continue };
            let page = patiently(async || self.client.get_records(iterator, 1_000).await).await?;
            at_tip &= page.next_iterator.is_none() || (page.records.is_empty() && page.behind_latest.is_zero());
            self.records.extend(page.records.into_iter().map(|record| (shard.clone(), record)));
            *place = page.next_iterator;
        }
        Ok(at_tip)
    }

    /// Reads all that there is, and gives all that was read.
    ///
    /// # Errors
    ///
    /// The server's.
    pub async fn read_to_tip(&mut self) -> Result<&[(ShardId, Record)]> {
        while !self.read_on().await? {}
        Ok(&self.records)
    }

    /// What was read so far.
    pub fn records(&self) -> &[(ShardId, Record)] {
        &self.records
    }

    /// What was read so far, as text.
    ///
    /// # Errors
    ///
    /// When a record has no key, or its payload is no text.
    pub fn texts(&self) -> Result<Vec<Text>> {
        self.records.iter().map(text).collect()
    }

    /// What was read since the last time, as text. It is forgotten, so that a long case needs no more memory than a short
    /// one.
    ///
    /// # Errors
    ///
    /// As [`StreamReader::texts`].
    pub fn take_texts(&mut self) -> Result<Vec<Text>> {
        self.records.drain(..).map(|record| text(&record)).collect()
    }
}

fn text((shard, record): &(ShardId, Record)) -> Result<Text> {
    let key = record.partition_key.as_ref().context("a record without a key")?;
    let payload = String::from_utf8(record.data.to_vec()).map_err(|_| anyhow!("a payload in {shard}"))?;
    Ok(Text::new(key.as_str(), payload))
}

/// Calls again while the server says that it was too soon: a shard gives five calls a second to all its readers.
async fn patiently<T>(mut call: impl AsyncFnMut() -> statefun_kinesis_client::Result<T>) -> Result<T> {
    const WAIT: Duration = Duration::from_millis(250);
    loop {
        match call().await {
            Err(error) if error.kind() == ErrorKind::Throttled => tokio::time::sleep(WAIT).await,
            settled => return Ok(settled?),
        }
    }
}

/// The payloads of each key, in order.
pub fn per_key<'a>(texts: impl IntoIterator<Item = &'a Text>) -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in texts {
        keys.entry(text.key.clone()).or_default().push(text.payload.clone());
    }
    keys
}
