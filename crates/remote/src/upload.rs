//! A request's body that tells how much of it was taken.

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

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is no connection yet.
    Connecting,
    /// Some of the body is not taken yet.
    Writing,
    /// All of it is taken: the answer is next.
    Waiting,
}

/// Tells how far a request is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    stage: AtomicU8,
    moved: Notify,
}

impl Progress {
    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Connecting,
            1 => Stage::Writing,
            _ => Stage::Waiting,
        }
    }

    /// Waits until some more of the body is taken.
    pub(crate) async fn moved(&self) {
        self.moved.notified().await;
    }

    fn reach(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
        self.moved.notify_one();
    }
}

/// A body in pieces, so that a peer that takes none of a large one is told from a peer that is slow.
#[derive(Debug)]
pub(crate) struct Upload {
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Upload {
    /// Bytes of a piece: a few writes of a socket.
    const PIECE: usize = 64 << 10;

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
        let piece = this.rest.split_to(this.rest.len().min(Self::PIECE));
        this.progress.reach(if this.rest.is_empty() { Stage::Waiting } else { Stage::Writing });
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
