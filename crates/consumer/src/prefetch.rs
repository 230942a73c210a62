//! The bound on what was read and not handed out.

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
/// Room is reserved before a call, for what the call is expected to bring, and given back when its records were handed
/// out. Who waits is served in the order of asking, so that a shard that needs much is not starved by many that need
/// little.
#[derive(Debug)]
pub(crate) struct Prefetch {
    bound: Amount,
    used: Mutex<Amount>,
    freed: Notify,
    turn: tokio::sync::Mutex<()>,
}

impl Prefetch {
    pub(crate) fn new(bound: Amount) -> Arc<Self> {
        Arc::new(Self { bound, used: Mutex::default(), freed: Notify::new(), turn: tokio::sync::Mutex::new(()) })
    }

    /// Waits for room. More than the bound is as much as the bound.
    pub(crate) async fn reserve(self: &Arc<Self>, wanted: Amount) -> Reservation {
        let wanted =
            Amount { records: wanted.records.min(self.bound.records), bytes: wanted.bytes.min(self.bound.bytes) };
        let _turn = self.turn.lock().await;
        loop {
            // Only one waits at a time, so that one stored permit is enough not to miss what is freed meanwhile.
            if let Some(reservation) = self.try_reserve(wanted) {
                return reservation;
            }
            self.freed.notified().await;
        }
    }

    fn try_reserve(self: &Arc<Self>, wanted: Amount) -> Option<Reservation> {
        let mut used = self.used();
        let fits = used.records + wanted.records <= self.bound.records && used.bytes + wanted.bytes <= self.bound.bytes;
        if !fits {
            return None;
        }
        used.records += wanted.records;
        used.bytes += wanted.bytes;
        Some(Reservation { amount: wanted, prefetch: Arc::clone(self) })
    }

    fn used(&self) -> MutexGuard<'_, Amount> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    amount: Amount,
    prefetch: Arc<Prefetch>,
}

impl Reservation {
    /// Most records that the room was reserved for.
    pub(crate) fn records(&self) -> usize {
        self.amount.records
    }

    /// Makes the room that of what came in fact. More than was reserved is a debt: nobody gets room until it is paid.
    pub(crate) fn settle(&mut self, actual: Amount) {
        let mut used = self.prefetch.used();
        used.records = used.records - self.amount.records + actual.records;
        used.bytes = used.bytes - self.amount.bytes + actual.bytes;
        drop(used);
        self.amount = actual;
        self.prefetch.freed.notify_one();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle(Amount::default());
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
        first.settle(Amount { records: 2, bytes: 150 });
        assert!(poll!(&mut second).is_pending());
        first.settle(Amount { records: 2, bytes: 99 });
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
    async fn who_gives_up_waiting_lets_the_next_one_in() {
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
}
