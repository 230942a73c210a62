//! The task that polls a shard.

use std::{sync::Arc, time::Instant};

use statefun_kinesis_client::{Error, Operation};
use tokio::time::{sleep_until, timeout_at};

use crate::{
    cursor::Cursor,
    fan_out::Enrolment,
    pages::{Read, Site, now},
    prefetch::Amount,
    shard::{ShardMachine, Step},
};

/// Reads a shard by GetRecords.
#[derive(Debug)]
pub(crate) struct Poller {
    site: Arc<Site>,
    pub(crate) machine: ShardMachine,
}

impl Poller {
    pub(crate) fn new(site: Arc<Site>, cursor: Cursor, random: fastrand::Rng) -> Self {
        let machine = ShardMachine::new(cursor, &site.shared.settings, random);
        Self { site, machine }
    }

    /// Waits for records or the end; `None` when the stream has a consumer by now.
    ///
    /// # Errors
    ///
    /// When trying again is of no use.
    pub(crate) async fn next(&mut self, enrolment: Option<&Enrolment>) -> Result<Option<Read>, Error> {
        let shared = &self.site.shared;
        loop {
            let step = self.machine.next(now());
            if let Step::End(children) = step {
                return Ok(Some(Read::End(children)));
            }
            if enrolment.is_some_and(|enrolment| enrolment.arn().is_some()) {
                return Ok(None);
            }
            match step {
                Step::Wait(until) => wait(until, enrolment).await,
                Step::GetIterator(from) => {
                    self.machine.asking_iterator(now());
                    let result = shared.client.get_shard_iterator(&self.site.stream, &self.site.shard, from).await;
                    self.site.called(Operation::GetShardIterator, &result, self.machine.failures());
                    self.machine.iterator(now(), shared.clock.now(), result)?;
                }
                Step::GetRecords(iterator, amount) => {
                    let mut room = shared.prefetch.reserve(amount).await;
                    self.machine.asking(now(), room.records());
                    let result = shared.client.get_records(&iterator, room.records()).await;
                    self.site.called(Operation::GetRecords, &result, self.machine.failures());
                    if let Ok(page) = &result {
                        self.site.counters.behind(page.behind_latest);
                    }
                    if let Some(page) = self.machine.answer(now(), result)? {
                        room.settle(Amount { records: page.records.len(), bytes: page.contents.bytes });
                        return Ok(Some(Read::Page(page, room)));
                    }
                }
                Step::End(children) => return Ok(Some(Read::End(children))),
            }
        }
    }
}

/// Waits until then, or until the stream has a consumer.
async fn wait(until: Instant, enrolment: Option<&Enrolment>) {
    match enrolment {
        None => sleep_until(until.into()).await,
        Some(enrolment) => {
            let _ = timeout_at(until.into(), enrolment.joined()).await;
        }
    }
}
