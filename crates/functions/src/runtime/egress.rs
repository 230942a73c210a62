//! Sends records to egresses, and notes which ones are stored.

use std::sync::Arc;

use statefun_kinesis_router::{EgressReceipt, RunHandle};
use statefun_kinesis_types::TypeName;
use tokio::sync::mpsc;

use super::shared::{Inner, Shared};
use crate::StoredEgress;

impl Shared {
    /// Queues new records for the tasks that send them. Each egress has its own task, so that a slow one does not delay
    /// the others.
    pub(super) fn queue_records(self: &Arc<Self>, inner: &mut Inner) {
        let records = inner.mailboxes.take_egress();
        let Some(run) = self.run() else { return };
        for batch in records.chunk_by(|a, b| a.message.egress == b.message.egress) {
            let egress = &batch[0].message.egress;
            let queue = inner.egress_queues.entry(egress.clone()).or_insert_with(|| {
                // The mailboxes bound it: they send no request while too many records are unacknowledged.
                let (queue, records) = mpsc::unbounded_channel();
                self.spawn("sending records", Arc::clone(self).send_records(run.clone(), egress.clone(), records));
                queue
            });
            // It fails only after a stop, which ends the receiver. The records are still in the store then.
            let _ = queue.send(batch.to_vec());
        }
    }

    async fn send_records(
        self: Arc<Self>,
        run: RunHandle,
        egress: TypeName,
        mut records: mpsc::UnboundedReceiver<Vec<StoredEgress>>,
    ) {
        while let Some(batch) = records.recv().await {
            for batch in batch.chunk_by(|a, b| a.message.stream == b.message.stream) {
                let stream = batch[0].message.stream.as_ref();
                let puts = batch.iter().map(|record| record.message.record.clone()).collect();
                let numbers: Vec<u64> = batch.iter().map(|record| record.id).collect();
                match run.egresses().send_to(&egress, stream, puts).await {
                    Ok(receipt) => {
                        // It outlives a stop: records that the egress stores meanwhile must not be sent again.
                        let waiting = Arc::clone(&self).await_receipt(run.clone(), receipt, numbers);
                        self.spawn_to_end("receipts of egresses", waiting);
                    }
                    Err(error) => return run.fail_egress(error),
                }
            }
        }
    }

    async fn await_receipt(self: Arc<Self>, run: RunHandle, receipt: EgressReceipt, numbers: Vec<u64>) {
        // Every receipt resolves, at the latest when its egress is closed.
        match receipt.stored().await {
            Ok((records, bytes)) => {
                run.count_stored(records, bytes);
                {
                    let mut inner = self.lock();
                    numbers.into_iter().for_each(|number| inner.mailboxes.stored(number));
                }
                self.pump();
            }
            Err(error) => run.fail_egress(error),
        }
    }
}
