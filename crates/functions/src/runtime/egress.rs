//! Sends records to egresses, and notes which ones are stored.

use std::sync::Arc;

use statefun_kinesis_router::{EgressReceipt, RunHandle, Unsendable};
use statefun_kinesis_types::{PutRecord, StreamRef, TypeName};
use tokio::sync::mpsc;

use super::shared::{Inner, Shared};
use crate::{EgressMessage, StoredEgress, Value};

impl Shared {
    /// Queues new records for the tasks that send them. Each egress has its own task, so that a slow one does not delay
    /// the others.
    pub(super) fn queue_records(self: &Arc<Self>, inner: &mut Inner) {
        let records = inner.mailboxes.take_egress();
        let Some(run) = self.run() else { return };
        for batch in records.chunk_by(|a, b| a.message.egress() == b.message.egress()) {
            let egress = batch[0].message.egress();
            let queue = inner.egress_queues.entry(egress.clone()).or_insert_with(|| {
                // The mailboxes bound it: a function gets no request while too many of its records are not stored.
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
            for part in parts(batch) {
                match part {
                    Part::Records { stream, records, numbers } => {
                        match run.egresses().send_to(&egress, stream.as_ref(), records).await {
                            Ok(receipt) => {
                                // It outlives a stop: records that the egress stores meanwhile must not be sent again.
                                let waiting = Arc::clone(&self).await_receipt(run.clone(), receipt, numbers);
                                self.spawn_to_end("receipts of egresses", waiting);
                            }
                            Err(error) => return run.fail_egress(error),
                        }
                    }
                    Part::Invalid { invalid, number } => match run.egresses().give_up(&egress, invalid).await {
                        Ok(()) => self.stored(&[number]),
                        Err(error) => return run.fail_egress(error),
                    },
                }
            }
        }
    }

    async fn await_receipt(self: Arc<Self>, run: RunHandle, receipt: EgressReceipt, numbers: Vec<u64>) {
        // Every receipt resolves, at the latest when its egress is closed.
        match receipt.stored().await {
            Ok((records, bytes)) => {
                run.count_stored(records, bytes);
                self.stored(&numbers);
            }
            Err(error) => run.fail_egress(error),
        }
    }

    /// The egress is done with these records.
    fn stored(self: &Arc<Self>, numbers: &[u64]) {
        {
            let mut inner = self.lock();
            numbers.iter().for_each(|number| inner.mailboxes.stored(*number));
        }
        self.pump();
    }
}

/// Records that are sent together, or something that is not a valid record.
enum Part {
    Records { stream: Option<StreamRef>, records: Vec<PutRecord>, numbers: Vec<u64> },
    Invalid { invalid: Unsendable, number: u64 },
}

/// The parts of a batch, in their order: neighbours for one stream are sent together.
fn parts(batch: Vec<StoredEgress>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for StoredEgress { id, message, .. } in batch {
        match (message, parts.last_mut()) {
            (EgressMessage::Record { stream, record, .. }, Some(Part::Records { stream: last, records, numbers }))
                if *last == stream =>
            {
                records.push(record);
                numbers.push(id);
            }
            (EgressMessage::Record { stream, record, .. }, _) => {
                parts.push(Part::Records { stream, records: vec![record], numbers: vec![id] });
            }
            (EgressMessage::Invalid { value, error, .. }, _) => {
                parts.push(Part::Invalid { invalid: unsendable(&value, &error), number: id });
            }
        }
    }
    parts
}

/// What an egress gets instead of a record.
pub(super) fn unsendable(value: &Value, error: &Arc<str>) -> Unsendable {
    let value_type = value.typename.parse().ok();
    Unsendable::Invalid { value_type, value: value.bytes.clone(), error: Arc::clone(error) }
}
