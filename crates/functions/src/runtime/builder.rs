use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_module::{EndpointSpec, FailureHandling, FunctionPattern};
use statefun_kinesis_router::FunctionError;
use statefun_kinesis_store::{MemoryStore, Store};
use statefun_kinesis_types::{FunctionType, PutRecord, StreamRef};
use tokio_util::task::AbortOnDropHandle;

use super::{
    blocked::Blocked,
    error::StartError,
    latency::InvocationLatency,
    shared::{Group, Parts, Shared},
};
use crate::{
    CheckpointStatus, FunctionCounts, GroupSettings, Invoke, Limits, Mailboxes, Registry, StateSpec, Usage,
    checkpoint::{Checkpoint, restore, specs_by_function},
};

/// Takes messages for which no request succeeded, as records of
/// [dead letters](statefun_kinesis_dead_letter::DeadLetter).
#[async_trait]
pub trait DeadLetters: std::fmt::Debug + Send + Sync + 'static {
    /// Puts records into a stream, and returns when they are stored.
    ///
    /// # Errors
    ///
    /// When they are not. The messages are then tried again, and come back later.
    async fn put(
        &self,
        stream: &StreamRef,
        records: Vec<PutRecord>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// Stateful functions for a [`Router`](statefun_kinesis_router::Router): mailboxes, states and delayed messages, and what
/// handles the messages.
///
/// They belong to one run of one router.
///
/// ```
/// use std::sync::Arc;
/// use statefun_kinesis_functions::{Registry, StatefulFunctions};
/// use statefun_kinesis_router::{Handler, Router};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let functions = StatefulFunctions::builder().in_process(Registry::new()).build().await?;
/// let router = Router::builder(Handler::stateful(Arc::new(functions)));
/// # Ok::<(), statefun_kinesis_functions::StartError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The checkpoint
///
/// Everything is in a store: in memory, unless another one is [given](StatefulFunctionsBuilder::store). Every
/// [interval](StatefulFunctionsBuilder::checkpoint_interval) what has changed is written to it in one commit: read
/// positions, states, messages that are not handled, delayed messages, and records that no egress has acknowledged. So
/// after a crash at any instant the next run on the same store goes on as if there had been none:
///
/// * States, messages between functions and delayed messages are what they would be: each message has had its effects
///   exactly once, whatever was repeated behind the scenes. A message that a crash found in flight goes out again, so
///   that a function may *run* twice; what it did outside of its context happens twice then.
/// * Records for egresses are written at least once, and in order per partition key. What was written after the last
///   commit before a crash is written again.
/// * Delayed messages that became due meanwhile are delivered at once.
///
/// States belong to a function by their names, and each start asks again which ones it has: the first request of a
/// function goes out alone and without states, and its answer declares them, as it does in StateFun. That is one request
/// more per function and start, and none for functions in process. What is declared then counts for the whole run, also
/// where an earlier run was told something else:
///
/// * Another expiration counts for a value from when it is next set, or next used where expiry is after the last
///   message. Until then the value expires when it would have, or never.
/// * A state that is not declared any more is not sent and not lost: it stays in the store until it expires as it was
///   declared last, and a later start that declares it finds its value.
/// * Where a state is declared with another type, its value stays one of the old type until the function sets it.
///
/// A position moves as soon as messages are taken over, and is written with them. A cut holds the mailboxes for as long
/// as it takes to swap what was written down: less than a millisecond. It waits for no request. All else, encoding and
/// writing, happens beside the work; the next cut is made when the commit before it is durable. A commit costs what has
/// changed since the last one, not what there is. While commits fail because the disk is full or does not answer, they
/// are retried with growing delays, and nothing more is taken over; any other failure ends the run.
///
/// # Memory
///
/// Memory is a window of the store: states that were not used for longest, messages that wait behind many others and
/// delayed messages that are due late are read back when they are needed; see [`Limits`]. A function or an address that
/// fails or is slow therefore holds up no other one. [`blocked`](Self::blocked) tells when reading waits all the same.
///
/// # The end
///
/// With a store of your own a stop ends requests, makes the last commit and returns: what is not done waits in the store.
/// In memory, everything that waits is handled first, within the router's deadline; states and delayed messages end with
/// the process.
#[derive(Debug)]
pub struct StatefulFunctions {
    shared: Arc<Shared>,
    driver: Mutex<Option<Driver>>,
}

/// The task that makes checkpoints. It ends with the functions.
type Driver = AbortOnDropHandle<Result<(), FunctionError>>;

impl StatefulFunctions {
    /// A builder without functions.
    pub fn builder() -> StatefulFunctionsBuilder {
        StatefulFunctionsBuilder {
            limits: Limits::default(),
            groups: Vec::new(),
            declared: Vec::new(),
            dead_letters: None,
            store: None,
            interval: StatefulFunctionsBuilder::CHECKPOINT_INTERVAL,
        }
    }

    /// What mailboxes hold now.
    pub fn usage(&self) -> Usage {
        self.shared.lock().mailboxes.usage()
    }

    /// What each function has done so far.
    pub fn counts(&self) -> Vec<(FunctionType, FunctionCounts)> {
        self.shared.lock().mailboxes.counts().map(|(function, counts)| (function.clone(), counts)).collect()
    }

    /// How long the requests of each function took so far.
    pub fn latencies(&self) -> Vec<(FunctionType, InvocationLatency)> {
        self.shared.lock().latencies.all()
    }

    /// How the checkpoints are doing.
    pub fn checkpoint(&self) -> CheckpointStatus {
        self.shared.checkpoint.status()
    }

    /// Whether all of it outlives the process: when a [store](StatefulFunctionsBuilder::store) was given.
    pub fn has_durable_store(&self) -> bool {
        self.shared.is_durable
    }

    /// Why reading waits now; none while it does not.
    pub fn blocked(&self) -> Option<Blocked> {
        self.shared.blocked.get()
    }

    pub(super) fn set_driver(&self, driver: Driver) {
        *self.driver.lock().unwrap_or_else(PoisonError::into_inner) = Some(driver);
    }

    pub(super) fn take_driver(&self) -> Option<Driver> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for StatefulFunctions {
    /// Ends what is in flight. It counts as not handled.
    fn drop(&mut self) {
        self.shared.stop();
        self.shared.dropped.cancel();
    }
}

/// What is needed to build [`StatefulFunctions`].
#[derive(Debug)]
pub struct StatefulFunctionsBuilder {
    limits: Limits,
    groups: Vec<(FunctionPattern, GroupSettings, Group)>,
    /// States of functions in process, which need not be asked for them.
    declared: Vec<(FunctionType, StateSpec)>,
    dead_letters: Option<Arc<dyn DeadLetters>>,
    store: Option<Arc<dyn Store>>,
    interval: Duration,
}

impl StatefulFunctionsBuilder {
    /// Time between two checkpoints, unless told otherwise.
    pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

    /// Bytes of messages that may wait when the store is in memory.
    const WAITING_IN_MEMORY_BYTES: usize = 256 << 20;

    /// Functions in process may take that long, as remote ones may by default.
    const CALL: Duration = Duration::from_secs(120);

    /// Bounds of all mailboxes together.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Keeps everything there, and goes on with what is there. Default: in memory, until the end of the process.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Time from one checkpoint to the next, while there is something to write. Default: 1 s
    /// ([`CHECKPOINT_INTERVAL`](Self::CHECKPOINT_INTERVAL)). Every value is valid. With zero
    /// one commit follows the other, as fast as the disk goes. An interval that is shorter than a commit takes has the
    /// same effect, and one of minutes is ended early when much has changed: at a quarter of
    /// [`Limits::unsaved_bytes`].
    ///
    /// It bounds what is done again after a crash, and so how many records an egress may see twice. Each checkpoint costs
    /// a flush of the disk, and an entry for each state, message and timer that has changed; what changes often is
    /// written once per interval.
    #[must_use]
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Where messages go whose endpoint says that they become dead letters.
    #[must_use]
    pub fn dead_letters(mut self, dead_letters: Arc<dyn DeadLetters>) -> Self {
        self.dead_letters = Some(dead_letters);
        self
    }

    /// Functions that an endpoint of a module serves, with the endpoint's limits and failure handling.
    ///
    /// `invoke` makes the requests: a `RemoteEndpoint` of the `remote` crate does so over HTTP.
    #[must_use]
    pub fn endpoint(mut self, spec: &EndpointSpec, invoke: Arc<dyn Invoke>) -> Self {
        // Each field is named, so that a new one does not compile before it has an effect. The others of the transport are
        // settings of what makes the requests.
        let EndpointSpec { functions, url_path_template: _, max_num_batch_requests, transport, failures } = spec;
        let settings = GroupSettings {
            max_in_flight: transport.pool_size,
            max_batch_messages: *max_num_batch_requests,
            ..GroupSettings::default()
        };
        let group = Group { invoke, call: transport.call_timeout, failures: failures.clone() };
        self.groups.push((functions.clone(), settings, group));
        self
    }

    /// Functions of this process. Messages that they cannot handle are tried again and again.
    #[must_use]
    pub fn in_process(mut self, registry: Registry) -> Self {
        let registry = Arc::new(registry);
        self.declared.extend(registry.states().map(|(function, spec)| (function.clone(), spec)));
        for name in registry.names() {
            let functions = FunctionPattern::Function(name.clone());
            let invoke = Arc::clone(&registry) as Arc<dyn Invoke>;
            self = self.functions(functions, GroupSettings::default(), FailureHandling::KeepTrying, invoke);
        }
        self
    }

    /// Functions that something else handles.
    #[must_use]
    pub fn functions(
        mut self,
        functions: FunctionPattern,
        settings: GroupSettings,
        failures: FailureHandling,
        invoke: Arc<dyn Invoke>,
    ) -> Self {
        self.groups.push((functions, settings, Group { invoke, call: Self::CALL, failures }));
        self
    }

    /// The functions, ready for a router. What the store has goes on when the run begins.
    ///
    /// # Errors
    ///
    /// When messages of an endpoint become dead letters and no [`DeadLetters`] were given. When the store cannot be read,
    /// or has messages for functions that are not served.
    pub async fn build(self) -> Result<StatefulFunctions, StartError> {
        let is_durable = self.store.is_some();
        let mut limits = self.limits;
        if !is_durable {
            limits.waiting_bytes = limits.waiting_bytes.min(Self::WAITING_IN_MEMORY_BYTES);
        }
        let mut mailboxes = Mailboxes::new(limits);
        let mut groups = Vec::with_capacity(self.groups.len());
        for (functions, settings, group) in self.groups {
            if let FailureHandling::DeadLetter { stream, .. } = &group.failures
                && self.dead_letters.is_none()
            {
                return Err(StartError::NoDeadLetters { functions, stream: stream.clone() });
            }
            let gives_up = group.failures != FailureHandling::KeepTrying;
            let id = mailboxes.add_group(GroupSettings { gives_up, ..settings });
            match functions {
                FunctionPattern::Function(function) => mailboxes.serve_function(function, id),
                FunctionPattern::Namespace(namespace) => mailboxes.serve_namespace(namespace, id),
            }
            groups.push(group);
        }
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new()));
        let restored = restore(&*store).await?;
        let checkpoint = Checkpoint::new(Arc::clone(&store), self.interval, specs_by_function(&restored));
        mailboxes.restore(restored)?;
        for (function, spec) in self.declared {
            mailboxes.declare(&function, spec)?;
        }
        let dead_letters = self.dead_letters;
        let shared = Shared::new(Parts { mailboxes, groups, dead_letters, store, is_durable, checkpoint });
        Ok(StatefulFunctions { shared: Arc::new(shared), driver: Mutex::new(None) })
    }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_spec::assert_fields_arrive;

    use super::*;

    /// Each field of an endpoint that is not about connections changes how its functions are served.
    #[test]
    fn each_field_of_an_endpoint_arrives() {
        let is_of_connections = |path: &[&str]| match path {
            ["transport" | "timeouts", .., name] => !["call", "pool_size"].contains(name),
            [name, ..] => *name == "urlPathTemplate",
            [] => false,
        };
        for kind in ["io.statefun.endpoints.v1/http", "io.statefun.endpoints.v2/http"] {
            assert_fields_arrive(kind, is_of_connections, |module| {
                let builder = StatefulFunctions::builder().endpoint(&module.endpoints[0], Arc::new(Registry::new()));
                format!("{builder:#?}")
            });
        }
    }
}
