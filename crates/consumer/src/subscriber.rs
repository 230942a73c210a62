//! Receives the records of a shard by enhanced fan-out: makes the calls that [`SubscriptionMachine`] asks for.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use statefun_kinesis_client::{Error, ErrorKind, Operation, Subscription, SubscriptionEvent};
use statefun_kinesis_types::{ConsumerArn, StartPosition};
use tokio::time::{sleep_until, timeout, timeout_at};

use crate::{
    ConsumerError,
    context::{Read, ShardContext, no_continuation},
    cursor::Cursor,
    registration::Registration,
    subscription::{Step, SubscriptionMachine},
    time::now,
};

/// How long SubscribeToShard may take to answer; Flink's `source.efo.subscription.timeout`.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(60);

/// Reads a shard by SubscribeToShard.
#[derive(Debug)]
pub(crate) struct Subscriber {
    context: Arc<ShardContext>,
    registration: Arc<Registration>,
    pub(crate) machine: SubscriptionMachine,
    /// The subscription that runs, and the consumer that it belongs to.
    subscription: Option<(Subscription, ConsumerArn)>,
    random: fastrand::Rng,
}

impl Subscriber {
    pub(crate) fn new(
        context: Arc<ShardContext>,
        registration: Arc<Registration>,
        cursor: Cursor,
        mut random: fastrand::Rng,
    ) -> Self {
        let machine = SubscriptionMachine::new(cursor, &context.shared.settings, random.fork());
        Self { context, registration, machine, subscription: None, random }
    }

    /// Waits for records or the end; `None` when the stream's consumer is not registered any more.
    ///
    /// # Errors
    ///
    /// A failure that no retry will mend, or one of kind [`Incomplete`](ErrorKind::Incomplete) or
    /// [`NotFound`](ErrorKind::NotFound) that leaves open whether the shard has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Read>, Error> {
        loop {
            match self.machine.next(now()) {
                Step::Wait(until) => {
                    self.subscription = None;
                    sleep_until(until.into()).await;
                }
                Step::Subscribe(from) => {
                    let Some(consumer) = self.registration.consumer() else { return Ok(None) };
                    self.subscribe(consumer, from).await?;
                }
                Step::Receive => {
                    if let Some(page) = self.receive().await? {
                        return Ok(Some(page));
                    }
                }
                Step::End(children) => return Ok(Some(Read::End(children))),
                Step::CheckEnd => return Err(no_continuation(Operation::SubscribeToShard)),
            }
        }
    }

    async fn subscribe(&mut self, consumer: ConsumerArn, from: StartPosition) -> Result<(), Error> {
        self.subscription = None;
        self.machine.subscribing(now());
        let call = self.registration.client.subscribe_to_shard(&consumer, &self.context.shard, from);
        let result = timeout(SUBSCRIBE_MAX, call).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", SUBSCRIBE_MAX.as_secs());
            Err(Error::new(Operation::SubscribeToShard, ErrorKind::Timeout, message))
        });
        self.context.called(Operation::SubscribeToShard, &result, self.machine.failures());
        let result = match result {
            Ok(subscription) => {
                self.subscription = Some((subscription, consumer));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return self.missing(&consumer, error).await,
            Err(error) => Err(error),
        };
        self.machine.subscribed(now(), self.context.shared.clock.now(), result)
    }

    /// Waits for the next event.
    async fn receive(&mut self) -> Result<Option<Read>, Error> {
        // An event that is not pulled holds back the service, by HTTP/2 flow control. So none is pulled while the prefetch
        // is full. The size of an event is known only after it was pulled; it then waits below for room for its bytes,
        // so that each shard holds one event beyond the bound at most.
        let prefetch = &self.context.shared.prefetch;
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
        self.count_and_log(&event, &consumer);
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

    fn count_and_log(&self, event: &Option<Result<SubscriptionEvent, Error>>, consumer: &ConsumerArn) {
        match event {
            Some(Ok(event)) => {
                self.context.counters.behind(event.behind_latest);
                if event.continuation.is_none() && event.children.is_empty() {
                    let error = no_continuation(Operation::SubscribeToShard);
                    self.context.failed(&error, self.machine.failures() + 1);
                }
            }
            Some(Err(error)) => {
                if error.kind() == ErrorKind::InUse {
                    tracing::warn!(
                        stream = %self.context.stream, shard = %self.context.shard, consumer = %consumer.name(),
                        "another reader uses the same consumer name and took over this shard; give each reader its own name"
                    );
                }
                self.context.failed(error, self.machine.failures() + 1);
            }
            None => {}
        }
    }

    /// The service did not find the shard or the consumer. Registers the consumer again if that is what is missing.
    async fn missing(&mut self, consumer: &ConsumerArn, error: Error) -> Result<(), Error> {
        let registered = self.registration.register_again(consumer, &mut self.random).await;
        if let Err(ConsumerError::FanOut { source, .. } | ConsumerError::NoFanOutConsumer { source, .. }) = registered {
            return Err(source);
        }
        if matches!(registered, Ok(true)) {
            return Ok(());
        }
        self.machine.not_found(now());
        Err(error)
    }
}
