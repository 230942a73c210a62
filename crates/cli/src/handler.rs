//! What a run gives messages to, and where positions are kept.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use statefun_kinesis_consumer::{CheckpointStore, MemoryCheckpoints, Position};
use statefun_kinesis_functions::{Limits, StartError, StatefulFunctions};
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
    output::Output,
    state_directory::{self, StateDirectory, UsedBy},
    writers::EndpointDeadLetters,
};

/// Time between two commits in memory, which cost little: what is read counts as read that soon.
const IN_MEMORY_INTERVAL: Duration = Duration::from_millis(100);

/// The handler of a run.
#[derive(Debug)]
pub(crate) struct RunHandler {
    pub(crate) handler: Handler,
    kept: Kept,
}

/// Where the positions of a run are kept.
#[derive(Debug)]
enum Kept {
    InMemory(Arc<HashMap<TypeName, Arc<MemoryCheckpoints>>>),
    OnDisk,
    ByFunctions(Weak<StatefulFunctions>),
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
            return Self { handler, kept: Kept::OnDisk };
        }
        let positions = module.ingresses.iter().map(|ingress| (ingress.id.clone(), Arc::default()));
        let positions: Arc<HashMap<TypeName, Arc<MemoryCheckpoints>>> = Arc::new(positions.collect());
        let all = Arc::clone(&positions);
        let checkpoints = move |ingress: &TypeName| Arc::clone(&all[ingress]) as Arc<dyn CheckpointStore>;
        let handler = stateless.checkpoints(checkpoints).into();
        Self { handler, kept: Kept::InMemory(positions) }
    }

    fn stateful(functions: StatefulFunctions) -> Self {
        let functions = Arc::new(functions);
        let kept = Kept::ByFunctions(Arc::downgrade(&functions));
        Self { handler: Handler::stateful(functions), kept }
    }

    /// The functions that keep states, if that is what handles messages.
    pub(crate) fn functions(&self) -> Weak<StatefulFunctions> {
        match &self.kept {
            Kept::InMemory(_) | Kept::OnDisk => Weak::new(),
            Kept::ByFunctions(functions) => Weak::clone(functions),
        }
    }

    /// Waits until an ingress has processed everything up to these places of its streams.
    pub(crate) async fn processed(&self, ingress: &TypeName, last: &LastPositions) {
        const PAUSE: Duration = Duration::from_millis(10);
        match &self.kept {
            Kept::InMemory(positions) => {
                let positions = &positions[ingress];
                for ((stream, shard), sequence_number) in last {
                    // The store knows the streams that the ingress reads, from before the first record.
                    if positions.get(stream).is_some() {
                        positions.reached(stream, shard, *sequence_number).await;
                    }
                }
            }
            // Input is put into streams in memory, for which nothing is kept on disk.
            Kept::OnDisk => {}
            Kept::ByFunctions(functions) => {
                for ((stream, shard), sequence_number) in last {
                    let at = Position::behind(*sequence_number);
                    loop {
                        let Some(functions) = functions.upgrade() else { return };
                        let stored = functions.positions(ingress).load(stream).await;
                        let position = stored.ok().flatten().map(|stored| stored.shards.get(shard).copied());
                        // Another ingress may read the stream.
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

/// The functions that the module's endpoints serve. With a state directory they go on with what it has.
async fn remote(
    module: &Module,
    backend: &Arc<Backend>,
    state: Option<&StateDirectory>,
    arguments: &RunArguments,
) -> Result<StatefulFunctions, Failure> {
    let dead_letters = Arc::new(EndpointDeadLetters::new(Arc::clone(backend)));
    let mut functions = StatefulFunctions::builder().dead_letters(dead_letters);
    functions = match state {
        Some(state) => {
            let state_bytes = arguments.state_bytes();
            let limits = Limits { state_bytes, unsaved_bytes: state_bytes / 4, ..Limits::default() };
            functions.limits(limits).store(state.store()).checkpoint_interval(arguments.checkpoint_interval)
        }
        None => functions.checkpoint_interval(IN_MEMORY_INTERVAL),
    };
    for endpoint in &module.endpoints {
        functions = functions.endpoint(endpoint).map_err(|error| Failure::from_error(ExitCode::Setup, &error))?;
    }
    functions.build().await.map_err(|error| match error {
        StartError::Store(error) => state_directory::unusable(&error, UsedBy::Run),
        StartError::Unserved(_) => Failure::from_error(ExitCode::InvalidModule, &error).hint(
            "bring its endpoint back until its messages are handled, or start over with empty state in another \
             directory",
        ),
        StartError::Endpoint(_) => Failure::from_error(ExitCode::Setup, &error),
    })
}
