//! A program that reads Kinesis names this crate and a client only: everything here comes from these two.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_consumer::{
    Acknowledgement, Backoff, Batch, BatchOrigin, CancellationToken, CheckpointStore, Clock, Consumer, ConsumerBuilder,
    ConsumerError, ConsumerName, ErrorKind, FanOut, FanOutClient, InvalidKind, InvalidRecordHandling, InvalidValue,
    KinesisClient, LogLevel, MemoryCheckpoints, Metrics, Operation, PartitionKey, Position, PositionStore, Positions,
    ReadingMode, Record, SequenceNumber, Settings, ShardId, ShardMetrics, StartupPosition, StreamArn, StreamMetrics,
    StreamName, StreamRef, SystemClock, Timestamp,
};
use statefun_kinesis_fake::FakeKinesis;

/// Calls every function of the builder with arguments that are named here.
fn builder(client: Arc<dyn KinesisClient>, fan_out: Arc<dyn FanOutClient>) -> Result<ConsumerBuilder, InvalidValue> {
    let name: ConsumerName = "billing".parse()?;
    let stream: StreamName = "orders".parse()?;
    let reference: StreamRef = stream.into();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let checkpoints: Arc<dyn CheckpointStore> = Arc::new(MemoryCheckpoints::new());
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(1));
    Ok(Consumer::builder(Arc::clone(&client))
        .stream(reference.clone())
        .start(StartupPosition::AtTimestamp(Timestamp::EPOCH))
        .checkpoints(checkpoints)
        .clock(clock)
        .settings(Settings { backoff, ..Settings::default() })
        .fan_out(fan_out, FanOut::managed(name))
        .invalid_records(InvalidRecordHandling::Skip { log: LogLevel::Info })
        .invalid_records_of(reference, InvalidRecordHandling::Fail)
        .dead_letters(client)
        .shutdown(CancellationToken::new()))
}

/// Names the type of everything that a consumer gives.
fn look(consumer: &Consumer, batch: Batch, positions: &Positions) -> (ShardId, Option<PartitionKey>) {
    let metrics: &Metrics = consumer.metrics();
    let StreamMetrics { mode, calls, retries, shards, .. } = metrics.snapshot().remove(0);
    let _: (ReadingMode, Vec<(Operation, u64)>) = (mode, calls);
    let _: (Vec<(ErrorKind, u64)>, Vec<ShardMetrics>) = (retries, shards);
    let (origin, records, acknowledgement): (BatchOrigin, Vec<Record>, Acknowledgement) = batch.into_parts();
    let _: &StreamArn = origin.stream();
    let _: SequenceNumber = Position::of(&records[0]).sequence_number;
    acknowledgement.done();
    drop(positions.take());
    (origin.shard().clone(), records[0].partition_key.clone())
}

#[tokio::test]
async fn the_names_of_this_crate_are_enough() {
    let kinesis = Arc::new(FakeKinesis::new());
    let store: Arc<dyn PositionStore> = Arc::new(MemoryCheckpoints::new());
    let built = builder(kinesis.clone(), kinesis).unwrap().build_with_positions(store).await;
    assert!(matches!(built, Err(ConsumerError::StreamNotFound { .. })), "{built:?}");
    let _ = (look, InvalidKind::ALL);
}
