//! The bound on records that were read and not handed out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Records and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// Room for records and bytes, over all shards of a consumer.
///
/// Room is reserved before a call for what the call is expected to bring, and freed when its records are handed out. Waiting
/// calls are served in their order, so that a shard that needs much room is not starved by many that need little.
///
/// Records in memory go before records that are still to be read: an event that a subscription brought needs room for its
/// bytes, and an aggregate that is being unpacked needs room for its user records. While one of these waits, no new call
/// gets room; otherwise calls could take all that is freed, and what is in memory could never be handed out.
///
/// There is a queue for bytes and another one for records, because one that waits for records may hold bytes: in one queue
/// it would wait behind something that waits for these bytes, which is a deadlock.
#[derive(Debug)]
pub(crate) struct Prefetch {
    bound: Amount,
    state: Mutex<State>,
    calls: WaitQueue,
    bytes: WaitQueue,
    records: WaitQueue,
}

#[derive(Debug, Default)]
struct State {
    used: Amount,
    /// Number of waiting requests for records that are in memory already.
    urgent: usize,
}

/// Requests that wait for the same kind of room, in their order. Only the first one waits for `freed`, so that the one permit
/// that `Notify` stores is enough: no notification is lost between its check and its wait.
#[derive(Debug, Default)]
struct WaitQueue {
    turn: tokio::sync::Mutex<()>,
    freed: Notify,
}

impl Prefetch {
    pub(crate) fn new(bound: Amount) -> Arc<Self> {
        let [calls, bytes, records] = <[WaitQueue; 3]>::default();
        Arc::new(Self { bound, state: Mutex::default(), calls, bytes, records })
    }

    /// Waits for room for a call. More than the bound counts as the bound.
    pub(crate) async fn reserve(self: &Arc<Self>, wanted: Amount) -> Reservation {
        let wanted =
            Amount { records: wanted.records.min(self.bound.records), bytes: wanted.bytes.min(self.bound.bytes) };
        let take = |state: &mut State| {
            let fits = state.urgent == 0
                && state.used.records + wanted.records <= self.bound.records
                && state.used.bytes + wanted.bytes <= self.bound.bytes;
            fits.then_some(wanted)
        };
        let amount = self.wait(&self.calls, take).await;
        Reservation { amount, prefetch: Arc::clone(self) }
    }

    /// Waits until there is any room, without reserving it.
    pub(crate) async fn any(&self) {
        let look = |state: &mut State| {
            let free =
                state.urgent == 0 && state.used.records < self.bound.records && state.used.bytes < self.bound.bytes;
            free.then(Amount::default)
        };
        self.wait(&self.calls, look).await;
    }

    /// Waits for room for bytes that are in memory already. More than the bound get room when nothing else has any: they
    /// would wait for ever otherwise.
    pub(crate) async fn admit(self: &Arc<Self>, bytes: usize) -> Reservation {
        let take = |state: &mut State| {
            let fits = state.used.bytes == 0 || state.used.bytes + bytes <= self.bound.bytes;
            fits.then_some(Amount { records: 0, bytes })
        };
        let amount = self.wait_urgently(&self.bytes, take).await;
        Reservation { amount, prefetch: Arc::clone(self) }
    }

    /// Waits in a queue until `take` succeeds.
    async fn wait(&self, queue: &WaitQueue, take: impl Fn(&mut State) -> Option<Amount>) -> Amount {
        let _turn = queue.turn.lock().await;
        loop {
            if let Some(taken) = self.take(&take) {
                return taken;
            }
            queue.freed.notified().await;
        }
    }

    async fn wait_urgently(&self, queue: &WaitQueue, take: impl Fn(&mut State) -> Option<Amount>) -> Amount {
        // The lock is taken when another request waits, which this one must not overtake.
        if let Ok(_turn) = queue.turn.try_lock()
            && let Some(taken) = self.take(&take)
        {
            return taken;
        }
        let _urgent = Urgent::new(self);
        self.wait(queue, take).await
    }

    fn take(&self, take: impl Fn(&mut State) -> Option<Amount>) -> Option<Amount> {
        let mut state = self.state();
        let taken = take(&mut state)?;
        state.used.records += taken.records;
        state.used.bytes += taken.bytes;
        Some(taken)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn freed(&self) {
        for queue in [&self.calls, &self.bytes, &self.records] {
            queue.freed.notify_one();
        }
    }
}

/// Keeps new calls waiting until this is dropped.
struct Urgent<'a>(&'a Prefetch);

impl<'a> Urgent<'a> {
    fn new(prefetch: &'a Prefetch) -> Self {
        prefetch.state().urgent += 1;
        Self(prefetch)
    }
}

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        self.0.state().urgent -= 1;
        self.0.calls.freed.notify_one();
    }
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    amount: Amount,
    prefetch: Arc<Prefetch>,
}

impl Reservation {
    /// The records that there is room for.
    pub(crate) fn records(&self) -> usize {
        self.amount.records
    }

    /// Changes the room to what the call brought. More than was reserved is a debt: no request gets room until it is freed.
    pub(crate) fn resize(&mut self, actual: Amount) {
        let mut state = self.prefetch.state();
        state.used.records = state.used.records - self.amount.records + actual.records;
        state.used.bytes = state.used.bytes - self.amount.bytes + actual.bytes;
        drop(state);
        self.amount = actual;
        self.prefetch.freed();
    }

    /// Adds room for as many records as possible, up to `records` in all. Waits only while there is room for none.
    pub(crate) async fn grow(&mut self, records: usize) {
        let prefetch = &self.prefetch;
        let missing = records.saturating_sub(self.amount.records);
        if missing == 0 {
            return;
        }
        let take = |state: &mut State| {
            let free = prefetch.bound.records.saturating_sub(state.used.records).min(missing);
            (free > 0).then_some(Amount { records: free, bytes: 0 })
        };
        let more = match self.amount.records {
            0 => prefetch.wait_urgently(&prefetch.records, take).await,
            _ => prefetch.take(take).unwrap_or_default(),
        };
        self.amount.records += more.records;
    }

    /// Splits off a part of the room, at most all of it.
    pub(crate) fn split(&mut self, part: Amount) -> Reservation {
        let part = Amount { records: part.records.min(self.amount.records), bytes: part.bytes.min(self.amount.bytes) };
        self.amount.records -= part.records;
        self.amount.bytes -= part.bytes;
        Self { amount: part, prefetch: Arc::clone(&self.prefetch) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.amount != Amount::default() {
            self.resize(Amount::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    fn prefetch(records: usize, bytes: usize) -> Arc<Prefetch> {
        Prefetch::new(Amount { records, bytes })
    }

    #[tokio::test]
    async fn room_is_bounded_in_records_and_in_bytes() {
        for wanted in [Amount { records: 6, bytes: 1 }, Amount { records: 1, bytes: 60 }] {
            let prefetch = prefetch(10, 100);
            let first = prefetch.reserve(wanted).await;
            let mut second = std::pin::pin!(prefetch.reserve(wanted));
            assert!(poll!(&mut second).is_pending(), "{wanted:?}");
            drop(first);
            assert!(poll!(&mut second).is_ready(), "{wanted:?}");
        }
    }

    #[tokio::test]
    async fn what_did_not_come_is_given_back_and_what_came_beyond_is_owed() {
        let prefetch = prefetch(10, 100);
        let mut first = prefetch.reserve(Amount { records: 10, bytes: 100 }).await;
        let mut second = std::pin::pin!(prefetch.reserve(Amount { records: 1, bytes: 1 }));
        assert!(poll!(&mut second).is_pending());
        first.resize(Amount { records: 2, bytes: 150 });
        assert!(poll!(&mut second).is_pending());
        first.resize(Amount { records: 2, bytes: 99 });
        assert!(poll!(&mut second).is_ready());
    }

    #[tokio::test]
    async fn a_large_wish_is_not_overtaken_and_one_beyond_the_bound_is_cut_to_it() {
        let prefetch = prefetch(10, 100);
        let small = Amount { records: 1, bytes: 1 };
        let first = prefetch.reserve(small).await;
        let mut large = std::pin::pin!(prefetch.reserve(Amount { records: 1_000, bytes: 1_000 }));
        let mut late = std::pin::pin!(prefetch.reserve(small));
        assert!(poll!(&mut large).is_pending() && poll!(&mut late).is_pending());
        drop(first);
        let std::task::Poll::Ready(large) = poll!(&mut large) else { panic!("the large wish must be served first") };
        assert_eq!(large.records(), 10);
        assert!(poll!(&mut late).is_pending());
        drop(large);
        assert!(poll!(&mut late).is_ready());
    }

    #[tokio::test]
    async fn a_dropped_request_lets_the_next_one_in() {
        let prefetch = prefetch(10, 100);
        let all = Amount { records: 10, bytes: 100 };
        let first = prefetch.reserve(all).await;
        let mut given_up = Box::pin(prefetch.reserve(all));
        let mut next = std::pin::pin!(prefetch.reserve(all));
        assert!(poll!(&mut given_up).is_pending() && poll!(&mut next).is_pending());
        drop(first);
        drop(given_up);
        assert!(poll!(&mut next).is_ready());
    }

    #[tokio::test]
    async fn records_in_memory_go_before_records_that_are_still_to_be_read() {
        let prefetch = prefetch(10, 100);
        let small = Amount { records: 1, bytes: 1 };
        let first = prefetch.reserve(Amount { records: 10, bytes: 50 }).await;
        let mut page = prefetch.admit(40).await;
        {
            let mut growing = std::pin::pin!(page.grow(5));
            assert!(poll!(&mut growing).is_pending());
            let mut call = std::pin::pin!(prefetch.reserve(small));
            assert!(poll!(&mut call).is_pending());
            // Bytes of another page do not wait behind records.
            assert!(poll!(std::pin::pin!(prefetch.admit(10))).is_ready());
            drop(first);
            assert!(poll!(&mut call).is_pending(), "a new call overtook a page");
            assert!(poll!(&mut growing).is_ready());
            assert!(poll!(&mut call).is_ready());
        }
        assert_eq!(page.records(), 5);
        page.grow(20).await;
        assert_eq!(page.records(), 10, "all that is free, and no waiting");
    }

    #[tokio::test]
    async fn a_page_beyond_the_bound_finds_room_when_nothing_else_has_any() {
        let prefetch = prefetch(10, 100);
        let first = prefetch.admit(1).await;
        let mut large = std::pin::pin!(prefetch.admit(1_000));
        assert!(poll!(&mut large).is_pending());
        drop(first);
        assert!(poll!(&mut large).is_ready());
    }

    #[tokio::test]
    async fn parts_of_room_are_freed_by_themselves() {
        let prefetch = prefetch(10, 100);
        let mut room = prefetch.reserve(Amount { records: 10, bytes: 100 }).await;
        drop(room.split(Amount { records: 4, bytes: 60 }));
        let rest = prefetch.reserve(Amount { records: 4, bytes: 60 }).await;
        assert!(poll!(std::pin::pin!(prefetch.any())).is_pending());
        drop((room, rest));
        assert_eq!(prefetch.state().used, Amount::default());
    }
}
