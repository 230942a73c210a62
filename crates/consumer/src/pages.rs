//! The pages of one shard, read by polling or by enhanced fan-out.

use std::sync::Arc;

use statefun_kinesis_client::Error;

use crate::{
    context::{Read, ShardContext},
    cursor::{Begin, Cursor},
    poller::Poller,
    registration::Registration,
    subscriber::Subscriber,
};

/// The pages of one shard. Switches between polling and enhanced fan-out as the stream's registration comes and goes.
///
/// Retries whatever is retryable. A future may be dropped at any await; nothing is read after that.
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
    /// A failure that no retry will mend.
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
