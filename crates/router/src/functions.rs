use std::{fmt, sync::Arc};

use async_trait::async_trait;
use statefun_kinesis_consumer::Acknowledgement;
use statefun_kinesis_types::{ShardId, StreamArn, Timestamp};

use crate::{EgressReceipt, Egresses, RoutedBatch, RunHandle, progress::arrivals, run::Run};

/// What handles messages and keeps no state: something as plain as [`Echo`](crate::Echo), or a program's own.
///
/// Functions with state implement [`StatefulHandler`](crate::StatefulHandler) instead.
#[async_trait]
pub trait Functions: fmt::Debug + Send + Sync + 'static {
    /// A run begins; called once, before the first delivery. The default does nothing.
    fn begin(&self, run: RunHandle) {
        let _ = run;
    }

    /// Takes over a batch of messages.
    ///
    /// It returns once the batch is *accepted*; handling may go on behind. Deliveries of one shard come one after the
    /// other, in the order of the shard, and not returning is how functions slow reading down. The delivery has to be
    /// completed when everything that came of it is done: that alone moves the position of its shard. A delivery that
    /// is dropped was not processed: its shard's position would never move again, so it ends the run with
    /// [`RunError::Dropped`](crate::RunError::Dropped), unless the run is ending already. Its records are read again
    /// after the next start.
    ///
    /// # Errors
    ///
    /// When functions fail permanently. The run ends with the error; the delivery counts as not processed.
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError>;

    /// The run has ended: nothing more is delivered, in-flight deliveries are done or given up, egresses and ingresses
    /// are closed. The default does nothing.
    ///
    /// It is called once at the end of every run that was not dropped, also of one that ends with an error.
    ///
    /// # Errors
    ///
    /// When functions cannot end in an orderly way. The run then ends with this error, if it had no other.
    async fn close(&self) -> Result<(), FunctionError> {
        Ok(())
    }
}

/// A batch of messages that functions take over, with the means to say that they are done with it.
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

    /// The module's egresses, to which functions may send records.
    pub fn egresses(&self) -> &Egresses {
        &self.completion.run.egresses
    }

    /// The run that the delivery belongs to, for functions that go on after they have returned.
    pub fn run(&self) -> RunHandle {
        RunHandle::new(Arc::clone(&self.completion.run))
    }

    /// The messages and the means to complete them, apart.
    pub fn into_parts(self) -> (RoutedBatch, Completion) {
        (self.batch, self.completion)
    }

    /// Says that the batch is done, and that nothing was sent for it.
    pub fn done(self) {
        self.completion.done();
    }

    /// Says that the batch is done once all these records have reached their egress.
    pub fn done_after(self, receipts: Vec<EgressReceipt>) {
        self.completion.done_after(receipts);
    }
}

/// The means to say that a delivery is done. Dropped, it says that the delivery was not processed, which ends the run.
#[derive(Debug)]
#[must_use = "a delivery that is not completed counts as not processed"]
pub struct Completion {
    stream: StreamArn,
    shard: ShardId,
    /// There until the delivery is acknowledged.
    acknowledgement: Option<Acknowledgement>,
    arrivals: Vec<Timestamp>,
    run: Arc<Run>,
    /// Keeps a stopping router waiting.
    _in_flight: tokio_util::task::task_tracker::TaskTrackerToken,
}

impl Completion {
    /// Says that the delivery is done, and that nothing was sent for it.
    pub fn done(mut self) {
        self.run.progress.done(&self.arrivals, self.run.clock.now());
        if let Some(acknowledgement) = self.acknowledgement.take() {
            acknowledgement.done();
        }
    }

    /// Says that the delivery is done once all these records have reached their egress. One that cannot reach it ends
    /// the run with an error.
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
}

impl FunctionError {
    /// A failure, in words that name the function or the address.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// The same with the error that led to it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
