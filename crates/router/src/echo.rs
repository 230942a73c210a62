use async_trait::async_trait;
use statefun_kinesis_types::{PutRecord, TypeName};

use crate::{Delivery, FunctionError, Functions};

/// Sends each message back to the module's egresses: the payload as it is, with the id as partition key.
///
/// It stands in for functions where the way through is what matters: in a first try, in tests, in measurements.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

#[async_trait]
impl Functions for Echo {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        let egresses: Vec<TypeName> = delivery.egresses().ids().cloned().collect();
        if egresses.is_empty() {
            return Err(FunctionError::new("echo has nowhere to send messages: the module has no egress"));
        }
        let mut receipts = Vec::with_capacity(egresses.len());
        for egress in &egresses {
            let mut records = Vec::new();
            for message in delivery.batch().messages() {
                let key = message.partition_key().map_err(|error| {
                    FunctionError::new(format!("the id of {} cannot be a partition key", message.to_address()))
                        .because(error)
                })?;
                records.push(PutRecord::new(key, message.payload().cloned().unwrap_or_default()));
            }
            let receipt = delivery.egresses().send(egress, records).await;
            receipts
                .push(receipt.map_err(|error| FunctionError::new(format!("cannot send to {egress}")).because(error))?);
        }
        delivery.done_after(receipts);
        Ok(())
    }
}
