//! What a program can name that depends on this crate and on a client alone.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_client::KinesisAdmin;
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{
    Backoff, ClientError, ErrorKind, Failure, HashKey, KinesisClient, LogLevel, OnFailure, PartitionKey, Producer,
    ProducerError, Producers, PutFailure, PutRecord, Reason, SendError, SequenceNumber, Settings, ShardId, StreamArn,
    StreamName, StreamRef, StreamStatus, TypeName,
};

/// The parts of each public error and outcome, by their types.
fn name_all(error: &SendError) -> (&StreamRef, &PartitionKey, Option<HashKey>) {
    if let Reason::Rejected { last } | Reason::GaveUp { last, .. } = error.reason() {
        let _: ErrorKind = last.kind();
        match last {
            Failure::Call(error) => _ = (error as &ClientError).kind(),
            Failure::Record(failure) => _ = (failure as &PutFailure).kind,
            Failure::WrongShard { shard } => _ = shard as &ShardId,
        }
    }
    (error.stream(), error.key(), error.explicit_hash_key())
}

#[tokio::test(start_paused = true)]
async fn a_program_needs_this_crate_and_a_client() -> Result<(), Box<dyn std::error::Error>> {
    let kinesis = FakeKinesis::new();
    let orders: StreamName = "orders".parse()?;
    kinesis.create_stream(&orders, 1).await?;
    let client: Arc<dyn KinesisClient> = Arc::new(kinesis);
    let settings = Settings {
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_secs(1)),
        give_up_after: Duration::from_secs(1),
        ..Settings::default()
    };
    let egress: TypeName = "example/orders".parse()?;
    let builder = Producer::builder(Arc::clone(&client), orders.clone()).settings(settings).egress(egress);
    let producer = builder.on_failure(OnFailure::Skip { log: LogLevel::Debug }).build().await?;
    let arn: &StreamArn = producer.arn();
    let key: PartitionKey = "customer-17".parse()?;
    let record = PutRecord::new(key.clone(), "one cup").with_explicit_hash_key(HashKey::new(1));
    let stored = Producers::builder(client).build().send(&StreamRef::Arn(arn.clone()), record.clone()).await?.await?;
    let (_, _): (ShardId, SequenceNumber) = (stored.shard, stored.sequence_number);
    producer.close().await;

    let error = producer.send(record).await.unwrap_err();
    assert_eq!(name_all(&error), (&StreamRef::Name(orders.clone()), &key, Some(HashKey::new(1))));
    let not_ready =
        ProducerError::NotReady { stream: orders.into(), status: StreamStatus::Creating, waited: Duration::ZERO };
    assert!(not_ready.to_string().contains("CREATING"));
    Ok(())
}
