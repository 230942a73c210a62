use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_client::{Error, KinesisClient};
use statefun_kinesis_types::{PutRecord, StreamArn, StreamRef};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    BatchReceipt, Delivered, Handling, Metrics, OnFailure, Producer, ProducerError, Reason, Receipt, SendError,
    Settings, dead_letter, policy::Policy,
};

/// Where [`Producers`] have their clients from: one speaks to one region with one set of credentials.
#[async_trait]
pub trait Clients: fmt::Debug + Send + Sync + 'static {
    /// The client for a stream. It is asked once per stream.
    async fn client(&self, stream: &StreamRef) -> Result<Arc<dyn KinesisClient>, Error>;
}

/// Writes records to any number of streams, each of which gets a [`Producer`] of its own when its first record comes.
///
/// A stream that is named by its short name and by its ARN is one stream, and has one producer. All producers have the
/// same settings; their bounds hold for each of them. Names come and go with the records, so that whoever cannot trust
/// those gives a [list](ProducersBuilder::allow).
///
/// Clones share everything. What [`Producer`] says about ending holds here too.
///
/// ```
/// use std::sync::Arc;
/// use statefun_kinesis_client::{KinesisAdmin, KinesisClient};
/// use statefun_kinesis_fake::FakeKinesis;
/// use statefun_kinesis_producer::{Producers, Reason};
/// use statefun_kinesis_types::{PutRecord, StreamName, StreamRef};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kinesis = FakeKinesis::new();
/// kinesis.create_stream(&"orders".parse()?, 1).await?;
/// kinesis.create_stream(&"secrets".parse()?, 1).await?;
/// let client: Arc<dyn KinesisClient> = Arc::new(kinesis.clone());
///
/// let producers = Producers::builder(client).allow(["orders".parse()?]).build();
/// let record = PutRecord::new("customer-17".parse()?, "one cup");
/// producers.send(&"orders".parse()?, record.clone()).await?.await?;
/// let refused = producers.send(&"secrets".parse()?, record).await.unwrap_err();
/// assert!(matches!(refused.reason(), Reason::NotAllowed));
/// producers.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Producers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clients: Arc<dyn Clients>,
    allowed: Option<Vec<StreamRef>>,
    settings: Settings,
    on_failure: OnFailure,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the names that were used. Each has a lock of its own: a stream that answers slowly holds up no other one.
    slots: HashMap<StreamRef, Arc<tokio::sync::Mutex<Slot>>>,
    by_arn: HashMap<StreamArn, Producer>,
    closed: bool,
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Producer(Producer),
    /// Nobody asks again before that.
    Failed(Arc<ProducerError>, Instant),
}

/// How long the answer holds that there is no such stream. Descriptions are limited to 20 a second per account.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);

impl Producers {
    /// Starts to build, from a source of clients, or from one client that serves all streams.
    pub fn builder(clients: impl Clients) -> ProducersBuilder {
        ProducersBuilder {
            clients: Arc::new(clients),
            allowed: None,
            settings: Settings::default(),
            on_failure: OnFailure::Fail,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The producer of a stream, which is built if there is none yet.
    ///
    /// # Errors
    ///
    /// [`Reason::NotAllowed`], [`Reason::NoProducer`] or [`Reason::Closed`].
    pub async fn get(&self, stream: &StreamRef) -> Result<Producer, Reason> {
        let Inner { clients, settings, on_failure, .. } = &*self.0;
        if !self.allows(stream) {
            return Err(Reason::NotAllowed);
        }
        let slot = {
            let mut state = self.lock();
            if state.closed {
                return Err(Reason::Closed);
            }
            Arc::clone(state.slots.entry(stream.clone()).or_default())
        };
        let mut slot = slot.lock().await;
        match &*slot {
            Slot::Producer(producer) => return Ok(producer.clone()),
            Slot::Failed(error, at) if at.elapsed() < ASK_AGAIN_AFTER => {
                return Err(Reason::NoProducer(Arc::clone(error)));
            }
            _ => {}
        }
        let built = match clients.client(stream).await {
            Ok(client) => {
                let builder = Producer::builder(client, stream.clone()).settings(settings.clone());
                builder.on_failure(on_failure.clone()).build().await
            }
            Err(source) => Err(ProducerError::NoClient { stream: stream.clone(), source }),
        };
        match built {
            Ok(producer) => {
                let mut state = self.lock();
                if state.closed {
                    return Err(Reason::Closed);
                }
                // The same stream may be known by another name already. What was built in vain holds nothing yet.
                let producer = state.by_arn.entry(producer.arn().clone()).or_insert(producer).clone();
                *slot = Slot::Producer(producer.clone());
                Ok(producer)
            }
            Err(error) => {
                let error = Arc::new(error);
                *slot = Slot::Failed(Arc::clone(&error), Instant::now());
                Err(Reason::NoProducer(error))
            }
        }
    }

    /// Whether records may go to a stream. Names are compared with names and ARNs with ARNs; a short name and an ARN
    /// are the same if the ARN has that name.
    pub fn allows(&self, stream: &StreamRef) -> bool {
        let is = |allowed: &StreamRef| match (allowed, stream) {
            (StreamRef::Arn(allowed), StreamRef::Arn(stream)) => allowed == stream,
            (allowed, stream) => allowed.name() == stream.name(),
        };
        self.0.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(is))
    }

    /// Queues a record for a stream; see [`Producer::send`].
    ///
    /// # Errors
    ///
    /// Those of [`Producer::send`], [`Reason::NotAllowed`], and [`Reason::NoProducer`] when the stream does not exist
    /// or cannot be asked. The last two are also dealt with as [`OnFailure`] says, and then carry the
    /// [handling](SendError::handling).
    pub async fn send(&self, stream: &StreamRef, record: PutRecord) -> Result<Receipt, SendError> {
        match self.get(stream).await {
            Ok(producer) => producer.send(record).await,
            Err(reason) => Err(self.handle(SendError::new(stream, &record, reason), record).await),
        }
    }

    /// Queues records for a stream in their order; see [`Producer::send_all`].
    ///
    /// # Errors
    ///
    /// Those of [`Producer::send_all`]. When the stream is not allowed or has no producer, and [`OnFailure`] says what
    /// to do then, the receipt tells it for every record.
    pub async fn send_all(&self, stream: &StreamRef, records: Vec<PutRecord>) -> Result<BatchReceipt, SendError> {
        let reason = match self.get(stream).await {
            Ok(producer) => return producer.send_all(records).await,
            Err(reason) => reason,
        };
        let mut errors = Vec::with_capacity(records.len());
        for record in records {
            let error = self.handle(SendError::new(stream, &record, reason.clone()), record).await;
            if error.handling() == Handling::Failed {
                return Err(error);
            }
            errors.push(error);
        }
        Ok(BatchReceipt::ready(Delivered::all_handled(errors)))
    }

    /// Does what is to be done about a record that has no producer.
    async fn handle(&self, error: SendError, record: PutRecord) -> SendError {
        let on_failure = &self.0.on_failure;
        if matches!(error.reason(), Reason::Closed) {
            return error;
        }
        let handling = match on_failure {
            OnFailure::Skip { .. } => Handling::Skipped,
            OnFailure::DeadLetter { to, .. } => match dead_letter::store(to.clone(), record, error.clone()).await {
                Ok(()) => Handling::DeadLettered,
                Err(cause) => {
                    dead_letter::lament(&cause);
                    Handling::Failed
                }
            },
            _ => Handling::Failed,
        };
        let error = error.handled(handling);
        if on_failure.policy() != Policy::Fail && handling != Handling::Failed {
            on_failure.log(&error);
        }
        error
    }

    fn all(&self) -> Vec<Producer> {
        self.lock().by_arn.values().cloned().collect()
    }

    /// Flushes all streams at once; see [`Producer::flush`].
    pub async fn flush(&self) {
        let mut flushes = JoinSet::new();
        for producer in self.all() {
            flushes.spawn(async move { producer.flush().await });
        }
        flushes.join_all().await;
    }

    /// Closes all streams at once; see [`Producer::close`].
    pub async fn close(&self) {
        self.lock().closed = true;
        let mut closing = JoinSet::new();
        for producer in self.all() {
            closing.spawn(async move { producer.close().await });
        }
        closing.join_all().await;
    }

    /// Closes all streams at once, for so long at most; see [`Producer::close_within`]. Gives the number of records
    /// that were given up, stream by stream, where there are any.
    pub async fn close_within(&self, limit: Duration) -> Vec<(StreamRef, usize)> {
        self.lock().closed = true;
        let mut closing = JoinSet::new();
        for producer in self.all() {
            closing.spawn(async move { (producer.stream().clone(), producer.close_within(limit).await) });
        }
        let mut given_up = closing.join_all().await;
        given_up.retain(|(_, records)| *records > 0);
        given_up.sort();
        given_up
    }

    /// The metrics of each stream, by its name as it was used first.
    pub fn metrics(&self) -> Vec<(StreamRef, Metrics)> {
        self.all().into_iter().map(|producer| (producer.stream().clone(), producer.metrics())).collect()
    }
}

/// What [`Producers`] are built from.
#[derive(Debug)]
#[must_use = "nothing happens before `build`"]
pub struct ProducersBuilder {
    clients: Arc<dyn Clients>,
    allowed: Option<Vec<StreamRef>>,
    settings: Settings,
    on_failure: OnFailure,
}

impl ProducersBuilder {
    /// Replaces the [default settings](Settings::default) of every stream.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// What becomes of records that are given up, on every stream; unless set, [`OnFailure::Fail`].
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// The streams to which records may go, and no others; unless set, any.
    pub fn allow(mut self, streams: impl IntoIterator<Item = StreamRef>) -> Self {
        self.allowed = Some(streams.into_iter().collect());
        self
    }

    /// The producers. No stream is asked before its first record comes; [`Producers::get`] asks it sooner.
    pub fn build(self) -> Producers {
        let Self { clients, allowed, settings, on_failure } = self;
        Producers(Arc::new(Inner { clients, allowed, settings, on_failure, state: Mutex::default() }))
    }
}

/// Clients that several producers share.
#[async_trait]
impl Clients for Arc<dyn Clients> {
    async fn client(&self, stream: &StreamRef) -> Result<Arc<dyn KinesisClient>, Error> {
        (**self).client(stream).await
    }
}

/// One client for all streams.
#[async_trait]
impl Clients for Arc<dyn KinesisClient> {
    async fn client(&self, _: &StreamRef) -> Result<Arc<dyn KinesisClient>, Error> {
        Ok(Arc::clone(self))
    }
}
