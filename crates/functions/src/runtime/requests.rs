//! Runs requests: invokes the function, applies its answer, and retries or gives up after a failure.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use statefun_kinesis_dead_letter::{DeadLetter, FunctionOrigin, IngressOrigin};
use statefun_kinesis_module::FailureHandling;
use statefun_kinesis_router::FunctionError;
use statefun_kinesis_store::{KEY_MAX_BYTES, key};
use statefun_kinesis_types::{Address, ErrorChain, PutRecord, RECORD_MAX_BYTES, Timestamp};
use tokio::time::Instant;

use super::{
    egress::unsendable,
    failures::{backoff, is_over, log_given_up},
    shared::{Shared, panic_text},
};
use crate::{Answer, BoxError, EgressMessage, Failure, InvokeError, InvokeErrorKind, Request};

/// The longest wait that a server may ask for. A wrong value of a proxy must not stop a function for hours.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// What a person can do when a message ended the run.
const FAIL_HINT: &str = "`failureHandling` of the endpoint says that a message that keeps failing ends the run; with the \
                         type `keep-trying` only its address waits, and `skip` or `dead-letter` leave it out";

impl Shared {
    /// Runs a request and applies its answer. After a failure, schedules a retry or gives up, as the endpoint says.
    pub(super) async fn run_request(self: Arc<Self>, request: Request) {
        let began = Instant::now();
        let answer = self.invoke(&request).await;
        let took = began.elapsed();
        let applied = match answer {
            Ok(answer) => self.apply(&request, answer, took),
            Err(error) => Err(error),
        };
        match applied {
            Ok(()) => self.log.answered(&request.target),
            Err(error) => self.failed(&request, error, took).await,
        }
        self.pump();
    }

    async fn invoke(&self, request: &Request) -> Result<Answer, InvokeError> {
        let group = &self.groups[request.group.index()];
        let elapsed = self.elapsed().saturating_sub(request.tried_since);
        // The attempts of a request share the time limit of a call. Once they have used it up, each further attempt
        // gets the whole limit.
        let time = group.call.checked_sub(elapsed).filter(|time| !time.is_zero()).unwrap_or(group.call);
        let invoked = AssertUnwindSafe(group.invoke.invoke(request, time)).catch_unwind().await;
        invoked.unwrap_or_else(|panic| Err(InvokeError::new(format!("the function panicked: {}", panic_text(&*panic)))))
    }

    fn apply(&self, request: &Request, mut answer: Answer, took: Duration) -> Result<(), InvokeError> {
        if let Answer::Handled(effects) = &mut answer {
            if !self.accepts(request, &mut effects.egress)? {
                return Ok(());
            }
            for change in &effects.states {
                check_key(&request.target, &change.name)?;
            }
        }
        let mut inner = self.lock();
        if inner.closed {
            // After a stop the request counts as not handled: the store still has its messages, and the next start
            // sends them again.
            return Ok(());
        }
        inner.mailboxes.advance(self.elapsed());
        let answered = inner.mailboxes.answered(request.id, answer, self.now());
        let held_back = inner.mailboxes.is_held_back(request.group);
        if answered.is_ok() {
            // Recorded here because the lock is held here anyway.
            inner.latencies.record(&request.target.function, took);
        }
        drop(inner);
        let group = &self.groups[request.group.index()];
        group.held_back.is(held_back, &group.functions, None);
        answered.map_err(|refused| InvokeError::new("the answer cannot be used").because(refused))
    }

    /// Checks messages to egresses. Errors of those that are not valid get the name of their sender. Returns `false` when a
    /// record ends the run: before the answer has effects, so that a corrected function can answer again after a restart.
    ///
    /// # Errors
    ///
    /// When there is no such egress.
    fn accepts(&self, request: &Request, messages: &mut [EgressMessage]) -> Result<bool, InvokeError> {
        let Some(run) = self.run() else { return Ok(true) };
        for message in messages {
            let checked = match message {
                EgressMessage::Record { egress, stream, record } => {
                    run.egresses().check(egress, stream.as_ref(), record)
                }
                EgressMessage::Invalid { egress, value, error } => {
                    // The log and the dead letter have nothing but this text.
                    let sender = &request.target;
                    *error = format!("what {sender} sent to the egress {egress} is not a valid record: {error}").into();
                    run.egresses().check_invalid(egress, &unsendable(value, error))
                }
            };
            match checked {
                Ok(()) => {}
                Err(error) if error.is_about_record() => {
                    run.fail_egress(error);
                    return Ok(false);
                }
                Err(error) => {
                    let says = "the function sent a record to an egress that does not exist";
                    return Err(InvokeError::new(says).because(error));
                }
            }
        }
        Ok(true)
    }

    async fn failed(&self, request: &Request, error: InvokeError, took: Duration) {
        let group = &self.groups[request.group.index()];
        let now = self.elapsed();
        let attempts = request.attempt + 1;
        let asked = error.wait().unwrap_or_default().min(RETRY_AFTER_MAX);
        let wait = backoff(attempts).max(asked);
        let elapsed = now.saturating_sub(request.tried_since);
        let over = is_over(&group.failures, attempts, elapsed, wait, group.call);
        self.note_failure(request, &error, Failure { kind: error.kind(), elapsed: now, wait: asked }, took);
        if self.split(request, &error, over, now, asked) {
            return self.log_failure(request, &error);
        }
        match &group.failures {
            _ if !over => self.log_failure(request, &error),
            FailureHandling::Skip { log, .. } => {
                log_given_up(*log, request, "skipped a message", &error);
                self.log.forget(&request.target);
                return self.lock().mailboxes.skip(request.id);
            }
            FailureHandling::DeadLetter { stream, log, .. } => {
                let first_attempt = self.now().before(elapsed);
                let put = match (dead_letters(request, attempts, first_attempt, &error), &self.dead_letters) {
                    (Ok(letters), Some(dead_letters)) => dead_letters.put(stream, letters).await,
                    (Err(error), _) => Err(error),
                    (_, None) => Err("the functions were built without a writer of dead letters".into()),
                };
                match put {
                    Ok(()) => {
                        log_given_up(
                            *log,
                            request,
                            &format!("wrote a message to the dead letters in {stream}"),
                            &error,
                        );
                        self.log.forget(&request.target);
                        return self.lock().mailboxes.dead_lettered(request.id);
                    }
                    Err(why) => {
                        let error = InvokeError::new(format!("cannot put a dead letter into {stream}")).because(why);
                        self.log_failure(request, &error);
                    }
                }
            }
            FailureHandling::Fail { .. } => {
                let message = format!("{} failed {attempts} times", request.target);
                // The messages of the request stay in the store as not handled.
                return self.fail(FunctionError::new(message).because(error).with_hint(FAIL_HINT));
            }
            FailureHandling::KeepTrying => self.log_failure(request, &error),
        }
        self.lock().mailboxes.park(request.id, now.saturating_add(wait));
    }

    /// Counts a failed request.
    fn note_failure(&self, request: &Request, error: &InvokeError, failure: Failure, took: Duration) {
        let group = &self.groups[request.group.index()];
        let held_back = {
            let mut inner = self.lock();
            inner.latencies.record(&request.target.function, took);
            inner.mailboxes.failed(request.id, failure);
            inner.mailboxes.is_held_back(request.group)
        };
        group.held_back.is(held_back, &group.functions, Some(error));
    }

    fn log_failure(&self, request: &Request, error: &InvokeError) {
        let failing_for = request.failing_since.map_or(Duration::ZERO, |since| self.elapsed().saturating_sub(since));
        let failing = self.lock().mailboxes.failing(&request.target.function);
        self.log.failed(request, error, self.now().before(failing_for), failing);
    }

    /// Sends the messages of a failed request in parts, to find the one that fails. Only that one, and those behind it
    /// at the same address, have to wait. Returns `false` when the request is not split; it is then still in flight.
    fn split(&self, request: &Request, error: &InvokeError, over: bool, now: Duration, asked: Duration) -> bool {
        let group = &self.groups[request.group.index()];
        let wait = match error.kind() {
            // A smaller request may be accepted at once.
            InvokeErrorKind::TooLarge => Duration::ZERO,
            InvokeErrorKind::Rejected | InvokeErrorKind::NoAnswer => backoff(1),
            // Smaller requests would fail as well. But a message that is given up has failed alone, in case that it is
            // the cause, as when it crashes the server behind a proxy.
            InvokeErrorKind::Unavailable if over && !matches!(group.failures, FailureHandling::Fail { .. }) => {
                backoff(1)
            }
            InvokeErrorKind::Unavailable => return false,
        };
        self.lock().mailboxes.split(request.id, now.saturating_add(wait.max(asked)))
    }
}

/// The dead letters of a request's messages as records. They have at most the size that any stream accepts.
fn dead_letters(
    request: &Request,
    attempts: u32,
    first_attempt: Timestamp,
    error: &InvokeError,
) -> Result<Vec<PutRecord>, BoxError> {
    let mut records = Vec::with_capacity(request.messages.len());
    for message in request.messages.iter() {
        let ingress = message.origin.as_deref().map(|origin| IngressOrigin {
            stream: origin.stream.clone(),
            shard: origin.shard.clone(),
            sequence_number: origin.sequence_number,
            sub_sequence_number: origin.sub_sequence_number,
            arrival: origin.arrival,
        });
        let origin = FunctionOrigin {
            function: request.target.clone(),
            caller: message.caller.clone(),
            ingress,
            attempts,
            first_attempt: Some(first_attempt),
        };
        // A function may send a type name that is not valid. The dead letter then has no type.
        let (value_type, value) = (message.value.typename.parse().ok(), message.value.bytes.clone());
        let letter = DeadLetter::from_function(origin, value_type, value, &ErrorChain(error).to_string());
        records.extend(letter.to_records(RECORD_MAX_BYTES)?);
    }
    Ok(records)
}

/// Checks that the key of a state is not too long for the store. Checked here, it fails this request only; checked by
/// the commit, it would fail the checkpoint and so the run.
fn check_key(target: &Address, name: &str) -> Result<(), InvokeError> {
    let Address { function, id } = target;
    // A cheap test first: escaping may double the bytes of a key, and 64 bytes are enough for its other parts.
    if 2 * (function.as_str().len() + id.len() + name.len()) + 64 <= KEY_MAX_BYTES {
        return Ok(());
    }
    let bytes = key::state(target, name).len();
    if bytes <= KEY_MAX_BYTES {
        return Ok(());
    }
    let message = format!(
        "the key of the state `{name}` has {bytes} bytes, more than {KEY_MAX_BYTES}: shorten the id or the name"
    );
    Err(InvokeError::new(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cheap test must not let a key through that the commit then refuses, whatever its parts are.
    #[test]
    fn the_key_of_a_state_may_be_as_long_as_the_store_takes_and_no_longer() {
        let target = |id: &str| Address { function: "t/f".parse().unwrap(), id: id.into() };
        let check = |id: &str, name: &str| {
            let bytes = key::state(&target(id), name).len();
            let checked = check_key(&target(id), name);
            assert_eq!(checked.is_ok(), bytes <= KEY_MAX_BYTES, "{bytes}: {} + {}", id.len(), name.len());
            bytes
        };
        // Of an id, the key has each zero twice.
        for (of_id, bytes_each) in [("a", 1), ("\0", 2)] {
            for percent in [0, 1, 50, 99, 100] {
                let room = KEY_MAX_BYTES - key::state(&target(""), "").len();
                let id = of_id.repeat(room * percent / 100 / bytes_each);
                let name_max = KEY_MAX_BYTES - key::state(&target(&id), "").len();
                assert_eq!(check(&id, &"n".repeat(name_max)), KEY_MAX_BYTES);
                assert_eq!(check(&id, &"n".repeat(name_max + 1)), KEY_MAX_BYTES + 1);
                check(&id, &"n".repeat(name_max / 2));
                check(&id, &"n".repeat(2 * KEY_MAX_BYTES));
                check(&format!("{id}{of_id}"), &"n".repeat(name_max));
            }
        }
    }
}
