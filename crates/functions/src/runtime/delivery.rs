//! A run: its beginning, its deliveries, its end.

use std::sync::Arc;

use async_trait::async_trait;
use statefun_kinesis_router::{Delivery, FunctionError, Functions, RunHandle};
use statefun_kinesis_types::{Address, TypeName};
use tokio_util::task::AbortOnDropHandle;

use super::builder::StatefulFunctions;
use crate::{Message, Value};

#[async_trait]
impl Functions for StatefulFunctions {
    fn begin(&self, run: RunHandle) {
        let shared = self.shared();
        if shared.run.set(run.clone()).is_err() {
            return run.fail(FunctionError::new("the functions belong to another run, and one is all they can have"));
        }
        tokio::spawn(Arc::clone(shared).alarm());
        if shared.checkpoint.is_some() {
            let shared = Arc::clone(shared);
            self.set_driver(AbortOnDropHandle::new(tokio::spawn(async move {
                let Some(checkpoint) = &shared.checkpoint else { return Ok(()) };
                let driven = checkpoint.drive(&*shared).await;
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
        for message in batch.messages() {
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
            messages.push((message.to_address(), Message { caller: None, value }));
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
        // Receipts that are there are taken note of, so that what reached its egress does not go there again.
        shared.receipts.close();
        shared.receipts.wait().await;
        let (Some(checkpoint), Some(driver)) = (&shared.checkpoint, self.take_driver()) else { return Ok(()) };
        checkpoint.close();
        driver.await.unwrap_or_else(|_| Err(FunctionError::new("the task of the checkpoint has panicked")))
    }
}
