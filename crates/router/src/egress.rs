use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use statefun_kinesis_module::{AggregationSpec, EgressOrder, EgressSpec, FailedRecordHandling};
use statefun_kinesis_producer::{
    Aggregation, BatchReceipt, Clients, GivenUp, Handling, Metrics, OnFailure, Order, Producer, ProducerError,
    Producers, ProducersBuilder, Reason, SendError, Settings, Unsendable,
};
use statefun_kinesis_types::{InvalidRecordHandling, PartitionKey, PutRecord, StreamArn, StreamRef, TypeName};
use tokio::time::Instant;

use crate::run::Run;

/// The egresses of a module, each with a producer per stream that it writes.
#[derive(Debug)]
pub struct Egresses(Vec<Egress>);

#[derive(Debug)]
struct Egress {
    id: TypeName,
    /// The stream of records that do not name a stream.
    own: Option<StreamRef>,
    producers: Producers,
    /// Whether a record that was given up ends the run.
    fails: bool,
    dead_letters: Option<Producer>,
}

impl Egresses {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an egress. Its default stream and the stream of its dead letters have to exist.
    pub(crate) async fn connect(
        &mut self,
        spec: &EgressSpec,
        clients: Arc<dyn Clients>,
    ) -> Result<(), Arc<ProducerError>> {
        let (on_failure, dead_letters) = on_failure_of(spec, &*clients).await?;
        let fails = matches!(on_failure, OnFailure::Fail);
        let (own, builder) = producers_of(spec, clients);
        let producers = builder.on_failure(on_failure).build();
        if let Some(own) = &own
            && let Err(Reason::NoProducer(error)) = producers.get(own).await
        {
            return Err(error);
        }
        self.0.push(Egress { id: spec.id.clone(), own, producers, fails, dead_letters });
        Ok(())
    }

    /// The egresses' names, in the order of the module.
    pub fn ids(&self) -> impl Iterator<Item = &TypeName> {
        self.0.iter().map(|egress| &egress.id)
    }

    pub(crate) fn metrics(&self) -> Vec<EgressStreamMetrics> {
        let of_egress = |egress: &Egress| {
            let id = egress.id.clone();
            let streams = egress.producers.metrics().into_iter();
            streams.map(move |(stream, producer)| EgressStreamMetrics { egress: id.clone(), stream, producer })
        };
        self.0.iter().flat_map(of_egress).collect()
    }

    fn given_up(&self) -> Vec<(TypeName, GivenUp)> {
        self.0.iter().map(|egress| (egress.id.clone(), egress.producers.given_up())).collect()
    }

    fn find(&self, id: &TypeName) -> Result<&Egress, EgressError> {
        let found = self.0.iter().find(|egress| egress.id == *id);
        found.ok_or_else(|| EgressError::Unknown { egress: id.clone() })
    }

    /// Sends records to the stream of an egress; see [`send_to`](Self::send_to).
    ///
    /// # Errors
    ///
    /// The same as [`send_to`](Self::send_to).
    pub async fn send(&self, egress: &TypeName, records: Vec<PutRecord>) -> Result<EgressReceipt, EgressError> {
        self.send_to(egress, None, records).await
    }

    /// Checks whether an egress accepts a record. If the egress skips records that fail or puts them into dead letters,
    /// it also accepts a record without a stream, or for a stream that is not allowed.
    ///
    /// # Errors
    ///
    /// When the module has no such egress; with `failedRecordHandling: {type: fail}` also when neither the record nor the
    /// egress names a stream, and when the record's stream is not in the egress' `allowedStreams`.
    pub fn check(&self, egress: &TypeName, stream: Option<&StreamRef>, record: &PutRecord) -> Result<(), EgressError> {
        let egress = self.find(egress)?;
        match stream.or(egress.own.as_ref()) {
            _ if !egress.fails => Ok(()),
            None => Err(EgressError::unsendable(&egress.id, Unsendable::NoStream(record.clone()))),
            Some(stream) if !egress.producers.allows(stream) => Err(EgressError::NotAllowed {
                egress: egress.id.clone(),
                stream: stream.clone(),
                partition_key: record.partition_key.clone(),
            }),
            Some(_) => Ok(()),
        }
    }

    /// Checks whether an egress accepts something that is not a valid record: it skips records that fail, or puts them
    /// into dead letters.
    ///
    /// # Errors
    ///
    /// When the module has no such egress, and when its `failedRecordHandling` is `fail`.
    pub fn check_invalid(&self, egress: &TypeName, invalid: &Unsendable) -> Result<(), EgressError> {
        let egress = self.find(egress)?;
        if egress.fails { Err(EgressError::unsendable(&egress.id, invalid.clone())) } else { Ok(()) }
    }

    /// Handles something that cannot be sent to any stream as the `failedRecordHandling` of the egress says: skips it or
    /// puts it into a dead letter. It is logged and counted.
    ///
    /// # Errors
    ///
    /// When the module has no such egress, when `failedRecordHandling` is `fail`, and when the dead letter could not be
    /// written.
    pub async fn give_up(&self, egress: &TypeName, record: Unsendable) -> Result<(), EgressError> {
        let egress = self.find(egress)?;
        match egress.producers.give_up(record.clone()).await {
            Handling::Skipped | Handling::DeadLettered => Ok(()),
            Handling::Failed => Err(EgressError::unsendable(&egress.id, record)),
        }
    }

    /// Sends records to the given stream, or else to the default stream of the egress, in order per partition key.
    ///
    /// It waits while the stream has its maximum of outstanding records, and returns when the new ones are accepted.
    /// The receipt resolves when they are stored.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check), and when a record can never be stored, for example because it is too large or
    /// the stream does not exist, and `failedRecordHandling` is `fail`. None of the records was accepted then. Without
    /// a stream they are [given up](Self::give_up).
    pub async fn send_to(
        &self,
        egress: &TypeName,
        stream: Option<&StreamRef>,
        records: Vec<PutRecord>,
    ) -> Result<EgressReceipt, EgressError> {
        let egress = self.find(egress)?;
        let Some(stream) = stream.or(egress.own.as_ref()) else {
            for record in records {
                self.give_up(&egress.id, Unsendable::NoStream(record)).await?;
            }
            return Ok(EgressReceipt { egress: egress.id.clone(), count: 0, bytes: 0, receipt: None });
        };
        let (count, bytes) = (records.len() as u64, records.iter().map(|record| record.data.len() as u64).sum());
        match egress.producers.send_all(stream, records).await {
            Ok(receipt) => Ok(EgressReceipt { egress: egress.id.clone(), count, bytes, receipt: Some(receipt) }),
            Err(source) => Err(EgressError::Refused { egress: egress.id.clone(), source }),
        }
    }

    /// Rejects records from now on, and sends accepted ones until the deadline. Returns the number of records that
    /// could not be sent by then, by stream.
    pub(crate) async fn close(&self, deadline: Instant) -> Vec<(StreamRef, usize)> {
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let closing = self.0.iter().map(|egress| async move {
            let mut unsent = egress.producers.close_within(left()).await;
            if let Some(dead_letters) = &egress.dead_letters {
                let letters = dead_letters.close_within(left()).await;
                unsent.extend((letters > 0).then(|| (dead_letters.stream().clone(), letters)));
            }
            unsent
        });
        futures::future::join_all(closing).await.concat()
    }
}

/// How an egress handles records that fail permanently, and the producer of its dead letters.
async fn on_failure_of(
    spec: &EgressSpec,
    clients: &dyn Clients,
) -> Result<(OnFailure, Option<Producer>), Arc<ProducerError>> {
    Ok(match &spec.failed_records.given_up {
        InvalidRecordHandling::Fail => (OnFailure::Fail, None),
        InvalidRecordHandling::Skip { log } => (OnFailure::Skip { log: *log }, None),
        InvalidRecordHandling::DeadLetter { stream, log } => {
            let client = clients.client(stream).await;
            let client = client.map_err(|source| ProducerError::NoClient { stream: stream.clone(), source })?;
            let to = Producer::builder(client, stream.clone()).build().await?;
            (OnFailure::DeadLetter { to: to.clone(), log: *log }, Some(to))
        }
    })
}

/// The default stream of an egress, and a builder of its producers.
///
/// It names each field of the model, so that a new field does not compile until somebody decides what it does here. The
/// clients were made from region, credentials and `client`.
fn producers_of(spec: &EgressSpec, clients: Arc<dyn Clients>) -> (Option<StreamRef>, ProducersBuilder) {
    let EgressSpec {
        id,
        region: _,
        credentials: _,
        stream_name,
        allowed_streams,
        max_outstanding_records,
        order,
        aggregation,
        failed_records: FailedRecordHandling { given_up: _, max_attempts, timeout },
        client: _,
        client_properties: _,
    } = spec;
    let own = stream_name.clone().map(StreamRef::Name);
    let default = Settings::default();
    let settings = Settings {
        max_outstanding_records: *max_outstanding_records,
        order: match order {
            EgressOrder::PerPartitionKey => Order::PerPartitionKey,
            EgressOrder::None => Order::None,
        },
        aggregation: aggregation.map(aggregation_of),
        max_attempts: *max_attempts,
        give_up_after: timeout.unwrap_or(default.give_up_after),
        ..default
    };
    let mut builder = Producers::builder(clients).settings(settings).egress(id.clone());
    if let Some(allowed) = allowed_streams {
        builder = builder.allow(allowed.iter().chain(&own).cloned());
    }
    (own, builder)
}

/// The module's settings of aggregation, with the producer's defaults for those that are not set.
fn aggregation_of(AggregationSpec { max_bytes, max_records }: AggregationSpec) -> Aggregation {
    let default = Aggregation::default();
    Aggregation {
        max_bytes: max_bytes.unwrap_or(default.max_bytes),
        max_records: max_records.unwrap_or(default.max_records),
    }
}

/// Metrics of a router's egresses, which can be read while the router runs. It does not keep the run alive, and is
/// empty after the run.
#[derive(Clone, Debug)]
pub struct EgressMetrics(Weak<Run>);

impl EgressMetrics {
    pub(crate) fn new(run: &Arc<Run>) -> Self {
        Self(Arc::downgrade(run))
    }

    /// Returns the current metrics of each stream that an egress has written, in the order of the module's egresses.
    pub fn snapshot(&self) -> Vec<EgressStreamMetrics> {
        self.0.upgrade().map_or_else(Vec::new, |run| run.egresses.metrics())
    }

    /// The records that each egress gave up before they reached a stream, in the order of the module's egresses.
    pub fn given_up(&self) -> Vec<(TypeName, GivenUp)> {
        self.0.upgrade().map_or_else(Vec::new, |run| run.egresses.given_up())
    }
}

/// A snapshot of the metrics of one stream of an egress. Records of dead-letter streams are not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EgressStreamMetrics {
    /// The egress.
    pub egress: TypeName,
    /// The stream.
    pub stream: StreamArn,
    /// The metrics of its producer.
    pub producer: Metrics,
}

/// Resolves when records that an egress accepted are stored.
#[derive(Debug)]
#[must_use = "records whose receipt is dropped may be lost without notice"]
pub struct EgressReceipt {
    egress: TypeName,
    count: u64,
    bytes: u64,
    /// `None` when all records were given up already.
    receipt: Option<BatchReceipt>,
}

impl EgressReceipt {
    /// Waits until all the records are stored, and returns their number and the bytes of their payloads. Records that
    /// the egress skipped or put into a dead-letter stream do not count.
    ///
    /// # Errors
    ///
    /// When one of them could not be stored.
    pub async fn stored(self) -> Result<(u64, u64), EgressError> {
        let Some(receipt) = self.receipt else { return Ok((0, 0)) };
        match receipt.await {
            Ok(delivered) => {
                let given_up = delivered.handled();
                let bytes = given_up.iter().map(|(_, error)| (error.size() - error.key().size()) as u64).sum::<u64>();
                Ok((self.count - given_up.len() as u64, self.bytes - bytes))
            }
            Err(source) => Err(EgressError::NotStored { egress: self.egress, source }),
        }
    }
}

/// Why records were not accepted or not stored.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// No egress of the module has that name.
    #[error("the module has no egress {egress}")]
    Unknown {
        /// The name.
        egress: TypeName,
    },
    /// Something was sent that cannot become a record of any stream: it is not a valid record, or names no stream while
    /// the egress has no default stream either.
    #[error("egress {egress} cannot send a record")]
    Unsendable {
        /// The egress.
        egress: TypeName,
        /// What it got, and what is wrong with it.
        source: Box<Unsendable>,
    },
    /// A record names a stream that its egress may not write. Nothing was sent.
    #[error(
        "a record with the key {partition_key} is for {stream}, which allowedStreams of egress {egress} does not list"
    )]
    NotAllowed {
        /// The egress.
        egress: TypeName,
        /// The stream that the record names.
        stream: StreamRef,
        /// The record's partition key.
        partition_key: PartitionKey,
    },
    /// A record can never be stored, or the egress is closed. Nothing was sent.
    #[error("egress {egress} rejected a record")]
    Refused {
        /// The egress.
        egress: TypeName,
        /// The cause.
        source: SendError,
    },
    /// A record was sent but could not be stored.
    #[error("egress {egress} could not store a record")]
    NotStored {
        /// The egress.
        egress: TypeName,
        /// The cause.
        source: SendError,
    },
}

impl EgressError {
    fn unsendable(egress: &TypeName, source: Unsendable) -> Self {
        Self::Unsendable { egress: egress.clone(), source: source.into() }
    }

    /// Whether a record is at fault, and not the name of an egress. Then the `failedRecordHandling` of the egress decides
    /// what happens, and `fail` ends the run.
    pub fn is_about_record(&self) -> bool {
        match self {
            Self::Unsendable { .. } | Self::NotAllowed { .. } | Self::Refused { .. } | Self::NotStored { .. } => true,
            Self::Unknown { .. } => false,
        }
    }

    /// Whether the egress was closed before the record was stored.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Refused { source, .. } | Self::NotStored { source, .. } => matches!(source.reason(), Reason::Closed),
            Self::Unknown { .. } | Self::Unsendable { .. } | Self::NotAllowed { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_client::{KinesisAdmin as _, KinesisClient};
    use statefun_kinesis_fake::FakeKinesis;
    use statefun_kinesis_spec::assert_fields_arrive;

    use super::*;

    /// Fields that make the client, which the router gets from the program.
    const OF_CLIENTS: [&str; 3] = ["awsRegion", "awsCredentials", "clientConfigProperties"];

    /// Each field of an egress changes its producers.
    #[test]
    fn each_field_of_an_egress_arrives() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        assert_fields_arrive(
            "io.statefun.kinesis.v1/egress",
            |path| OF_CLIENTS.contains(&path[0]),
            |module| {
                let spec = &module.egresses[0];
                runtime.block_on(async {
                    let kinesis = FakeKinesis::new();
                    if let InvalidRecordHandling::DeadLetter { stream, .. } = &spec.failed_records.given_up {
                        kinesis.create_stream(&stream.name(), 1).await.unwrap();
                    }
                    let clients: Arc<dyn Clients> = Arc::new(Arc::new(kinesis) as Arc<dyn KinesisClient>);
                    let (on_failure, _) = on_failure_of(spec, &*clients).await.unwrap();
                    let (own, builder) = producers_of(spec, clients);
                    format!("{own:#?} {:#?}", builder.on_failure(on_failure))
                })
            },
        );
    }
}
