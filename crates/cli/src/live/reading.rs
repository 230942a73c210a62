//! Checks that records can be read by polling.

use statefun_kinesis_client::Operation;
use statefun_kinesis_types::{ShardId, StartPosition};

use super::{call::call, finding::Verdict, probe::Probe};

impl Probe<'_> {
    /// Reads after the latest record of a shard. This takes one of the shard's five calls per second.
    pub(super) async fn read(&mut self, shard: &ShardId) {
        let stream = self.answer.need.stream.clone();
        let operation = Operation::GetShardIterator;
        let place = async || self.client.get_shard_iterator(&stream, shard, StartPosition::Latest).await;
        let iterator = match call(operation, place).await {
            Ok(iterator) => {
                self.answer.found(operation, Verdict::Allowed);
                iterator
            }
            Err(error) => {
                let verdict = self.failed(operation, &error);
                self.answer.found(operation, verdict);
                let why = "it needs an iterator, but GetShardIterator failed";
                self.answer.found(Operation::GetRecords, Verdict::untested(why));
                return;
            }
        };
        let operation = Operation::GetRecords;
        let read = call(operation, async || self.client.get_records(&iterator, 1).await).await;
        let verdict = match read {
            Ok(_) => Verdict::Allowed,
            Err(error) => self.failed(operation, &error),
        };
        self.answer.found(operation, verdict);
    }
}
