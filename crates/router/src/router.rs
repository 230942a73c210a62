use std::{sync::Arc, time::Duration};

use statefun_kinesis_client::{Clock, InstantExt as _, KinesisClient, SystemClock};
use statefun_kinesis_consumer::Metrics;
use statefun_kinesis_producer::Clients;
use statefun_kinesis_spec::EgressSpec;
use statefun_kinesis_types::TypeName;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    BuildError, EgressMetrics, Egresses, Functions, Ingress, Progress, RunError, RunHandle, lane::Lane, run::Run,
};

/// What is needed to build a [`Router`].
#[derive(Debug)]
pub struct RouterBuilder {
    functions: Arc<dyn Functions>,
    ingresses: Vec<Ingress>,
    egresses: Vec<(EgressSpec, Arc<dyn Clients>)>,
    clock: Arc<dyn Clock>,
    drain: Duration,
}

impl RouterBuilder {
    /// How long a stopping router waits for what is in hand, unless told otherwise.
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

    /// How long a stopping router waits for what is in hand. What is not done by then counts as not processed.
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
            lanes.push(Lane::open(ingress, &self.clock, &stop_reading).await?);
        }
        let positions = lanes.iter().map(Lane::positions).collect();
        let run = Arc::new(Run::new(egresses, self.clock, positions, stop_reading));
        Ok(Router { functions: self.functions, lanes, run, drain: self.drain })
    }
}

/// The engine: it reads ingresses, routes their records to functions, and writes what these send to egresses.
#[derive(Debug)]
pub struct Router {
    functions: Arc<dyn Functions>,
    lanes: Vec<Lane>,
    run: Arc<Run>,
    drain: Duration,
}

impl Router {
    /// A router for these functions.
    pub fn builder(functions: Arc<dyn Functions>) -> RouterBuilder {
        RouterBuilder {
            functions,
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

    /// Runs until `shutdown` is cancelled, or until every stream has ended.
    ///
    /// Stopping means: reading ends, what is in hand is finished and flushed within the deadline, positions are saved.
    /// What is not finished by then is read again after the next start. Dropping the future ends everything at once.
    ///
    /// # Errors
    ///
    /// What made going on impossible, first come. What was in hand and did not depend on it was finished.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self { functions, lanes, run, drain } = self;
        functions.begin(RunHandle::new(Arc::clone(&run)));
        let lanes = futures::future::join_all(lanes.into_iter().map(|lane| lane.drive(&*functions, &run)));
        tokio::pin!(lanes);
        let mut ended = None;
        tokio::select! {
            lanes = &mut lanes => ended = Some(lanes),
            () = shutdown.cancelled() => run.stop_reading.cancel(),
            () = run.stop_reading.cancelled() => {}
        }
        let deadline = Instant::now().saturating_add(drain);
        let lanes = match ended {
            Some(lanes) => lanes,
            None => match timeout_at(deadline, &mut lanes).await {
                Ok(lanes) => lanes,
                Err(_) => {
                    // Functions take nothing more: what they were offered last counts as not processed.
                    run.give_up.cancel();
                    lanes.await
                }
            },
        };
        run.in_hand.close();
        if timeout_at(deadline, run.in_hand.wait()).await.is_err() {
            warn!(deliveries = run.in_hand.len(), "not everything in hand was finished in time; it will be read again");
        }
        for (stream, records) in run.egresses.close(deadline).await {
            warn!(%stream, records, "not every record reached its egress in time; what they came of will be read again");
        }
        for lane in lanes {
            if let Err(error) = lane.close().await {
                run.fail(error);
            }
        }
        if let Err(error) = functions.close().await {
            run.fail(RunError::Functions(error));
        }
        run.take_error().map_or(Ok(()), Err)
    }
}
