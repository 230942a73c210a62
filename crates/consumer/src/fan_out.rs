//! Enhanced fan-out: the consumer of a stream that the service pushes records to.

use std::{convert::Infallible, error::Error as StdError, sync::Arc, time::Duration};

use statefun_kinesis_client::{Backoff, ConsumerStatus, Error, ErrorKind, FanOutClient, Operation};
use statefun_kinesis_types::{ConsumerArn, ConsumerName, ErrorChain, StreamArn};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{ConsumerError, ReadingMode, metrics::StreamCounters};

/// How long the service may say that there is no room for another consumer before it is believed: the same error means
/// that consumers are registered too fast (RegisterStreamConsumer: five calls a second and account, five CREATING).
const NONE_LEFT_AFTER: Duration = Duration::from_secs(15);

/// How long after a stream was found full it is asked again, while it is polled: seldom enough for the five calls of
/// RegisterStreamConsumer that an account has in a second, whoever else is waiting for room.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How long closing waits until a consumer is deregistered.
const DEREGISTER_MAX: Duration = Duration::from_secs(10);

/// Enhanced fan-out: as which consumer streams are read, and who looks after it.
///
/// A name belongs to one reader at a time: the service pushes a shard's records to the one that subscribed last.
///
/// ```
/// use statefun_kinesis_consumer::FanOut;
///
/// // Registered if it is not there, and kept: a restart finds it, and goes on without waiting for a new one.
/// let kept = FanOut::managed("billing".parse()?);
/// // For a run that nobody repeats.
/// let once = FanOut::managed("export-2026-11-23".parse()?).deregister_on_close();
/// // Made by whoever made the stream.
/// let given = FanOut::given("billing".parse()?);
/// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanOut {
    name: ConsumerName,
    lifecycle: Lifecycle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifecycle {
    Managed { deregister: bool },
    Given,
}

impl FanOut {
    /// A consumer of this name on each stream: registered when it is not there. It stays when reading ends.
    pub fn managed(name: ConsumerName) -> Self {
        Self { name, lifecycle: Lifecycle::Managed { deregister: false } }
    }

    /// A consumer of this name that each stream has already. It is never registered here and never removed.
    pub fn given(name: ConsumerName) -> Self {
        Self { name, lifecycle: Lifecycle::Given }
    }

    /// Removes managed consumers at [`Consumer::close`](crate::Consumer::close). One that is given stays.
    #[must_use]
    pub fn deregister_on_close(mut self) -> Self {
        if let Lifecycle::Managed { deregister } = &mut self.lifecycle {
            *deregister = true;
        }
        self
    }

    /// The consumer's name.
    pub fn name(&self) -> &ConsumerName {
        &self.name
    }
}

/// The consumer of one stream, as long as the stream has one to give.
#[derive(Debug)]
pub(crate) struct Enrolment {
    pub(crate) client: Arc<dyn FanOutClient>,
    stream: StreamArn,
    fan_out: FanOut,
    backoff: Backoff,
    counters: Arc<StreamCounters>,
    /// `None` while the stream is full of others: it is polled.
    current: watch::Sender<Option<ConsumerArn>>,
    /// Whoever finds the consumer gone registers it anew, and the others wait for that.
    renewing: tokio::sync::Mutex<()>,
}

impl Enrolment {
    pub(crate) fn new(
        client: Arc<dyn FanOutClient>,
        stream: StreamArn,
        fan_out: FanOut,
        backoff: Backoff,
        counters: Arc<StreamCounters>,
    ) -> Self {
        let (current, renewing) = (watch::Sender::new(None), tokio::sync::Mutex::new(()));
        Self { client, stream, fan_out, backoff, counters, current, renewing }
    }

    /// Finds the consumer, or registers it, and waits until it is ACTIVE, or until it is clear that the stream is full.
    pub(crate) async fn begin(&self, random: &mut fastrand::Rng, patience: Duration) -> Result<(), ConsumerError> {
        let found = self.find(random, Some(patience), NONE_LEFT_AFTER).await?;
        self.go_on(found);
        Ok(())
    }

    /// The consumer to subscribe as; `None` while the stream has none to give.
    pub(crate) fn arn(&self) -> Option<ConsumerArn> {
        self.current.borrow().clone()
    }

    /// Waits until there is a consumer to subscribe as.
    pub(crate) async fn joined(&self) {
        // The sender is here, so that there is no other end to the waiting.
        let _ = self.current.subscribe().wait_for(Option::is_some).await;
    }

    /// After the service said of a consumer that it is not there: whether something else holds now, be it another
    /// consumer of the same name, or none.
    pub(crate) async fn renew(&self, gone: &ConsumerArn, random: &mut fastrand::Rng) -> Result<bool, ConsumerError> {
        let _turn = self.renewing.lock().await;
        if self.arn().as_ref() != Some(gone) {
            return Ok(true);
        }
        let found = self.find(random, None, NONE_LEFT_AFTER).await?;
        if found.as_ref().is_ok_and(|arn| arn == gone) {
            return Ok(false);
        }
        if let Ok(arn) = &found {
            tracing::warn!(stream = %self.stream, consumer = %arn, "the consumer of enhanced fan-out was gone and is there again");
        }
        self.go_on(found);
        Ok(true)
    }

    /// Asks, each time that the stream was found full, whether there is room again. Never ends by itself.
    pub(crate) async fn rejoin(&self, mut random: fastrand::Rng) -> Infallible {
        let mut current = self.current.subscribe();
        loop {
            let _ = current.wait_for(Option::is_none).await;
            let mut told = false;
            while self.arn().is_none() {
                // Spread, so that the streams of many readers do not ask together: the limits are the account's.
                sleep(ASK_AGAIN_AFTER.mul_f64(0.75 + random.f64() / 2.0)).await;
                match self.find(&mut random, Some(ASK_AGAIN_AFTER), Duration::ZERO).await {
                    Ok(Ok(arn)) => {
                        tracing::info!(
                            stream = %self.stream, consumer = %arn,
                            "the stream has a consumer of enhanced fan-out again: its records are pushed"
                        );
                        self.go_on(Ok(arn));
                    }
                    Ok(Err(_)) => {}
                    // The stream is read, whatever keeps this from it.
                    Err(error) if !told => {
                        told = true;
                        tracing::warn!(error = &error as &dyn StdError, "a stream is still polled");
                    }
                    Err(error) => tracing::debug!(error = &error as &dyn StdError, "a stream is still polled"),
                }
            }
        }
    }

    /// From now on reads as this consumer, or polls because the stream is full.
    fn go_on(&self, found: Result<ConsumerArn, Error>) {
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

    /// What a failure to read a shard means when the shard and its stream are there.
    pub(crate) fn explain(&self, error: ConsumerError) -> ConsumerError {
        match error {
            ConsumerError::Refused { source, .. } | ConsumerError::AccessDenied { source, .. }
                if source.operation() == Operation::SubscribeToShard && source.kind() != ErrorKind::NotFound =>
            {
                self.failed(source)
            }
            ConsumerError::Refused { source, .. }
                if source.kind() == ErrorKind::NotFound && !is_polling(source.operation()) =>
            {
                let (stream, name) = (self.stream.clone(), self.fan_out.name.clone());
                ConsumerError::NoFanOutConsumer { stream, name, source }
            }
            error => error,
        }
    }

    /// Removes the consumer, if that was asked for. A failure is logged, for what was read is safe by then.
    pub(crate) async fn end(&self, random: &mut fastrand::Rng) {
        if self.fan_out.lifecycle != (Lifecycle::Managed { deregister: true }) {
            return;
        }
        let name = &self.fan_out.name;
        let removal = async {
            let mut failures = 0;
            loop {
                match self.remove().await {
                    Err(error) if error.kind().is_retryable() => {
                        sleep(self.backoff.delay(failures, random)).await;
                        failures += 1;
                    }
                    settled => return settled,
                }
            }
        };
        match timeout(DEREGISTER_MAX, removal).await {
            Ok(Ok(())) => tracing::info!(stream = %self.stream, consumer = %name, "the consumer was deregistered"),
            Ok(Err(error)) => tracing::warn!(
                stream = %self.stream, consumer = %name, error = %ErrorChain(&error),
                "the consumer was not deregistered; it costs until it is"
            ),
            Err(_) => tracing::warn!(
                stream = %self.stream, consumer = %name,
                "the consumer was not deregistered in time; it costs until it is"
            ),
        }
    }

    /// Removes the consumer. One of its name that is not known here is what the end interrupted the registration of.
    async fn remove(&self) -> Result<(), Error> {
        let missing = |error: &Error| error.kind() == ErrorKind::NotFound;
        if let Some(arn) = self.arn() {
            match self.client.deregister_stream_consumer(&arn).await {
                Err(error) if missing(&error) => {}
                settled => return settled,
            }
        }
        let removed = match self.client.describe_stream_consumer(&self.stream, &self.fan_out.name).await {
            Ok(consumer) if consumer.status == ConsumerStatus::Deleting => Ok(()),
            Ok(consumer) => self.client.deregister_stream_consumer(&consumer.arn).await,
            Err(error) => Err(error),
        };
        removed.or_else(|error| if missing(&error) { Ok(()) } else { Err(error) })
    }

    /// The ARN of the consumer once it is ACTIVE; an inner error is that the stream has no room for it.
    ///
    /// `patience` is how long to wait for a service that does not answer, and for the consumer; `None` is for ever.
    /// That there is no room is believed when the service has said nothing else for `full_after`.
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
                    Lifecycle::Given => {
                        let (stream, name) = (stream.clone(), name.clone());
                        return Err(ConsumerError::NoFanOutConsumer { stream, name, source });
                    }
                    Lifecycle::Managed { .. } => match client.register_stream_consumer(stream, name).await {
                        Err(error) if error.kind() == ErrorKind::LimitExceeded => {
                            let since = *full_since.get_or_insert_with(Instant::now);
                            if since.elapsed() >= full_after {
                                return Ok(Err(error));
                            }
                            Some(error)
                        }
                        // Another reader of this name was faster.
                        Err(error) if error.kind() == ErrorKind::InUse => None,
                        registered => registered.err(),
                    },
                },
                Err(error) => Some(error),
            };
            let failure = match failure {
                Some(error) if !error.kind().is_retryable() => return Err(self.failed(error)),
                passing => passing,
            };
            let delay = self.backoff.delay(failures, random);
            let waited = began.elapsed();
            failures += 1;
            if patience.is_some_and(|patience| waited + delay > patience) {
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

fn is_polling(operation: Operation) -> bool {
    matches!(operation, Operation::GetRecords | Operation::GetShardIterator)
}
