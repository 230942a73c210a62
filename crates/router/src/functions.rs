use std::{fmt, sync::Arc};

use async_trait::async_trait;
use statefun_kinesis_consumer::Acknowledgement;
use statefun_kinesis_types::{ShardId, StreamArn, Timestamp};

use crate::{EgressReceipt, Egresses, RoutedBatch, RunHandle, progress::arrivals, run::Run};

/// Handles messages without state, such as [`Echo`](crate::Echo) or a type of your own.
///
/// Functions with state implement [`StatefulHandler`](crate::StatefulHandler) instead.
#[async_trait]
pub trait Functions: fmt::Debug + Send + Sync + 'static {
    /// Called once at the start of a run, before the first delivery. The default does nothing.
    fn begin(&self, run: RunHandle) {
        let _ = run;
    }

    /// Takes a batch of messages.
    ///
    /// It returns once the batch is *accepted*; handling may continue in the background. Deliveries of one shard come
    /// one after the other, in the order of the shard. Functions apply backpressure by returning late. The delivery has
    /// to be completed when all its work is done; only that moves the position of its shard. A delivery that is dropped
    /// instead counts as not processed. The position of its shard could never move again, so the run ends with
    /// [`RunError::Dropped`](crate::RunError::Dropped), unless it is ending already. The next start reads its records
    /// again.
    ///
    /// # Errors
    ///
    /// When functions fail permanently. The run ends with the error, and the delivery counts as not processed.
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError>;

    /// Called at the end of a run: there are no more deliveries, deliveries in flight are completed or given up, and
    /// egresses and ingresses are closed. The default does nothing.
    ///
    /// It is called once for every run that was not dropped, also if the run ends with an error.
    ///
    /// # Errors
    ///
    /// When functions cannot end in an orderly way. The run then ends with this error, unless it has an earlier one.
    async fn close(&self) -> Result<(), FunctionError> {
        Ok(())
    }
}

/// A batch of messages for functions, which have to complete it when they are done.
#[derive(Debug)]
pub struct Delivery {
    batch: RoutedBatch,
    completion: Completion,
}

impl Delivery {
    pub(crate) fn new(batch: RoutedBatch, acknowledgement: Acknowledgement, run: Arc<Run>) -> Self {
        let completion = Completion {
            stream: batch.stream().clone(),
            shard: batch.shard().clone(),
            acknowledgement: Some(acknowledgement),
            arrivals: arrivals(batch.records()),
            _in_flight: run.in_flight.token(),
            run,
        };
        Self { batch, completion }
    }

    /// The messages.
    pub fn batch(&self) -> &RoutedBatch {
        &self.batch
    }

    /// The module's egresses, for sending records.
    pub fn egresses(&self) -> &Egresses {
        &self.completion.run.egresses
    }

    /// The run that the delivery belongs to, for work that continues after [`Functions::deliver`] has returned.
    pub fn run(&self) -> RunHandle {
        RunHandle::new(Arc::clone(&self.completion.run))
    }

    /// Splits the delivery into its messages and its completion.
    pub fn into_parts(self) -> (RoutedBatch, Completion) {
        (self.batch, self.completion)
    }

    /// Completes the delivery. For batches for which no records were sent.
    pub fn done(self) {
        self.completion.done();
    }

    /// Completes the delivery once all these records are stored.
    pub fn done_after(self, receipts: Vec<EgressReceipt>) {
        self.completion.done_after(receipts);
    }
}

/// Completes a delivery. If it is dropped instead, the delivery counts as not processed, which ends the run.
#[derive(Debug)]
#[must_use = "a delivery that is not completed counts as not processed"]
pub struct Completion {
    stream: StreamArn,
    shard: ShardId,
    /// Set until the delivery is acknowledged.
    acknowledgement: Option<Acknowledgement>,
    arrivals: Vec<Timestamp>,
    run: Arc<Run>,
    /// A stopping router waits until all of these are dropped.
    _in_flight: tokio_util::task::task_tracker::TaskTrackerToken,
}

impl Completion {
    /// Completes the delivery. For batches for which no records were sent.
    pub fn done(mut self) {
        self.run.progress.done(&self.arrivals, self.run.clock.now());
        if let Some(acknowledgement) = self.acknowledgement.take() {
            acknowledgement.done();
        }
    }

    /// Completes the delivery once all these records are stored. A record that cannot be stored ends the run with an
    /// error.
    pub fn done_after(self, receipts: Vec<EgressReceipt>) {
        if receipts.is_empty() {
            return self.done();
        }
        let run = Arc::clone(&self.run);
        run.in_flight.clone().spawn(async move {
            for receipt in receipts {
                match receipt.stored().await {
                    Ok((records, bytes)) => self.run.progress.stored(records, bytes),
                    Err(error) => return self.run.fail_egress(error),
                }
            }
            self.done();
        });
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.acknowledgement.is_some() {
            self.run.dropped(&self.stream, &self.shard);
        }
    }
}

/// Why functions failed permanently.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct FunctionError {
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    hint: Option<&'static str>,
}

impl FunctionError {
    /// Creates an error. The message should name the function or the address.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None, hint: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what a person can do about it, in one sentence.
    #[must_use]
    pub fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// What a person can do about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        self.hint
    }
}
