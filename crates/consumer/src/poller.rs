//! Polls a shard: makes the calls that [`ShardMachine`] asks for.

use std::{sync::Arc, time::Instant};

use statefun_kinesis_client::{Error, Operation};
use tokio::time::{sleep_until, timeout_at};

use crate::{
    context::{Read, ShardContext, no_continuation},
    cursor::Cursor,
    prefetch::Amount,
    registration::Registration,
    shard::{ShardMachine, Step},
    time::now,
};

/// Reads a shard by GetRecords.
#[derive(Debug)]
pub(crate) struct Poller {
    context: Arc<ShardContext>,
    pub(crate) machine: ShardMachine,
}

impl Poller {
    pub(crate) fn new(context: Arc<ShardContext>, cursor: Cursor, random: fastrand::Rng) -> Self {
        let machine = ShardMachine::new(cursor, &context.shared.settings, random);
        Self { context, machine }
    }

    /// Waits for records or the end; `None` when a consumer of enhanced fan-out is registered by now.
    ///
    /// # Errors
    ///
    /// A failure that no retry will mend, or one of kind [`Incomplete`](statefun_kinesis_client::ErrorKind::Incomplete)
    /// or [`NotFound`](statefun_kinesis_client::ErrorKind::NotFound) that leaves open whether the shard has ended.
    pub(crate) async fn next(&mut self, registration: Option<&Registration>) -> Result<Option<Read>, Error> {
        let shared = &self.context.shared;
        loop {
            let step = self.machine.next(now());
            match step {
                Step::End(children) => return Ok(Some(Read::End(children))),
                Step::CheckEnd => return Err(no_continuation(Operation::GetRecords)),
                Step::Wait(_) | Step::GetIterator(_) | Step::GetRecords(..) => {}
            }
            if registration.is_some_and(|registration| registration.consumer().is_some()) {
                return Ok(None);
            }
            match step {
                Step::Wait(until) => wait(until, registration).await,
                Step::GetIterator(from) => {
                    self.machine.asking_iterator(now());
                    let result =
                        shared.client.get_shard_iterator(&self.context.stream, &self.context.shard, from).await;
                    self.context.called(Operation::GetShardIterator, &result, self.machine.failures());
                    self.machine.iterator(now(), shared.clock.now(), result)?;
                }
                Step::GetRecords(iterator, amount) => {
                    let mut room = shared.prefetch.reserve(amount).await;
                    self.machine.asking(now(), room.records());
                    let result = shared.client.get_records(&iterator, room.records()).await;
                    self.context.called(Operation::GetRecords, &result, self.machine.failures());
                    if let Ok(page) = &result {
                        self.context.counters.behind(page.behind_latest);
                        if page.next_iterator.is_none() && page.child_shards.is_empty() {
                            let error = no_continuation(Operation::GetRecords);
                            self.context.failed(&error, self.machine.failures() + 1);
                        }
                    }
                    if let Some(page) = self.machine.answer(now(), result)? {
                        room.resize(Amount { records: page.records.len(), bytes: page.contents.bytes });
                        return Ok(Some(Read::Page(page, room)));
                    }
                }
                Step::End(_) | Step::CheckEnd => {}
            }
        }
    }
}

/// Waits until then, or until a consumer is registered.
async fn wait(until: Instant, registration: Option<&Registration>) {
    match registration {
        None => sleep_until(until.into()).await,
        Some(registration) => {
            let _ = timeout_at(until.into(), registration.registered()).await;
        }
    }
}
