use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use statefun_kinesis_client::{Clock, Operation, RecordDistribution, Result};
use statefun_kinesis_types::{InvalidValue, Record, ShardId, StreamArn, StreamRef, Timestamp};

use crate::{
    clock::VirtualClock,
    faults::{FaultPlan, Faults},
    refusal::Refusal,
    shard::ShardLog,
    store::{Settings, Store},
    stream::Stream,
};

/// Kinesis in memory: the streams of one account in one region. Clones are the same service.
///
/// A fake lives as long as its last clone; nothing runs in the background.
#[derive(Clone)]
pub struct FakeKinesis {
    pub(crate) faults: Faults,
    pub(crate) clock: VirtualClock,
}

/// All that a fake knows, behind one lock.
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) faults: FaultPlan,
    calls: [u64; Operation::ALL.len()],
}

/// Takes the lock. A panic of a caller's closure under it leaves nothing half done that would matter to a test.
pub(crate) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeKinesis {
    /// An account without streams, in `us-east-1`, with the defaults of [`FakeKinesisBuilder`].
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A fake with other than the usual settings.
    pub fn builder() -> FakeKinesisBuilder {
        FakeKinesisBuilder::default()
    }

    /// What is to go wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The service's time of day: the epoch plus what Tokio's clock has counted since the fake was made.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    /// Calls of this operation so far, those that failed included.
    pub fn calls(&self, operation: Operation) -> u64 {
        lock(&self.faults.state).calls[operation.index()]
    }

    /// All records that the stream retains, shard by shard, each in order; none when there is no such stream.
    pub fn records(&self, stream: &StreamRef) -> Vec<(ShardId, Record)> {
        let mut state = lock(&self.faults.state);
        let now = self.clock.now();
        let Ok((_, stream)) = state.store.stream(stream, now) else { return Vec::new() };
        stream.trim(now);
        let of_shard =
            |shard: &ShardLog| shard.records().map(|record| (shard.id.clone(), record.clone())).collect::<Vec<_>>();
        stream.shards.iter().flat_map(of_shard).collect()
    }

    /// Sets how long a stream keeps records. What has left retention before does not come back.
    ///
    /// # Errors
    ///
    /// When there is no such stream.
    pub fn set_retention(&self, stream: &StreamRef, retention: Duration) -> Result<()> {
        self.change(stream, |stream, now| {
            stream.trim(now);
            stream.retention = retention;
        })
    }

    /// Sets the most bytes of one record, data and partition key together (UpdateMaxRecordSize).
    ///
    /// # Errors
    ///
    /// When there is no such stream.
    pub fn set_max_record_bytes(&self, stream: &StreamRef, bytes: usize) -> Result<()> {
        self.change(stream, |stream, _| stream.max_record_bytes = bytes)
    }

    /// Sets what decides on a record's shard. A stream under [`RecordDistribution::Auto`] describes itself as
    /// on-demand, as only those can be.
    ///
    /// # Errors
    ///
    /// When there is no such stream.
    pub fn set_distribution(&self, stream: &StreamRef, distribution: RecordDistribution) -> Result<()> {
        self.change(stream, |stream, _| stream.distribution = distribution)
    }

    /// Sets the KMS key with which the stream claims to be encrypted; `None`, the default, for no encryption.
    ///
    /// # Errors
    ///
    /// When there is no such stream.
    pub fn set_kms_key(&self, stream: &StreamRef, key: Option<&str>) -> Result<()> {
        self.change(stream, |stream, _| stream.kms_key = key.map(str::to_owned))
    }

    fn change(&self, stream: &StreamRef, change: impl FnOnce(&mut Stream, Timestamp)) -> Result<()> {
        let mut state = lock(&self.faults.state);
        let now = self.clock.now();
        // The closest operation of the seam: there is none that changes a stream's settings.
        let found = state.store.stream(stream, now).map_err(|no| no.into_error(Operation::DescribeStreamSummary))?;
        change(found.1, now);
        Ok(())
    }

    /// One request: counted, held up or failed as the faults say, carried out under the lock.
    pub(crate) async fn call<T>(
        &self,
        operation: Operation,
        mut run: impl FnMut(&mut State, Timestamp) -> std::result::Result<T, Refusal> + Send,
    ) -> Result<T> {
        let delay = {
            let mut state = lock(&self.faults.state);
            state.calls[operation.index()] += 1;
            let delay = state.faults.delay(operation);
            if delay.is_zero() {
                return self.answer(&mut state, operation, &mut run);
            }
            delay
        };
        tokio::time::sleep(delay).await;
        self.answer(&mut lock(&self.faults.state), operation, &mut run)
    }

    fn answer<T>(
        &self,
        state: &mut State,
        operation: Operation,
        run: &mut impl FnMut(&mut State, Timestamp) -> std::result::Result<T, Refusal>,
    ) -> Result<T> {
        let failure = state.faults.next(operation);
        let mut run = || run(state, self.clock.now()).map_err(|refusal| refusal.into_error(operation));
        match failure {
            None => run(),
            Some(failure) => {
                if failure.carried_out {
                    run()?;
                }
                Err(failure.error)
            }
        }
    }
}

impl Default for FakeKinesis {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeKinesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeKinesis").finish_non_exhaustive()
    }
}

/// Settings of a [`FakeKinesis`].
#[derive(Clone, Debug)]
pub struct FakeKinesisBuilder {
    settings: Settings,
    epoch: Option<Timestamp>,
}

impl Default for FakeKinesisBuilder {
    fn default() -> Self {
        Self {
            settings: Settings {
                region: "us-east-1".to_owned(),
                account: "000000000000".to_owned(),
                enforce_throughput: false,
                status_delay: Duration::ZERO,
            },
            epoch: None,
        }
    }
}

impl FakeKinesisBuilder {
    /// The region of all streams; `us-east-1` unless set.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.settings.region = region.into();
        self
    }

    /// The account of all streams, twelve digits; `000000000000` unless set, which is LocalStack's too.
    #[must_use]
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.settings.account = account.into();
        self
    }

    /// The service's time when the fake is made; the machine's unless set.
    #[must_use]
    pub fn epoch(mut self, epoch: Timestamp) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Whether each shard holds to its throughput: 1 000 records and 1 MiB written, 5 calls and 2 MiB read, 5
    /// iterators a second, where a second's worth can be saved up; and each of its subscriptions to 2 MiB a second and
    /// a call a second. Not unless set.
    #[must_use]
    pub fn enforce_throughput(mut self, enforce: bool) -> Self {
        self.settings.enforce_throughput = enforce;
        self
    }

    /// How long a stream is CREATING, UPDATING or DELETING, and a consumer CREATING or DELETING; not at all unless set:
    /// then it is ACTIVE, or gone, when the call returns.
    #[must_use]
    pub fn status_delay(mut self, delay: Duration) -> Self {
        self.settings.status_delay = delay;
        self
    }

    /// The fake.
    ///
    /// # Panics
    ///
    /// When the region or the account cannot be part of an ARN.
    pub fn build(self) -> FakeKinesis {
        self.try_build().unwrap_or_else(|error| panic!("a fake needs a region and an account: {error}"))
    }

    /// The fake, or what is wrong with its region or account.
    ///
    /// # Errors
    ///
    /// When the region or the account cannot be part of an ARN.
    pub fn try_build(self) -> std::result::Result<FakeKinesis, InvalidValue> {
        /// Tells the iterators of one fake from those of another one.
        static FAKES: AtomicU64 = AtomicU64::new(0);

        StreamArn::new(&self.settings.region, &self.settings.account, &"any".parse()?)?;
        let state = State {
            store: Store::new(self.settings, FAKES.fetch_add(1, Ordering::Relaxed)),
            faults: FaultPlan::default(),
            calls: [0; Operation::ALL.len()],
        };
        Ok(FakeKinesis {
            faults: Faults { state: Arc::new(Mutex::new(state)) },
            clock: VirtualClock::starting_at(self.epoch.unwrap_or_else(Timestamp::now)),
        })
    }
}
