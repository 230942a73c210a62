use std::{collections::HashMap, sync::Arc, time::Duration};

use statefun_kinesis_aggregation::Unsealed;
use statefun_kinesis_client::{Error, ErrorKind, KinesisClient, KinesisClientExt, Operation, PutOutcome, ShardFilter};
use statefun_kinesis_types::{ErrorChain, Shard};
use tokio::{
    task::{Id, JoinError, JoinSet, yield_now},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    OnFailure, SendError, Settings, dead_letter,
    machine::Condemned,
    receipt::Resolved,
    request::Request,
    shared::{Return, Shared},
};

type Answer = Result<Vec<PutOutcome>, Error>;

/// The task of a producer: carries requests from the machine to the client and their answers back.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    client: Arc<dyn KinesisClient>,
    settings: Settings,
    calls: JoinSet<Done>,
    /// What the calls are for, so that records come back even if a call panics.
    errands: HashMap<Id, Errand>,
    /// Requests in a row that failed as a whole.
    failures: u32,
}

/// What a call is for.
enum Errand {
    Put(Arc<Request>),
    List,
    Bury(Condemned),
}

/// What a call came to.
enum Done {
    Put(Answer),
    List(Result<Vec<Shard>, Error>),
    Bury(Result<(), SendError>),
}

impl Driver {
    /// Failures in a row after which each doubling of their number is worth a warning.
    const FAILURES_WARN: u32 = 4;

    pub(crate) fn new(shared: Arc<Shared>, client: Arc<dyn KinesisClient>, settings: Settings) -> Self {
        Self { shared, client, settings, calls: JoinSet::new(), errands: HashMap::new(), failures: 0 }
    }

    /// Runs until the producer is closed and everything is settled.
    pub(crate) async fn run(mut self) {
        let mut returns = Vec::new();
        loop {
            let step = self.shared.step(returns.drain(..));
            step.resolved.into_iter().for_each(Resolved::tell);
            step.condemned.into_iter().for_each(|condemned| self.bury(condemned));
            if step.wants_shards {
                self.list();
            }
            drop(step.spent);
            if step.done {
                return;
            }
            if let Some(request) = step.request {
                self.put(request);
                // The call begins while its records are still in the processor's cache, and senders come in between.
                yield_now().await;
                while let Some(done) = self.calls.try_join_next_with_id() {
                    returns.extend(self.come_back(done));
                }
                continue;
            }
            let wake_at = step.wake_at.map(Instant::from_std);
            tokio::select! {
                Some(done) = self.calls.join_next_with_id() => {
                    let mut next = Some(done);
                    while let Some(done) = next {
                        returns.extend(self.come_back(done));
                        next = self.calls.try_join_next_with_id();
                    }
                }
                () = self.shared.work.notified() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        }
    }

    /// Starts a call as a task of its own: encoding a full request takes long enough to keep others waiting.
    fn put(&mut self, mut request: Request) {
        let aggregates = request.take_aggregates();
        let request = Arc::new(request);
        let (client, shared, limit) =
            (Arc::clone(&self.client), Arc::clone(&self.shared), self.settings.request_timeout);
        let of_task = Arc::clone(&request);
        let call = async move {
            // Outside the machine's lock, and on any thread: this is where the MD5 of every byte is taken.
            let sealed: Vec<_> = aggregates.into_iter().map(Unsealed::seal).collect();
            let records = if sealed.is_empty() { of_task.plain() } else { &sealed };
            Done::Put(match timeout(limit, client.put_records(&shared.stream, records)).await {
                Ok(answer) => answer,
                Err(_) => Err(no_answer(Operation::PutRecords, limit)),
            })
        };
        let id = self.calls.spawn(call).id();
        self.errands.insert(id, Errand::Put(request));
    }

    fn list(&mut self) {
        let (client, shared, limit) =
            (Arc::clone(&self.client), Arc::clone(&self.shared), self.settings.request_timeout);
        let call = async move {
            let shards = timeout(limit, client.all_shards(&shared.stream, ShardFilter::AtLatest)).await;
            Done::List(shards.unwrap_or_else(|_| Err(no_answer(Operation::ListShards, limit))))
        };
        let id = self.calls.spawn(call).id();
        self.errands.insert(id, Errand::List);
    }

    fn bury(&mut self, condemned: Condemned) {
        let OnFailure::DeadLetter { to, .. } = &self.shared.on_failure else { return };
        let call = dead_letter::store(to.clone(), condemned.record.clone(), condemned.error.clone());
        let id = self.calls.spawn(async { Done::Bury(call.await) }).id();
        self.errands.insert(id, Errand::Bury(condemned));
    }

    fn come_back(&mut self, done: Result<(Id, Done), JoinError>) -> Option<Return> {
        let (id, done) = match done {
            Ok((id, done)) => (id, Ok(done)),
            Err(error) => (error.id(), Err(error)),
        };
        let stream = &self.shared.stream;
        match (self.errands.remove(&id)?, done) {
            (Errand::Put(request), done) => {
                let answer = match done {
                    Ok(Done::Put(answer)) => answer,
                    Ok(Done::List(_) | Done::Bury(_)) => Err(no_return(Operation::PutRecords)),
                    Err(error) => Err(no_return(Operation::PutRecords).with_source(error)),
                };
                self.trace(&request, &answer);
                Some(Return::Answer(Arc::unwrap_or_clone(request), answer))
            }
            (Errand::List, done) => {
                let shards = match done {
                    Ok(Done::List(shards)) => shards,
                    Ok(Done::Put(_) | Done::Bury(_)) | Err(_) => Err(no_return(Operation::ListShards)),
                };
                let shards = shards.inspect_err(|error| {
                    tracing::warn!(%stream, error = %ErrorChain(&error), "the shards cannot be listed; trying again");
                });
                Some(Return::Shards(shards.ok()))
            }
            (Errand::Bury(condemned), done) => {
                let is_stored = match done {
                    Ok(Done::Bury(Ok(()))) => true,
                    Ok(Done::Bury(Err(error))) => {
                        dead_letter::lament(&error);
                        false
                    }
                    Ok(Done::Put(_) | Done::List(_)) | Err(_) => false,
                };
                Some(Return::Buried(condemned, is_stored))
            }
        }
    }

    fn trace(&mut self, request: &Request, answer: &Answer) {
        let stream = &self.shared.stream;
        match answer {
            Ok(outcomes) => {
                self.failures = 0;
                let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                if failed > 0 {
                    tracing::debug!(%stream, records = request.len(), failed, "some records were not stored");
                }
            }
            Err(error) if error.kind().is_retryable() => {
                self.failures = self.failures.saturating_add(1);
                let failures = self.failures;
                if failures >= Self::FAILURES_WARN && failures.is_power_of_two() {
                    tracing::warn!(%stream, error = %ErrorChain(&error), failures, "the stream cannot be written for now; trying again");
                }
                tracing::debug!(%stream, records = request.len(), %error, "a request failed");
            }
            Err(error) => {
                tracing::warn!(%stream, records = request.len(), error = %ErrorChain(&error), "a request was refused")
            }
        }
    }
}

fn no_answer(operation: Operation, limit: Duration) -> Error {
    Error::new(operation, ErrorKind::Timeout, format!("no answer within {limit:?}"))
}

fn no_return(operation: Operation) -> Error {
    Error::new(operation, ErrorKind::Unexpected, "the client did not return")
}

impl Drop for Driver {
    /// The runtime is shutting down, unless all is settled: no receipt may wait for ever.
    fn drop(&mut self) {
        self.shared.forget(self.settings.clone());
    }
}
