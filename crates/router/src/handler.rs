use std::{fmt, sync::Arc};

use async_trait::async_trait;
use statefun_kinesis_client::{CheckpointStore, PositionStore};
use statefun_kinesis_consumer::{Acknowledgement, MemoryCheckpoints, Positions};
use statefun_kinesis_types::TypeName;
use tokio::time::Instant;

use crate::{FunctionError, Functions, RoutedBatch, RunHandle, Unfinished};

/// The handler of a [`Router`](crate::Router)'s messages, and the store of its positions.
///
/// There are two kinds, and each has its own way to be durable. [`Stateless`] functions complete each delivery, and the
/// consumer then saves its position. A [`StatefulHandler`] commits positions together with the effects of the records.
#[derive(Clone, Debug)]
pub struct Handler(pub(crate) Kind);

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Stateless(Stateless),
    Stateful(Arc<dyn StatefulHandler>),
}

impl Kind {
    /// Whether messages that were taken survive the process.
    pub(crate) fn is_durable(&self) -> bool {
        match self {
            Self::Stateless(_) => false,
            Self::Stateful(handler) => handler.is_durable(),
        }
    }
}

impl Handler {
    /// Creates a handler that keeps positions in its own store.
    pub fn stateful(handler: Arc<dyn StatefulHandler>) -> Self {
        Self(Kind::Stateful(handler))
    }
}

impl From<Stateless> for Handler {
    fn from(stateless: Stateless) -> Self {
        Self(Kind::Stateless(stateless))
    }
}

impl<F: Functions> From<Arc<F>> for Handler {
    /// Creates stateless functions with positions in memory.
    fn from(functions: Arc<F>) -> Self {
        Stateless::new(functions).into()
    }
}

/// Returns the store for the positions of an ingress.
type Checkpoints = dyn Fn(&TypeName) -> Arc<dyn CheckpointStore> + Send + Sync;

/// Functions without state, and the stores of their positions.
#[derive(Clone)]
pub struct Stateless {
    pub(crate) functions: Arc<dyn Functions>,
    checkpoints: Arc<Checkpoints>,
}

impl Stateless {
    /// Creates a handler with positions in memory: each start begins at the startup position.
    pub fn new(functions: Arc<dyn Functions>) -> Self {
        Self { functions, checkpoints: Arc::new(|_| Arc::new(MemoryCheckpoints::new())) }
    }

    /// Saves the positions of each ingress in the store that `checkpoints` returns for it.
    #[must_use]
    pub fn checkpoints(
        mut self,
        checkpoints: impl Fn(&TypeName) -> Arc<dyn CheckpointStore> + Send + Sync + 'static,
    ) -> Self {
        self.checkpoints = Arc::new(checkpoints);
        self
    }

    pub(crate) fn checkpoints_of(&self, ingress: &TypeName) -> Arc<dyn CheckpointStore> {
        (self.checkpoints)(ingress)
    }
}

impl fmt::Debug for Stateless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stateless").field("functions", &self.functions).finish_non_exhaustive()
    }
}

/// Handles messages, and keeps messages, states and positions in one store.
///
/// A handler serves one run of one router. The methods are called in the order of their declaration.
#[async_trait]
pub trait StatefulHandler: fmt::Debug + Send + Sync + 'static {
    /// The store of the positions of an ingress. When it is built, the consumer reads them, and stores the startup
    /// positions of shards that have none.
    fn positions(&self, ingress: &TypeName) -> Arc<dyn PositionStore>;

    /// Whether messages that were taken survive the process. If so, a stopping router waits only for the last commit.
    fn is_durable(&self) -> bool;

    /// Called once at the start of a run, before the first batch. Starts the work that waits in the store. The handler
    /// takes the positions of each ingress from `positions`, and commits them together with the effects of the records.
    /// An ingress with streams in several regions or accounts is listed several times.
    fn begin(&self, run: RunHandle, positions: Vec<(TypeName, Positions)>);

    /// Takes messages, and acknowledges their batch under the same lock, so that a commit has both the messages and the
    /// position, or neither. Waits while there is no room. Batches of one shard come one after the other.
    ///
    /// If the future is dropped before its end, it has taken the whole batch or nothing.
    ///
    /// # Errors
    ///
    /// When messages cannot be taken at all. The run ends with the error, and the batch counts as not read.
    async fn take(&self, batch: RoutedBatch, acknowledgement: Acknowledgement) -> Result<(), FunctionError>;

    /// Stops the handler. [Durable](Self::is_durable) handlers end their requests now. Others continue until no
    /// messages wait, at most until the deadline.
    async fn stop(&self, deadline: Instant);

    /// Makes the last commit, after egresses and ingresses are closed. Returns the work that is lost, because it is
    /// unfinished and not durable.
    ///
    /// It is called once for every run that was not dropped, also if the run ends with an error.
    ///
    /// # Errors
    ///
    /// When the last commit fails.
    async fn close(&self) -> Result<Unfinished, FunctionError>;
}
