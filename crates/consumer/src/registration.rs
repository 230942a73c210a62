//! Enhanced fan-out: the registration of a stream's consumer, to which the service pushes records.

use std::{convert::Infallible, error::Error as StdError, sync::Arc, time::Duration};

use statefun_kinesis_client::{Backoff, ConsumerStatus, Error, ErrorKind, FanOutClient, Operation, Patience};
use statefun_kinesis_types::{ConsumerArn, ErrorChain, StreamArn};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    ConsumerError, ReadingMode,
    fan_out::{FanOut, Lifecycle},
    metrics::StreamCounters,
    time::now,
};

/// How long RegisterStreamConsumer has to answer LimitExceeded before the stream counts as full. The same error also means
/// that consumers are registered too fast (five calls a second and account, five CREATING), which passes sooner.
const FULL_AFTER: Duration = Duration::from_secs(15);

/// Average time between two tries to register a consumer of a stream that is full and therefore polled. An account has
/// five calls of RegisterStreamConsumer a second, which all its readers share.
const RETRY_FULL_AFTER: Duration = Duration::from_secs(60);

/// How long closing waits until a consumer is deregistered.
const DEREGISTER_MAX: Duration = Duration::from_secs(10);

/// The registration of one stream's consumer of enhanced fan-out; the stream is polled while it has no place for one.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) client: Arc<dyn FanOutClient>,
    stream: StreamArn,
    fan_out: FanOut,
    backoff: Backoff,
    counters: Arc<StreamCounters>,
    /// The registered consumer; `None` while the stream is full and polled.
    current: watch::Sender<Option<ConsumerArn>>,
    /// Held while a consumer that was removed is registered again. Every shard of the stream notices the removal at the
    /// same time; one of them registers, and the others wait here for its result instead of registering too.
    registering: tokio::sync::Mutex<()>,
}

impl Registration {
    pub(crate) fn new(
        client: Arc<dyn FanOutClient>,
        stream: StreamArn,
        fan_out: FanOut,
        backoff: Backoff,
        counters: Arc<StreamCounters>,
    ) -> Self {
        let (current, registering) = (watch::Sender::new(None), tokio::sync::Mutex::new(()));
        Self { client, stream, fan_out, backoff, counters, current, registering }
    }

    /// Finds or registers the consumer, and waits until it is ACTIVE. Succeeds too when the stream is full: it is polled.
    pub(crate) async fn register(&self, random: &mut fastrand::Rng, patience: Duration) -> Result<(), ConsumerError> {
        let found = self.find(random, Some(patience), FULL_AFTER).await?;
        self.switch_to(found);
        Ok(())
    }

    /// The registered consumer; `None` while the stream is polled.
    pub(crate) fn consumer(&self) -> Option<ConsumerArn> {
        self.current.borrow().clone()
    }

    /// Waits until a consumer is registered.
    pub(crate) async fn registered(&self) {
        // Fails only when the sender is dropped, and `self` owns the sender.
        let _ = self.current.subscribe().wait_for(Option::is_some).await;
    }

    /// Registers the consumer again after the service answered that `removed` does not exist. Returns whether that changed
    /// anything: there is another consumer of the same name now, or the stream is full. `false` means that the service
    /// still knows `removed`, so that it is the shard that does not exist.
    pub(crate) async fn register_again(
        &self,
        removed: &ConsumerArn,
        random: &mut fastrand::Rng,
    ) -> Result<bool, ConsumerError> {
        let _turn = self.registering.lock().await;
        if self.consumer().as_ref() != Some(removed) {
            return Ok(true);
        }
        let found = self.find(random, None, FULL_AFTER).await?;
        if found.as_ref().is_ok_and(|arn| arn == removed) {
            return Ok(false);
        }
        if let Ok(arn) = &found {
            tracing::warn!(stream = %self.stream, consumer = %arn, "the consumer of enhanced fan-out had been removed and was registered again");
        }
        self.switch_to(found);
        Ok(true)
    }

    /// Tries to register the consumer for as long as the stream is full, each time that it becomes so. Never returns.
    pub(crate) async fn register_when_possible(&self, mut random: fastrand::Rng) -> Infallible {
        let mut current = self.current.subscribe();
        loop {
            let _ = current.wait_for(Option::is_none).await;
            let mut warned = false;
            while self.consumer().is_none() {
                // With jitter, so that the streams of many readers do not call together: they share the account's limit.
                sleep(RETRY_FULL_AFTER.mul_f64(0.75 + random.f64() / 2.0)).await;
                match self.find(&mut random, Some(RETRY_FULL_AFTER), Duration::ZERO).await {
                    Ok(Ok(arn)) => {
                        tracing::info!(
                            stream = %self.stream, consumer = %arn,
                            "the stream has a consumer of enhanced fan-out again: its records are pushed"
                        );
                        self.switch_to(Ok(arn));
                    }
                    Ok(Err(_)) => {}
                    // Not an error of the run: the stream is read by polling meanwhile.
                    Err(error) if !warned => {
                        warned = true;
                        tracing::warn!(
                            error = &error as &dyn StdError,
                            "the consumer of enhanced fan-out cannot be registered; the stream is still polled"
                        );
                    }
                    Err(error) => tracing::debug!(
                        error = &error as &dyn StdError,
                        "the consumer of enhanced fan-out cannot be registered; the stream is still polled"
                    ),
                }
            }
        }
    }

    /// Reads as this consumer from now on, or polls because the stream is full.
    fn switch_to(&self, found: Result<ConsumerArn, Error>) {
        if let Err(error) = &found {
            tracing::warn!(
                stream = %self.stream, error = %ErrorChain(&error),
                "the stream has no room for another consumer of enhanced fan-out: it is polled until it has"
            );
        }
        self.counters.reads_by(if found.is_ok() { ReadingMode::FanOut } else { ReadingMode::Polling });
        self.current.send_replace(found.ok());
    }

    fn failed(&self, source: Error) -> ConsumerError {
        ConsumerError::FanOut { stream: self.stream.clone(), name: self.fan_out.name.clone(), source }
    }

    fn not_found(&self, source: Error) -> ConsumerError {
        ConsumerError::NoFanOutConsumer { stream: self.stream.clone(), name: self.fan_out.name.clone(), source }
    }

    /// Names the consumer in an error that concerns it rather than the shard or the stream.
    pub(crate) fn name_consumer(&self, error: ConsumerError) -> ConsumerError {
        match error {
            ConsumerError::Refused { source, .. } | ConsumerError::AccessDenied { source, .. }
                if is_fan_out(source.operation()) =>
            {
                if source.kind() == ErrorKind::NotFound {
                    self.not_found(source)
                } else {
                    self.failed(source)
                }
            }
            error => error,
        }
    }

    /// Deregisters the consumer if [`FanOut::deregister_on_close`] asks for it. A failure is logged and no error: all
    /// positions are saved by then.
    pub(crate) async fn deregister(&self, random: &mut fastrand::Rng) {
        if self.fan_out.lifecycle != (Lifecycle::Managed { deregister: true }) {
            return;
        }
        let name = &self.fan_out.name;
        let removal = async {
            let mut failures = 0;
            loop {
                match self.remove().await {
                    Err(error) if error.kind().treatment().start_waits => {
                        sleep(self.backoff.delay(failures, random)).await;
                        failures = failures.saturating_add(1_u32);
                    }
                    result => return result,
                }
            }
        };
        match timeout(DEREGISTER_MAX, removal).await {
            Ok(Ok(())) => tracing::info!(stream = %self.stream, consumer = %name, "the consumer was deregistered"),
            Ok(Err(error)) => tracing::warn!(
                stream = %self.stream, consumer = %name, error = %ErrorChain(&error),
                "the consumer could not be deregistered; AWS bills it until it is"
            ),
            Err(_) => tracing::warn!(
                stream = %self.stream, consumer = %name,
                "the consumer was not deregistered in time; AWS bills it until it is"
            ),
        }
    }

    /// Deregisters the consumer. Also finds it by name: closing may have interrupted its registration.
    async fn remove(&self) -> Result<(), Error> {
        let missing = |error: &Error| error.kind() == ErrorKind::NotFound;
        if let Some(arn) = self.consumer() {
            match self.client.deregister_stream_consumer(&arn).await {
                Err(error) if missing(&error) => {}
                result => return result,
            }
        }
        let removed = match self.client.describe_stream_consumer(&self.stream, &self.fan_out.name).await {
            Ok(consumer) if consumer.status == ConsumerStatus::Deleting => Ok(()),
            Ok(consumer) => self.client.deregister_stream_consumer(&consumer.arn).await,
            Err(error) => Err(error),
        };
        removed.or_else(|error| if missing(&error) { Ok(()) } else { Err(error) })
    }

    /// Finds or registers the consumer, and returns its ARN once it is ACTIVE. The inner error means that the stream is
    /// full: LimitExceeded was the only answer for `full_after`.
    ///
    /// `patience` bounds the wait for the service and for the consumer to become ACTIVE. `None` is for a stream that is
    /// read: without bound, and a failure is retried as long as it deserves.
    async fn find(
        &self,
        random: &mut fastrand::Rng,
        patience: Option<Duration>,
        full_after: Duration,
    ) -> Result<Result<ConsumerArn, Error>, ConsumerError> {
        let (client, stream, name) = (&*self.client, &self.stream, &self.fan_out.name);
        let began = Instant::now();
        let mut failures = 0;
        let mut full_since = None;
        let mut running = Patience::default();
        loop {
            let mut status = None;
            let failure = match client.describe_stream_consumer(stream, name).await {
                Ok(consumer) if consumer.status == ConsumerStatus::Active => return Ok(Ok(consumer.arn)),
                Ok(consumer) => {
                    tracing::info!(%stream, consumer = %name, status = %consumer.status, "waiting for the consumer");
                    (status, full_since) = (Some(consumer.status), None);
                    None
                }
                Err(source) if source.kind() == ErrorKind::NotFound => match self.fan_out.lifecycle {
                    Lifecycle::Given => return Err(self.not_found(source)),
                    Lifecycle::Managed { .. } => match client.register_stream_consumer(stream, name).await {
                        Err(error) if error.kind() == ErrorKind::LimitExceeded => {
                            let since = *full_since.get_or_insert_with(Instant::now);
                            if since.elapsed() >= full_after {
                                return Ok(Err(error));
                            }
                            Some(error)
                        }
                        // Another reader registered the same name in between.
                        Err(error) if error.kind() == ErrorKind::InUse => None,
                        registered => registered.err(),
                    },
                },
                Err(error) => Some(error),
            };
            let failure = match failure {
                Some(error) => {
                    let is_retried = match patience {
                        Some(_) => error.kind().treatment().start_waits,
                        None => running.allows_retry(now(), error.kind()),
                    };
                    if !is_retried {
                        return Err(self.failed(error));
                    }
                    Some(error)
                }
                None => None,
            };
            let delay = self.backoff.delay(failures, random);
            let waited = began.elapsed();
            failures = failures.saturating_add(1);
            if patience.is_some_and(|patience| waited.saturating_add(delay) > patience) {
                return Err(match failure {
                    Some(source) => self.failed(source),
                    None => {
                        let (stream, name) = (stream.clone(), name.clone());
                        let status = status.unwrap_or(ConsumerStatus::Creating);
                        ConsumerError::FanOutNotReady { stream, name, status, waited }
                    }
                });
            }
            sleep(delay).await;
        }
    }
}

/// Whether a call is about the consumer, so that it is the consumer that its failure concerns.
fn is_fan_out(operation: Operation) -> bool {
    use Operation::{DescribeStreamConsumer, RegisterStreamConsumer, SubscribeToShard};
    matches!(operation, DescribeStreamConsumer | RegisterStreamConsumer | SubscribeToShard)
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_client::KinesisAdmin;
    use statefun_kinesis_fake::FakeKinesis;
    use statefun_kinesis_types::ShardId;

    use super::*;

    async fn registration(fake: &FakeKinesis) -> Registration {
        fake.create_stream(&"orders".parse().unwrap(), 1).await.unwrap();
        // The stream is ACTIVE a moment later.
        sleep(Duration::from_millis(10)).await;
        let arn: StreamArn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders".parse().unwrap();
        let (fan_out, counters) = (FanOut::managed("billing".parse().unwrap()), StreamCounters::new(arn.clone()));
        Registration::new(Arc::new(fake.clone()), arn, fan_out, Backoff::default(), counters)
    }

    /// The name of the error's variant.
    fn variant(error: &ConsumerError) -> String {
        format!("{error:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_failed_call_about_the_consumer_names_the_consumer() {
        let registration = registration(&FakeKinesis::new()).await;
        let shard: ShardId = "shardId-000000000000".parse().unwrap();
        for operation in Operation::ALL {
            let is_about_consumer = ["RegisterStreamConsumer", "DescribeStreamConsumer", "SubscribeToShard"];
            let is_about_consumer = is_about_consumer.contains(&operation.name());
            for (kind, of_shard, of_consumer) in [
                (ErrorKind::AccessDenied, "AccessDenied", "FanOut"),
                (ErrorKind::InvalidArgument, "Refused", "FanOut"),
                (ErrorKind::NotFound, "Refused", "NoFanOutConsumer"),
                (ErrorKind::Encryption, "Encryption", "Encryption"),
            ] {
                let source = Error::new(operation, kind, "as the test wants it");
                let error = ConsumerError::from_call(&registration.stream.clone().into(), Some(&shard), source);
                assert_eq!(variant(&error), of_shard);
                let named = registration.name_consumer(error);
                let expect = if is_about_consumer { of_consumer } else { of_shard };
                assert_eq!(variant(&named), expect, "{operation}: {kind:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_starts_no_later_than_the_patience_ends() {
        let fake = FakeKinesis::new();
        let registration = registration(&fake).await;
        let first_delay = registration.backoff.delay(0, &mut fastrand::Rng::with_seed(7));
        for (patience, attempts) in [(Duration::ZERO, 1), (first_delay - Duration::from_nanos(1), 1), (first_delay, 2)]
        {
            fake.faults().clear();
            fake.faults().fail_next_n(Operation::DescribeStreamConsumer, ErrorKind::Unavailable, 100);
            let before = fake.calls(Operation::DescribeStreamConsumer);
            let error = registration.register(&mut fastrand::Rng::with_seed(7), patience).await.unwrap_err();
            assert_eq!(variant(&error), "FanOut");
            assert_eq!(fake.calls(Operation::DescribeStreamConsumer) - before, attempts, "{patience:?}");
        }
    }
}
