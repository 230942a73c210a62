//! The handler of a run's messages, and where its positions are stored.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use statefun_kinesis_consumer::{CheckpointStore, MemoryCheckpoints, Position};
use statefun_kinesis_functions::{Limits, StartError, StatefulFunctions};
use statefun_kinesis_remote::RemoteEndpoint;
use statefun_kinesis_router::{Echo, Functions as StatelessFunctions, Handler, StatefulHandler, Stateless};
use statefun_kinesis_spec::Module;
use statefun_kinesis_store::StoredCheckpoints;
use statefun_kinesis_types::TypeName;

use crate::{
    ExitCode,
    args::{Functions, RunArguments},
    backend::Backend,
    failure::Failure,
    functions::Log,
    input::LastPositions,
    live::warn_of_silent_endpoints,
    output::Output,
    state_directory::{self, StateDirectory, UsedBy},
    writers::EndpointDeadLetters,
};

/// Time between two commits to the store in memory while memory is short. They are cheap, and what left memory can be
/// read back only after them.
const IN_MEMORY_INTERVAL: Duration = Duration::from_millis(100);

/// The handler of a run.
#[derive(Debug)]
pub(crate) struct RunHandler {
    pub(crate) handler: Handler,
    positions: Positions,
}

/// Where the positions of a run are stored.
#[derive(Debug)]
enum Positions {
    InMemory(Arc<HashMap<TypeName, Arc<MemoryCheckpoints>>>),
    OnDisk,
    InFunctions(Weak<StatefulFunctions>),
}

impl RunHandler {
    pub(crate) async fn new(
        arguments: &RunArguments,
        module: &Module,
        backend: &Arc<Backend>,
        state: Option<&StateDirectory>,
        stdout: &Output,
    ) -> Result<Self, Failure> {
        Ok(match arguments.functions {
            Functions::Echo => Self::stateless(Arc::new(Echo), module, state),
            Functions::Log => Self::stateless(Arc::new(Log::new(stdout.clone())), module, state),
            Functions::Remote => Self::stateful(remote(module, backend, state, arguments).await?),
        })
    }

    fn stateless(functions: Arc<dyn StatelessFunctions>, module: &Module, state: Option<&StateDirectory>) -> Self {
        let stateless = Stateless::new(functions);
        if let Some(state) = state {
            let store = state.store();
            let checkpoints = move |ingress: &TypeName| {
                Arc::new(StoredCheckpoints::new(Arc::clone(&store), ingress.clone())) as Arc<dyn CheckpointStore>
            };
            let handler = stateless.checkpoints(checkpoints).into();
            return Self { handler, positions: Positions::OnDisk };
        }
        let positions = module.ingresses.iter().map(|ingress| (ingress.id.clone(), Arc::default()));
        let positions: Arc<HashMap<TypeName, Arc<MemoryCheckpoints>>> = Arc::new(positions.collect());
        let all = Arc::clone(&positions);
        let checkpoints = move |ingress: &TypeName| Arc::clone(&all[ingress]) as Arc<dyn CheckpointStore>;
        let handler = stateless.checkpoints(checkpoints).into();
        Self { handler, positions: Positions::InMemory(positions) }
    }

    fn stateful(functions: StatefulFunctions) -> Self {
        let functions = Arc::new(functions);
        let positions = Positions::InFunctions(Arc::downgrade(&functions));
        Self { handler: Handler::stateful(functions), positions }
    }

    /// The stateful functions of the run; empty when the handler is stateless.
    pub(crate) fn functions(&self) -> Weak<StatefulFunctions> {
        match &self.positions {
            Positions::InMemory(_) | Positions::OnDisk => Weak::new(),
            Positions::InFunctions(functions) => Weak::clone(functions),
        }
    }

    /// Waits until an ingress has processed its streams up to these positions.
    pub(crate) async fn processed(&self, ingress: &TypeName, last: &LastPositions) {
        const PAUSE: Duration = Duration::from_millis(10);
        match &self.positions {
            Positions::InMemory(positions) => {
                let positions = &positions[ingress];
                for ((stream, shard), sequence_number) in last {
                    // The store lists the streams of the ingress before the first record is read.
                    if positions.get(stream).is_some() {
                        positions.reached(stream, shard, *sequence_number).await;
                    }
                }
            }
            // `--input` needs streams in memory, which exclude `--state`.
            Positions::OnDisk => {}
            Positions::InFunctions(functions) => {
                for ((stream, shard), sequence_number) in last {
                    let at = Position::behind(*sequence_number);
                    loop {
                        let Some(functions) = functions.upgrade() else { return };
                        let stored = functions.positions(ingress).load(stream).await;
                        let position = stored.ok().flatten().map(|stored| stored.shards.get(shard).copied());
                        // A stream without a position belongs to another ingress.
                        if position.is_none_or(|position| position.is_some_and(|position| position.covers(at))) {
                            break;
                        }
                        drop(functions);
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                while let Some(usage) = functions.upgrade().map(|functions| functions.usage())
                    && (usage.messages > 0 || usage.egress_records > 0)
                {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The functions at the module's endpoints. With a state directory, they continue with its content.
async fn remote(
    module: &Module,
    backend: &Arc<Backend>,
    state: Option<&StateDirectory>,
    arguments: &RunArguments,
) -> Result<StatefulFunctions, Failure> {
    let dead_letters = Arc::new(EndpointDeadLetters::connect(module, backend).await?);
    let targets = module.ingresses.iter().flat_map(|ingress| &ingress.streams).flat_map(|route| &route.targets);
    let mut functions = StatefulFunctions::builder().dead_letters(dead_letters).expected(targets.cloned());
    functions = match state {
        Some(state) => {
            let state_bytes = arguments.state_bytes();
            let limits = Limits { state_bytes, unsaved_bytes: state_bytes / 4, ..Limits::default() };
            functions.limits(limits).store(state.store()).checkpoint_interval(arguments.checkpoint_interval)
        }
        None => functions.checkpoint_interval(IN_MEMORY_INTERVAL),
    };
    warn_of_silent_endpoints(module).await;
    for endpoint in &module.endpoints {
        let remote = RemoteEndpoint::new(endpoint).map_err(|error| Failure::from_error(ExitCode::Setup, &error))?;
        functions = functions.endpoint(endpoint, Arc::new(remote));
    }
    functions.build().await.map_err(|error| match error {
        StartError::Store(error) => state_directory::unusable(&error, UsedBy::Run),
        StartError::Unserved(_) => Failure::from_error(ExitCode::InvalidModule, &error).hint(
            "add its endpoint again until its messages are processed, or start over with empty state in another \
             directory",
        ),
        StartError::NoDeadLetters { .. } => Failure::from_error(ExitCode::Setup, &error),
    })
}
