use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use statefun_kinesis_client::KinesisClient;
use statefun_kinesis_types::{ErrorChain, StreamArn};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    Batch, ConsumerBuilder, ConsumerError, Metrics,
    dead_letter::DeadLetterWriter,
    fan_out::Enrolment,
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
    metrics: Metrics,
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

    /// Starts the tasks. Whatever had to be stored before the first record has been stored.
    pub(crate) fn start(
        stop: CancellationToken,
        streams: Vec<StreamArn>,
        metrics: Metrics,
        parts: Parts,
        batches: mpsc::UnboundedReceiver<Result<Delivery, ConsumerError>>,
    ) -> Self {
        let closing = CancellationToken::new();
        let supervisor = tokio::spawn(supervise(parts, stop.clone(), closing.clone()));
        Self { streams, metrics, batches, stop, closing, supervisor: AbortOnDropHandle::new(supervisor) }
    }

    /// The ARNs of the streams, in the order in which the builder was given them.
    pub fn streams(&self) -> &[StreamArn] {
        &self.streams
    }

    /// What was done so far, in numbers. The counts outlive the consumer.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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

    /// Stops reading, stores the dead letters that are on their way (for ten seconds at most), saves what has been
    /// acknowledged, and deregisters consumers of enhanced fan-out where that was asked for. What was read and not handed
    /// out is read again by the next consumer; so is what was handed out and not acknowledged.
    ///
    /// # Errors
    ///
    /// When positions cannot be saved, or dead letters not stored.
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

/// What a consumer runs on.
#[derive(Debug)]
pub(crate) struct Parts {
    /// They put into `output` what they read.
    pub(crate) readers: JoinSet<Result<(), ConsumerError>>,
    /// Saves positions, unless the program takes them.
    pub(crate) saver: Option<Saver>,
    pub(crate) output: Output,
    pub(crate) dead_letters: Option<DeadLetterWriter>,
    pub(crate) enrolments: Vec<Arc<Enrolment>>,
    pub(crate) random: fastrand::Rng,
}

/// How long closing waits for dead letters to be stored. What is not is read again.
const DEAD_LETTERS_MAX: Duration = Duration::from_secs(10);

/// Sees the streams to their end, and saves positions until the consumer is closed.
async fn supervise(parts: Parts, stop: CancellationToken, closing: CancellationToken) -> Result<(), ConsumerError> {
    let Parts { readers: mut streams, mut saver, output, dead_letters, enrolments, mut random } = parts;
    let mut letters = Letters::start(dead_letters, &closing);
    let mut failure = {
        let mut saving = std::pin::pin!(save(&mut saver));
        loop {
            tokio::select! {
                biased;
                joined = streams.join_next() => match joined {
                    None => break None,
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(error))) => break Some(error),
                    Some(Err(_)) => break Some(ConsumerError::Panicked { what: "a stream".to_owned() }),
                },
                error = &mut saving => break Some(error),
                error = letters.failed() => break Some(error),
            }
        }
    };
    stop.cancel();
    while streams.join_next().await.is_some() {}

    // A store that just gave up is not asked again here: closing does that.
    if failure.is_none() {
        failure = save_all(&mut saver).await.err();
    }
    if let Some(error) = failure {
        let _ = output.send(Err(error));
    }
    drop(output);

    // What was delivered can still be acknowledged.
    {
        let mut saving = std::pin::pin!(save(&mut saver));
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            error = &mut saving => tracing::warn!(error = %ErrorChain(&error), "positions are not saved any more"),
        }
    }
    closing.cancelled().await;
    let stored = letters.finish().await;
    let saved = save_all(&mut saver).await;
    for enrolment in enrolments {
        enrolment.end(&mut random).await;
    }
    saved.and(stored)
}

/// Saves positions as they move, if that is the consumer's to do; returns when it fails.
async fn save(saver: &mut Option<Saver>) -> ConsumerError {
    match saver {
        Some(saver) => saver.run().await,
        None => std::future::pending().await,
    }
}

/// Saves all that has moved until now, if that is the consumer's to do.
async fn save_all(saver: &mut Option<Saver>) -> Result<(), ConsumerError> {
    match saver {
        Some(saver) => saver.save().await,
        None => Ok(()),
    }
}

/// The writer of dead letters, if there is one.
struct Letters(Option<AbortOnDropHandle<Result<(), ConsumerError>>>);

impl Letters {
    fn start(writer: Option<DeadLetterWriter>, closing: &CancellationToken) -> Self {
        Self(writer.map(|writer| AbortOnDropHandle::new(tokio::spawn(writer.run(closing.clone())))))
    }

    /// Waits until nothing can be stored any more, and tells of it once.
    async fn failed(&mut self) -> ConsumerError {
        if let Some(writer) = &mut self.0 {
            let result = writer.await;
            self.0 = None;
            if let Err(error) = outcome(result) {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Waits for the letters that are on their way.
    async fn finish(self) -> Result<(), ConsumerError> {
        let Some(writer) = self.0 else { return Ok(()) };
        match timeout(DEAD_LETTERS_MAX, writer).await {
            Ok(result) => outcome(result),
            Err(_) => {
                tracing::warn!("not every dead letter was stored in time; their records are read again");
                Ok(())
            }
        }
    }
}

fn outcome(result: Result<Result<(), ConsumerError>, JoinError>) -> Result<(), ConsumerError> {
    result.unwrap_or_else(|_| Err(ConsumerError::Panicked { what: "dead letters".to_owned() }))
}
