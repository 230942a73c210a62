use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use statefun_kinesis_client::KinesisClient;
use statefun_kinesis_types::StreamArn;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    Batch, ConsumerBuilder, ConsumerError,
    reader::{Delivery, Output},
    saver::Saver,
};

/// Reads streams: batches come out, and positions are kept of what was acknowledged.
///
/// It is a [`Stream`](futures::Stream) too. Dropped, it stops all its tasks at once, and positions acknowledged a
/// moment before may not be saved; [`close`](Self::close) is the orderly end.
#[derive(Debug)]
pub struct Consumer {
    streams: Vec<StreamArn>,
    batches: mpsc::UnboundedReceiver<Result<Delivery, ConsumerError>>,
    stop: CancellationToken,
    closing: CancellationToken,
    supervisor: AbortOnDropHandle<Result<(), ConsumerError>>,
}

impl Consumer {
    /// A consumer of the streams that `client` knows.
    pub fn builder(client: Arc<dyn KinesisClient>) -> ConsumerBuilder {
        ConsumerBuilder::new(client)
    }

    /// Starts the tasks: `readers` put into `output` what comes out of `batches`. Whatever had to be stored before the
    /// first record has been stored.
    pub(crate) fn start(
        stop: CancellationToken,
        streams: Vec<StreamArn>,
        readers: JoinSet<Result<(), ConsumerError>>,
        saver: Saver,
        output: Output,
        batches: mpsc::UnboundedReceiver<Result<Delivery, ConsumerError>>,
    ) -> Self {
        let closing = CancellationToken::new();
        let supervisor = tokio::spawn(supervise(readers, saver, output, stop.clone(), closing.clone()));
        Self { streams, batches, stop, closing, supervisor: AbortOnDropHandle::new(supervisor) }
    }

    /// The ARNs of the streams, in the order in which the builder was given them.
    pub fn streams(&self) -> &[StreamArn] {
        &self.streams
    }

    /// Waits for the next batch.
    ///
    /// `None` after the shutdown token was cancelled, as soon as what had been read is handed out; when every shard of
    /// every stream is finished; and after an error. Acknowledging is possible after that; then [`close`](Self::close).
    ///
    /// Batches of one shard come in order, and those of different shards in the order in which they were read. A
    /// future that is dropped loses nothing.
    ///
    /// # Errors
    ///
    /// At most one, the last item, when reading cannot go on; it says what a person can do.
    pub async fn next(&mut self) -> Option<Result<Batch, ConsumerError>> {
        self.batches.recv().await.map(hand_out)
    }

    /// Stops reading, and saves what has been acknowledged. What was read and not handed out is read again by the next
    /// consumer; so is what was handed out and not acknowledged.
    ///
    /// # Errors
    ///
    /// When positions cannot be saved.
    pub async fn close(self) -> Result<(), ConsumerError> {
        let Self { batches, stop, closing, supervisor, .. } = self;
        stop.cancel();
        closing.cancel();
        drop(batches);
        match supervisor.await {
            Ok(result) => result,
            Err(_) => Err(ConsumerError::Panicked { what: "and saves streams".to_owned() }),
        }
    }
}

impl futures::Stream for Consumer {
    type Item = Result<Batch, ConsumerError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_recv(context).map(|delivery| delivery.map(hand_out))
    }
}

/// Frees the batch's room in the prefetch.
fn hand_out(delivery: Result<Delivery, ConsumerError>) -> Result<Batch, ConsumerError> {
    delivery.map(|delivery| delivery.batch)
}

/// Sees the streams to their end, and saves positions until the consumer is closed.
async fn supervise(
    mut streams: JoinSet<Result<(), ConsumerError>>,
    mut saver: Saver,
    output: Output,
    stop: CancellationToken,
    closing: CancellationToken,
) -> Result<(), ConsumerError> {
    let mut failure = {
        let mut saving = std::pin::pin!(saver.run());
        loop {
            tokio::select! {
                joined = streams.join_next() => match joined {
                    None => break None,
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(error))) => break Some(error),
                    Some(Err(_)) => break Some(ConsumerError::Panicked { what: "a stream".to_owned() }),
                },
                error = &mut saving => break Some(error),
            }
        }
    };
    stop.cancel();
    while streams.join_next().await.is_some() {}

    // A store that just gave up is not asked again here: closing does that.
    if failure.is_none() {
        failure = saver.save().await.err();
    }
    if let Some(error) = failure {
        let _ = output.send(Err(error));
    }
    drop(output);

    // What was delivered can still be acknowledged.
    tokio::select! {
        () = closing.cancelled() => {}
        error = saver.run() => tracing::warn!(%error, "positions are not saved any more"),
    }
    closing.cancelled().await;
    saver.save().await
}
