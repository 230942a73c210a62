use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use statefun_kinesis_router::Completion;
use statefun_kinesis_spec::{EndpointSpec, FailureHandling, FunctionPattern};
use statefun_kinesis_types::{PutRecord, StreamRef};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    failures::FailureLog,
    shared::{Group, Inner, Shared},
};
use crate::{EndpointError, FunctionCounts, GroupSettings, Invoke, Limits, Mailboxes, Registry, RemoteEndpoint, Usage};

/// Takes messages for which no request succeeded.
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

/// Stateful functions for a [`Router`](statefun_kinesis_router::Router): mailboxes, states and timers, and those who
/// handle messages.
///
/// They belong to one run of one router. Everything is in memory. A delivery is completed when all messages that came of
/// it are handled and all records that came of it are stored, so that no message of a stream is lost; after a restart
/// some come again. States and delayed messages end with the process.
#[derive(Debug)]
pub struct StatefulFunctions {
    shared: Arc<Shared>,
}

impl StatefulFunctions {
    /// Functions that nobody serves yet.
    pub fn builder() -> StatefulFunctionsBuilder {
        StatefulFunctionsBuilder { limits: Limits::default(), groups: Vec::new(), dead_letters: None }
    }

    /// What mailboxes hold now.
    pub fn usage(&self) -> Usage {
        self.shared.lock().mailboxes.usage()
    }

    /// What each function has done so far.
    pub fn counts(&self) -> Vec<(statefun_kinesis_types::FunctionType, FunctionCounts)> {
        self.shared.lock().mailboxes.counts().map(|(function, counts)| (function.clone(), counts)).collect()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for StatefulFunctions {
    /// Ends what is in flight. It counts as not processed.
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// What is needed to build [`StatefulFunctions`].
#[derive(Debug)]
pub struct StatefulFunctionsBuilder {
    limits: Limits,
    groups: Vec<(FunctionPattern, GroupSettings, Group)>,
    dead_letters: Option<Arc<dyn DeadLetters>>,
}

impl StatefulFunctionsBuilder {
    /// Functions in process may take that long, as remote ones may by default.
    const CALL: Duration = Duration::from_secs(120);

    /// Bounds of all mailboxes together.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where messages go whose endpoint says that they become dead letters.
    #[must_use]
    pub fn dead_letters(mut self, dead_letters: Arc<dyn DeadLetters>) -> Self {
        self.dead_letters = Some(dead_letters);
        self
    }

    /// Functions that an endpoint of a module file serves.
    ///
    /// # Errors
    ///
    /// When a file that the endpoint names cannot be read, or the address is none.
    pub fn endpoint(mut self, spec: &EndpointSpec) -> Result<Self, EndpointError> {
        let settings = GroupSettings {
            max_in_flight: spec.transport.pool_size,
            max_batch_messages: spec.max_num_batch_requests,
            ..GroupSettings::default()
        };
        let group = Group {
            invoke: Arc::new(RemoteEndpoint::new(spec)?),
            call: spec.transport.call_timeout,
            failures: spec.failures.clone(),
        };
        self.groups.push((spec.functions.clone(), settings, group));
        Ok(self)
    }

    /// Functions of this process. Messages that they cannot handle are tried again and again.
    #[must_use]
    pub fn in_process(mut self, registry: Registry) -> Self {
        let registry = Arc::new(registry);
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

    /// The functions, ready for a router.
    ///
    /// # Errors
    ///
    /// When messages of an endpoint become dead letters, and nobody takes these.
    pub fn build(self) -> Result<StatefulFunctions, EndpointError> {
        let mut mailboxes: Mailboxes<Completion> = Mailboxes::new(self.limits);
        let mut groups = Vec::with_capacity(self.groups.len());
        for (functions, settings, group) in self.groups {
            if let FailureHandling::DeadLetter { stream, .. } = &group.failures
                && self.dead_letters.is_none()
            {
                let what = format!("messages of {functions} go to the dead letters in {stream}, and nobody takes them");
                return Err(EndpointError::new(what));
            }
            let id = mailboxes.add_group(settings);
            match functions {
                FunctionPattern::Function(function) => mailboxes.serve_function(function, id),
                FunctionPattern::Namespace(namespace) => mailboxes.serve_namespace(namespace, id),
                other => return Err(EndpointError::new(format!("cannot serve {other}"))),
            }
            groups.push(group);
        }
        let shared = Shared {
            inner: std::sync::Mutex::new(Inner::new(mailboxes)),
            groups,
            dead_letters: self.dead_letters,
            run: std::sync::OnceLock::new(),
            moved: Notify::new(),
            rearmed: Notify::new(),
            stop: CancellationToken::new(),
            log: FailureLog::default(),
        };
        Ok(StatefulFunctions { shared: Arc::new(shared) })
    }
}
