//! The task that has the records of a shard pushed.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use statefun_kinesis_client::{Error, ErrorKind, Operation, Subscription, SubscriptionEvent};
use statefun_kinesis_types::{ConsumerArn, StartPosition};
use tokio::time::{sleep_until, timeout, timeout_at};

use crate::{
    ConsumerError,
    cursor::Cursor,
    fan_out::Enrolment,
    pages::{Read, Site, now},
    subscription::{Step, SubscriptionMachine},
};

/// How long SubscribeToShard may take to answer; Flink's `source.efo.subscription.timeout`.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(60);

/// Reads a shard by SubscribeToShard.
#[derive(Debug)]
pub(crate) struct Subscriber {
    site: Arc<Site>,
    enrolment: Arc<Enrolment>,
    pub(crate) machine: SubscriptionMachine,
    /// What runs, and as which consumer.
    subscription: Option<(Subscription, ConsumerArn)>,
    random: fastrand::Rng,
}

impl Subscriber {
    pub(crate) fn new(site: Arc<Site>, enrolment: Arc<Enrolment>, cursor: Cursor, mut random: fastrand::Rng) -> Self {
        let machine = SubscriptionMachine::new(cursor, &site.shared.settings, random.fork());
        Self { site, enrolment, machine, subscription: None, random }
    }

    /// Waits for records or the end; `None` when the stream has no consumer any more.
    ///
    /// # Errors
    ///
    /// When trying again is of no use.
    pub(crate) async fn next(&mut self) -> Result<Option<Read>, Error> {
        loop {
            match self.machine.next(now()) {
                Step::Wait(until) => {
                    self.subscription = None;
                    sleep_until(until.into()).await;
                }
                Step::Subscribe(from) => {
                    let Some(consumer) = self.enrolment.arn() else { return Ok(None) };
                    self.subscribe(consumer, from).await?;
                }
                Step::Receive => {
                    if let Some(page) = self.receive().await? {
                        return Ok(Some(page));
                    }
                }
                Step::End(children) => return Ok(Some(Read::End(children))),
            }
        }
    }

    async fn subscribe(&mut self, consumer: ConsumerArn, from: StartPosition) -> Result<(), Error> {
        self.subscription = None;
        self.machine.subscribing(now());
        let call = self.enrolment.client.subscribe_to_shard(&consumer, &self.site.shard, from);
        let result = timeout(SUBSCRIBE_MAX, call).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", SUBSCRIBE_MAX.as_secs());
            Err(Error::new(Operation::SubscribeToShard, ErrorKind::Timeout, message))
        });
        self.site.called(Operation::SubscribeToShard, &result, self.machine.failures());
        let result = match result {
            Ok(subscription) => {
                self.subscription = Some((subscription, consumer));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return self.missing(&consumer, error).await,
            Err(error) => Err(error),
        };
        self.machine.subscribed(now(), self.site.shared.clock.now(), result)
    }

    /// Waits for the next event.
    async fn receive(&mut self) -> Result<Option<Read>, Error> {
        // Who does not pull holds the service back: while there is no room, no event is taken. One that is taken waits
        // here for room for its bytes, so that a shard holds one event at most beyond the bound.
        let prefetch = &self.site.shared.prefetch;
        prefetch.any().await;
        let until = self.machine.receiving(now());
        let Some((subscription, consumer)) = &mut self.subscription else {
            self.machine.event(now(), None)?;
            return Ok(None);
        };
        let Ok(event) = timeout_at(until.into(), subscription.next()).await else {
            self.machine.silent(now());
            return Ok(None);
        };
        let consumer = consumer.clone();
        self.look_at(&event, &consumer);
        match self.machine.event(now(), event) {
            Ok(Some(page)) => {
                let room = prefetch.admit(page.contents.bytes).await;
                return Ok(Some(Read::Page(page, room)));
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => self.missing(&consumer, error).await?,
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    fn look_at(&self, event: &Option<Result<SubscriptionEvent, Error>>, consumer: &ConsumerArn) {
        match event {
            Some(Ok(event)) => self.site.counters.behind(event.behind_latest),
            Some(Err(error)) => {
                if error.kind() == ErrorKind::InUse {
                    tracing::warn!(
                        stream = %self.site.stream, shard = %self.site.shard, consumer = %consumer.name(),
                        "another reader took the shard over under the same consumer name; give each its own"
                    );
                }
                self.site.failed(error, self.machine.failures() + 1);
            }
            None => {}
        }
    }

    /// Something is not there: the shard, or the consumer; only the latter can be mended here.
    async fn missing(&mut self, consumer: &ConsumerArn, error: Error) -> Result<(), Error> {
        let renewed = self.enrolment.renew(consumer, &mut self.random).await;
        if let Err(ConsumerError::FanOut { source, .. } | ConsumerError::NoFanOutConsumer { source, .. }) = renewed {
            return Err(source);
        }
        if renewed.is_ok_and(|renewed| renewed) { Ok(()) } else { Err(error) }
    }
}
