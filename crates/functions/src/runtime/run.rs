//! Connects the functions to the run of a router: the start, taking batches, and the end.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use statefun_kinesis_module::RecordMetadata;
use statefun_kinesis_router::{
    Acknowledgement, FunctionError, Message as RoutedMessage, PositionStore, Positions, RoutedBatch, RunHandle,
    StatefulHandler, Unfinished,
};
use statefun_kinesis_store::StoredCheckpoints;
use statefun_kinesis_types::{Address, TypeName};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::{
    blocked::{BlockReason, Blocked, BlockedLog},
    builder::StatefulFunctions,
    shared::{Inner, Shared, panicked},
};
use crate::{Message, Origin, Value};

/// How long the end of a run waits for tasks. Only a function that blocks its thread takes that long.
const BLOCKED_THREAD_MAX: Duration = Duration::from_secs(1);

#[async_trait]
impl StatefulHandler for StatefulFunctions {
    fn positions(&self, ingress: &TypeName) -> Arc<dyn PositionStore> {
        Arc::new(StoredCheckpoints::new(Arc::clone(&self.shared().store), ingress.clone()))
    }

    fn is_durable(&self) -> bool {
        self.shared().is_durable
    }

    fn begin(&self, run: RunHandle, positions: Vec<(TypeName, Positions)>) {
        let shared = self.shared();
        if shared.run.set((run.clone(), positions)).is_err() {
            return run.fail(FunctionError::new("these functions belong to another run; build new ones for each run"));
        }
        shared.spawn("delayed messages", Arc::clone(shared).alarm());
        shared.spawn("expired states", Arc::clone(shared).sweep());
        let shared = Arc::clone(shared);
        let driver = Arc::clone(&shared);
        self.set_driver(AbortOnDropHandle::new(tokio::spawn(async move {
            let driven = AssertUnwindSafe(driver.checkpoint.drive(&driver)).catch_unwind().await;
            match driven.unwrap_or_else(|panic| Err(panicked("the checkpoint", &*panic))) {
                // The run is still going, so the error has to end it. After `close` the error is its result instead.
                Err(error) if !driver.checkpoint.is_closed() => {
                    run.fail(error);
                    Ok(())
                }
                driven => driven,
            }
        })));
        // Starts the work that was restored from the store.
        shared.pump();
    }

    async fn take(&self, batch: RoutedBatch, acknowledgement: Acknowledgement) -> Result<(), FunctionError> {
        let shared = self.shared();
        // Waits until the acknowledgement below can move the position at once. Otherwise a cut could have the messages,
        // and only a later one their position. `false` means that the position cannot move any more.
        if !acknowledgement.ready().await {
            return Ok(());
        }
        let mut messages = messages_of(&batch);
        loop {
            let progressed = shared.progressed.notified();
            tokio::pin!(progressed);
            // Enabled before the check, so that a notification right after the check is not missed.
            progressed.as_mut().enable();
            {
                let mut inner = shared.lock();
                if inner.closed {
                    return Ok(());
                }
                match shared.blocked_by(&inner) {
                    None => {
                        inner.mailboxes.advance(shared.elapsed());
                        let taken = inner.mailboxes.deliver(std::mem::take(&mut messages));
                        taken.map_err(|unknown| {
                            let stream = batch.stream();
                            FunctionError::new(format!("no function is registered for a target of the stream {stream}"))
                                .because(unknown)
                        })?;
                        // Under the same lock as `deliver`, so that a cut has both the messages and the position, or
                        // neither.
                        acknowledgement.done();
                        break;
                    }
                    Some(blocked) => shared.blocked.waits(blocked),
                }
            }
            let _ = timeout(BlockedLog::check_interval(), progressed).await;
        }
        shared.blocked.resumed();
        shared.pump();
        Ok(())
    }

    async fn stop(&self, deadline: Instant) {
        let shared = self.shared();
        if !shared.is_durable {
            let _ = timeout_at(deadline, shared.idle()).await;
        }
        shared.stop();
    }

    async fn close(&self) -> Result<Unfinished, FunctionError> {
        let shared = self.shared();
        shared.stop();
        // Tasks that wait for receipts end first, so that the last commit removes records that their egress has stored.
        // And after the run no task uses the store any more, except a function that blocks its thread.
        shared.tasks.close();
        let _ = timeout(BLOCKED_THREAD_MAX, shared.tasks.wait()).await;
        shared.dropped.cancel();
        if let Some(driver) = self.take_driver() {
            shared.checkpoint.close();
            driver.await.unwrap_or_else(|_| Err(FunctionError::new("the task for the checkpoint was aborted")))?;
        }
        let mut unfinished = Unfinished::default();
        if !shared.is_durable {
            let inner = shared.lock();
            let waiting = inner.mailboxes.waiting().filter(|(_, messages)| *messages > 0);
            unfinished.messages = waiting.map(|(function, messages)| (function.clone(), messages)).collect();
        }
        Ok(unfinished)
    }
}

impl Shared {
    /// Why no messages can be taken now; `None` when they can.
    fn blocked_by(&self, inner: &Inner) -> Option<Blocked> {
        let reason = if self.checkpoint.is_failing() {
            BlockReason::StoreFails
        } else if inner.mailboxes.is_full() {
            BlockReason::Full
        } else if !inner.mailboxes.has_room() {
            BlockReason::Busy
        } else {
            return None;
        };
        let waiting = inner.mailboxes.waiting().filter(|(_, messages)| *messages > 0);
        let most = waiting.max_by_key(|(_, messages)| *messages);
        let (function, messages) = most.map_or((None, 0), |(function, messages)| (Some(function.clone()), messages));
        Some(Blocked { reason, function, messages, since: self.now() })
    }

    /// Waits until all messages are handled and every egress has stored its records. Does not wait for delayed
    /// messages.
    async fn idle(&self) {
        loop {
            let progressed = self.progressed.notified();
            tokio::pin!(progressed);
            progressed.as_mut().enable();
            let usage = self.lock().mailboxes.usage();
            if usage.messages == 0 && usage.egress_records == 0 {
                return;
            }
            progressed.await;
        }
    }
}

/// Converts a batch to messages with their target addresses. Messages of a record share one origin, and messages of a
/// route one type name, to save memory.
///
/// The payload of a user record is a part of its aggregate and keeps all of it in memory. A message may wait for long,
/// so it gets a copy.
fn messages_of(batch: &RoutedBatch) -> Vec<(Address, Message)> {
    let place = |message: &RoutedMessage<'_>| (message.sequence_number(), message.sub_sequence_number());
    let mut messages = Vec::with_capacity(batch.message_count());
    let mut typename: Option<(&TypeName, Arc<str>)> = None;
    let mut origin: Option<Arc<Origin>> = None;
    let is_sent = match batch.record_metadata() {
        RecordMetadata::Omit => false,
        RecordMetadata::Send => true,
    };
    let mut routed = batch.messages().peekable();
    while let Some(message) = routed.next() {
        let (sequence_number, sub_sequence_number) = place(&message);
        let is_last = routed.peek().is_none_or(|next| place(next) != (sequence_number, sub_sequence_number));
        // The last message of a record has an origin of its own, because it differs in `is_last`.
        let of_record = origin.take().unwrap_or_else(|| {
            Arc::new(Origin {
                stream: batch.stream().clone(),
                shard: batch.shard().clone(),
                sequence_number,
                sub_sequence_number,
                arrival: message.arrival(),
                explicit_hash_key: message.explicit_hash_key().map(Box::new),
                is_sent,
                is_last,
            })
        });
        let of_message = if of_record.is_last == is_last {
            Arc::clone(&of_record)
        } else {
            Arc::new(Origin { is_last, ..(*of_record).clone() })
        };
        origin = (!is_last).then_some(of_record);
        // All messages of a route have values of one type.
        let of_type = match &typename {
            Some((name, text)) if *name == message.value_type() => Arc::clone(text),
            _ => {
                let text: Arc<str> = message.value_type().as_str().into();
                typename = Some((message.value_type(), Arc::clone(&text)));
                text
            }
        };
        let is_of_aggregate = sub_sequence_number > 0
            || routed.peek().is_some_and(|next| place(next).0 == sequence_number && place(next).1 > 0);
        let copy = |payload: &Bytes| if is_of_aggregate { Bytes::copy_from_slice(payload) } else { payload.clone() };
        let value = Value { typename: of_type, bytes: message.payload().map(copy) };
        messages.push((message.to_address(), Message { caller: None, value, origin: Some(of_message) }));
    }
    messages
}
