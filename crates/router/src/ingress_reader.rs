//! Reads one ingress.

use std::sync::Arc;

use statefun_kinesis_client::Clock;
use statefun_kinesis_consumer::{
    Acknowledgement, Batch, Consumer, ConsumerBuilder, ConsumerError, FanOut, InvalidKind, Metrics, Positions, Settings,
};
use statefun_kinesis_module::{
    ConsumerLifecycle, ConsumerSpec, IngressSpec, OutOfRangeRecords, RecordMetadata, StreamRoute,
};
use statefun_kinesis_types::{ErrorChain, Record, ShardId, StreamArn, TypeName};
use tokio_util::sync::CancellationToken;

use crate::{
    BuildError, Deserializer, Ingress, MessageCollector, RoutedBatch, RoutingTable, RunError, functions::Delivery,
    handler::Kind, run::Run,
};

/// Reads an ingress and delivers its records, with a consumer and routes.
#[derive(Debug)]
pub(crate) struct IngressReader {
    ingress: TypeName,
    consumer: Consumer,
    /// Set until the run begins, and only if the handler commits positions.
    positions: Option<Positions>,
    routes: RoutingTable,
    deserializer: Option<Arc<dyn Deserializer>>,
    record_metadata: RecordMetadata,
}

impl IngressReader {
    pub(crate) async fn open(
        ingress: Ingress,
        handler: &Kind,
        clock: &Arc<dyn Clock>,
        stop_reading: &CancellationToken,
    ) -> Result<Self, BuildError> {
        let (spec, deserializer) = (ingress.spec.clone(), ingress.deserializer.clone());
        let builder = consumer_of(ingress)?.clock(Arc::clone(clock)).shutdown(stop_reading.clone());
        let built = match handler {
            Kind::Stateless(stateless) => {
                builder.checkpoints(stateless.checkpoints_of(&spec.id)).build().await.map(|consumer| (consumer, None))
            }
            Kind::Stateful(handler) => {
                let built = builder.build_with_positions(handler.positions(&spec.id)).await;
                built.map(|(consumer, positions)| (consumer, Some(positions)))
            }
        };
        let (consumer, positions) = built.map_err(|source| BuildError::Ingress { ingress: spec.id.clone(), source })?;
        let routes = RoutingTable::new(&spec, consumer.streams())?;
        let record_metadata = spec.record_metadata;
        Ok(Self { ingress: spec.id, consumer, positions, routes, deserializer, record_metadata })
    }

    pub(crate) fn metrics(&self) -> (TypeName, Metrics) {
        (self.ingress.clone(), self.consumer.metrics().clone())
    }

    /// Takes the positions of the ingress for a handler that commits them. `None` if there are none to take.
    pub(crate) fn take_positions(&mut self) -> Option<(TypeName, Positions)> {
        Some((self.ingress.clone(), self.positions.take()?))
    }

    /// Reads until reading ends. Returns itself, so that it can be closed.
    pub(crate) async fn drive(mut self, handler: &Kind, run: &Arc<Run>) -> Self {
        while let Some(read) = self.consumer.next().await
            && !run.stop_delivering.is_cancelled()
        {
            let delivered = match read {
                Ok(batch) => tokio::select! {
                    delivered = self.deliver(batch, handler, run) => delivered,
                    () = run.stop_delivering.cancelled() => Ok(()),
                },
                Err(source) => Err(self.failed(source)),
            };
            if let Err(error) = delivered {
                run.fail(error);
                break;
            }
        }
        self
    }

    /// Closes the consumer: stores dead letters in flight, and saves positions that the handler does not commit.
    pub(crate) async fn close(self) -> Result<(), RunError> {
        let ingress = self.ingress;
        self.consumer.close().await.map_err(|source| failed(&ingress, source))
    }

    async fn deliver(&self, batch: Batch, handler: &Kind, run: &Arc<Run>) -> Result<(), RunError> {
        let (origin, records, acknowledgement) = batch.into_parts();
        let bytes = records.iter().map(|record| record.data.len() as u64).sum();
        run.progress.read(records.len() as u64, bytes);
        let (stream, shard) = (origin.stream().clone(), origin.shard().clone());
        let (routed, rejected) = match &self.deserializer {
            Some(deserializer) => self.deserialize(&**deserializer, stream, shard, records),
            None => self.route(stream, shard, records)?,
        };
        for (record, kind, message) in rejected {
            self.reject(&acknowledgement, &record, kind, message).await?;
            run.progress.rejected();
        }
        if routed.records().is_empty() {
            acknowledgement.done();
            return Ok(());
        }
        run.progress.routed(routed.message_count() as u64);
        let taken = match handler {
            Kind::Stateless(stateless) => {
                stateless.functions.deliver(Delivery::new(routed, acknowledgement, Arc::clone(run))).await
            }
            Kind::Stateful(handler) => handler.take(routed, acknowledgement).await,
        };
        taken.map_err(RunError::Functions)
    }

    /// Addresses records by their partition keys.
    fn route(
        &self,
        stream: StreamArn,
        shard: ShardId,
        records: Vec<Record>,
    ) -> Result<(RoutedBatch, Vec<Rejected>), RunError> {
        let Some(route) = self.routes.get(&stream) else {
            return Err(RunError::NoRoute { ingress: self.ingress.clone(), stream });
        };
        let (routed, keyless) = RoutedBatch::route(Arc::clone(route), shard, records);
        let message = "it has no partition key, and therefore no address";
        let reject = |record| (record, InvalidKind::MissingPartitionKey, message.to_owned());
        Ok((routed, keyless.into_iter().map(reject).collect()))
    }

    /// Makes messages of records with the deserializer.
    fn deserialize(
        &self,
        deserializer: &dyn Deserializer,
        stream: StreamArn,
        shard: ShardId,
        records: Vec<Record>,
    ) -> (RoutedBatch, Vec<Rejected>) {
        let (mut kept, mut rejected) = (Vec::with_capacity(records.len()), Vec::new());
        let mut messages = MessageCollector::default();
        for record in records {
            match messages.collect(kept.len(), |out| deserializer.deserialize(&stream, &shard, &record, out)) {
                Ok(()) => kept.push(record),
                Err(error) => rejected.push((record, InvalidKind::Undecodable, ErrorChain(&error).to_string())),
            }
        }
        let ingress = self.ingress.clone();
        (RoutedBatch::deserialized(ingress, stream, shard, kept, self.record_metadata, messages), rejected)
    }

    async fn reject(
        &self,
        batch: &Acknowledgement,
        record: &Record,
        kind: InvalidKind,
        message: String,
    ) -> Result<(), RunError> {
        batch.reject(record, kind, message).await.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: ConsumerError) -> RunError {
        failed(&self.ingress, source)
    }
}

/// A record that cannot become messages, with the reason.
type Rejected = (Record, InvalidKind, String);

fn failed(ingress: &TypeName, source: ConsumerError) -> RunError {
    if let ConsumerError::InvalidRecord(record) = source {
        return RunError::InvalidRecord(record);
    }
    RunError::Ingress { ingress: ingress.clone(), source }
}

/// A builder of the consumer of an ingress.
///
/// It names each field of the model, except those of the routes in [`RoutingTable::new`] and the metadata of messages, so that a new field does not
/// compile until somebody decides what it does here. The clients were made from region, credentials and `client`.
fn consumer_of(ingress: Ingress) -> Result<ConsumerBuilder, BuildError> {
    let Ingress { spec, client, fan_out, dead_letters, deserializer: _, settings } = ingress;
    let IngressSpec {
        id,
        region: _,
        credentials: _,
        startup,
        streams,
        consumer,
        invalid_records,
        out_of_range_records,
        record_metadata: _,
        client: _,
        client_properties: _,
    } = spec;
    let mut builder = Consumer::builder(client)
        .start(startup)
        .settings(settings_of(&consumer, out_of_range_records, settings))
        .invalid_records(invalid_records);
    if let Some(consumer) = fan_out_of(&consumer) {
        let Some(client) = fan_out else { return Err(BuildError::NoFanOut { ingress: id }) };
        builder = builder.fan_out(client, consumer);
    }
    if let Some(client) = dead_letters {
        builder = builder.dead_letters(client);
    }
    for StreamRoute { stream, invalid_records, value_type: _, targets: _ } in streams {
        if let Some(handling) = invalid_records {
            builder = builder.invalid_records_of(stream.clone(), handling);
        }
        builder = builder.stream(stream);
    }
    Ok(builder)
}

fn fan_out_of(consumer: &ConsumerSpec) -> Option<FanOut> {
    match consumer {
        ConsumerSpec::EnhancedFanOut { name, lifecycle: ConsumerLifecycle::Given, .. } => {
            Some(FanOut::given(name.clone()))
        }
        ConsumerSpec::EnhancedFanOut { name, lifecycle: ConsumerLifecycle::Managed, .. } => {
            Some(FanOut::managed(name.clone()))
        }
        ConsumerSpec::Polling { .. } => None,
    }
}

/// The consumer settings, with those of the module file applied.
fn settings_of(consumer: &ConsumerSpec, out_of_range: OutOfRangeRecords, mut settings: Settings) -> Settings {
    settings.keep_out_of_range_records |= match out_of_range {
        OutOfRangeRecords::Skip => false,
        OutOfRangeRecords::Keep => true,
    };
    let discovery = match consumer {
        ConsumerSpec::Polling { max_records, idle_interval, discovery_interval } => {
            if let Some(records) = max_records {
                settings.max_records_per_call = records.get() as usize;
            }
            if let Some(interval) = idle_interval {
                (settings.poll_idle_min, settings.poll_idle_max) = (*interval, *interval);
            }
            discovery_interval
        }
        ConsumerSpec::EnhancedFanOut { discovery_interval, .. } => discovery_interval,
    };
    if let Some(interval) = discovery {
        settings.discovery_interval = *interval;
    }
    settings
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_fake::FakeKinesis;
    use statefun_kinesis_spec::assert_fields_arrive;

    use super::*;

    /// Fields that make the client, which the router gets from the program.
    const OF_CLIENTS: [&str; 3] = ["awsRegion", "awsCredentials", "clientConfigProperties"];

    /// Each field of an ingress changes its consumer or its routes.
    #[test]
    fn each_field_of_an_ingress_arrives() {
        assert_fields_arrive(
            "io.statefun.kinesis.v1/ingress",
            |path| OF_CLIENTS.contains(&path[0]),
            |module| {
                let spec = module.ingresses[0].clone();
                let stream = "arn:aws:kinesis:us-east-1:123456789012:stream/other-stream".parse().unwrap();
                let routes = RoutingTable::new(&spec, &[stream]).unwrap();
                let kinesis = Arc::new(FakeKinesis::new());
                let ingress = Ingress::new(spec, Arc::clone(&kinesis) as Arc<_>).fan_out(kinesis);
                format!("{:#?} {routes:#?}", consumer_of(ingress).unwrap())
            },
        );
    }
}
