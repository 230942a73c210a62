//! The body of a request, which reports how far its upload is.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

/// The stage of a request. Each stage has its own timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is no connection yet.
    Connecting,
    /// A part of the body is not written yet.
    Writing,
    /// The body is written, and the answer is next.
    Waiting,
}

/// The progress of a request, shared between its body and the task that waits for the answer.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    stage: AtomicU8,
    advanced: Notify,
}

impl Progress {
    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Connecting,
            1 => Stage::Writing,
            _ => Stage::Waiting,
        }
    }

    /// Waits until another chunk of the body is written.
    pub(crate) async fn advanced(&self) {
        self.advanced.notified().await;
    }

    fn reach(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
        self.advanced.notify_one();
    }
}

/// A body that is sent in chunks. With chunks, the write timeout can distinguish a server that reads nothing from one
/// that reads a large body slowly.
#[derive(Debug)]
pub(crate) struct Upload {
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Upload {
    /// Bytes of a chunk, a few writes to a socket.
    const CHUNK: usize = 64 << 10;

    pub(crate) fn new(body: Bytes, progress: Arc<Progress>) -> Self {
        Self { rest: body, progress }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            return Poll::Ready(None);
        }
        let chunk = this.rest.split_to(this.rest.len().min(Self::CHUNK));
        this.progress.reach(if this.rest.is_empty() { Stage::Waiting } else { Stage::Writing });
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
