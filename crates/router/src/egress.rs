use std::sync::Arc;

use statefun_kinesis_client::KinesisClient;
use statefun_kinesis_producer::{BatchReceipt, Producer, ProducerError, SendError, Settings};
use statefun_kinesis_spec::EgressSpec;
use statefun_kinesis_types::{PartitionKey, PutRecord, StreamRef, TypeName};

/// The egresses of a module: a producer each.
#[derive(Debug)]
pub struct Egresses(Vec<(TypeName, Producer)>);

impl Egresses {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) async fn connect(
        &mut self,
        spec: &EgressSpec,
        client: Arc<dyn KinesisClient>,
    ) -> Result<(), ProducerError> {
        let settings = Settings { max_outstanding_records: spec.max_outstanding_records, ..Settings::default() };
        let producer = Producer::builder(client, spec.stream_name.clone()).settings(settings).build().await?;
        self.0.push((spec.id.clone(), producer));
        Ok(())
    }

    /// The egresses' names, in the order of the module.
    pub fn ids(&self) -> impl Iterator<Item = &TypeName> {
        self.0.iter().map(|(id, _)| id)
    }

    /// Sends records to an egress, in order per partition key. It waits while the egress has as many records
    /// outstanding as it may, and returns when they are accepted; the receipt tells when they are stored.
    ///
    /// # Errors
    ///
    /// When the module has no such egress, or a record can never be stored, such as one that is too large. None of the
    /// records was accepted then.
    pub async fn send(&self, egress: &TypeName, records: Vec<PutRecord>) -> Result<EgressReceipt, EgressError> {
        let Some((egress, producer)) = self.0.iter().find(|(id, _)| id == egress) else {
            return Err(EgressError::Unknown { egress: egress.clone() });
        };
        let count = records.len() as u64;
        let bytes = records.iter().map(|record| record.data.len() as u64).sum();
        match producer.send_all(records).await {
            Ok(receipt) => Ok(EgressReceipt { egress: egress.clone(), count, bytes, receipt }),
            Err(source) => Err(EgressError::Refused { egress: egress.clone(), source }),
        }
    }

    /// Whether an egress takes a record, which may name its stream.
    ///
    /// # Errors
    ///
    /// When the module has no such egress, or the record names a stream that is not the egress' own.
    pub fn check(&self, egress: &TypeName, stream: Option<&StreamRef>, record: &PutRecord) -> Result<(), EgressError> {
        let Some((_, producer)) = self.0.iter().find(|(id, _)| id == egress) else {
            return Err(EgressError::Unknown { egress: egress.clone() });
        };
        let own = producer.stream();
        let is_own = |stream: &&StreamRef| match (stream, own) {
            (StreamRef::Arn(stream), StreamRef::Arn(own)) => stream == own,
            (stream, own) => stream.name() == own.name(),
        };
        if let Some(stream) = stream.filter(|stream| !is_own(stream)) {
            return Err(EgressError::OtherStream {
                egress: egress.clone(),
                own: own.clone(),
                stream: stream.clone(),
                partition_key: record.partition_key.clone(),
            });
        }
        Ok(())
    }

    /// Sends records that name their stream, as functions do; see [`check`](Self::check) and [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// Those of both.
    pub async fn send_to(
        &self,
        egress: &TypeName,
        stream: Option<&StreamRef>,
        records: Vec<PutRecord>,
    ) -> Result<EgressReceipt, EgressError> {
        if let Some(record) = records.first() {
            self.check(egress, stream, record)?;
        }
        self.send(egress, records).await
    }

    pub(crate) async fn close(&self) {
        for (_, producer) in &self.0 {
            producer.close().await;
        }
    }
}

/// Tells when records that an egress accepted are stored.
#[derive(Debug)]
#[must_use = "records whose receipt is dropped may be lost without notice"]
pub struct EgressReceipt {
    egress: TypeName,
    count: u64,
    bytes: u64,
    receipt: BatchReceipt,
}

impl EgressReceipt {
    /// Waits until all the records are stored, and gives their number and the bytes of their payloads.
    ///
    /// # Errors
    ///
    /// When one of them could not be stored.
    pub async fn stored(self) -> Result<(u64, u64), EgressError> {
        match self.receipt.await {
            Ok(_) => Ok((self.count, self.bytes)),
            Err(source) => Err(EgressError::NotStored { egress: self.egress, source }),
        }
    }
}

/// Why records did not reach an egress.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EgressError {
    /// No egress of the module has that name.
    #[error("the module has no egress {egress}")]
    Unknown {
        /// The name.
        egress: TypeName,
    },
    /// A record names another stream than the one that the egress writes. Nothing was sent.
    #[error("egress {egress} writes to the stream {own}, and a record with the key {partition_key} names {stream}")]
    OtherStream {
        /// The egress.
        egress: TypeName,
        /// The stream of the egress.
        own: StreamRef,
        /// The stream of the record.
        stream: StreamRef,
        /// The record's partition key.
        partition_key: PartitionKey,
    },
    /// A record can never be stored, or the egress is closed. Nothing was sent.
    #[error("egress {egress} refused a record")]
    Refused {
        /// The egress.
        egress: TypeName,
        /// What is wrong with the record.
        source: SendError,
    },
    /// A record was sent, and could not be stored.
    #[error("egress {egress} could not store a record")]
    NotStored {
        /// The egress.
        egress: TypeName,
        /// What Kinesis said.
        source: SendError,
    },
}
