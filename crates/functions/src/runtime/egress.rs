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
        let Some(run) = self.run.get() else { return };
        for batch in records.chunk_by(|a, b| a.message.egress == b.message.egress) {
            let egress = &batch[0].message.egress;
            let outlet = inner.outlets.entry(egress.clone()).or_insert_with(|| {
                // Bounded by the mailboxes: while too many records are outstanding, no request goes out.
                let (outlet, records) = mpsc::unbounded_channel();
                self.tasks.spawn(Arc::clone(self).send_records(run.clone(), egress.clone(), records));
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
        let stop = self.stop.clone();
        let send = async {
            while let Some(batch) = records.recv().await {
                for batch in batch.chunk_by(|a, b| a.message.stream == b.message.stream) {
                    let stream = batch[0].message.stream.as_ref();
                    let puts = batch.iter().map(|record| record.message.record.clone()).collect();
                    let numbers: Vec<u64> = batch.iter().map(|record| record.id).collect();
                    match run.egresses().send_to(&egress, stream, puts).await {
                        Ok(receipt) => {
                            self.tasks.spawn(Arc::clone(&self).await_receipt(run.clone(), receipt, numbers));
                        }
                        Err(error) => return run.fail_egress(error),
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = send => {}
        }
    }

    async fn await_receipt(self: Arc<Self>, run: RunHandle, receipt: EgressReceipt, numbers: Vec<u64>) {
        let stored = tokio::select! {
            // What is stored already is not sent again.
            biased;
            stored = receipt.stored() => stored,
            () = self.stop.cancelled() => return,
        };
        match stored {
            Ok((records, bytes)) => {
                run.count_stored(records, bytes);
                {
                    let mut inner = self.lock();
                    numbers.into_iter().for_each(|number| inner.mailboxes.stored(number));
                }
                if !self.stop.is_cancelled() {
                    self.pump();
                }
            }
            Err(error) => run.fail_egress(error),
        }
    }
}
