//! The life of a request.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use statefun_kinesis_dead_letter::{DeadLetter, FunctionOrigin, IngressOrigin};
use statefun_kinesis_module::FailureHandling;
use statefun_kinesis_router::FunctionError;
use statefun_kinesis_store::{KEY_MAX_BYTES, key};
use statefun_kinesis_types::{Address, ErrorChain, PutRecord, RECORD_MAX_BYTES, Timestamp};
use tokio::time::Instant;

use super::{
    failures::{backoff, is_over, log_given_up},
    shared::Shared,
};
use crate::{Answer, BoxError, InvokeError, Request};

impl Shared {
    /// Carries a request out, and applies what came of it.
    pub(super) async fn carry_out(self: Arc<Self>, request: Request) {
        let asked = Instant::now();
        let answer = self.ask(&request).await;
        let took = asked.elapsed();
        let applied = match answer {
            Ok(answer) => self.apply(&request, answer, took),
            Err(error) => Err(error),
        };
        match applied {
            Ok(()) => self.log.succeeded(&request.target.function),
            Err(error) => self.failed(&request, error, took).await,
        }
        self.pump();
    }

    async fn ask(&self, request: &Request) -> Result<Answer, InvokeError> {
        let group = &self.groups[request.group.index()];
        let elapsed = self.elapsed().saturating_sub(request.tried_since);
        // The time of a call is for all its attempts. Beyond that, each attempt has all of it.
        let time = group.call.checked_sub(elapsed).filter(|time| !time.is_zero()).unwrap_or(group.call);
        let invoked = AssertUnwindSafe(group.invoke.invoke(request, time)).catch_unwind().await;
        invoked.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            Err(InvokeError::new(format!("the function panicked: {}", said.unwrap_or("without a word"))))
        })
    }

    fn apply(&self, request: &Request, answer: Answer, took: Duration) -> Result<(), InvokeError> {
        if let (Answer::Handled(effects), Some(run)) = (&answer, self.run()) {
            for message in &effects.egress {
                run.egresses().check(&message.egress, message.stream.as_ref(), &message.record).map_err(|error| {
                    InvokeError::new("the function sent a record that no egress takes").because(error)
                })?;
            }
        }
        if let Answer::Handled(effects) = &answer {
            for change in &effects.states {
                check_key(request, &change.name)?;
            }
        }
        let mut inner = self.lock();
        if inner.closed {
            // The last cut is made, or will be: what comes now is asked for again after the next start.
            return Ok(());
        }
        let answered = inner.mailboxes.answered(request.id, answer, self.now());
        if answered.is_ok() {
            // Here, and not at once, as the lock is taken here anyway.
            inner.latencies.record(&request.target.function, took);
        }
        answered.map_err(|refused| InvokeError::new("the answer cannot be used").because(refused))
    }

    async fn failed(&self, request: &Request, error: InvokeError, took: Duration) {
        self.lock().latencies.record(&request.target.function, took);
        let group = &self.groups[request.group.index()];
        let now = self.elapsed();
        let attempts = request.attempt + 1;
        let wait = backoff(attempts);
        let elapsed = now.saturating_sub(request.tried_since);
        let over = is_over(&group.failures, attempts, elapsed, wait, group.call);
        // A batch that cannot be handled may be one bad message among many good ones.
        if over && !matches!(group.failures, FailureHandling::Fail { .. }) && self.lock().mailboxes.split(request.id) {
            return;
        }
        match &group.failures {
            _ if !over => self.log.failed(request, &error),
            FailureHandling::Skip { log, .. } => {
                log_given_up(*log, request, "a message was left out", &error);
                return self.lock().mailboxes.skip(request.id);
            }
            FailureHandling::DeadLetter { stream, log, .. } => {
                let first_attempt = self.now().before(elapsed);
                let put = match (dead_letters(request, attempts, first_attempt, &error), &self.dead_letters) {
                    (Ok(letters), Some(dead_letters)) => dead_letters.put(stream, letters).await,
                    (Err(error), _) => Err(error),
                    (_, None) => Err("no writer for dead letters was given".into()),
                };
                match put {
                    Ok(()) => {
                        log_given_up(*log, request, &format!("a message went to the dead letters in {stream}"), &error);
                        return self.lock().mailboxes.skip(request.id);
                    }
                    Err(why) => {
                        let error = InvokeError::new(format!("cannot put a dead letter into {stream}")).because(why);
                        self.log.failed(request, &error);
                    }
                }
            }
            FailureHandling::Fail { .. } => {
                let message = format!("{} failed {attempts} times", request.target);
                // What it was asked to do counts as not handled.
                return self.fail(FunctionError::new(message).because(error));
            }
            FailureHandling::KeepTrying => self.log.failed(request, &error),
        }
        self.lock().mailboxes.park(request.id, now + wait);
    }
}

/// The records of the dead letters for a request's messages. Any stream takes records of this size.
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
        // A function may send a text that is not the name of a type; that is no reason to keep the message.
        let (value_type, value) = (message.value.typename.parse().ok(), message.value.bytes.clone());
        let letter = DeadLetter::from_function(origin, value_type, value, &ErrorChain(error).to_string());
        records.extend(letter.to_records(RECORD_MAX_BYTES)?);
    }
    Ok(records)
}

/// Checks that a store has room for a state's name with that of its address. Most of what is too long is a mistake, and
/// found here it is one of this message, and not of the checkpoint.
fn check_key(request: &Request, name: &str) -> Result<(), InvokeError> {
    let Address { function, id } = &request.target;
    // A byte of a key may take two.
    if 2 * (function.as_str().len() + id.len() + name.len()) + 64 <= KEY_MAX_BYTES {
        return Ok(());
    }
    let bytes = key::state(&request.target, name).len();
    if bytes <= KEY_MAX_BYTES {
        return Ok(());
    }
    let message = format!("a state needs a key of {bytes} bytes, and {KEY_MAX_BYTES} are possible: the id is too long");
    Err(InvokeError::new(message))
}
