use std::time::Duration;

use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::Payload;
use statefun_kinesis_store::MemoryStore;
use statefun_kinesis_types::{StreamArn, StreamRef};

use super::*;

/// What the counter told so far.
fn totals(kinesis: &FakeKinesis) -> Vec<String> {
    let results: StreamRef = "counter.results".parse().unwrap();
    let text = |record: &statefun_kinesis_types::Record| String::from_utf8(record.data.to_vec()).unwrap();
    kinesis.records(&results).iter().map(|(_, record)| text(record)).collect()
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_counting_after_a_restart() {
    let kinesis = FakeKinesis::new();
    for name in ["counter.commands", "counter.results"] {
        kinesis.create_stream(&name.parse().unwrap(), 1).await.unwrap();
    }
    let commands: StreamArn = "arn:aws:kinesis:us-east-1:000000000000:stream/counter.commands".parse().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    for (command, expected) in [(1_i64, vec!["1"]), (4, vec!["1", "5"]), (-2, vec!["1", "5", "3"])] {
        let record = PutRecord::new("anna".parse().unwrap(), command.to_bytes());
        kinesis.put_record(&commands.clone().into(), record).await.unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(Arc::new(kinesis.clone()), Arc::clone(&store), shutdown.clone()));
        while totals(&kinesis).len() < expected.len() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        shutdown.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(totals(&kinesis), expected);
    }
}
