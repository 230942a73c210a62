//! What the tasks of a runtime share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use statefun_kinesis_router::{Completion, RunHandle};
use statefun_kinesis_spec::FailureHandling;
use statefun_kinesis_types::{Timestamp, TypeName};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{builder::DeadLetters, failures::FailureLog};
use crate::{Invoke, Mailboxes, StoredEgress};

/// Functions that are served by one place.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) invoke: Arc<dyn Invoke>,
    /// How long a request may take.
    pub(super) call: Duration,
    pub(super) failures: FailureHandling,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) inner: Mutex<Inner>,
    pub(super) groups: Vec<Group>,
    pub(super) dead_letters: Option<Arc<dyn DeadLetters>>,
    /// The run that deliveries come from; there is none before the first.
    pub(super) run: OnceLock<RunHandle>,
    /// Something was handled, or the run has failed: whoever waits for room may look.
    pub(super) moved: Notify,
    /// The next deadline is another one.
    pub(super) rearmed: Notify,
    /// Ends all tasks.
    pub(super) stop: CancellationToken,
    pub(super) log: FailureLog,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) mailboxes: Mailboxes<Completion>,
    /// Where records for each egress go.
    pub(super) outlets: HashMap<TypeName, mpsc::UnboundedSender<Vec<StoredEgress>>>,
    /// The deadline for which the alarm is set.
    armed: Option<Timestamp>,
}

impl Inner {
    pub(super) fn new(mailboxes: Mailboxes<Completion>) -> Self {
        Self { mailboxes, outlets: HashMap::new(), armed: None }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.run.get().map_or_else(Timestamp::now, RunHandle::now)
    }

    /// Does all that can be done now: what is due, requests, records, deliveries that are finished.
    pub(super) fn pump(self: &Arc<Self>) {
        let now = self.now();
        let mut requests = Vec::new();
        let finished = {
            let mut inner = self.lock();
            inner.mailboxes.on_time(now);
            while let Some(request) = inner.mailboxes.next_request(now) {
                requests.push(request);
            }
            // Under the lock, so that records keep their order.
            self.hand_out_records(&mut inner);
            let deadline = inner.mailboxes.next_deadline();
            if deadline != inner.armed {
                inner.armed = deadline;
                self.rearmed.notify_one();
            }
            inner.mailboxes.take_finished()
        };
        for request in requests {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                let stop = shared.stop.clone();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = shared.carry_out(request) => {}
                }
            });
        }
        for completion in finished {
            completion.done();
        }
        self.moved.notify_waiters();
    }

    /// Wakes up when something is due.
    pub(super) async fn alarm(self: Arc<Self>) {
        loop {
            let armed = self.lock().armed;
            let due = async {
                match armed {
                    // A clock that jumps back must not make this a busy loop.
                    Some(at) => tokio::time::sleep(at.since(self.now()).max(Duration::from_millis(1))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    self.lock().armed = None;
                    self.pump();
                }
                () = self.rearmed.notified() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }
}
