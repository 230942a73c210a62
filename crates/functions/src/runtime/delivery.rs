//! Deliveries of the router.

use std::sync::Arc;

use async_trait::async_trait;
use statefun_kinesis_router::{Delivery, FunctionError, Functions};
use statefun_kinesis_types::{Address, TypeName};

use super::builder::StatefulFunctions;
use crate::{Message, Value};

#[async_trait]
impl Functions for StatefulFunctions {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        let shared = self.shared();
        if shared.run.set(delivery.run()).is_ok() {
            tokio::spawn(Arc::clone(shared).alarm());
        }
        let (batch, completion) = delivery.into_parts();
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
        let taken = shared.lock().mailboxes.deliver(completion, messages);
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
}
