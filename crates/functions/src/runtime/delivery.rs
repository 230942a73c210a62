//! A run: its beginning, its deliveries, its end.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use statefun_kinesis_router::{Delivery, FunctionError, Functions, RunHandle};
use statefun_kinesis_types::{Address, TypeName};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::builder::StatefulFunctions;
use crate::{Message, Origin, Value};

/// How long the end of a run waits for functions that block their thread.
const BLOCKED_MAX: Duration = Duration::from_secs(1);

#[async_trait]
impl Functions for StatefulFunctions {
    fn begin(&self, run: RunHandle) {
        let shared = self.shared();
        if shared.run.set(run.clone()).is_err() {
            return run.fail(FunctionError::new("the functions belong to another run, and one is all they can have"));
        }
        // Saved by itself, a position would be durable before what came of its records; saved by nobody, never.
        let expected = shared.checkpoint.is_some();
        let other = run.positions().iter().find(|(_, positions)| positions.is_for_others() != expected);
        if let Some((ingress, _)) = other {
            let what = if expected { "are not kept in the store of the functions" } else { "are saved by nobody" };
            let hint = "positions and functions need the same store, or both none";
            return run.fail(FunctionError::new(format!("the positions of ingress {ingress} {what}: {hint}")));
        }
        shared.tasks.spawn(Arc::clone(shared).alarm());
        if shared.checkpoint.is_some() {
            shared.tasks.spawn(Arc::clone(shared).sweep());
            let shared = Arc::clone(shared);
            self.set_driver(AbortOnDropHandle::new(tokio::spawn(async move {
                let Some(checkpoint) = &shared.checkpoint else { return Ok(()) };
                let driven = checkpoint.drive(&shared).await;
                match driven {
                    // Nobody waits for it yet.
                    Err(error) if !checkpoint.is_closed() => {
                        run.fail(error);
                        Ok(())
                    }
                    driven => driven,
                }
            })));
        }
        // What was restored goes on.
        shared.pump();
    }

    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        let shared = self.shared();
        let (batch, completion) = delivery.into_parts();
        if let Some(checkpoint) = &shared.checkpoint {
            // A position moves with the messages or not at all, so that nothing else may hold it.
            let ready = async {
                checkpoint.works().await;
                completion.ready().await
            };
            let ready = tokio::select! {
                ready = ready => ready,
                () = shared.stop.cancelled() => false,
            };
            if !ready {
                return Ok(());
            }
        }
        let mut typename: Option<(&TypeName, Arc<str>)> = None;
        let mut messages = Vec::with_capacity(batch.message_count());
        let mut origin: Option<Arc<Origin>> = None;
        for message in batch.messages() {
            let place = (message.sequence_number(), message.sub_sequence_number());
            // All messages of a record have one origin.
            let of_record = match &origin {
                Some(origin) if (origin.sequence_number, origin.sub_sequence_number) == place => Arc::clone(origin),
                _ => {
                    let new = Arc::new(Origin {
                        stream: batch.stream().clone(),
                        shard: batch.shard().clone(),
                        sequence_number: place.0,
                        sub_sequence_number: place.1,
                        arrival: message.arrival(),
                    });
                    origin = Some(Arc::clone(&new));
                    new
                }
            };
            // All messages of a route have values of one type.
            let of_type = match &typename {
                Some((name, text)) if *name == message.value_type() => Arc::clone(text),
                _ => {
                    let text: Arc<str> = message.value_type().as_str().into();
                    typename = Some((message.value_type(), Arc::clone(&text)));
                    text
                }
            };
            let value = Value { typename: of_type, bytes: message.payload().cloned() };
            messages.push((message.to_address(), Message { caller: None, value, origin: Some(of_record) }));
        }
        let mut waiting_for: Vec<Address> = messages.iter().map(|(to, _)| to.clone()).collect();
        let taken = {
            let mut inner = shared.lock();
            if inner.closed {
                return Ok(());
            }
            let place = inner.in_hand.insert(completion);
            let taken = inner.mailboxes.deliver(place, messages);
            match &taken {
                // Under the same lock, so that a cut has the messages and the position, or neither.
                Ok(()) if shared.checkpoint.is_some() => inner.in_hand[place].acknowledge(),
                Ok(()) => {}
                Err(_) => drop(inner.in_hand.remove(place)),
            }
            taken
        };
        taken.map_err(|unknown| {
            FunctionError::new(format!("no endpoint serves a target of the stream {}", batch.stream())).because(unknown)
        })?;
        drop(batch);
        shared.pump();
        loop {
            let moved = shared.moved.notified();
            tokio::pin!(moved);
            // Before the look, so that what happens after it is not missed.
            moved.as_mut().enable();
            {
                let inner = shared.lock();
                // One look tells while there is no room; all of the list is looked at once.
                while waiting_for.last().is_some_and(|to| inner.mailboxes.has_room_for(to)) {
                    waiting_for.pop();
                }
            }
            if waiting_for.is_empty() {
                return Ok(());
            }
            tokio::select! {
                () = moved => {}
                () = shared.stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn close(&self) -> Result<(), FunctionError> {
        let shared = self.shared();
        shared.stop();
        // Receipts that are there are taken note of, so that what reached its egress does not go there again. And nobody
        // has the store any more when the run has ended, but for a function that blocks its thread.
        shared.tasks.close();
        let _ = timeout(BLOCKED_MAX, shared.tasks.wait()).await;
        let (Some(checkpoint), Some(driver)) = (&shared.checkpoint, self.take_driver()) else { return Ok(()) };
        checkpoint.close();
        driver.await.unwrap_or_else(|_| Err(FunctionError::new("the task of the checkpoint has panicked")))
    }
}
