use std::{fmt, sync::Arc};

use async_trait::async_trait;
use statefun_kinesis_client::{CheckpointStore, PositionStore};
use statefun_kinesis_consumer::{Acknowledgement, MemoryCheckpoints, Positions};
use statefun_kinesis_types::TypeName;
use tokio::time::Instant;

use crate::{FunctionError, Functions, RoutedBatch, RunHandle, Unfinished};

/// What a [`Router`](crate::Router) gives messages to, together with where positions are kept.
///
/// There are two kinds, and each has its own way to be durable. [`Stateless`] functions complete each delivery when they
/// are done with it, and the consumer saves the position. A [`StatefulHandler`] commits positions together with
/// everything that came of the records.
#[derive(Clone, Debug)]
pub struct Handler(pub(crate) Kind);

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Stateless(Stateless),
    Stateful(Arc<dyn StatefulHandler>),
}

impl Kind {
    /// Whether what was taken over survives the process.
    pub(crate) fn is_durable(&self) -> bool {
        match self {
            Self::Stateless(_) => false,
            Self::Stateful(handler) => handler.is_durable(),
        }
    }
}

impl Handler {
    /// A handler that keeps positions in its own store.
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
    /// Functions without state, whose positions are kept in memory.
    fn from(functions: Arc<F>) -> Self {
        Stateless::new(functions).into()
    }
}

/// Gives the store for the positions of an ingress.
type Checkpoints = dyn Fn(&TypeName) -> Arc<dyn CheckpointStore> + Send + Sync;

/// Functions without state, and where the positions of what they are done with are saved.
#[derive(Clone)]
pub struct Stateless {
    pub(crate) functions: Arc<dyn Functions>,
    checkpoints: Arc<Checkpoints>,
}

impl Stateless {
    /// These functions. Positions are kept in memory, so that each start is a first one.
    pub fn new(functions: Arc<dyn Functions>) -> Self {
        Self { functions, checkpoints: Arc::new(|_| Arc::new(MemoryCheckpoints::new())) }
    }

    /// Saves the positions of each ingress in the store that `checkpoints` gives for it.
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

/// What handles messages and keeps messages, states and positions in one store.
///
/// It belongs to one run of one router. The methods are called in the order in which they stand here.
#[async_trait]
pub trait StatefulHandler: fmt::Debug + Send + Sync + 'static {
    /// Where the store has the positions of an ingress. The consumer reads them when it is built, and stores there where
    /// reading begins.
    fn positions(&self, ingress: &TypeName) -> Arc<dyn PositionStore>;

    /// Whether what was taken over survives the process. A stopping router then waits for nothing but the last commit.
    fn is_durable(&self) -> bool;

    /// A run begins; called once, before the first batch. What the store had waiting goes on now. The positions of what
    /// is read are taken from `positions`, each with its ingress, and committed together with what came of the records.
    /// An ingress whose streams lie in several regions or accounts is there several times.
    fn begin(&self, run: RunHandle, positions: Vec<(TypeName, Positions)>);

    /// Takes messages over, and acknowledges their batch under the same lock, so that a commit has the messages and the
    /// position, or neither. Waits while there is no room. Batches of one shard come one after the other.
    ///
    /// Dropped before its end, it has taken all of the batch or nothing.
    ///
    /// # Errors
    ///
    /// When messages cannot be taken at all. The run ends with the error, and the batch counts as not read.
    async fn take(&self, batch: RoutedBatch, acknowledgement: Acknowledgement) -> Result<(), FunctionError>;

    /// Nothing more is taken over. Handlers that are [durable](Self::is_durable) end their requests now; others go on
    /// until nothing waits any more, at most until the deadline.
    async fn stop(&self, deadline: Instant);

    /// The run has ended, and egresses and ingresses are closed: makes the last commit, and tells what is lost because
    /// it was not finished and is not durable.
    ///
    /// It is called once at the end of every run that was not dropped, also of one that ends with an error.
    ///
    /// # Errors
    ///
    /// When the last commit fails.
    async fn close(&self) -> Result<Unfinished, FunctionError>;
}
