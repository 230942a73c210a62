//! The task that a consumer runs on: it reads the streams, saves positions, stores dead letters, and ends in order.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt;
use statefun_kinesis_types::ErrorChain;
use tokio::{
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    ConsumerError, Metrics, dead_letter::DeadLetterWriter, registration::Registration, saver::Saver,
    shard_reader::Output,
};

/// What a consumer runs on.
#[derive(Debug)]
pub(crate) struct Parts {
    /// They put into `output` what they read.
    pub(crate) readers: JoinSet<Result<(), ConsumerError>>,
    /// Saves positions; `None` when the program takes them.
    pub(crate) saver: Option<Saver>,
    pub(crate) output: Output,
    pub(crate) metrics: Metrics,
    pub(crate) dead_letters: Option<DeadLetterWriter>,
    pub(crate) registrations: Vec<Arc<Registration>>,
    pub(crate) random: fastrand::Rng,
}

/// How long closing waits for dead letters to be stored. The next start reads the records of the others again.
const DEAD_LETTERS_MAX: Duration = Duration::from_secs(10);

/// Reads the streams until they end or fail, saves positions until `closing`, and then closes everything.
///
/// The first failure goes to the output, as its last item. What closing itself returns is what the caller of `close`
/// could not know yet.
///
/// # Errors
///
/// When the last save or dead letters fail, or batches were dropped.
pub(crate) async fn supervise(
    parts: Parts,
    stop: CancellationToken,
    closing: CancellationToken,
) -> Result<(), ConsumerError> {
    let Parts { readers: mut streams, mut saver, output, metrics, dead_letters, registrations, mut random } = parts;
    let mut letters = DeadLetterTask::start(dead_letters, &closing);
    let mut failure = {
        let mut saving = std::pin::pin!(save(&mut saver));
        loop {
            tokio::select! {
                biased;
                joined = streams.join_next() => match joined {
                    None => break None,
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(error))) => break Some(error),
                    Some(Err(_)) => break Some(ConsumerError::Panicked { what: "reads a stream".to_owned() }),
                },
                error = &mut saving => break Some(error),
                error = letters.failed() => break Some(error),
            }
        }
    };
    stop.cancel();
    while streams.join_next().await.is_some() {}

    // Before the output ends, so that a caller that sees its end finds its acknowledgements saved. After a failure the
    // store may be what failed; closing tries it once more.
    if failure.is_none() {
        failure = save_all(&mut saver).await.err();
    }
    if let Some(error) = failure {
        let _ = output.send(Err(error));
    }
    drop(output);

    // Batches that were delivered can still be acknowledged.
    {
        let mut saving = std::pin::pin!(save(&mut saver));
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            error = &mut saving => {
                tracing::warn!(error = %ErrorChain(&error), "positions are not saved until the consumer is closed");
            }
        }
    }
    closing.cancelled().await;
    // Dead letters first: the positions of their records move when they are stored.
    let stored = letters.finish().await;
    let saved = save_all(&mut saver).await;
    for registration in registrations {
        registration.deregister(&mut random).await;
    }
    // A failure to save or store comes first, because it concerns more than the shards of dropped batches.
    saved.and(stored)?;
    let shards = metrics.shards_with_dropped_batches();
    if shards.is_empty() { Ok(()) } else { Err(ConsumerError::BatchesDropped { shards }) }
}

/// Saves positions as they move, unless the program takes them; returns when that fails.
async fn save(saver: &mut Option<Saver>) -> ConsumerError {
    let Some(saver) = saver else { return std::future::pending().await };
    AssertUnwindSafe(saver.run()).catch_unwind().await.unwrap_or_else(|_| saving_panicked())
}

/// Saves all that moved until now, unless the program takes it.
async fn save_all(saver: &mut Option<Saver>) -> Result<(), ConsumerError> {
    let Some(saver) = saver else { return Ok(()) };
    AssertUnwindSafe(saver.save()).catch_unwind().await.unwrap_or_else(|_| Err(saving_panicked()))
}

/// The checkpoint store panicked. Without this the supervising task would end, and the caller would take the end of the
/// output for that of the streams. What was not saved is still pending, so that a later save may succeed.
fn saving_panicked() -> ConsumerError {
    ConsumerError::Panicked { what: "saves positions".to_owned() }
}

/// The task that writes dead letters, if there is one.
struct DeadLetterTask(Option<AbortOnDropHandle<Result<(), ConsumerError>>>);

impl DeadLetterTask {
    fn start(writer: Option<DeadLetterWriter>, closing: &CancellationToken) -> Self {
        Self(writer.map(|writer| AbortOnDropHandle::new(tokio::spawn(writer.run(closing.clone())))))
    }

    /// Waits until dead letters cannot be stored any more. Returns at most once.
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

    /// Waits for the dead letters in flight.
    async fn finish(self) -> Result<(), ConsumerError> {
        let Some(writer) = self.0 else { return Ok(()) };
        match timeout(DEAD_LETTERS_MAX, writer).await {
            Ok(result) => outcome(result),
            Err(_) => {
                tracing::warn!("some dead letters were not stored in time; the next start reads their records again");
                Ok(())
            }
        }
    }
}

fn outcome(result: Result<Result<(), ConsumerError>, JoinError>) -> Result<(), ConsumerError> {
    result.unwrap_or_else(|_| Err(ConsumerError::Panicked { what: "stores dead letters".to_owned() }))
}

/// A task whose future is dropped together with this handle.
///
/// Aborting a task drops its future some time later, when the runtime comes to it. Until then the future holds what it
/// owns, such as the lock on a checkpoint directory, and a program that drops its consumer and opens the directory
/// again would find it locked. So the future lives in a slot that both the task and this handle can empty.
#[derive(Debug)]
pub(crate) struct OwnedTask<T> {
    handle: AbortOnDropHandle<T>,
    _future: DropFuture<T>,
}

type Slot<T> = Arc<Mutex<Option<Pin<Box<dyn Future<Output = T> + Send>>>>>;

struct DropFuture<T>(Slot<T>);

impl<T: Send + 'static> OwnedTask<T> {
    pub(crate) fn spawn(future: impl Future<Output = T> + Send + 'static) -> Self {
        let slot: Slot<T> = Arc::new(Mutex::new(Some(Box::pin(future))));
        let polled = Arc::clone(&slot);
        let poll = move |context: &mut Context<'_>| {
            let mut slot = polled.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *slot {
                Some(future) => future.as_mut().poll(context),
                // The handle was dropped, and the task is about to be aborted.
                None => Poll::Pending,
            }
        };
        let handle = AbortOnDropHandle::new(tokio::spawn(std::future::poll_fn(poll)));
        Self { handle, _future: DropFuture(slot) }
    }

    /// Waits for the end of the task.
    ///
    /// # Errors
    ///
    /// When it panicked.
    pub(crate) async fn join(mut self) -> Result<T, JoinError> {
        (&mut self.handle).await
    }
}

impl<T> Drop for DropFuture<T> {
    fn drop(&mut self) {
        // Waits while the future is being polled on another thread, which takes no longer than any poll may.
        let future = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Outside the lock: what it owns may do anything when it is dropped.
        drop(future);
    }
}

impl<T> std::fmt::Debug for DropFuture<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DropFuture").finish_non_exhaustive()
    }
}
