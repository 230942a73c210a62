use std::{fmt, sync::Arc, time::Duration};

use statefun_kinesis_client::{Error, ErrorKind, KinesisClient, Operation, StreamStatus, StreamSummary};
use statefun_kinesis_types::{PUT_RECORDS_MAX_BYTES, PutRecord, StreamRef};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    BatchReceipt, ProducerError, Receipt, SendError, Settings,
    driver::Driver,
    receipt::Ticket,
    shared::{Shared, State, now},
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
/// way is reported to its receipt as [`SendError::Closed`] at once; what is on its way is reported as its request is
/// answered, without another try. When the Tokio runtime ends, receipts resolve to [`SendError::Closed`] as well.
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
        ProducerBuilder { client, stream: stream.into(), settings: Settings::default() }
    }

    /// The stream that records go to.
    pub fn stream(&self) -> &StreamRef {
        &self.handle.shared.stream
    }

    /// Most bytes of one record, data and partition key together, as the stream said when the producer was built.
    pub fn max_record_bytes(&self) -> usize {
        self.handle.shared.max_record_bytes
    }

    /// Queues a record, and waits for room if there is none. The receipt tells when it is stored.
    ///
    /// Callers that wait get room in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] at once, for a record that the stream never takes; [`SendError::Closed`] when the
    /// producer is closed, also while waiting.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped before it is ready has queued nothing.
    pub async fn send(&self, record: PutRecord) -> Result<Receipt, SendError> {
        let shared = &*self.handle.shared;
        let size = shared.check(&record)?;
        let (ticket, receipt) = Receipt::new(&shared.stream, &record.partition_key, size);
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
                shared.replan(&mut state);
            }
            shared.room.notified().await;
        }
    }

    /// Queues records in their order, and waits for room when and as often as there is none. One receipt tells when all
    /// of them are stored, or which one was the first to fail.
    ///
    /// This costs less per record than [`send`](Self::send), and no other sender comes in between. A batch may be
    /// larger than what the producer holds at a time.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] at once, when one of the records is larger than the stream takes: then none is queued.
    /// [`SendError::Closed`] when the producer is closed before the first one is queued; later than that, the receipt
    /// says so.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped while it waits for room has queued the first records of the batch, or none. They are
    /// sent, and nobody is told.
    pub async fn send_all(&self, records: Vec<PutRecord>) -> Result<BatchReceipt, SendError> {
        let shared = &*self.handle.shared;
        for record in &records {
            shared.check(record)?;
        }
        let total = records.len();
        let Some(first) = records.first() else { return Ok(BatchReceipt::empty()) };
        let _turn = shared.turn.lock().await;
        let (batch, receipt) = BatchReceipt::new(&mut shared.lock().batches, &shared.stream, first, total);
        let mut queueing = Queueing { shared, batch, total, rest: records.into_iter() };
        loop {
            {
                let mut state = shared.lock();
                if state.closed {
                    return queueing.cut_off(&mut state).map(|()| receipt);
                }
                queueing.push(&mut state);
                shared.replan(&mut state);
                if queueing.rest.as_slice().is_empty() {
                    return Ok(receipt);
                }
            }
            shared.room.notified().await;
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
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("stream", self.stream()).finish_non_exhaustive()
    }
}

/// The part of a batch that is not queued yet.
struct Queueing<'a> {
    shared: &'a Shared,
    batch: usize,
    total: usize,
    rest: std::vec::IntoIter<PutRecord>,
}

impl Queueing<'_> {
    fn push(&mut self, state: &mut State) {
        let (now, batch) = (now(), self.batch);
        while let Some(size) = self.rest.as_slice().first().map(PutRecord::size) {
            if !state.admits(size) {
                return;
            }
            let index = self.total - self.rest.as_slice().len();
            if let Some(record) = self.rest.next() {
                state.push(now, record, Ticket::Batch { batch, index });
            }
        }
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
}

impl ProducerBuilder {
    /// Replaces the [default settings](Settings::default).
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Reads the stream's limits, waits while it is being created, and starts the producer's task.
    ///
    /// # Errors
    ///
    /// [`ProducerError::NotFound`] when there is no such stream; [`ProducerError::NotReady`] when it is being removed,
    /// or still created after [`Settings::give_up_after`]; [`ProducerError::Describe`] when the service does not say.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with time.
    pub async fn build(self) -> Result<Producer, ProducerError> {
        let Self { client, stream, settings } = self;
        let summary = ready(&*client, &stream, &settings).await?;
        // No request could carry a larger record, whatever the stream says.
        let max_record_bytes = summary.max_record_bytes.min(PUT_RECORDS_MAX_BYTES);
        let shared = Arc::new(Shared::new(stream, max_record_bytes, settings.clone()));
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
    let mut random = settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
    let mut tries = 0;
    loop {
        let limit = settings.request_timeout;
        let answer = timeout(limit, client.describe_stream_summary(stream)).await;
        let waited = start.elapsed();
        let delay = settings.backoff.delay(tries, &mut random);
        let over = waited + delay > settings.give_up_after;
        tries += 1;
        let stream = || stream.clone();
        match answer.unwrap_or_else(|_| Err(no_answer(limit))) {
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
            Ok(summary) => {
                tracing::info!(stream = %stream(), status = %summary.status, "waiting for the stream");
                sleep(delay).await;
            }
            Err(error) => {
                tracing::warn!(stream = %stream(), error = %error.chain(), ?delay, "the stream cannot be described; trying again");
                sleep(delay).await;
            }
        }
    }
}

fn no_answer(limit: Duration) -> Error {
    Error::new(Operation::DescribeStreamSummary, ErrorKind::Timeout, format!("no answer within {limit:?}"))
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
