use std::{sync::Arc, time::Duration};

use statefun_kinesis_client::{Clock, InstantExt as _, KinesisClient, SystemClock};
use statefun_kinesis_consumer::Metrics;
use statefun_kinesis_module::EgressSpec;
use statefun_kinesis_producer::Clients;
use statefun_kinesis_types::TypeName;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{
    BuildError, EgressMetrics, Egresses, Handler, Ingress, Progress, RunError, RunHandle, Unfinished, handler::Kind,
    ingress_reader::IngressReader, run::Run,
};

/// How long a run waits for requests in flight when it ends because of an error, or with a durable handler.
pub(crate) const FAST_STOP: Duration = Duration::from_secs(1);

/// Builds a [`Router`].
#[derive(Debug)]
pub struct RouterBuilder {
    handler: Kind,
    ingresses: Vec<Ingress>,
    egresses: Vec<(EgressSpec, Arc<dyn Clients>)>,
    clock: Arc<dyn Clock>,
    drain: Duration,
}

impl RouterBuilder {
    /// The default of [`drain`](Self::drain).
    pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

    /// Adds an ingress.
    #[must_use]
    pub fn ingress(mut self, ingress: Ingress) -> Self {
        self.ingresses.push(ingress);
        self
    }

    /// Adds an egress. All its streams are written through this client.
    #[must_use]
    pub fn egress(self, spec: EgressSpec, client: Arc<dyn KinesisClient>) -> Self {
        self.egress_through(spec, client)
    }

    /// Adds an egress. Each of its streams is written through the client that `clients` returns for it.
    #[must_use]
    pub fn egress_through(mut self, spec: EgressSpec, clients: impl Clients) -> Self {
        self.egresses.push((spec, Arc::new(clients)));
        self
    }

    /// Sets the clock for the time of day. Default: the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the longest time that a stopping router waits for in-flight records. Records that are not done by then
    /// count as not processed. Default: 30 s. Durable handlers do not need the wait and get at most one second.
    #[must_use]
    pub fn drain(mut self, deadline: Duration) -> Self {
        self.drain = deadline;
        self
    }

    /// Connects to all streams. Reading starts with [`Router::run`], but the startup position `latest` means the time
    /// of this call.
    ///
    /// # Errors
    ///
    /// When a stream does not exist or access is denied. Nothing was read or written then.
    pub async fn build(self) -> Result<Router, BuildError> {
        let mut egresses = Egresses::new();
        for (spec, clients) in self.egresses {
            let connected = egresses.connect(&spec, clients).await;
            connected.map_err(|source| BuildError::Egress { egress: spec.id.clone(), source })?;
        }
        let stop_reading = CancellationToken::new();
        let mut readers = Vec::with_capacity(self.ingresses.len());
        for ingress in self.ingresses {
            readers.push(IngressReader::open(ingress, &self.handler, &self.clock, &stop_reading).await?);
        }
        let run = Arc::new(Run::new(egresses, self.clock, stop_reading));
        Ok(Router { handler: self.handler, readers, run, drain: self.drain })
    }
}

/// Reads ingresses, routes their records to functions, and writes what functions send to egresses.
#[derive(Debug)]
pub struct Router {
    handler: Kind,
    readers: Vec<IngressReader>,
    run: Arc<Run>,
    drain: Duration,
}

impl Router {
    /// Returns a builder of a router with this handler: [`Stateless`](crate::Stateless) functions, also as a plain
    /// `Arc`, or a [`StatefulHandler`](crate::StatefulHandler) in a [`Handler::stateful`].
    pub fn builder(handler: impl Into<Handler>) -> RouterBuilder {
        RouterBuilder {
            handler: handler.into().0,
            ingresses: Vec::new(),
            egresses: Vec::new(),
            clock: Arc::new(SystemClock),
            drain: RouterBuilder::DEFAULT_DRAIN,
        }
    }

    /// Counters of the router, which can be read while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.run.progress)
    }

    /// Metrics of the ingresses' consumers, by call and by shard. They can be read while the router runs and
    /// afterwards.
    pub fn consumer_metrics(&self) -> Vec<(TypeName, Metrics)> {
        self.readers.iter().map(IngressReader::metrics).collect()
    }

    /// Metrics of the egresses' producers, by stream. They can be read while the router runs.
    pub fn egress_metrics(&self) -> EgressMetrics {
        EgressMetrics::new(&self.run)
    }

    /// Runs until `shutdown` is cancelled, or until every stream has ended. Returns the work that could not be
    /// finished; after an orderly stop that is empty.
    ///
    /// A stop first ends reading. With a durable handler the run then commits and returns within a second or two,
    /// whatever functions do. Otherwise in-flight records are processed and flushed within the
    /// [deadline](RouterBuilder::drain), and positions are saved. The next start reads unfinished records again.
    /// Dropping the future ends everything at once.
    ///
    /// # Errors
    ///
    /// The first error that ends the run. Other in-flight records get one second to finish.
    pub async fn run(self, shutdown: CancellationToken) -> Result<Unfinished, RunError> {
        let Self { handler, mut readers, run, drain } = self;
        let handle = RunHandle::new(Arc::clone(&run));
        match &handler {
            Kind::Stateless(stateless) => stateless.functions.begin(handle),
            Kind::Stateful(handler) => {
                handler.begin(handle, readers.iter_mut().filter_map(IngressReader::take_positions).collect());
            }
        }
        let readers = futures::future::join_all(readers.into_iter().map(|reader| reader.drive(&handler, &run)));
        tokio::pin!(readers);
        let mut ended = None;
        tokio::select! {
            readers = &mut readers => ended = Some(readers),
            () = shutdown.cancelled() => run.stop_reading.cancel(),
            () = run.stop_reading.cancelled() => {}
        }
        let drain = if handler.is_durable() { drain.min(FAST_STOP) } else { drain };
        let deadline = Instant::now().saturating_add(drain);
        if handler.is_durable() {
            run.stop_delivering.cancel();
        }
        let readers = match ended {
            Some(readers) => readers,
            None => match run.within(deadline, &mut readers).await {
                Some(readers) => readers,
                None => {
                    run.stop_delivering.cancel();
                    readers.await
                }
            },
        };
        let mut unfinished = Unfinished::default();
        match &handler {
            Kind::Stateless(_) => {
                run.in_flight.close();
                if run.within(deadline, run.in_flight.wait()).await.is_none() {
                    unfinished.records = run.progress.unfinished();
                }
            }
            // The handler returns its unfinished work from `close`.
            Kind::Stateful(handler) => drop(run.within(deadline, handler.stop(deadline)).await),
        }
        let deadline = run.shortened(deadline);
        let unsent = run.egresses.close(deadline).await;
        for reader in readers {
            let closed = match &handler {
                Kind::Stateless(_) => reader.close().await,
                // A reader that is not closed in time may be dropped, because the handler has the positions.
                Kind::Stateful(_) => {
                    timeout_at(deadline.saturating_add(FAST_STOP), reader.close()).await.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = closed {
                run.fail(error);
            }
        }
        let closed = match &handler {
            Kind::Stateless(stateless) => {
                unfinished.egress_records =
                    unsent.into_iter().map(|(stream, records)| (stream, records as u64)).collect();
                stateless.functions.close().await
            }
            // The handler counts its unsent records for egresses itself.
            Kind::Stateful(handler) => handler.close().await.map(|of_handler| unfinished = of_handler),
        };
        if let Err(error) = closed {
            run.fail(RunError::Functions(error));
        }
        run.take_error().map_or(Ok(unfinished), Err)
    }
}
