use std::{fmt, sync::Arc, time::Duration};

use statefun_kinesis_client::{
    Error, ErrorKind, KinesisClient, KinesisClientExt, Operation, RecordDistribution, ShardFilter, StreamStatus,
    StreamSummary,
};
use statefun_kinesis_types::{ErrorChain, PUT_RECORDS_MAX_BYTES, PutRecord, Shard, StreamArn, StreamRef};
use tokio::{
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use crate::{
    BatchReceipt, Delivered, Metrics, OnFailure, Order, ProducerError, Receipt, SendError, Settings,
    driver::Driver,
    machine::Limits,
    shared::{Pause, Return, Shared, State, now},
};

/// Writes records to one stream: in batches, in order per partition key, each with a receipt.
///
/// Clones share one queue and one task. Records of one key are stored in the order in which their `send` calls were
/// made, whatever fails and is tried again; a request that timed out may be stored twice, never out of order. Records
/// of different keys have no order.
///
/// # Ending
///
/// [`close`](Self::close) stores what is queued. When instead the last clone is dropped, everything that is not on its
/// way is reported to its receipt as [`Reason::Closed`](crate::Reason::Closed) at once; what is on its way is reported
/// as its request is answered, without another try. When the Tokio runtime ends, receipts resolve to the same reason.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Dropped with the last clone of the producer.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl Producer {
    /// Starts to build a producer for a stream.
    pub fn builder(client: Arc<dyn KinesisClient>, stream: impl Into<StreamRef>) -> ProducerBuilder {
        ProducerBuilder { client, stream: stream.into(), settings: Settings::default(), on_failure: OnFailure::Fail }
    }

    /// The stream that records go to.
    pub fn stream(&self) -> &StreamRef {
        &self.handle.shared.stream
    }

    /// The stream's ARN, as it said when the producer was built.
    pub fn arn(&self) -> &StreamArn {
        &self.handle.shared.arn
    }

    /// Most bytes of one record, data and partition key together, as the stream said when the producer was built.
    pub fn max_record_bytes(&self) -> usize {
        self.handle.shared.limits.max_record_bytes
    }

    /// Whether somebody else has a clone.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.handle) > 1
    }

    /// Whether nothing is queued or on its way, and nobody else has a clone that could change it.
    pub(crate) fn is_unused(&self) -> bool {
        !self.is_shared() && self.metrics().outstanding_records == 0
    }

    /// What the producer has done so far, and how it stands now.
    pub fn metrics(&self) -> Metrics {
        self.handle.shared.metrics()
    }

    /// Queues a record, and waits for room if there is none. The receipt tells when it is stored.
    ///
    /// Callers that wait get room in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`Reason::TooLarge`](crate::Reason::TooLarge) at once, for a record that the stream never takes, unless
    /// [`OnFailure`] says what to do about it; [`Reason::Closed`](crate::Reason::Closed) when the producer is closed,
    /// also while waiting.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped before it is ready has queued nothing.
    pub async fn send(&self, record: PutRecord) -> Result<Receipt, SendError> {
        let shared = &*self.handle.shared;
        let size = shared.check(&record)?;
        let (ticket, receipt) = Receipt::new(&shared.stream, &record);
        let _turn = shared.turn.lock().await;
        loop {
            {
                let mut state = shared.lock();
                if state.closed {
                    return Err(shared.closed(&record));
                }
                if state.admits(size) {
                    state.push(now(), record, ticket);
                    shared.replan(&mut state);
                    return Ok(receipt);
                }
                shared.replan_all(&mut state);
            }
            shared.room.notified().await;
        }
    }

    /// Queues records in their order, and waits for room when and as often as there is none. One receipt tells when all
    /// of them are stored, or which one was the first to fail.
    ///
    /// This costs less per record than [`send`](Self::send), and no other sender comes in between. A batch may be
    /// larger than what the producer holds at a time. Its first full request leaves before all of it is queued.
    ///
    /// # Errors
    ///
    /// [`Reason::TooLarge`](crate::Reason::TooLarge) at once, when one of the records is larger than the stream takes:
    /// then none is queued. With another [`OnFailure`] than `Fail`, all of them are queued instead.
    /// [`Reason::Closed`](crate::Reason::Closed) when the producer is closed before the first one is queued; later than
    /// that, the receipt says so.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped before it is ready has queued the first records of the batch, or none. They are sent, and
    /// nobody is told.
    pub async fn send_all(&self, records: Vec<PutRecord>) -> Result<BatchReceipt, SendError> {
        let shared = &*self.handle.shared;
        for record in &records {
            shared.check(record)?;
        }
        let total = records.len();
        let Some(first) = records.first() else { return Ok(BatchReceipt::ready(Delivered::default())) };
        let _turn = shared.turn.lock().await;
        let (batch, receipt) = BatchReceipt::new(&mut shared.lock().batches, &shared.stream, first, total);
        let mut queueing = Queueing { shared, batch, total, rest: records.into_iter() };
        loop {
            let pause = {
                let mut state = shared.lock();
                if state.closed {
                    return queueing.cut_off(&mut state).map(|()| receipt);
                }
                let pause = queueing.push(&mut state);
                match pause {
                    Pause::Done | Pause::RequestFull => shared.replan(&mut state),
                    Pause::NoRoom => shared.replan_all(&mut state),
                }
                pause
            };
            match pause {
                Pause::Done => return Ok(receipt),
                Pause::RequestFull => yield_now().await,
                Pause::NoRoom => shared.room.notified().await,
            }
        }
    }

    /// Sends what is queued without further delay, and waits until all of it is stored or has failed.
    ///
    /// It covers every record whose `send` has returned a receipt before. Records that are sent later do not hold it up.
    /// Dropping the future changes nothing for the records.
    pub async fn flush(&self) {
        if let Some(flushed) = self.handle.shared.flush() {
            // An error means that the runtime has ended the producer's task, and everything is settled that way.
            _ = flushed.await;
        }
    }

    /// Refuses records from now on, also those of callers that still wait for room; then flushes.
    ///
    /// All clones are closed. Closing again waits for the same end. A future that is dropped has closed the producer all
    /// the same, and what is queued is still sent as long as a clone is kept.
    pub async fn close(&self) {
        self.handle.shared.close();
        self.flush().await;
    }

    /// As [`close`](Self::close), but for so long at most. What is not stored by then is given up: its receipts say
    /// [`Reason::Closed`](crate::Reason::Closed). Gives the number of those records; requests that are on their way
    /// then are not counted, and settled by their answers.
    pub async fn close_within(&self, limit: Duration) -> usize {
        if timeout(limit, self.close()).await.is_ok() { 0 } else { self.handle.shared.abandon() }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("stream", self.stream()).finish_non_exhaustive()
    }
}

/// The part of a batch that is not queued yet.
struct Queueing<'a> {
    shared: &'a Shared,
    batch: u32,
    total: usize,
    rest: std::vec::IntoIter<PutRecord>,
}

impl Queueing<'_> {
    fn push(&mut self, state: &mut State) -> Pause {
        state.push_all(now(), &mut self.rest, self.batch, self.total)
    }

    /// Ends a batch whose producer was closed. The receipt learns it if something was queued, the caller otherwise.
    fn cut_off(&mut self, state: &mut State) -> Result<(), SendError> {
        let rest = std::mem::take(&mut self.rest);
        let records = rest.as_slice();
        let Some(error) = records.first().map(|record| self.shared.closed(record)) else { return Ok(()) };
        if records.len() == self.total {
            state.batches.cut_off(self.batch, records.len(), None);
            return Err(error);
        }
        state.batches.cut_off(self.batch, records.len(), Some(error));
        Ok(())
    }
}

impl Drop for Queueing<'_> {
    fn drop(&mut self) {
        let rest = self.rest.as_slice().len();
        if rest > 0 {
            self.shared.lock().batches.cut_off(self.batch, rest, None);
        }
    }
}

/// What a producer is built from.
#[derive(Debug)]
#[must_use = "nothing happens before `build`"]
pub struct ProducerBuilder {
    client: Arc<dyn KinesisClient>,
    stream: StreamRef,
    settings: Settings,
    on_failure: OnFailure,
}

impl ProducerBuilder {
    /// Replaces the [default settings](Settings::default).
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// What becomes of records that are given up; unless set, [`OnFailure::Fail`].
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Reads the stream's limits, waits while it is being created, and starts the producer's task.
    ///
    /// # Errors
    ///
    /// [`ProducerError::NotFound`] when there is no such stream; [`ProducerError::NotReady`] when it is being removed,
    /// or still created after [`Settings::give_up_after`]; [`ProducerError::Describe`] when the service does not say.
    /// With [`Settings::aggregation`] also [`ProducerError::AggregationUnderAuto`] and [`ProducerError::ListShards`].
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with time.
    pub async fn build(self) -> Result<Producer, ProducerError> {
        let Self { client, stream, mut settings, on_failure } = self;
        let summary = ready(&*client, &stream, &settings).await?;
        let hash_decides = summary.distribution != RecordDistribution::Auto;
        if !hash_decides {
            if settings.aggregation.is_some() {
                return Err(ProducerError::AggregationUnderAuto { stream });
            }
            settings.order = Order::None;
        }
        // No request could carry a larger record, whatever the stream says.
        let max_record_bytes = summary.max_record_bytes.min(PUT_RECORDS_MAX_BYTES);
        let shards = match settings.aggregation {
            Some(_) => Some(shards(&*client, &stream, &settings).await?),
            None => None,
        };
        let limits = Limits { max_record_bytes, hash_decides };
        let shared = Arc::new(Shared::new(stream, summary.arn, limits, settings.clone(), on_failure));
        if shards.is_some() {
            shared.step([Return::Shards(shards)]);
        }
        tokio::spawn(Driver::new(Arc::clone(&shared), client, settings).run());
        Ok(Producer { handle: Arc::new(Handle { shared }) })
    }
}

/// Describes the stream until it is usable.
async fn ready(
    client: &dyn KinesisClient,
    stream: &StreamRef,
    settings: &Settings,
) -> Result<StreamSummary, ProducerError> {
    let start = Instant::now();
    let mut tries = Tries::new(settings);
    loop {
        let limit = settings.request_timeout;
        let answer = timeout(limit, client.describe_stream_summary(stream)).await;
        let waited = start.elapsed();
        let (delay, over) = tries.next(waited);
        let stream = || stream.clone();
        match answer.unwrap_or_else(|_| Err(no_answer(Operation::DescribeStreamSummary, limit))) {
            Ok(summary) if summary.status.is_usable() => return Ok(summary),
            Ok(summary) if over || summary.status != StreamStatus::Creating => {
                return Err(ProducerError::NotReady { stream: stream(), status: summary.status, waited });
            }
            Err(source) if source.kind() == ErrorKind::NotFound => {
                return Err(ProducerError::NotFound { stream: stream(), source });
            }
            Err(source) if over || !source.kind().is_retryable() => {
                return Err(ProducerError::Describe { stream: stream(), source });
            }
            Ok(summary) => tracing::info!(stream = %stream(), status = %summary.status, "waiting for the stream"),
            Err(error) => {
                tracing::warn!(stream = %stream(), error = %ErrorChain(&error), ?delay, "the stream cannot be described; trying again");
            }
        }
        sleep(delay).await;
    }
}

/// Lists the shards that take records.
async fn shards(
    client: &dyn KinesisClient,
    stream: &StreamRef,
    settings: &Settings,
) -> Result<Vec<Shard>, ProducerError> {
    let start = Instant::now();
    let mut tries = Tries::new(settings);
    loop {
        let limit = settings.request_timeout;
        let answer = timeout(limit, client.all_shards(stream, ShardFilter::AtLatest)).await;
        let (delay, over) = tries.next(start.elapsed());
        match answer.unwrap_or_else(|_| Err(no_answer(Operation::ListShards, limit))) {
            Ok(shards) => return Ok(shards),
            Err(source) if over || !source.kind().is_retryable() => {
                return Err(ProducerError::ListShards { stream: stream.clone(), source });
            }
            Err(error) => {
                tracing::warn!(%stream, error = %ErrorChain(&error), ?delay, "the shards cannot be listed; trying again");
            }
        }
        sleep(delay).await;
    }
}

/// The delays between the tries of a call while a producer is built.
struct Tries<'a> {
    settings: &'a Settings,
    random: fastrand::Rng,
    count: u32,
}

impl<'a> Tries<'a> {
    fn new(settings: &'a Settings) -> Self {
        let random = settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        Self { settings, random, count: 0 }
    }

    /// The next delay, and whether it would take too long.
    fn next(&mut self, waited: Duration) -> (Duration, bool) {
        let delay = self.settings.backoff.delay(self.count, &mut self.random);
        self.count += 1;
        (delay, waited + delay > self.settings.give_up_after)
    }
}

fn no_answer(operation: Operation, limit: Duration) -> Error {
    Error::new(operation, ErrorKind::Timeout, format!("no answer within {limit:?}"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use statefun_kinesis_client::KinesisAdmin;
    use statefun_kinesis_fake::FakeKinesis;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_dropped_before_its_end_leaves_nothing_behind() {
        let kinesis = FakeKinesis::new();
        kinesis.create_stream(&"orders".parse().unwrap(), 1).await.unwrap();
        kinesis.faults().delay(Operation::PutRecords, Duration::from_secs(1));
        let two = Settings { max_outstanding_records: NonZeroU32::new(2).unwrap(), ..Settings::default() };
        let stream: StreamRef = "orders".parse().unwrap();
        let producer = Producer::builder(Arc::new(kinesis), stream).settings(two).build().await.unwrap();
        let batch = || (0..3).map(|_| PutRecord::new("a".parse().unwrap(), "")).collect();
        for _ in 0..2 {
            assert!(timeout(Duration::from_millis(100), producer.send_all(batch())).await.is_err());
        }
        assert!(!producer.handle.shared.lock().batches.is_empty());
        producer.flush().await;
        assert!(producer.handle.shared.lock().batches.is_empty());
    }
}
