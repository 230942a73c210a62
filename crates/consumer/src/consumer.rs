use std::{
    pin::Pin,
    task::{Context, Poll},
};

use statefun_kinesis_types::StreamArn;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Batch, ConsumerError, Metrics,
    shard_reader::Delivery,
    supervisor::{OwnedTask, Parts, supervise},
};

/// Reads streams: gives batches, and saves the positions of those that were acknowledged.
///
/// It is a [`Stream`](futures::Stream) too. End it with [`close`](Self::close), which saves the last positions. A consumer
/// that is dropped stops at once instead: acknowledgements of the last
/// [`checkpoint_interval`](crate::Settings::checkpoint_interval) may not be saved, and the next consumer reads those
/// batches again. What it used is free when the drop returns, so that the same checkpoint store can be opened again.
#[derive(Debug)]
pub struct Consumer {
    /// Stops reading when it is dropped. The first field, so that it is dropped before the batches that wait in `batches`:
    /// these are not reported as dropped by the caller.
    stop: DropGuard,
    streams: Vec<StreamArn>,
    metrics: Metrics,
    batches: mpsc::UnboundedReceiver<Result<Delivery, ConsumerError>>,
    closing: CancellationToken,
    supervisor: OwnedTask<Result<(), ConsumerError>>,
}

impl Consumer {
    /// Starts the tasks. Where reading starts has to be stored by now.
    pub(crate) fn start(
        stop: CancellationToken,
        streams: Vec<StreamArn>,
        parts: Parts,
        batches: mpsc::UnboundedReceiver<Result<Delivery, ConsumerError>>,
    ) -> Self {
        let closing = CancellationToken::new();
        let metrics = parts.metrics.clone();
        let supervisor = OwnedTask::spawn(supervise(parts, stop.clone(), closing.clone()));
        Self { stop: stop.drop_guard(), streams, metrics, batches, closing, supervisor }
    }

    /// The ARNs of the streams, in the order in which the builder was given them.
    pub fn streams(&self) -> &[StreamArn] {
        &self.streams
    }

    /// Counts of what was done so far. They outlive the consumer.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Waits for the next batch.
    ///
    /// Returns `None` at the end: after the shutdown token was cancelled and all batches that had been read are handed
    /// out, after every shard of every stream is finished, or after an error. Batches can still be acknowledged then;
    /// call [`close`](Self::close) afterwards.
    ///
    /// Batches of one shard come in order, and those of different shards in the order in which they were read. The future
    /// may be dropped, as in `select!`, without losing a batch.
    ///
    /// # Errors
    ///
    /// At most one, as the last item, when reading cannot continue. Its message says what to do.
    pub async fn next(&mut self) -> Option<Result<Batch, ConsumerError>> {
        self.batches.recv().await.map(hand_out)
    }

    /// Stops reading, stores the dead letters in flight (for ten seconds at most), saves the positions of acknowledged
    /// batches, and deregisters consumers of enhanced fan-out where [`FanOut`](crate::FanOut) says so. The next consumer
    /// reads everything again that was not acknowledged.
    ///
    /// # Errors
    ///
    /// When positions cannot be saved or dead letters cannot be stored. [`ConsumerError::BatchesDropped`] when batches
    /// were dropped instead of acknowledged while their streams were read; everything else is saved then.
    pub async fn close(self) -> Result<(), ConsumerError> {
        let Self { batches, stop, closing, supervisor, .. } = self;
        // Before the batches that wait are dropped, so that these are not reported.
        drop(stop);
        closing.cancel();
        drop(batches);
        match supervisor.join().await {
            Ok(result) => result,
            Err(_) => Err(ConsumerError::Panicked { what: "supervises the consumer".to_owned() }),
        }
    }
}

impl futures::Stream for Consumer {
    type Item = Result<Batch, ConsumerError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_recv(context).map(|delivery| delivery.map(hand_out))
    }
}

/// Takes the batch out of its delivery, which frees its room in the prefetch.
fn hand_out(delivery: Result<Delivery, ConsumerError>) -> Result<Batch, ConsumerError> {
    delivery.map(|delivery| delivery.batch)
}
