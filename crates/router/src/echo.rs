use async_trait::async_trait;
use statefun_kinesis_types::{PutRecord, TypeName};

use crate::{Delivery, FunctionError, Functions};

/// Sends each message to all of the module's egresses: the unchanged payload, with the id as partition key.
///
/// It replaces real functions in first trials, tests and benchmarks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

#[async_trait]
impl Functions for Echo {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        let egresses: Vec<TypeName> = delivery.egresses().ids().cloned().collect();
        if egresses.is_empty() {
            return Err(FunctionError::new("the echo function needs an egress, and the module has none"));
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
