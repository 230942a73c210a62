use std::{
    collections::{BTreeMap, BTreeSet},
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

/// Writes messages that failed permanently to streams, as records of
/// [dead letters](statefun_kinesis_dead_letter::DeadLetter).
#[async_trait]
pub trait DeadLetters: std::fmt::Debug + Send + Sync + 'static {
    /// Puts records into a stream, and returns when they are stored.
    ///
    /// # Errors
    ///
    /// When a record could not be stored. The messages' request is then retried, and if it fails again, so is this.
    async fn put(
        &self,
        stream: &StreamRef,
        records: Vec<PutRecord>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// Runs stateful functions behind a [`Router`](statefun_kinesis_router::Router), with their mailboxes, states and
/// delayed messages.
///
/// Each value serves one run of one router.
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
/// All data is in a store. By default the store is in memory; the builder [takes another
/// one](StatefulFunctionsBuilder::store). Every [interval](StatefulFunctionsBuilder::checkpoint_interval) one commit
/// writes all changes: read positions, states, unhandled messages, delayed messages, and records that no egress has
/// acknowledged. After a crash the next run on the same store continues as if the crash had not happened:
///
/// * States, messages between functions and delayed messages are exactly once: each message has its effects on them
///   once. A message that was in flight at the crash is sent to its function again. So a function may *run* twice for a
///   message, and what it does outside of its context then happens twice.
/// * Records for egresses are written at least once, in order per partition key. Records that were written after the
///   last commit before the crash are written again.
/// * Delayed messages that became due during the outage are delivered at once.
///
/// A state belongs to its function by name. Each start asks each function for its states again: the first request of a
/// function is sent alone and without states, and its answer declares them, as in StateFun. This costs one more request
/// per function and start; functions in process need none. The declaration applies to the whole run, also where it
/// differs from an earlier run's:
///
/// * A changed expiration applies to a value when the value is next set, or next used if the state expires after the
///   last message. Until then the value keeps its old expiry.
/// * A state that is no longer declared is not sent. Its value stays in the store until it expires by its last
///   declaration, and a later start that declares the state finds it.
/// * When a state is declared with another type, its value keeps the old type until the function sets it.
///
/// A position moves as soon as its messages are taken, and is written together with them. A cut locks the mailboxes for
/// less than a millisecond, because it only swaps out the recorded changes, and it waits for no request. Encoding and
/// writing run in the background. The next cut is made after the previous commit is durable. The cost of a commit
/// depends on what has changed since the last one, not on the size of the store. While commits fail because the disk is
/// full or has I/O errors, they are retried with growing delays and no messages are taken. Any other failure ends the
/// run.
///
/// # Memory
///
/// Memory is a window of the store. The least recently used states, messages far back in a queue and delayed messages
/// that are due late are only in the store and are read back when they are needed; see [`Limits`]. So a failing or slow
/// function or address does not delay others. [`blocked`](Self::blocked) says when and why reading waits nevertheless.
/// The store in memory is written only when something has to leave this window.
///
/// # Stopping
///
/// With a store of your own, a stop ends requests, makes a last commit and returns; unhandled messages stay in the
/// store. With the store in memory, waiting messages are handled first, within the router's deadline; states and
/// delayed messages are lost when the process ends.
#[derive(Debug)]
pub struct StatefulFunctions {
    shared: Arc<Shared>,
    driver: Mutex<Option<Driver>>,
    /// Functions that are counted before they have messages.
    expected: BTreeSet<FunctionType>,
}

/// The task that makes checkpoints. It ends with the functions.
type Driver = AbortOnDropHandle<Result<(), FunctionError>>;

impl StatefulFunctions {
    /// Returns a builder without functions.
    pub fn builder() -> StatefulFunctionsBuilder {
        StatefulFunctionsBuilder {
            limits: Limits::default(),
            groups: Vec::new(),
            declared: Vec::new(),
            dead_letters: None,
            store: None,
            interval: StatefulFunctionsBuilder::CHECKPOINT_INTERVAL,
            expected: BTreeSet::new(),
        }
    }

    /// What the mailboxes hold now.
    pub fn usage(&self) -> Usage {
        self.shared.lock().mailboxes.usage()
    }

    /// Counters of each function since the start, in the order of their names. The functions are those that had messages,
    /// and the [expected](StatefulFunctionsBuilder::expected) ones.
    pub fn counts(&self) -> Vec<(FunctionType, FunctionCounts)> {
        let elapsed = self.shared.elapsed();
        let inner = self.shared.lock();
        self.with_expected(inner.mailboxes.counts(elapsed).map(|(function, counts)| (function.clone(), counts)))
    }

    /// Latency of the requests of each function since the start, in the order of their names. The functions are those that
    /// had requests, and the [expected](StatefulFunctionsBuilder::expected) ones.
    pub fn latencies(&self) -> Vec<(FunctionType, InvocationLatency)> {
        self.with_expected(self.shared.lock().latencies.all())
    }

    fn with_expected<T: Default>(
        &self,
        counted: impl IntoIterator<Item = (FunctionType, T)>,
    ) -> Vec<(FunctionType, T)> {
        let expected = self.expected.iter().map(|function| (function.clone(), T::default()));
        // Of two values for one function, the later one stays.
        expected.chain(counted).collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// The status of the checkpoints.
    pub fn checkpoint(&self) -> CheckpointStatus {
        self.shared.checkpoint.status()
    }

    /// Whether the data outlives the process, which is so when the builder got a
    /// [store](StatefulFunctionsBuilder::store).
    pub fn has_durable_store(&self) -> bool {
        self.shared.is_durable
    }

    /// Why reading waits now; `None` while it does not wait.
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
    /// Ends requests that are in flight. Their messages count as not handled.
    fn drop(&mut self) {
        self.shared.stop();
        self.shared.dropped.cancel();
    }
}

/// Builds [`StatefulFunctions`].
#[derive(Debug)]
pub struct StatefulFunctionsBuilder {
    limits: Limits,
    groups: Vec<(GroupSettings, Group)>,
    /// States of functions in process. These need no request to declare them.
    declared: Vec<(FunctionType, StateSpec)>,
    dead_letters: Option<Arc<dyn DeadLetters>>,
    store: Option<Arc<dyn Store>>,
    interval: Duration,
    expected: BTreeSet<FunctionType>,
}

impl StatefulFunctionsBuilder {
    /// Default time between two checkpoints.
    pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

    /// Most bytes of waiting messages when the store is in memory.
    const WAITING_IN_MEMORY_BYTES: usize = 256 << 20;

    /// Time limit of a call of a function in process; the same as the default of remote functions.
    const CALL: Duration = Duration::from_secs(120);

    /// Sets the limits of all mailboxes together. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Keeps all data in a store, and continues with the data that it has. Default: a store in memory, which ends with
    /// the process.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Sets the time between two checkpoints. Without changes no checkpoint is written. Default: 1 s
    /// ([`CHECKPOINT_INTERVAL`](Self::CHECKPOINT_INTERVAL)). Every value is valid. With zero, or with an interval
    /// shorter than a commit takes, commits follow each other without a pause. A long interval ends early when the
    /// changes reach a quarter of [`Limits::unsaved_bytes`]. The default store, in memory, gets a commit only in
    /// intervals in which memory is short.
    ///
    /// The interval bounds the work that is repeated after a crash, and so how many records an egress may get twice.
    /// Each checkpoint costs a flush of the disk, and an entry for each state, message and timer that has changed. A
    /// state that changes often is written once per interval.
    #[must_use]
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the writer of dead letters, for endpoints that put failed messages into a stream. Default: none.
    #[must_use]
    pub fn dead_letters(mut self, dead_letters: Arc<dyn DeadLetters>) -> Self {
        self.dead_letters = Some(dead_letters);
        self
    }

    /// Adds the functions of an endpoint of a module, with the endpoint's limits and failure handling.
    ///
    /// `invoke` makes the requests; a `RemoteEndpoint` of the `remote` crate makes them over HTTP.
    #[must_use]
    pub fn endpoint(mut self, spec: &EndpointSpec, invoke: Arc<dyn Invoke>) -> Self {
        // Names each field, so that a new field does not compile until somebody decides what it does here. The other
        // fields of the transport are settings of `invoke`.
        let EndpointSpec {
            functions,
            url_path_template: _,
            max_num_batch_requests,
            max_request_bytes,
            transport,
            failures,
        } = spec;
        let settings = GroupSettings {
            max_in_flight: transport.pool_size,
            max_batch_messages: *max_num_batch_requests,
            max_batch_bytes: max_request_bytes.get() as usize,
            ..GroupSettings::default()
        };
        let group = Group::new(functions.clone(), invoke, transport.call_timeout, failures.clone());
        self.groups.push((settings, group));
        self
    }

    /// Names functions that are counted from the start, with zeros until they get messages: the targets of ingresses, for
    /// example. Functions that an endpoint or a [registry](Self::in_process) names are among them.
    #[must_use]
    pub fn expected(mut self, functions: impl IntoIterator<Item = FunctionType>) -> Self {
        self.expected.extend(functions);
        self
    }

    /// Adds functions of this process. Messages that fail are retried until they succeed.
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

    /// Adds functions that `invoke` calls, each call for at most 120 s.
    #[must_use]
    pub fn functions(
        mut self,
        functions: FunctionPattern,
        settings: GroupSettings,
        failures: FailureHandling,
        invoke: Arc<dyn Invoke>,
    ) -> Self {
        self.groups.push((settings, Group::new(functions, invoke, Self::CALL, failures)));
        self
    }

    /// Reads the store and returns the functions, ready for a router. Stored messages are handled from the start of the
    /// run.
    ///
    /// # Errors
    ///
    /// When an endpoint puts failed messages into dead letters and the builder has no [`DeadLetters`]. When the store
    /// cannot be read, or has messages for functions that are not registered.
    pub async fn build(self) -> Result<StatefulFunctions, StartError> {
        let is_durable = self.store.is_some();
        let mut limits = self.limits;
        if !is_durable {
            limits.waiting_bytes = limits.waiting_bytes.min(Self::WAITING_IN_MEMORY_BYTES);
        }
        let mut mailboxes = Mailboxes::new(limits);
        let mut groups = Vec::with_capacity(self.groups.len());
        let mut expected = self.expected;
        for (settings, group) in self.groups {
            let functions = group.functions.clone();
            if let FailureHandling::DeadLetter { stream, .. } = &group.failures
                && self.dead_letters.is_none()
            {
                return Err(StartError::NoDeadLetters { functions, stream: stream.clone() });
            }
            let gives_up = group.failures != FailureHandling::KeepTrying;
            let id = mailboxes.add_group(GroupSettings { gives_up, ..settings });
            match functions {
                FunctionPattern::Function(function) => {
                    expected.insert(function.clone());
                    mailboxes.serve_function(function, id);
                }
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
        Ok(StatefulFunctions { shared: Arc::new(shared), driver: Mutex::new(None), expected })
    }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_spec::assert_fields_arrive;

    use super::*;

    /// Each field of an endpoint that is not about connections changes the settings of its functions.
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
