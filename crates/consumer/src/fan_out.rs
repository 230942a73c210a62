//! Enhanced fan-out: the consumer of a stream that the service pushes records to.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use statefun_kinesis_client::{Backoff, ConsumerStatus, Error, ErrorKind, FanOutClient, Operation};
use statefun_kinesis_types::{ConsumerArn, ConsumerName, StreamArn};
use tokio::time::{Instant, sleep, timeout};

use crate::ConsumerError;

/// How long the service may say that there is no room for another consumer before it is believed: the same error means
/// that consumers are registered too fast (RegisterStreamConsumer: five calls a second and account, five CREATING).
const NONE_LEFT_AFTER: Duration = Duration::from_secs(15);

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

/// The consumer of one stream.
#[derive(Debug)]
pub(crate) struct Enrolment {
    pub(crate) client: Arc<dyn FanOutClient>,
    stream: StreamArn,
    fan_out: FanOut,
    backoff: Backoff,
    current: Mutex<ConsumerArn>,
    /// Whoever finds the consumer gone registers it anew, and the others wait for that.
    renewing: tokio::sync::Mutex<()>,
}

/// What enrolling comes to.
#[derive(Debug)]
pub(crate) enum Enrolled {
    As(Arc<Enrolment>),
    /// The stream has as many consumers as it can have.
    NoneLeft(Error),
}

impl Enrolment {
    /// Finds the consumer, or registers it, and waits until it is ACTIVE.
    pub(crate) async fn begin(
        client: Arc<dyn FanOutClient>,
        stream: StreamArn,
        fan_out: FanOut,
        backoff: Backoff,
        random: &mut fastrand::Rng,
        patience: Duration,
    ) -> Result<Enrolled, ConsumerError> {
        match active(&*client, &stream, &fan_out, backoff, random, Some(patience)).await? {
            Ok(arn) => {
                let renewing = tokio::sync::Mutex::new(());
                let current = Mutex::new(arn);
                Ok(Enrolled::As(Arc::new(Self { client, stream, fan_out, backoff, current, renewing })))
            }
            Err(full) => Ok(Enrolled::NoneLeft(full)),
        }
    }

    pub(crate) fn arn(&self) -> ConsumerArn {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After the service said of a consumer that it is not there: whether there is another one now, of the same name.
    pub(crate) async fn renew(&self, gone: &ConsumerArn, random: &mut fastrand::Rng) -> Result<bool, ConsumerError> {
        let _turn = self.renewing.lock().await;
        if self.arn() != *gone {
            return Ok(true);
        }
        let arn = active(&*self.client, &self.stream, &self.fan_out, self.backoff, random, None).await?;
        let arn = arn.map_err(|source| self.failed(source))?;
        if arn == *gone {
            return Ok(false);
        }
        tracing::warn!(stream = %self.stream, consumer = %arn, "the consumer of enhanced fan-out was gone and is there again");
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = arn;
        Ok(true)
    }

    fn failed(&self, source: Error) -> ConsumerError {
        failed(&self.stream, &self.fan_out, source)
    }

    /// What a failure to read a shard means when the shard and its stream are there.
    pub(crate) fn explain(&self, error: ConsumerError) -> ConsumerError {
        match error {
            ConsumerError::Refused { source, .. } if source.kind() == ErrorKind::NotFound => {
                let (stream, name) = (self.stream.clone(), self.fan_out.name.clone());
                ConsumerError::NoFanOutConsumer { stream, name, source }
            }
            ConsumerError::Refused { source, .. } | ConsumerError::AccessDenied { source, .. }
                if source.operation() == Operation::SubscribeToShard =>
            {
                self.failed(source)
            }
            error => error,
        }
    }

    /// Removes the consumer, if that was asked for. A failure is logged, for what was read is safe by then.
    pub(crate) async fn end(&self, random: &mut fastrand::Rng) {
        if self.fan_out.lifecycle != (Lifecycle::Managed { deregister: true }) {
            return;
        }
        let arn = self.arn();
        let removal = async {
            let mut failures = 0;
            loop {
                match self.client.deregister_stream_consumer(&arn).await {
                    Ok(()) => return Ok(()),
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                    Err(error) if error.kind().is_retryable() => {
                        sleep(self.backoff.delay(failures, random)).await;
                        failures += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        match timeout(DEREGISTER_MAX, removal).await {
            Ok(Ok(())) => tracing::info!(consumer = %arn, "the consumer was deregistered"),
            Ok(Err(error)) => {
                tracing::warn!(consumer = %arn, error = %error.chain(), "the consumer was not deregistered; it costs until it is");
            }
            Err(_) => {
                tracing::warn!(consumer = %arn, "the consumer was not deregistered in time; it costs until it is");
            }
        }
    }
}

fn failed(stream: &StreamArn, fan_out: &FanOut, source: Error) -> ConsumerError {
    ConsumerError::FanOut { stream: stream.clone(), name: fan_out.name.clone(), source }
}

/// The ARN of the consumer once it is ACTIVE; an inner error is that the stream has no room for it.
///
/// `patience` is how long to wait for a service that does not answer, and for the consumer; `None` is for ever.
async fn active(
    client: &dyn FanOutClient,
    stream: &StreamArn,
    fan_out: &FanOut,
    backoff: Backoff,
    random: &mut fastrand::Rng,
    patience: Option<Duration>,
) -> Result<Result<ConsumerArn, Error>, ConsumerError> {
    let name = &fan_out.name;
    let began = Instant::now();
    let mut failures = 0;
    let mut full_since = None;
    loop {
        let mut status = None;
        let failure = match client.describe_stream_consumer(stream, name).await {
            Ok(consumer) if consumer.status == ConsumerStatus::Active => return Ok(Ok(consumer.arn)),
            Ok(consumer) => {
                tracing::info!(%stream, consumer = %name, status = %consumer.status, "waiting for the consumer");
                status = Some(consumer.status);
                None
            }
            Err(source) if source.kind() == ErrorKind::NotFound => match fan_out.lifecycle {
                Lifecycle::Given => {
                    let (stream, name) = (stream.clone(), name.clone());
                    return Err(ConsumerError::NoFanOutConsumer { stream, name, source });
                }
                Lifecycle::Managed { .. } => client.register_stream_consumer(stream, name).await.err(),
            },
            Err(error) => Some(error),
        };
        let failure = match failure {
            // Another reader of this name was faster.
            Some(error) if error.kind() == ErrorKind::InUse => None,
            Some(error) if error.kind() == ErrorKind::LimitExceeded => {
                let since = *full_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= NONE_LEFT_AFTER {
                    return Ok(Err(error));
                }
                Some(error)
            }
            Some(error) if !error.kind().is_retryable() => return Err(failed(stream, fan_out, error)),
            other => other,
        };
        let delay = backoff.delay(failures, random);
        let waited = began.elapsed();
        failures += 1;
        if patience.is_some_and(|patience| waited + delay > patience) {
            let (stream, name) = (stream.clone(), name.clone());
            return Err(match failure {
                Some(source) => ConsumerError::FanOut { stream, name, source },
                None => {
                    let status = status.unwrap_or(ConsumerStatus::Creating);
                    ConsumerError::FanOutNotReady { stream, name, status, waited }
                }
            });
        }
        sleep(delay).await;
    }
}
