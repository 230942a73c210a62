use std::{fmt, sync::Arc, time::Duration};

use statefun_kinesis_types::{PutRecord, StreamArn, StreamRef};
use tokio::{task::yield_now, time::timeout};

use crate::{
    BatchReceipt, Delivered, Metrics, Receipt, SendError,
    inner::{Pause, ProducerInner, ProducerState, now},
};

/// Writes records to one stream: in batches, in order per partition key, each with a receipt.
///
/// Clones share one queue and one task. Records of one partition key are stored in the order in which their `send` calls
/// were made, whatever fails and is retried; the records of a request that timed out may be stored twice, and their first
/// copies are in order. Records of different keys have no order.
///
/// # Ending
///
/// [`close`](Self::close) stores the records that are queued. When instead the last clone is dropped, the records that are
/// not in flight fail at once with [`Reason::Closed`](crate::Reason::Closed); those in flight are completed by the answer
/// to their request, without a retry. When the Tokio runtime ends, receipts resolve to the same reason.
///
/// Should the producer's own task panic, all outstanding and later records fail with
/// [`Reason::TaskFailed`](crate::Reason::TaskFailed). A client that panics fails the records of its request only.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Dropped with the last clone of the producer.
struct Handle {
    inner: Arc<ProducerInner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.abandon();
    }
}

impl Producer {
    pub(crate) fn new(inner: Arc<ProducerInner>) -> Self {
        Self { handle: Arc::new(Handle { inner }) }
    }

    /// The stream that records go to, as it was named when the producer was built.
    pub fn stream(&self) -> &StreamRef {
        self.handle.inner.stream()
    }

    /// The stream's ARN.
    pub fn arn(&self) -> &StreamArn {
        &self.handle.inner.arn
    }

    /// Most bytes of one record, data and partition key together, as it was set for the stream when the producer was built.
    pub fn max_record_bytes(&self) -> usize {
        self.handle.inner.limits.max_record_bytes
    }

    /// Whether there is another clone.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.handle) > 1
    }

    /// Whether no record is outstanding, and there is no other clone that could change it.
    pub(crate) fn is_unused(&self) -> bool {
        !self.is_shared() && self.metrics().outstanding_records == 0
    }

    /// What the producer has done so far, and its state now.
    pub fn metrics(&self) -> Metrics {
        self.handle.inner.metrics()
    }

    /// Queues a record, and waits for room if there is none. The receipt resolves when the record is stored.
    ///
    /// Callers that wait get room in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`Reason::TooLarge`](crate::Reason::TooLarge) at once, for a record that is larger than the stream takes, unless
    /// [`OnFailure`](crate::OnFailure) says to skip or dead-letter it; [`Reason::Closed`](crate::Reason::Closed) when the
    /// producer is closed, also while waiting; [`Reason::TaskFailed`](crate::Reason::TaskFailed).
    ///
    /// # Cancellation
    ///
    /// When the future is dropped before it is ready, the record is not queued.
    pub async fn send(&self, record: PutRecord) -> Result<Receipt, SendError> {
        let inner = &*self.handle.inner;
        let size = inner.check(&record)?;
        let (ticket, receipt) = Receipt::new(&inner.status, &record);
        let _turn = inner.turn.lock().await;
        loop {
            {
                let mut state = inner.lock();
                if state.closed {
                    return Err(inner.status.closed(&record));
                }
                if state.admits(size) {
                    state.push(now(), record, ticket);
                    inner.wake_driver(&mut state);
                    return Ok(receipt);
                }
                inner.wake_driver_for_all(&mut state);
            }
            inner.room.notified().await;
        }
    }

    /// Queues records in their order, and waits for room as often as there is none. One receipt resolves when all of them
    /// are stored, or when the first one has failed.
    ///
    /// This costs less per record than [`send`](Self::send), and no record of another sender comes in between. A batch may
    /// be larger than what the producer holds at a time. Its first full request is sent before all of it is queued.
    ///
    /// # Errors
    ///
    /// [`Reason::TooLarge`](crate::Reason::TooLarge) at once, when one of the records is larger than the stream takes:
    /// then none is queued. With another [`OnFailure`](crate::OnFailure) than `Fail`, all of them are queued instead.
    /// [`Reason::Closed`](crate::Reason::Closed) or [`Reason::TaskFailed`](crate::Reason::TaskFailed) when the producer
    /// ends before the first one is queued; later than that, it is the outcome of the receipt.
    ///
    /// # Cancellation
    ///
    /// When the future is dropped before it is ready, the first records of the batch may be queued already. They are sent,
    /// and their outcome is not reported.
    pub async fn send_all(&self, records: Vec<PutRecord>) -> Result<BatchReceipt, SendError> {
        let inner = &*self.handle.inner;
        for record in &records {
            inner.check(record)?;
        }
        let total = records.len();
        let Some(first) = records.first() else { return Ok(BatchReceipt::ready(Delivered::default())) };
        let _turn = inner.turn.lock().await;
        let (batch, receipt) = BatchReceipt::new(&mut inner.lock().batches, &inner.status, first, total);
        let mut queueing = Queueing { inner, batch, total, rest: records.into_iter() };
        loop {
            let pause = {
                let mut state = inner.lock();
                if state.closed {
                    return queueing.cancel_rest(&mut state).map(|()| receipt);
                }
                let pause = queueing.push(&mut state);
                match pause {
                    Pause::Done | Pause::RequestFull => inner.wake_driver(&mut state),
                    Pause::NoRoom => inner.wake_driver_for_all(&mut state),
                }
                pause
            };
            match pause {
                Pause::Done => return Ok(receipt),
                Pause::RequestFull => yield_now().await,
                Pause::NoRoom => inner.room.notified().await,
            }
        }
    }

    /// Sends all queued records without further delay, and waits until all of them are stored or have failed.
    ///
    /// It covers every record whose `send` has returned a receipt before. It does not wait for records that are sent later.
    /// Dropping the future changes nothing for the records.
    pub async fn flush(&self) {
        if let Some(flushed) = self.handle.inner.flush() {
            // An error means that the producer's task has ended, and with it all records are completed.
            _ = flushed.await;
        }
    }

    /// Takes no more records, also those of callers that wait for room; then flushes.
    ///
    /// All clones are closed. Closing again waits for the same end. When the future is dropped, the producer is closed
    /// nevertheless, and queued records are still sent as long as there is a clone.
    pub async fn close(&self) {
        self.handle.inner.close();
        self.flush().await;
    }

    /// Closes as [`close`](Self::close) does, within a time limit. Records that are still queued then fail with
    /// [`Reason::Closed`](crate::Reason::Closed). Returns the number of these records; records in flight are not counted,
    /// and completed by the answers to their requests.
    pub async fn close_within(&self, limit: Duration) -> usize {
        if timeout(limit, self.close()).await.is_ok() { 0 } else { self.handle.inner.abandon() }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("stream", self.stream()).finish_non_exhaustive()
    }
}

/// A batch while it is being queued.
struct Queueing<'a> {
    inner: &'a ProducerInner,
    batch: u32,
    total: usize,
    rest: std::vec::IntoIter<PutRecord>,
}

impl Queueing<'_> {
    fn push(&mut self, state: &mut ProducerState) -> Pause {
        state.push_all(now(), &mut self.rest, self.batch, self.total)
    }

    /// Ends a batch whose producer was closed. The receipt gets the error if some records were queued, the caller otherwise.
    fn cancel_rest(&mut self, state: &mut ProducerState) -> Result<(), SendError> {
        let rest = std::mem::take(&mut self.rest);
        let records = rest.as_slice();
        let Some(error) = records.first().map(|record| self.inner.status.closed(record)) else { return Ok(()) };
        if records.len() == self.total {
            state.batches.cancel_rest(self.batch, records.len(), None);
            return Err(error);
        }
        state.batches.cancel_rest(self.batch, records.len(), Some(error));
        Ok(())
    }
}

impl Drop for Queueing<'_> {
    fn drop(&mut self) {
        let rest = self.rest.as_slice().len();
        if rest > 0 {
            self.inner.lock().batches.cancel_rest(self.batch, rest, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        error::Error as _,
        num::NonZeroU32,
        pin::Pin,
        task::{Context, Wake, Waker},
    };

    use statefun_kinesis_client::{KinesisAdmin, Operation};
    use statefun_kinesis_fake::FakeKinesis;

    use super::*;
    use crate::{
        Reason, Settings,
        inner::Event,
        request::{Content, Request},
    };

    async fn producer(kinesis: &FakeKinesis, settings: Settings) -> Producer {
        let stream: StreamRef = "orders".parse().unwrap();
        kinesis.create_stream(&stream.name(), 1).await.unwrap();
        Producer::builder(Arc::new(kinesis.clone()), stream).settings(settings).build().await.unwrap()
    }

    fn record(key: &str) -> PutRecord {
        PutRecord::new(key.parse().unwrap(), "")
    }

    #[track_caller]
    fn check_failed<T>(result: Result<T, SendError>, task: &str) {
        let Err(error) = result else { panic!("the record is stored") };
        assert!(matches!(error.reason(), Reason::TaskFailed(failure) if failure.task() == task), "{error:?}");
        assert!(error.to_string().contains(&format!("the task `{task}` of the producer of stream orders")), "{error}");
        assert!(error.source().unwrap().to_string().contains("panicked"), "{error:?}");
    }

    /// Panics when the task that waits with it is woken.
    struct PanickingWaker;

    impl Wake for PanickingWaker {
        fn wake(self: Arc<Self>) {
            panic!("the waker of a test");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_the_driver_fails_all_receipts_and_senders_and_names_the_task() {
        let kinesis = FakeKinesis::new();
        let one_request = Settings {
            max_in_flight_requests: NonZeroU32::MIN,
            max_outstanding_records: NonZeroU32::new(4).unwrap(),
            ..Settings::default()
        };
        let producer = producer(&kinesis, one_request).await;
        kinesis.faults().delay(Operation::PutRecords, Duration::from_secs(1));
        let mut first = producer.send(record("a")).await.unwrap();
        // The driver wakes this receipt, which panics in the driver's task.
        let waker = Waker::from(Arc::new(PanickingWaker));
        assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
        let queued = producer.send(record("a")).await.unwrap();
        let batch = producer.send_all(vec![record("a"), record("b")]).await.unwrap();
        let waiting = tokio::spawn({
            let producer = producer.clone();
            async move { producer.send(record("c")).await }
        });
        let flush = tokio::spawn({
            let producer = producer.clone();
            async move { producer.flush().await }
        });
        let end = timeout(Duration::from_secs(3_600), async {
            check_failed(queued.await, "driver");
            check_failed(batch.await, "driver");
            check_failed(waiting.await.unwrap(), "driver");
            flush.await.unwrap();
            check_failed(producer.send(record("d")).await, "driver");
            check_failed(producer.send_all(vec![record("d")]).await, "driver");
            producer.close().await;
        });
        end.await.expect("nothing waits for ever");
        assert_eq!(producer.metrics().outstanding_records, 0);
        assert_eq!(first.await.unwrap().shard.as_str(), "shardId-000000000000", "its answer had come");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_under_the_lock_of_the_queue_fails_the_producer() {
        let kinesis = FakeKinesis::new();
        let producer = producer(&kinesis, Settings::default()).await;
        kinesis.faults().delay(Operation::PutRecords, Duration::from_secs(1));
        let in_flight = producer.send(record("a")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let queued = producer.send(record("a")).await.unwrap();
        let inner = Arc::clone(&producer.handle.inner);
        let panicked = std::thread::spawn(move || {
            let _state = inner.lock();
            panic!("under the lock of the queue");
        });
        assert!(panicked.join().is_err());
        let end = timeout(Duration::from_secs(3_600), async {
            check_failed(producer.send(record("b")).await, "queue");
            check_failed(in_flight.await, "queue");
            check_failed(queued.await, "queue");
            producer.close().await;
        });
        end.await.expect("nothing waits for ever");
        // The answer to a request that was in flight means nothing to the queue that took the place of the broken one.
        let (content, ids) = (Content::Plain(Vec::new()), Vec::new());
        let late = Request { content, untracked: None, ids, map_version: 0, sent: now() };
        assert!(producer.handle.inner.step([Event::Answer(late, Ok(Vec::new()))]).done);
        assert_eq!(producer.metrics().in_flight_requests, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_dropped_before_its_end_leaves_nothing_behind() {
        let kinesis = FakeKinesis::new();
        let two = Settings { max_outstanding_records: NonZeroU32::new(2).unwrap(), ..Settings::default() };
        let producer = producer(&kinesis, two).await;
        kinesis.faults().delay(Operation::PutRecords, Duration::from_secs(1));
        let batch = || (0..3).map(|_| record("a")).collect();
        for _ in 0..2 {
            assert!(timeout(Duration::from_millis(100), producer.send_all(batch())).await.is_err());
        }
        assert!(!producer.handle.inner.lock().batches.is_empty());
        producer.flush().await;
        assert!(producer.handle.inner.lock().batches.is_empty());
    }
}
