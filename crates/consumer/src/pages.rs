//! The pages of one shard, read by polling or by enhanced fan-out.

use std::{sync::Arc, time::Instant};

use statefun_kinesis_client::Error;

use crate::{
    context::{Read, ShardContext},
    cursor::{Begin, Cursor},
    poller::Poller,
    registration::Registration,
    subscriber::Subscriber,
    time::now,
};

/// The pages of one shard. Switches between polling and enhanced fan-out as the stream's registration comes and goes.
///
/// Retries what the table of [`Treatment`](statefun_kinesis_client::Treatment)s says. A future may be dropped at any await; nothing is read after that.
#[derive(Debug)]
pub(crate) struct Pages {
    context: Arc<ShardContext>,
    /// `None` where the shard is always polled.
    registration: Option<Arc<Registration>>,
    random: fastrand::Rng,
    source: PageSource,
}

/// How the shard is read at present. The next source starts at the cursor of the previous one, so that no record is
/// read twice and none is left out.
#[derive(Debug)]
enum PageSource {
    Polling(Box<Poller>),
    Subscription(Box<Subscriber>),
}

impl Pages {
    pub(crate) fn new(
        context: Arc<ShardContext>,
        registration: Option<Arc<Registration>>,
        begin: Begin,
        mut random: fastrand::Rng,
    ) -> Self {
        let source = PageSource::new(&context, registration.as_ref(), Cursor::new(begin), random.fork());
        Self { context, registration, random, source }
    }

    /// Waits for records or the end.
    ///
    /// # Errors
    ///
    /// A failure that no retry will mend, or one that leaves open whether the shard has ended: then
    /// [`doubt_since`](Self::doubt_since) says since when, and [`read_again`](Self::read_again) goes on.
    pub(crate) async fn next(&mut self) -> Result<Read, Error> {
        loop {
            let read = match &mut self.source {
                PageSource::Polling(poller) => poller.next(self.registration.as_deref()).await?,
                PageSource::Subscription(subscriber) => subscriber.next().await?,
            };
            if let Some(read) = read {
                return Ok(read);
            }
            let cursor = match &self.source {
                PageSource::Polling(poller) => poller.machine.cursor(),
                PageSource::Subscription(subscriber) => subscriber.machine.cursor(),
            };
            self.source = PageSource::new(&self.context, self.registration.as_ref(), cursor, self.random.fork());
        }
    }
}

impl Pages {
    /// Since when all answers have left open whether the shard has ended.
    pub(crate) fn doubt_since(&self) -> Option<Instant> {
        match &self.source {
            PageSource::Polling(poller) => poller.machine.doubt_since(),
            PageSource::Subscription(subscriber) => subscriber.machine.doubt_since(),
        }
    }

    /// The shard has not ended, or it is not certain: the next call reads on from where it was read to, a little later.
    pub(crate) fn read_again(&mut self) {
        match &mut self.source {
            PageSource::Polling(poller) => poller.machine.read_again(now()),
            PageSource::Subscription(subscriber) => subscriber.machine.read_again(now()),
        }
    }
}

impl PageSource {
    /// Enhanced fan-out where a consumer is registered now, else polling.
    fn new(
        context: &Arc<ShardContext>,
        registration: Option<&Arc<Registration>>,
        cursor: Cursor,
        random: fastrand::Rng,
    ) -> Self {
        match registration {
            Some(registration) if registration.consumer().is_some() => Self::Subscription(Box::new(Subscriber::new(
                Arc::clone(context),
                Arc::clone(registration),
                cursor,
                random,
            ))),
            _ => Self::Polling(Box::new(Poller::new(Arc::clone(context), cursor, random))),
        }
    }
}
