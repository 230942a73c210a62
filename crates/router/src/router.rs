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
    lane::Lane, run::Run,
};

/// How long a run that ends at once waits for answers that are on their way.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);

/// What is needed to build a [`Router`].
#[derive(Debug)]
pub struct RouterBuilder {
    handler: Kind,
    ingresses: Vec<Ingress>,
    egresses: Vec<(EgressSpec, Arc<dyn Clients>)>,
    clock: Arc<dyn Clock>,
    drain: Duration,
}

impl RouterBuilder {
    /// How long a stopping router waits for in-flight records by default.
    pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

    /// Reads this ingress too.
    #[must_use]
    pub fn ingress(mut self, ingress: Ingress) -> Self {
        self.ingresses.push(ingress);
        self
    }

    /// Offers this egress to functions. All its streams are written through this client.
    #[must_use]
    pub fn egress(self, spec: EgressSpec, client: Arc<dyn KinesisClient>) -> Self {
        self.egress_through(spec, client)
    }

    /// Offers this egress to functions. Each of its streams is written through the client that these have for it.
    #[must_use]
    pub fn egress_through(mut self, spec: EgressSpec, clients: impl Clients) -> Self {
        self.egresses.push((spec, Arc::new(clients)));
        self
    }

    /// Takes the time of day from there; the machine's clock otherwise.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How long a stopping router waits for in-flight records at most. What is not done by then counts as not processed.
    /// Default: 30 s. Handlers that are durable need no such wait, and get a second at most.
    #[must_use]
    pub fn drain(mut self, deadline: Duration) -> Self {
        self.drain = deadline;
        self
    }

    /// Connects to all streams. Reading starts with [`Router::run`], but a `latest` startup position means now.
    ///
    /// # Errors
    ///
    /// When a stream is not there or may not be used. Nothing was read or written then.
    pub async fn build(self) -> Result<Router, BuildError> {
        let mut egresses = Egresses::new();
        for (spec, clients) in self.egresses {
            let connected = egresses.connect(&spec, clients).await;
            connected.map_err(|source| BuildError::Egress { egress: spec.id.clone(), source })?;
        }
        let stop_reading = CancellationToken::new();
        let mut lanes = Vec::with_capacity(self.ingresses.len());
        for ingress in self.ingresses {
            lanes.push(Lane::open(ingress, &self.handler, &self.clock, &stop_reading).await?);
        }
        let run = Arc::new(Run::new(egresses, self.clock, stop_reading));
        Ok(Router { handler: self.handler, lanes, run, drain: self.drain })
    }
}

/// The engine: it reads ingresses, routes their records to functions, and writes what these send to egresses.
#[derive(Debug)]
pub struct Router {
    handler: Kind,
    lanes: Vec<Lane>,
    run: Arc<Run>,
    drain: Duration,
}

impl Router {
    /// A router that gives messages to this handler: [`Stateless`](crate::Stateless) functions, also as a plain `Arc`,
    /// or a [`StatefulHandler`](crate::StatefulHandler) as a [`Handler::stateful`].
    pub fn builder(handler: impl Into<Handler>) -> RouterBuilder {
        RouterBuilder {
            handler: handler.into().0,
            ingresses: Vec::new(),
            egresses: Vec::new(),
            clock: Arc::new(SystemClock),
            drain: RouterBuilder::DEFAULT_DRAIN,
        }
    }

    /// What the router has done so far; it can be looked at while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.run.progress)
    }

    /// What the consumers of the ingresses have done so far, call by call and shard by shard; it can be looked at while
    /// the router runs and afterwards.
    pub fn consumer_metrics(&self) -> Vec<(TypeName, Metrics)> {
        self.lanes.iter().map(Lane::metrics).collect()
    }

    /// What the producers of the egresses have done so far, stream by stream; it can be looked at while the router runs.
    pub fn egress_metrics(&self) -> EgressMetrics {
        EgressMetrics::new(&self.run)
    }

    /// Runs until `shutdown` is cancelled, or until every stream has ended. Gives what could not be finished, which is
    /// nothing after an orderly stop.
    ///
    /// Stopping ends reading. With a durable handler the run then commits and returns, within a second or two, whatever
    /// functions do. Otherwise in-flight records are finished and flushed within the [deadline](RouterBuilder::drain), and
    /// positions are saved. What is not finished by then is read again after the next start. Dropping the future ends
    /// everything at once.
    ///
    /// # Errors
    ///
    /// The first error that made it impossible to go on. It ends the run at once: other in-flight records have a second
    /// to be finished.
    pub async fn run(self, shutdown: CancellationToken) -> Result<Unfinished, RunError> {
        let Self { handler, mut lanes, run, drain } = self;
        let handle = RunHandle::new(Arc::clone(&run));
        match &handler {
            Kind::Stateless(stateless) => stateless.functions.begin(handle),
            Kind::Stateful(handler) => {
                handler.begin(handle, lanes.iter_mut().filter_map(Lane::take_positions).collect());
            }
        }
        let lanes = futures::future::join_all(lanes.into_iter().map(|lane| lane.drive(&handler, &run)));
        tokio::pin!(lanes);
        let mut ended = None;
        tokio::select! {
            lanes = &mut lanes => ended = Some(lanes),
            () = shutdown.cancelled() => run.stop_reading.cancel(),
            () = run.stop_reading.cancelled() => {}
        }
        let drain = if handler.is_durable() { drain.min(AT_ONCE) } else { drain };
        let deadline = Instant::now().saturating_add(drain);
        if handler.is_durable() {
            run.stop_delivering.cancel();
        }
        let lanes = match ended {
            Some(lanes) => lanes,
            None => match run.within(deadline, &mut lanes).await {
                Some(lanes) => lanes,
                None => {
                    run.stop_delivering.cancel();
                    lanes.await
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
            // It returns what is not finished when it is closed.
            Kind::Stateful(handler) => drop(run.within(deadline, handler.stop(deadline)).await),
        }
        let deadline = run.shortened(deadline);
        let unsent = run.egresses.close(deadline).await;
        for lane in lanes {
            let closed = match &handler {
                Kind::Stateless(_) => lane.close().await,
                // What is not closed in time costs nothing: the handler has the positions.
                Kind::Stateful(_) => timeout_at(deadline.saturating_add(AT_ONCE), lane.close()).await.unwrap_or(Ok(())),
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
            // It knows of its records for egresses, too.
            Kind::Stateful(handler) => handler.close().await.map(|of_handler| unfinished = of_handler),
        };
        if let Err(error) = closed {
            run.fail(RunError::Functions(error));
        }
        run.take_error().map_or(Ok(unfinished), Err)
    }
}
