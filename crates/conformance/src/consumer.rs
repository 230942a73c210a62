use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use statefun_kinesis_client::{
    ConsumerStatus, ErrorKind, FanOutClient, Result, StreamConsumer, Subscription, SubscriptionEvent,
};
use statefun_kinesis_types::{ConsumerArn, ConsumerName, Record, ShardId, StartPosition, StreamArn};

use crate::{
    Backend,
    stream::{Deadline, TestStream, texts},
};

/// How long a subscription may be silent: the service sends something every few seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether the service asks to come back later: it takes few calls per second, and fails at times.
fn asks_to_wait(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::LimitExceeded | ErrorKind::Throttled | ErrorKind::Unavailable)
}

/// Makes a call again while the service asks to wait.
pub(crate) async fn patiently<T, F>(what: &'static str, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Deadline::for_(what);
    loop {
        match call().await {
            Err(error) if asks_to_wait(error.kind()) => deadline.pause().await,
            other => return other,
        }
    }
}

pub(crate) fn consumer_name(text: &str) -> ConsumerName {
    text.parse().expect("a test's consumer name is valid")
}

/// A consumer of a behaviour's stream.
pub(crate) struct TestConsumer {
    pub(crate) fan_out: Arc<dyn FanOutClient>,
    pub(crate) stream: StreamArn,
    pub(crate) registered: StreamConsumer,
    /// Changes when a backend that is not reliable has lost the consumer.
    arn: Mutex<ConsumerArn>,
    reliable: bool,
}

impl TestConsumer {
    /// Registers a consumer and waits until it is ACTIVE.
    pub(crate) async fn new(backend: &dyn Backend, stream: &TestStream, name: &str) -> Self {
        let deadline = Deadline::for_("a consumer that stays");
        loop {
            let created = Self::creating(backend, stream, name).await;
            if created.is_active_soon().await {
                return created;
            }
            assert!(!created.reliable, "a consumer that was registered has gone");
            deadline.pause().await;
        }
    }

    /// Registers a consumer that need not be ACTIVE yet.
    pub(crate) async fn creating(backend: &dyn Backend, stream: &TestStream, name: &str) -> Self {
        let (fan_out, arn, name) = (backend.fan_out(), stream.arn().await, consumer_name(name));
        let register = || fan_out.register_stream_consumer(&arn, &name);
        let registered = patiently("a consumer to be registered", register).await;
        let registered = registered.expect("a consumer with a fresh name can be registered");
        let reliable = backend.capabilities().reliable_consumers;
        Self { arn: Mutex::new(registered.arn.clone()), stream: arn, registered, fan_out, reliable }
    }

    pub(crate) fn arn(&self) -> ConsumerArn {
        self.arn.lock().expect("no test panics with the lock").clone()
    }

    /// Registers a consumer again that a backend has lost.
    async fn find_again(&self) {
        let name = &self.registered.name;
        let found = match self.describe().await {
            Ok(found) => Ok(found),
            Err(_) => self.fan_out.register_stream_consumer(&self.stream, name).await,
        };
        if let Ok(found) = found {
            *self.arn.lock().expect("no test panics with the lock") = found.arn;
        }
    }

    pub(crate) async fn describe(&self) -> Result<StreamConsumer> {
        let name = &self.registered.name;
        patiently("a description", || self.fan_out.describe_stream_consumer(&self.stream, name)).await
    }

    pub(crate) async fn wait_until_active(&self) {
        assert!(self.is_active_soon().await, "the consumer is there");
    }

    /// Waits until the consumer is ACTIVE; false when it has gone instead.
    async fn is_active_soon(&self) -> bool {
        let deadline = Deadline::for_("the consumer to become ACTIVE");
        loop {
            match self.describe().await {
                Ok(consumer) if consumer.status == ConsumerStatus::Active => return true,
                Ok(_) => deadline.pause().await,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "a consumer can be described: {error}");
                    return false;
                }
            }
        }
    }

    /// Has the consumer removed.
    pub(crate) async fn deregister(&self) -> Result<()> {
        let arn = self.arn();
        let deregister = || self.fan_out.deregister_stream_consumer(&arn);
        patiently("a consumer to be removed", deregister).await
    }

    /// Removes the consumer and waits until it is gone.
    pub(crate) async fn remove(self) {
        if self.reliable {
            self.deregister().await.expect("an ACTIVE consumer can be removed");
            return self.wait_until_gone().await;
        }
        // It may stay all the same, and then its stream does too.
        let _ = self.deregister().await;
    }

    pub(crate) async fn wait_until_gone(&self) {
        let deadline = Deadline::for_("the consumer to be gone");
        loop {
            match self.describe().await {
                Ok(_) => deadline.pause().await,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "a removed consumer is not found: {error}");
                    return;
                }
            }
        }
    }

    /// One subscription; the service may ask to wait, and does within five seconds of another one.
    pub(crate) async fn subscribe(&self, shard: &ShardId, from: StartPosition) -> TestSubscription {
        let deadline = Deadline::for_("a subscription");
        loop {
            match self.fan_out.subscribe_to_shard(&self.arn(), shard, from).await {
                Ok(subscription) => return TestSubscription { subscription },
                Err(error) if !self.reliable && error.kind() == ErrorKind::NotFound => {
                    self.find_again().await;
                    deadline.pause().await;
                }
                Err(error) => {
                    let later = asks_to_wait(error.kind()) || error.kind() == ErrorKind::InUse;
                    assert!(later, "a shard can be subscribed to {from}: {error}");
                    deadline.pause().await;
                }
            }
        }
    }

    /// The first `count` records from a position on, by one subscription.
    pub(crate) async fn pushed(&self, shard: &ShardId, from: StartPosition, count: usize) -> Vec<Record> {
        self.subscribe(shard, from).await.records(count).await
    }
}

/// A subscription that must not fall silent.
pub(crate) struct TestSubscription {
    subscription: Subscription,
}

impl TestSubscription {
    /// The next item, or none when the subscription is over.
    pub(crate) async fn item(&mut self) -> Option<Result<SubscriptionEvent>> {
        tokio::time::timeout(SILENCE, self.subscription.next())
            .await
            .unwrap_or_else(|_| panic!("the subscription was silent for {SILENCE:?}"))
    }

    pub(crate) async fn event(&mut self) -> SubscriptionEvent {
        match self.item().await {
            Some(Ok(event)) => event,
            Some(Err(error)) => panic!("the subscription failed: {error}"),
            None => panic!("the subscription ended"),
        }
    }

    /// The first event with records.
    pub(crate) async fn some(&mut self) -> SubscriptionEvent {
        let deadline = Deadline::for_("records to be pushed");
        loop {
            let event = self.event().await;
            if !event.records.is_empty() {
                return event;
            }
            deadline.check();
        }
    }

    /// Takes events until `count` records have come; more is a failure.
    pub(crate) async fn records(&mut self, count: usize) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < count {
            records.extend(self.some().await.records);
        }
        assert_eq!(records.len(), count, "records that were pushed: {:?}", texts(&records));
        records
    }

    /// Takes events until the subscription is over; gives the last one and the error, if there is one.
    pub(crate) async fn end(&mut self) -> (Option<SubscriptionEvent>, Option<ErrorKind>) {
        let deadline = Deadline::for_("the subscription to end");
        let mut last = None;
        loop {
            match self.item().await {
                Some(Ok(event)) => last = Some(event),
                Some(Err(error)) => {
                    assert!(self.item().await.is_none(), "an error is the last item: {error}");
                    return (last, Some(error.kind()));
                }
                None => return (last, None),
            }
            deadline.check();
        }
    }
}
