//! Records on their way to egresses.

use std::sync::Arc;

use statefun_kinesis_router::{EgressReceipt, RunHandle};
use statefun_kinesis_types::TypeName;
use tokio::sync::mpsc;

use super::shared::{Inner, Shared};
use crate::StoredEgress;

impl Shared {
    /// Gives new records to those who send them, one task for each egress: an egress that is slow holds up no other.
    pub(super) fn hand_out_records(self: &Arc<Self>, inner: &mut Inner) {
        let records = inner.mailboxes.take_egress();
        let Some(run) = self.run() else { return };
        for batch in records.chunk_by(|a, b| a.message.egress == b.message.egress) {
            let egress = &batch[0].message.egress;
            let outlet = inner.outlets.entry(egress.clone()).or_insert_with(|| {
                // Bounded by the mailboxes: while too many records are outstanding, no request goes out.
                let (outlet, records) = mpsc::unbounded_channel();
                self.spawn("sending records", Arc::clone(self).send_records(run.clone(), egress.clone(), records));
                outlet
            });
            // The receiver goes first only when all is stopped.
            let _ = outlet.send(batch.to_vec());
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
                        // A stop does not end it: what is stored by then must not be sent again.
                        let noting = Arc::clone(&self).await_receipt(run.clone(), receipt, numbers);
                        self.spawn_to_end("what egresses have stored", noting);
                    }
                    Err(error) => return run.fail_egress(error),
                }
            }
        }
    }

    async fn await_receipt(self: Arc<Self>, run: RunHandle, receipt: EgressReceipt, numbers: Vec<u64>) {
        // Every receipt comes: when its egress is closed at the latest.
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
