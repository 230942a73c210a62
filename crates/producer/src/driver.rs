use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use statefun_kinesis_aggregation::Unsealed;
use statefun_kinesis_client::{
    Error, ErrorKind, KinesisClient, KinesisClientExt, Operation, PutOutcome, Retry, ShardFilter,
};
use statefun_kinesis_types::ErrorChain;
use tokio::{
    task::{Id, JoinError, JoinSet, yield_now},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    Settings, TaskFailure,
    dead_letter::{DeadLetters, NotWritten, report_lost},
    inner::{Event, ProducerInner},
    machine::PendingDeadLetter,
    receipt::Resolved,
    request::Request,
    shard_map::ShardMap,
    task_failure::panic_message,
};

type Answer = Result<Vec<PutOutcome>, Error>;

/// The task of a producer: carries requests from the machine to the client, and their answers back.
pub(crate) struct Driver {
    inner: Arc<ProducerInner>,
    client: Arc<dyn KinesisClient>,
    settings: Settings,
    /// `None` unless the producer's policy is to dead-letter records.
    dead_letters: Option<DeadLetters>,
    calls: JoinSet<CallResult>,
    /// What the calls are for, so that records come back even when the task of a call panics.
    purposes: HashMap<Id, Purpose>,
    /// Requests in a row that failed as a whole.
    failures: u32,
}

/// What a call is for.
enum Purpose {
    Put(Arc<Request>),
    ListShards,
    DeadLetter(PendingDeadLetter),
}

/// The result of a call.
enum CallResult {
    Put(Answer),
    ListShards(Result<ShardMap, Error>),
    DeadLetter(Result<(), NotWritten>),
}

impl Driver {
    /// Failures in a row after which each doubling of their number is worth a warning.
    const FAILURES_WARN: u32 = 4;

    pub(crate) fn new(
        inner: Arc<ProducerInner>,
        client: Arc<dyn KinesisClient>,
        settings: Settings,
        dead_letters: Option<DeadLetters>,
    ) -> Self {
        Self { inner, client, settings, dead_letters, calls: JoinSet::new(), purposes: HashMap::new(), failures: 0 }
    }

    /// Runs until the producer is closed and all records are completed. A panic fails the producer: without its driver
    /// nothing would be sent and no receipt be resolved.
    pub(crate) async fn run_supervised(self) {
        let inner = Arc::clone(&self.inner);
        // Dropped after the driver, whether it ends, panics or is cut off by the end of the runtime.
        let _guard = EndGuard(Arc::clone(&inner));
        let mut run = pin!(self.run());
        let ended = std::future::poll_fn(|context| {
            // After a panic, neither the driver nor the machine is used again.
            match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
                Ok(poll) => poll.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        if let Err(panic) = ended.await {
            let failure = TaskFailure::panicked("driver", &*panic);
            let stream = inner.stream();
            tracing::error!(%stream, error = %failure, "a task of the producer failed; its records may not be stored");
            inner.fail(failure);
        }
    }

    async fn run(mut self) {
        let mut events = Vec::new();
        loop {
            let step = self.inner.step(events.drain(..));
            step.resolved.into_iter().for_each(Resolved::send);
            step.dead_letters.into_iter().for_each(|pending| self.write_dead_letter(pending));
            if step.wants_shards {
                self.list_shards();
            }
            drop(step.stored_records);
            if step.done {
                return;
            }
            if let Some(request) = step.request {
                self.put(request);
                // The call begins while its records are still in the processor's cache, and senders come in between.
                yield_now().await;
                while let Some(done) = self.calls.try_join_next_with_id() {
                    events.extend(self.finish_call(done));
                }
                continue;
            }
            let wake_at = step.wake_at.map(Instant::from_std);
            tokio::select! {
                Some(done) = self.calls.join_next_with_id() => {
                    let mut next = Some(done);
                    while let Some(done) = next {
                        events.extend(self.finish_call(done));
                        next = self.calls.try_join_next_with_id();
                    }
                }
                () = self.inner.work.notified() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        }
    }

    /// Sends a request in a task of its own: encoding a full request takes long enough to keep others waiting.
    fn put(&mut self, mut request: Request) {
        let aggregates = request.take_aggregates();
        let request = Arc::new(request);
        let (client, inner, limit) = (Arc::clone(&self.client), Arc::clone(&self.inner), self.settings.request_timeout);
        let of_task = Arc::clone(&request);
        let call = async move {
            // Outside the machine's lock, and on any thread: sealing takes the MD5 of every byte.
            let sealed: Vec<_> = aggregates.into_iter().map(Unsealed::seal).collect();
            let records = if sealed.is_empty() { of_task.plain() } else { &sealed };
            CallResult::Put(match timeout(limit, client.put_records(inner.stream(), records)).await {
                Ok(answer) => answer,
                Err(_) => Err(no_answer(Operation::PutRecords, limit)),
            })
        };
        let id = self.calls.spawn(call).id();
        self.purposes.insert(id, Purpose::Put(request));
    }

    fn list_shards(&mut self) {
        let (client, inner, limit) = (Arc::clone(&self.client), Arc::clone(&self.inner), self.settings.request_timeout);
        let call = async move {
            let shards = timeout(limit, client.all_shards(inner.stream(), ShardFilter::AtLatest)).await;
            let shards = shards.unwrap_or_else(|_| Err(no_answer(Operation::ListShards, limit)));
            // Here, since it takes a while for a stream of many shards, and the machine is used under its lock.
            CallResult::ListShards(shards.map(ShardMap::new))
        };
        let id = self.calls.spawn(call).id();
        self.purposes.insert(id, Purpose::ListShards);
    }

    fn write_dead_letter(&mut self, pending: PendingDeadLetter) {
        let dead_letters = self.dead_letters.clone();
        let (record, error) = (pending.record.clone(), pending.error.clone());
        let call = async move {
            CallResult::DeadLetter(match dead_letters {
                Some(dead_letters) => dead_letters.write(record, error).await,
                None => Err(error.into()),
            })
        };
        let id = self.calls.spawn(call).id();
        self.purposes.insert(id, Purpose::DeadLetter(pending));
    }

    /// What a call that has ended, or whose task has panicked, means for the machine.
    fn finish_call(&mut self, done: Result<(Id, CallResult), JoinError>) -> Option<Event> {
        let (id, done) = match done {
            Ok((id, done)) => (id, Ok(done)),
            Err(error) => (error.id(), Err(error)),
        };
        let stream = self.inner.stream();
        match (self.purposes.remove(&id)?, done) {
            (Purpose::Put(request), done) => {
                let answer = match done {
                    Ok(CallResult::Put(answer)) => answer,
                    Ok(CallResult::ListShards(_) | CallResult::DeadLetter(_)) => {
                        Err(task_failed(Operation::PutRecords, "it returned something else"))
                    }
                    Err(error) => Err(task_failed(Operation::PutRecords, &said(error))),
                };
                self.trace(&request, &answer);
                Some(Event::Answer(Arc::unwrap_or_clone(request), answer))
            }
            (Purpose::ListShards, done) => {
                let shards = match done {
                    Ok(CallResult::ListShards(shards)) => shards,
                    Ok(CallResult::Put(_) | CallResult::DeadLetter(_)) => {
                        Err(task_failed(Operation::ListShards, "it returned something else"))
                    }
                    Err(error) => Err(task_failed(Operation::ListShards, &said(error))),
                };
                let shards = shards.inspect_err(|error| {
                    tracing::warn!(%stream, error = %ErrorChain(&error), "cannot list the shards; retrying");
                });
                Some(Event::Shards(shards.ok()))
            }
            (Purpose::DeadLetter(pending), done) => {
                let is_stored = match done {
                    Ok(CallResult::DeadLetter(Ok(()))) => true,
                    Ok(CallResult::DeadLetter(Err(error))) => {
                        report_lost(&*error);
                        false
                    }
                    Ok(CallResult::Put(_) | CallResult::ListShards(_)) => false,
                    Err(error) => {
                        report_lost(&task_failed(Operation::PutRecords, &said(error)));
                        false
                    }
                };
                Some(Event::DeadLetter(pending, is_stored))
            }
        }
    }

    fn trace(&mut self, request: &Request, answer: &Answer) {
        let stream = self.inner.stream();
        match answer {
            Ok(outcomes) => {
                self.failures = 0;
                let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                if failed > 0 {
                    tracing::debug!(%stream, records = request.len(), failed, "some records were not stored");
                }
            }
            Err(error) if error.kind().treatment().retry != Retry::Never => {
                self.failures = self.failures.saturating_add(1);
                let failures = self.failures;
                if failures >= Self::FAILURES_WARN && failures.is_power_of_two() {
                    tracing::warn!(%stream, error = %ErrorChain(&error), failures, "cannot write to the stream; retrying");
                }
                tracing::debug!(%stream, records = request.len(), %error, "a request failed");
            }
            Err(error) => {
                tracing::warn!(%stream, records = request.len(), error = %ErrorChain(&error), "a request was rejected");
            }
        }
    }
}

pub(crate) fn no_answer(operation: Operation, limit: Duration) -> Error {
    Error::new(operation, ErrorKind::Timeout, format!("no answer within {limit:?}"))
}

fn task_failed(operation: Operation, why: &str) -> Error {
    Error::new(operation, ErrorKind::Unexpected, format!("the task of the call failed: {why}"))
}

/// What the panic of a task said.
fn said(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("it panicked: {}", panic_message(&*panic)),
        Err(error) => error.to_string(),
    }
}

/// Sees to it that no receipt waits for ever when the driver ends, whatever the reason.
struct EndGuard(Arc<ProducerInner>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.forget();
    }
}
