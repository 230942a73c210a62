//! What a shard brings, whichever way it is read for now.

use std::sync::Arc;

use statefun_kinesis_client::{ChildShard, Error, Operation};
use statefun_kinesis_types::{ErrorChain, ShardId, StreamRef};
use tokio::time::Instant;

use crate::{
    cursor::{Begin, Cursor, Page},
    fan_out::Enrolment,
    metrics::{ShardCounters, StreamCounters},
    poller::Poller,
    prefetch::Reservation,
    stream::Shared,
    subscriber::Subscriber,
};

/// What comes next of a shard.
#[derive(Debug)]
pub(crate) enum Read {
    /// Records, with room for them; at least for their bytes.
    Page(Page, Reservation),
    End(Vec<ChildShard>),
}

/// A shard, and what every way of reading it needs.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stream: StreamRef,
    pub(crate) shard: ShardId,
    pub(crate) stream_counters: Arc<StreamCounters>,
    pub(crate) counters: Arc<ShardCounters>,
}

/// Failures in a row after which each doubling of their number is worth a warning.
const FAILURES_WARN: u32 = 4;

impl Site {
    /// Counts a failure that is tried again, the `failures`th in a row, and logs it.
    pub(crate) fn failed(&self, error: &Error, failures: u32) {
        self.stream_counters.retried(error);
        let Self { stream, shard, .. } = self;
        if failures >= FAILURES_WARN && failures.is_power_of_two() {
            tracing::warn!(%stream, %shard, error = %ErrorChain(&error), failures, "a shard cannot be read for now; trying again");
        } else {
            tracing::debug!(%stream, %shard, error = %ErrorChain(&error), "a call failed");
        }
    }

    /// Counts a call.
    pub(crate) fn called<T>(&self, operation: Operation, result: &Result<T, Error>, failures_before: u32) {
        self.stream_counters.called(operation);
        if let Err(error) = result {
            self.failed(error, failures_before + 1);
        }
    }
}

/// The pages of one shard: polled, or pushed as long as the stream has a consumer.
///
/// It deals with everything that passes by itself. A future may be dropped at any await; nothing is read after that.
#[derive(Debug)]
pub(crate) struct Pages {
    site: Arc<Site>,
    /// `None` where the shard is polled for good.
    enrolment: Option<Arc<Enrolment>>,
    random: fastrand::Rng,
    way: Way,
}

/// One of these is at work at a time, and the next one begins where the cursor of the one before is: nothing is read
/// twice, and nothing is left out.
#[derive(Debug)]
enum Way {
    Polling(Box<Poller>),
    Pushed(Box<Subscriber>),
}

impl Pages {
    pub(crate) fn new(
        site: Arc<Site>,
        enrolment: Option<Arc<Enrolment>>,
        begin: Begin,
        mut random: fastrand::Rng,
    ) -> Self {
        let way = Way::of(&site, enrolment.as_ref(), Cursor::new(begin), random.fork());
        Self { site, enrolment, random, way }
    }

    /// Waits for records or the end.
    ///
    /// # Errors
    ///
    /// When trying again is of no use.
    pub(crate) async fn next(&mut self) -> Result<Read, Error> {
        loop {
            let read = match &mut self.way {
                Way::Polling(poller) => poller.next(self.enrolment.as_deref()).await?,
                Way::Pushed(subscriber) => subscriber.next().await?,
            };
            if let Some(read) = read {
                return Ok(read);
            }
            let cursor = match &self.way {
                Way::Polling(poller) => poller.machine.cursor(),
                Way::Pushed(subscriber) => subscriber.machine.cursor(),
            };
            self.way = Way::of(&self.site, self.enrolment.as_ref(), cursor, self.random.fork());
        }
    }
}

impl Way {
    /// The way in which the stream is read now.
    fn of(site: &Arc<Site>, enrolment: Option<&Arc<Enrolment>>, cursor: Cursor, random: fastrand::Rng) -> Self {
        match enrolment {
            Some(enrolment) if enrolment.arn().is_some() => {
                Self::Pushed(Box::new(Subscriber::new(Arc::clone(site), Arc::clone(enrolment), cursor, random)))
            }
            _ => Self::Polling(Box::new(Poller::new(Arc::clone(site), cursor, random))),
        }
    }
}

/// The time as Tokio has it, which tests can pause.
pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}
