use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    num::NonZeroU32,
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
    /// The client for a stream. It is asked whenever a producer is built.
    async fn client(&self, stream: &StreamRef) -> Result<Arc<dyn KinesisClient>, Error>;
}

/// Writes records to any number of streams, each of which gets a [`Producer`] of its own when its first record comes.
///
/// A stream that is named by its short name and by its ARN is one stream, and has one producer. All producers have the
/// same settings; their bounds hold for each of them. Names come and go with the records, so that whoever cannot trust
/// those gives a [list](ProducersBuilder::allow); and there are no more than so many producers at a time
/// ([`ProducersBuilder::max_streams`]).
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
    max_streams: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the names that were used. Each has a lock of its own: a stream that answers slowly holds up no other one.
    names: HashMap<StreamRef, Used<Arc<tokio::sync::Mutex<Known>>>>,
    producers: HashMap<StreamArn, Used<Producer>>,
    /// Counts uses.
    uses: u64,
    closed: bool,
}

/// Something with the number of its last use.
#[derive(Debug)]
struct Used<V> {
    value: V,
    last: u64,
}

/// What is known about a name.
#[derive(Debug, Default)]
enum Known {
    #[default]
    Nothing,
    Stream(StreamArn),
    /// It is not the stream of that name that is allowed.
    NotAllowed,
    /// Nobody asks again before that.
    Failed(Arc<ProducerError>, Instant),
}

impl State {
    /// Names that are remembered for each producer there may be: its short name, its ARN, and as many that are none.
    const NAMES_PER_STREAM: usize = 4;

    fn name(&mut self, stream: &StreamRef, max_streams: usize) -> Arc<tokio::sync::Mutex<Known>> {
        self.uses += 1;
        if !self.names.contains_key(stream) {
            // Whoever looks at what is known about a name has a clone.
            let is_unused = |name: &Arc<_>| Arc::strong_count(name) == 1;
            make_room(&mut self.names, max_streams.saturating_mul(Self::NAMES_PER_STREAM), is_unused);
        }
        let entry = self.names.entry(stream.clone());
        let name = entry.or_insert_with(|| Used { value: Arc::default(), last: 0 });
        name.last = self.uses;
        Arc::clone(&name.value)
    }

    fn producer(&mut self, arn: &StreamArn) -> Option<Producer> {
        self.uses += 1;
        let producer = self.producers.get_mut(arn)?;
        producer.last = self.uses;
        Some(producer.value.clone())
    }
}

/// Removes what was used longest ago and may be removed, until there is room for one more or no such thing is left.
fn make_room<K: Clone + Eq + Hash, V>(map: &mut HashMap<K, Used<V>>, most: usize, may_go: impl Fn(&V) -> bool) {
    let excess = (map.len() + 1).saturating_sub(most);
    if excess == 0 {
        return;
    }
    let mut idle: Vec<_> =
        map.iter().filter(|(_, used)| may_go(&used.value)).map(|(key, used)| (used.last, key.clone())).collect();
    idle.sort_unstable_by_key(|(last, _)| *last);
    for (_, key) in idle.into_iter().take(excess) {
        map.remove(&key);
    }
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
            max_streams: ProducersBuilder::DEFAULT_MAX_STREAMS,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The producer of a stream, which is built if there is none yet.
    ///
    /// When there are as many as there may be, the one that was used longest ago is closed, if it has nothing to send
    /// and nobody keeps a clone of it; if all have something to send, this waits for one of them.
    ///
    /// # Errors
    ///
    /// [`Reason::NotAllowed`], [`Reason::NoProducer`] or [`Reason::Closed`].
    pub async fn get(&self, stream: &StreamRef) -> Result<Producer, Reason> {
        if !self.allows(stream) {
            return Err(Reason::NotAllowed);
        }
        let known = {
            let mut state = self.lock();
            if state.closed {
                return Err(Reason::Closed);
            }
            state.name(stream, self.0.max_streams)
        };
        let mut known = known.lock().await;
        match &*known {
            Known::Stream(arn) => {
                if let Some(producer) = self.lock().producer(arn) {
                    return Ok(producer);
                }
            }
            Known::NotAllowed => return Err(Reason::NotAllowed),
            Known::Failed(error, at) if at.elapsed() < ASK_AGAIN_AFTER => {
                return Err(Reason::NoProducer(Arc::clone(error)));
            }
            Known::Nothing | Known::Failed(..) => {}
        }
        let built = match self.is_allowed(stream).await {
            Ok(true) => self.build(stream).await,
            Ok(false) => Err(Reason::NotAllowed),
            Err(reason) => Err(reason),
        };
        match &built {
            Ok(producer) => *known = Known::Stream(producer.arn().clone()),
            Err(Reason::NotAllowed) => *known = Known::NotAllowed,
            Err(Reason::NoProducer(error)) => *known = Known::Failed(Arc::clone(error), Instant::now()),
            Err(
                Reason::TooLarge { .. }
                | Reason::GaveUp { .. }
                | Reason::Rejected { .. }
                | Reason::PredecessorFailed
                | Reason::Closed,
            ) => {}
        }
        built
    }

    /// Builds the producer of a stream, or finds the one that it has by another name.
    async fn build(&self, stream: &StreamRef) -> Result<Producer, Reason> {
        let Inner { clients, settings, on_failure, .. } = &*self.0;
        let client = clients.client(stream).await.map_err(|source| {
            let stream = stream.clone();
            Reason::NoProducer(Arc::new(ProducerError::NoClient { stream, source }))
        })?;
        let builder = Producer::builder(client, stream.clone()).settings(settings.clone());
        let built = builder.on_failure(on_failure.clone()).build().await;
        let built = built.map_err(|error| Reason::NoProducer(Arc::new(error)))?;
        if !self.is_allowed_as(stream, built.arn()) {
            return Err(Reason::NotAllowed);
        }
        loop {
            let busy = {
                let mut guard = self.lock();
                let state = &mut *guard;
                if state.closed {
                    return Err(Reason::Closed);
                }
                // What was built in vain holds nothing yet.
                if let Some(producer) = state.producer(built.arn()) {
                    return Ok(producer);
                }
                make_room(&mut state.producers, self.0.max_streams, Producer::is_unused);
                let busy = state.producers.values().filter(|used| !used.value.is_shared());
                let oldest = busy.min_by_key(|used| used.last).map(|used| used.value.clone());
                match oldest {
                    Some(oldest) if state.producers.len() >= self.0.max_streams => oldest,
                    _ => {
                        let used = Used { value: built.clone(), last: state.uses };
                        state.producers.insert(built.arn().clone(), used);
                        return Ok(built);
                    }
                }
            };
            busy.flush().await;
        }
    }

    /// Whether records may go to a stream of that name, as far as names tell. When a short name stands beside an ARN of
    /// that name, it takes the stream itself to say whether they are the same: [`get`](Self::get) does that.
    pub fn allows(&self, stream: &StreamRef) -> bool {
        let may_be = |allowed: &StreamRef| match (allowed, stream) {
            (StreamRef::Arn(allowed), StreamRef::Arn(stream)) => allowed == stream,
            (StreamRef::Name(_), _) | (_, StreamRef::Name(_)) => allowed.name() == stream.name(),
        };
        self.0.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(may_be))
    }

    /// Whether a stream is in the list as it is named, or by the other kind of name; the latter is a question to the
    /// stream that the short name stands for.
    async fn is_allowed(&self, stream: &StreamRef) -> Result<bool, Reason> {
        let Some(allowed) = &self.0.allowed else { return Ok(true) };
        match stream {
            stream if allowed.contains(stream) => Ok(true),
            // Whether it is one of the ARNs is known when its producer is built.
            StreamRef::Name(_) => Ok(true),
            StreamRef::Arn(arn) => {
                // Not the ARN itself is asked: nobody but the list says that it may be.
                let named = Box::pin(self.get(&StreamRef::Name(arn.name().clone()))).await;
                named.map(|producer| producer.arn() == arn)
            }
        }
    }

    /// Whether a stream may be written that was named so and turned out to have this ARN.
    fn is_allowed_as(&self, stream: &StreamRef, arn: &StreamArn) -> bool {
        let is = |allowed: &StreamRef| allowed == stream || allowed.arn() == Some(arn);
        matches!(stream, StreamRef::Arn(_)) || self.0.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(is))
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
            OnFailure::Fail => Handling::Failed,
        };
        let error = error.handled(handling);
        if on_failure.policy() != Policy::Fail && handling != Handling::Failed {
            on_failure.log(&error);
        }
        error
    }

    fn all(&self) -> Vec<Producer> {
        self.lock().producers.values().map(|used| used.value.clone()).collect()
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

    /// The metrics of each stream that has a producer, in no order.
    pub fn metrics(&self) -> Vec<(StreamArn, Metrics)> {
        self.all().into_iter().map(|producer| (producer.arn().clone(), producer.metrics())).collect()
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
    max_streams: usize,
}

impl ProducersBuilder {
    const DEFAULT_MAX_STREAMS: usize = 1_000;

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

    /// Most streams that have a producer at a time; unless set, 1 000.
    ///
    /// Each producer costs a task and a few kilobytes, and keeps its counts for [`Producers::metrics`]. One that is
    /// closed to make room is built again when it is needed. Producers of which somebody keeps a clone are not closed,
    /// and may be more.
    pub fn max_streams(mut self, most: NonZeroU32) -> Self {
        self.max_streams = most.get() as usize;
        self
    }

    /// The streams to which records may go, and no others; unless set, any.
    ///
    /// A short name is the stream of that name for which [`Clients`] give a client when they are asked for the short
    /// name: a stream in another region or account needs its ARN in the list.
    pub fn allow(mut self, streams: impl IntoIterator<Item = StreamRef>) -> Self {
        self.allowed = Some(streams.into_iter().collect());
        self
    }

    /// The producers. No stream is asked before its first record comes; [`Producers::get`] asks it sooner.
    pub fn build(self) -> Producers {
        let Self { clients, allowed, settings, on_failure, max_streams } = self;
        Producers(Arc::new(Inner { clients, allowed, settings, on_failure, max_streams, state: Mutex::default() }))
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
