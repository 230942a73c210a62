use std::{collections::HashMap, sync::Arc, time::Duration};

use statefun_kinesis_client::{Error, ErrorKind, KinesisClient, Operation, PutOutcome};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use crate::{Settings, receipt::Resolved, request::Request, shared::Shared};

type Answer = Result<Vec<PutOutcome>, Error>;

/// The task of a producer: carries requests from the machine to the client and their answers back.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    client: Arc<dyn KinesisClient>,
    settings: Settings,
    calls: JoinSet<Answer>,
    /// The requests of the calls, so that their records come back even if a call panics.
    requests: HashMap<Id, Arc<Request>>,
    /// Requests in a row that failed as a whole.
    failures: u32,
}

impl Driver {
    /// Failures in a row after which each doubling of their number is worth a warning.
    const FAILURES_WARN: u32 = 4;

    pub(crate) fn new(shared: Arc<Shared>, client: Arc<dyn KinesisClient>, settings: Settings) -> Self {
        Self { shared, client, settings, calls: JoinSet::new(), requests: HashMap::new(), failures: 0 }
    }

    /// Runs until the producer is closed and everything is settled.
    pub(crate) async fn run(mut self) {
        let mut answers = Vec::new();
        loop {
            let step = self.shared.step(answers.drain(..));
            step.resolved.into_iter().for_each(Resolved::tell);
            for request in step.requests {
                self.call(request);
            }
            if step.done {
                return;
            }
            let wake_at = step.wake_at.map(Instant::from_std);
            tokio::select! {
                Some(done) = self.calls.join_next_with_id() => {
                    let mut next = Some(done);
                    while let Some(done) = next {
                        answers.extend(self.answer(done));
                        next = self.calls.try_join_next_with_id();
                    }
                }
                () = self.shared.work.notified() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            }
        }
    }

    /// Starts a call as a task of its own: encoding a full request takes long enough to keep others waiting.
    fn call(&mut self, request: Request) {
        let request = Arc::new(request);
        let call = carry(
            Arc::clone(&self.client),
            Arc::clone(&self.shared),
            Arc::clone(&request),
            self.settings.request_timeout,
        );
        let id = self.calls.spawn(call).id();
        self.requests.insert(id, request);
    }

    fn answer(&mut self, done: Result<(Id, Answer), JoinError>) -> Option<(Request, Answer)> {
        let (id, answer) = match done {
            Ok(done) => done,
            Err(error) => {
                let id = error.id();
                let error = Error::new(Operation::PutRecords, ErrorKind::Unexpected, "the client did not return")
                    .with_source(error);
                (id, Err(error))
            }
        };
        let request = self.requests.remove(&id)?;
        self.trace(&request, &answer);
        Some((Arc::unwrap_or_clone(request), answer))
    }

    fn trace(&mut self, request: &Request, answer: &Answer) {
        let stream = &self.shared.stream;
        match answer {
            Ok(outcomes) => {
                self.failures = 0;
                let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                if failed > 0 {
                    tracing::debug!(%stream, records = request.records().len(), failed, "some records were not stored");
                }
            }
            Err(error) if error.kind().is_retryable() => {
                self.failures = self.failures.saturating_add(1);
                let failures = self.failures;
                if failures >= Self::FAILURES_WARN && failures.is_power_of_two() {
                    tracing::warn!(%stream, error = %error.chain(), failures, "the stream cannot be written for now; trying again");
                }
                tracing::debug!(%stream, records = request.records().len(), %error, "a request failed");
            }
            Err(error) => {
                tracing::warn!(%stream, records = request.records().len(), error = %error.chain(), "a request was refused")
            }
        }
    }
}

async fn carry(client: Arc<dyn KinesisClient>, shared: Arc<Shared>, request: Arc<Request>, limit: Duration) -> Answer {
    match timeout(limit, client.put_records(&shared.stream, request.records())).await {
        Ok(answer) => answer,
        Err(_) => {
            let message = format!("no answer within {limit:?}");
            Err(Error::new(Operation::PutRecords, ErrorKind::Timeout, message))
        }
    }
}

impl Drop for Driver {
    /// The runtime is shutting down, unless all is settled: no receipt may wait for ever.
    fn drop(&mut self) {
        self.shared.forget(self.settings.clone());
    }
}
