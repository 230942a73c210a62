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
use statefun_kinesis_types::{PutRecord, StreamArn, StreamRef, TypeName};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    BatchReceipt, Delivered, GivenUp, Handling, Metrics, OnFailure, Producer, ProducerError, Reason, Receipt,
    SendError, Settings, Unsendable,
    dead_letter::{DeadLetters, NotWritten, report_lost},
};

/// Provides [`Producers`] with clients. A client has one region and one set of credentials.
///
/// It is implemented with the attribute `async_trait` of the crate of that name, as
/// [`KinesisClient`](crate::KinesisClient) is.
#[async_trait]
pub trait Clients: fmt::Debug + Send + Sync + 'static {
    /// The client for a stream. It is called whenever a producer is built.
    ///
    /// # Errors
    ///
    /// When there is no client for the stream's region or account. Records for the stream then fail with
    /// [`Reason::NoProducer`].
    async fn client(&self, stream: &StreamRef) -> Result<Arc<dyn KinesisClient>, Error>;
}

/// Writes records to any number of streams. Each stream gets its own [`Producer`] when its first record is sent.
///
/// A stream that is named by its short name and by its ARN is one stream, and has one producer. All producers have the
/// same settings, and the limits of the settings hold for each of them. When stream names come from a source that is not
/// trusted, [`ProducersBuilder::allow`] restricts them. [`ProducersBuilder::max_streams`] limits the number of producers.
///
/// Clones share everything. They end as a [`Producer`] does.
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
    dead_letters: Option<DeadLetters>,
    egress: Option<TypeName>,
    max_streams: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is known about each name that was used. Each has its own lock, so that a stream that answers slowly does not
    /// hold up others.
    names: HashMap<StreamRef, LastUsed<Arc<tokio::sync::Mutex<Lookup>>>>,
    producers: HashMap<StreamArn, LastUsed<Producer>>,
    /// Number of uses so far.
    uses: u64,
    given_up: GivenUp,
    closed: bool,
}

/// A value with the number of its last use.
#[derive(Debug)]
struct LastUsed<V> {
    value: V,
    last: u64,
}

/// What is known about a stream name.
#[derive(Debug, Default)]
enum Lookup {
    #[default]
    Unknown,
    Stream(StreamArn),
    /// A stream of that name is allowed, but it is another one.
    NotAllowed,
    /// There was no producer at that time. The name is looked up again after [`LOOKUP_RETRY_AFTER`].
    Failed(Arc<ProducerError>, Instant),
}

impl State {
    /// Names that are remembered per producer: its short name, its ARN, and two that are not streams.
    const NAMES_PER_STREAM: usize = 4;

    fn name(&mut self, stream: &StreamRef, max_streams: usize) -> Arc<tokio::sync::Mutex<Lookup>> {
        self.uses += 1;
        if !self.names.contains_key(stream) {
            // A lookup that is running has a clone.
            let is_unused = |name: &Arc<_>| Arc::strong_count(name) == 1;
            evict_least_recently_used(&mut self.names, max_streams.saturating_mul(Self::NAMES_PER_STREAM), is_unused);
        }
        let entry = self.names.entry(stream.clone());
        let name = entry.or_insert_with(|| LastUsed { value: Arc::default(), last: 0 });
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

/// Makes room for one more value: removes those that were used least recently, as far as they may be removed.
fn evict_least_recently_used<K: Clone + Eq + Hash, V>(
    map: &mut HashMap<K, LastUsed<V>>,
    most: usize,
    may_be_removed: impl Fn(&V) -> bool,
) {
    let excess = (map.len() + 1).saturating_sub(most);
    if excess == 0 {
        return;
    }
    let mut idle: Vec<_> = map
        .iter()
        .filter(|(_, used)| may_be_removed(&used.value))
        .map(|(key, used)| (used.last, key.clone()))
        .collect();
    idle.sort_unstable_by_key(|(last, _)| *last);
    for (_, key) in idle.into_iter().take(excess) {
        map.remove(&key);
    }
}

/// How long a failed lookup of a stream counts. DescribeStreamSummary is limited to 20 calls per second and account.
const LOOKUP_RETRY_AFTER: Duration = Duration::from_secs(30);

impl Producers {
    /// Starts to build producers with these clients, or with one client for all streams.
    pub fn builder(clients: impl Clients) -> ProducersBuilder {
        ProducersBuilder {
            clients: Arc::new(clients),
            allowed: None,
            settings: Settings::default(),
            on_failure: OnFailure::Fail,
            egress: None,
            max_streams: ProducersBuilder::DEFAULT_MAX_STREAMS,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The producer of a stream. It is built if there is none yet.
    ///
    /// When the maximum number of producers is reached, the least recently used one is closed that has no outstanding
    /// records and no clone elsewhere. If all have outstanding records, this waits for one of them.
    ///
    /// # Errors
    ///
    /// [`Reason::NotAllowed`], [`Reason::NoProducer`] or [`Reason::Closed`].
    pub async fn get(&self, stream: &StreamRef) -> Result<Producer, Reason> {
        if !self.allows(stream) {
            return Err(Reason::NotAllowed);
        }
        let lookup = {
            let mut state = self.lock();
            if state.closed {
                return Err(Reason::Closed);
            }
            state.name(stream, self.0.max_streams)
        };
        let mut lookup = lookup.lock().await;
        match &*lookup {
            Lookup::Stream(arn) => {
                if let Some(producer) = self.lock().producer(arn) {
                    return Ok(producer);
                }
            }
            Lookup::NotAllowed => return Err(Reason::NotAllowed),
            Lookup::Failed(error, at) if at.elapsed() < LOOKUP_RETRY_AFTER => {
                return Err(Reason::NoProducer(Arc::clone(error)));
            }
            Lookup::Failed(..) | Lookup::Unknown => {}
        }
        let built = match self.is_allowed(stream).await {
            Ok(true) => self.build(stream).await,
            Ok(false) => Err(Reason::NotAllowed),
            Err(reason) => Err(reason),
        };
        match &built {
            Ok(producer) => *lookup = Lookup::Stream(producer.arn().clone()),
            Err(Reason::NotAllowed) => *lookup = Lookup::NotAllowed,
            Err(Reason::NoProducer(error)) => *lookup = Lookup::Failed(Arc::clone(error), Instant::now()),
            Err(
                Reason::TooLarge { .. }
                | Reason::GaveUp { .. }
                | Reason::Rejected { .. }
                | Reason::PredecessorFailed
                | Reason::Closed
                | Reason::TaskFailed(_),
            ) => {}
        }
        built
    }

    /// Builds the producer of a stream, or finds the one that it has by another name.
    async fn build(&self, stream: &StreamRef) -> Result<Producer, Reason> {
        let Inner { clients, settings, on_failure, egress, .. } = &*self.0;
        let client = clients.client(stream).await.map_err(|source| {
            let stream = stream.clone();
            Reason::NoProducer(Arc::new(ProducerError::NoClient { stream, source }))
        })?;
        let mut builder = Producer::builder(client, stream.clone()).settings(settings.clone());
        if let Some(egress) = egress {
            builder = builder.egress(egress.clone());
        }
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
                // Built by another name meanwhile. The new one has no records yet and is dropped.
                if let Some(producer) = state.producer(built.arn()) {
                    return Ok(producer);
                }
                evict_least_recently_used(&mut state.producers, self.0.max_streams, Producer::is_unused);
                let busy = state.producers.values().filter(|used| !used.value.is_shared());
                let oldest = busy.min_by_key(|used| used.last).map(|used| used.value.clone());
                match oldest {
                    Some(oldest) if state.producers.len() >= self.0.max_streams => oldest,
                    _ => {
                        let used = LastUsed { value: built.clone(), last: state.uses };
                        state.producers.insert(built.arn().clone(), used);
                        return Ok(built);
                    }
                }
            };
            busy.flush().await;
        }
    }

    /// Whether records may go to a stream of that name, as far as the name alone can say. Whether a short name and an ARN
    /// with that name are the same stream is known only when the stream is described, which [`get`](Self::get) does.
    pub fn allows(&self, stream: &StreamRef) -> bool {
        let may_be = |allowed: &StreamRef| match (allowed, stream) {
            (StreamRef::Arn(allowed), StreamRef::Arn(stream)) => allowed == stream,
            (StreamRef::Name(_), _) | (_, StreamRef::Name(_)) => allowed.name() == stream.name(),
        };
        self.0.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(may_be))
    }

    /// Whether a stream is in the list, by this name or by the other kind of name. In the latter case the stream with the
    /// short name is described.
    async fn is_allowed(&self, stream: &StreamRef) -> Result<bool, Reason> {
        let Some(allowed) = &self.0.allowed else { return Ok(true) };
        match stream {
            stream if allowed.contains(stream) => Ok(true),
            // Whether it is one of the ARNs in the list is known when its producer is built.
            StreamRef::Name(_) => Ok(true),
            StreamRef::Arn(arn) => {
                // The ARN itself is not described: only a listed name may cause a call.
                let named = Box::pin(self.get(&StreamRef::Name(arn.name().clone()))).await;
                named.map(|producer| producer.arn() == arn)
            }
        }
    }

    /// Whether a stream may be written that has this name and was found to have this ARN.
    fn is_allowed_as(&self, stream: &StreamRef, arn: &StreamArn) -> bool {
        let is = |allowed: &StreamRef| allowed == stream || allowed.arn() == Some(arn);
        matches!(stream, StreamRef::Arn(_)) || self.0.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(is))
    }

    /// Queues a record for a stream; see [`Producer::send`].
    ///
    /// # Errors
    ///
    /// Those of [`Producer::send`], [`Reason::NotAllowed`], and [`Reason::NoProducer`] when the stream does not exist or
    /// cannot be described. When the stream is not allowed or does not exist, the record is skipped or dead-lettered if
    /// [`OnFailure`] says so;
    /// [`SendError::handling`] returns which.
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
    /// Those of [`Producer::send_all`]. When the stream is not allowed or has no producer, and [`OnFailure`] says to skip or
    /// dead-letter records, the receipt has such an error for every record.
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

    /// Skips or dead-letters a record for which there is no producer, if the policy says so.
    async fn handle(&self, error: SendError, record: PutRecord) -> SendError {
        // The policy is for what is wrong with a record. Without this, records for a stream that cannot be described for a
        // while would be skipped.
        let is_about_record = match error.reason() {
            Reason::NotAllowed => true,
            Reason::NoProducer(why) => why.is_about_record(),
            Reason::TooLarge { .. }
            | Reason::GaveUp { .. }
            | Reason::Rejected { .. }
            | Reason::PredecessorFailed
            | Reason::Closed
            | Reason::TaskFailed(_) => false,
        };
        if !is_about_record {
            return error;
        }
        let why = error.clone();
        let handling = self.apply_policy(|letters| async move { letters.write(record, why).await }).await;
        let error = error.handled(handling);
        if handling != Handling::Failed {
            self.0.on_failure.policy().log(&error);
        }
        error
    }

    /// Skips or dead-letters something that cannot be sent to any stream, if [`OnFailure`] says so, and logs it. Returns
    /// what was done. [`Handling::Failed`] leaves it to the caller; so does a dead letter that cannot be written, which is
    /// logged.
    pub async fn give_up(&self, record: Unsendable) -> Handling {
        let what = record.clone();
        let handling = self.apply_policy(|letters| async move { letters.write_unsendable(what).await }).await;
        if handling != Handling::Failed {
            self.0.on_failure.policy().log(&record);
        }
        handling
    }

    /// What the policy does about a record that failed permanently, which is counted. `write` writes its dead letter.
    async fn apply_policy<W>(&self, write: impl FnOnce(DeadLetters) -> W) -> Handling
    where
        W: Future<Output = Result<(), NotWritten>>,
    {
        let handling = match (&self.0.on_failure, &self.0.dead_letters) {
            (OnFailure::Skip { .. }, _) => Handling::Skipped,
            (OnFailure::DeadLetter { .. }, Some(dead_letters)) => match write(dead_letters.clone()).await {
                Ok(()) => Handling::DeadLettered,
                Err(cause) => {
                    report_lost(&*cause);
                    Handling::Failed
                }
            },
            (OnFailure::Fail, _) | (OnFailure::DeadLetter { .. }, None) => Handling::Failed,
        };
        self.count(handling);
        handling
    }

    fn count(&self, handling: Handling) {
        let mut state = self.lock();
        let GivenUp { failed, skipped, dead_lettered } = &mut state.given_up;
        *match handling {
            Handling::Failed => failed,
            Handling::Skipped => skipped,
            Handling::DeadLettered => dead_lettered,
        } += 1;
    }

    /// The records that were given up before they reached the producer of a stream: for a stream that is not allowed or
    /// does not exist, or for no stream at all. All others are in the [metrics](Self::metrics) of their producer.
    pub fn given_up(&self) -> GivenUp {
        self.lock().given_up
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

    /// Closes all streams at once, within a time limit; see [`Producer::close_within`]. Returns the number of records that
    /// failed because of it, for each stream with any.
    pub async fn close_within(&self, limit: Duration) -> Vec<(StreamRef, usize)> {
        self.lock().closed = true;
        let mut closing = JoinSet::new();
        for producer in self.all() {
            closing.spawn(async move { (producer.stream().clone(), producer.close_within(limit).await) });
        }
        let mut failed = closing.join_all().await;
        failed.retain(|(_, records)| *records > 0);
        failed.sort();
        failed
    }

    /// The metrics of each stream that has a producer, in any order.
    pub fn metrics(&self) -> Vec<(StreamArn, Metrics)> {
        self.all().into_iter().map(|producer| (producer.arn().clone(), producer.metrics())).collect()
    }
}

/// Builds [`Producers`].
#[derive(Debug)]
#[must_use = "nothing happens before `build`"]
pub struct ProducersBuilder {
    clients: Arc<dyn Clients>,
    allowed: Option<Vec<StreamRef>>,
    settings: Settings,
    on_failure: OnFailure,
    egress: Option<TypeName>,
    max_streams: usize,
}

impl ProducersBuilder {
    const DEFAULT_MAX_STREAMS: usize = 1_000;

    /// Replaces the [default settings](Settings::default) of every stream.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets what is done about records that fail permanently, on every stream. Default: [`OnFailure::Fail`].
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sets the id of the egress that the producers write for. Dead letters name it. Default: none.
    pub fn egress(mut self, id: TypeName) -> Self {
        self.egress = Some(id);
        self
    }

    /// Sets the maximum number of streams with a producer at a time. Default: 1 000.
    ///
    /// Each producer costs a task and a few kilobytes, and keeps its counts for [`Producers::metrics`]. One that is closed
    /// to make room is built again when it is needed. Producers with a clone elsewhere are not closed, so that there may be
    /// more than the maximum.
    pub fn max_streams(mut self, most: NonZeroU32) -> Self {
        self.max_streams = most.get() as usize;
        self
    }

    /// Allows records to these streams only. Default: any stream.
    ///
    /// A short name means the stream of that name in the region and account of the client that [`Clients`] provide for the
    /// short name. A stream in another region or account needs its ARN in the list.
    pub fn allow(mut self, streams: impl IntoIterator<Item = StreamRef>) -> Self {
        self.allowed = Some(streams.into_iter().collect());
        self
    }

    /// Returns the producers. A stream is described when its first record is sent, or by [`Producers::get`].
    pub fn build(self) -> Producers {
        let Self { clients, allowed, settings, on_failure, egress, max_streams } = self;
        let dead_letters = DeadLetters::new(&on_failure, egress.clone());
        let state = Mutex::default();
        Producers(Arc::new(Inner { clients, allowed, settings, on_failure, dead_letters, egress, max_streams, state }))
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
