//! The stream `orders` and its records.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use statefun_kinesis_client::KinesisAdmin;
use statefun_kinesis_dead_letter::{DeadLetter, DeadLetterReader, EgressOrigin, Origin};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{Producer, Reason, Receipt, SendError, Settings};
use statefun_kinesis_types::{PutRecord, StreamName, StreamRef};
use tokio::time::timeout;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLI: Duration = Duration::from_millis(1);

pub(crate) fn name() -> StreamName {
    "orders".parse().unwrap()
}

pub(crate) fn orders() -> StreamRef {
    name().into()
}

pub(crate) fn record(key: &str, data: &str) -> PutRecord {
    PutRecord::new(key.parse().unwrap(), data.to_owned())
}

pub(crate) fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

pub(crate) fn settings() -> Settings {
    Settings { seed: Some(1), ..Settings::default() }
}

pub(crate) async fn kinesis(shards: usize) -> FakeKinesis {
    let kinesis = FakeKinesis::new();
    kinesis.create_stream(&name(), shards).await.unwrap();
    kinesis
}

pub(crate) async fn producer(kinesis: &FakeKinesis, settings: Settings) -> Producer {
    Producer::builder(Arc::new(kinesis.clone()), name()).settings(settings).build().await.unwrap()
}

/// The payloads that the stream holds, shard by shard.
pub(crate) fn stored(kinesis: &FakeKinesis) -> Vec<String> {
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
    kinesis.records(&orders()).iter().map(|(_, record)| text(&record.data)).collect()
}

pub(crate) fn is_closed<T>(result: &Result<T, SendError>, may_be_stored: bool) -> bool {
    let is = |error: &SendError| matches!(error.reason(), Reason::Closed) && error.may_be_stored() == may_be_stored;
    result.as_ref().err().is_some_and(is)
}

/// Whether a receipt is still open when everything that takes no time has happened: paused time goes on, by this
/// millisecond, only when all tasks are idle.
pub(crate) async fn is_open(receipt: &mut Receipt) -> bool {
    timeout(MILLI, receipt).await.is_err()
}

/// The dead letters in a stream, which must be complete.
pub(crate) fn dead_letters(kinesis: &FakeKinesis, stream: &StreamName) -> Vec<DeadLetter> {
    let mut reader = DeadLetterReader::new();
    let records = kinesis.records(&stream.clone().into());
    let letters = records.iter().filter_map(|(_, record)| reader.read(&record.data).unwrap()).collect();
    assert_eq!(reader.incomplete(), 0);
    letters
}

/// What a dead letter says about the record's way to its stream.
#[track_caller]
pub(crate) fn egress_origin(letter: &DeadLetter) -> &EgressOrigin {
    let Origin::Egress(origin) = letter.origin() else { panic!("{letter:?}") };
    origin
}
