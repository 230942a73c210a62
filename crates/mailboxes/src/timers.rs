//! Messages for later.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use statefun_kinesis_types::{Address, HashKey, Timestamp};

use crate::{
    DuePlace, ReadId, StoredTimer,
    entry::{StoredCancellation, TimerKey},
    journal::Journal,
    removed::Removed,
};

/// How many delayed messages are kept in memory, and how many bytes their payloads may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// Delayed messages in the order in which they are due. Those that are due first are in memory.
///
/// What is due at one instant comes in the order in which its sender sent it.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Those in memory: all in front of the horizon, and beyond it those that are not durable or were not unloaded yet.
    due: BTreeMap<DuePlace, StoredTimer>,
    /// The places of those in memory that can be cancelled, by sender and token.
    tokens: HashMap<(Address, Arc<str>), Vec<DuePlace>>,
    /// What the payloads in memory take.
    bytes: usize,
    horizon: Horizon,
    is_read: bool,
    /// How many there are, those in the store included.
    count: u64,
    removed: Removed,
    /// Cancellations that may concern delayed messages beyond the horizon, and whether the store is read for them.
    cancellations: BTreeMap<u64, (StoredCancellation, bool)>,
}

/// Where memory ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Horizon {
    /// Everything is in memory.
    #[default]
    None,
    /// From this place on some are in the store only.
    At(DuePlace),
    /// Nothing was read from the store yet.
    Everything,
}

impl Timers {
    /// Those that a store has, of which nothing was read yet.
    pub(crate) fn stored(count: u64, cancellations: Vec<StoredCancellation>) -> Self {
        let unread = |cancellation: StoredCancellation| (cancellation.id, (cancellation, false));
        Self {
            horizon: if count > 0 { Horizon::Everything } else { Horizon::None },
            count,
            cancellations: cancellations.into_iter().map(unread).collect(),
            ..Self::default()
        }
    }

    /// How many there are, those in the store included.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// How many are in memory.
    pub(crate) fn in_memory(&self) -> usize {
        self.due.len()
    }

    /// A new delayed message. It stays in memory at least until it is durable.
    pub(crate) fn insert(&mut self, timer: StoredTimer, journal: &mut Journal) {
        self.count += 1;
        journal.timers.add(timer.id, timer.clone());
        self.keep(timer.place(), timer);
    }

    /// Removes what the sender has delayed under the token, and gives what was removed.
    ///
    /// Where some may be in the store only, the cancellation gets a number and is kept until these were found there. They
    /// do not become due meanwhile.
    pub(crate) fn cancel(
        &mut self,
        sender: &Address,
        token: &Arc<str>,
        number: impl FnOnce() -> u64,
        journal: &mut Journal,
    ) -> Vec<StoredTimer> {
        let places = self.tokens.get(&(sender.clone(), Arc::clone(token))).cloned().unwrap_or_default();
        let cancelled: Vec<StoredTimer> = places.into_iter().filter_map(|place| self.unload(place)).collect();
        cancelled.iter().for_each(|timer| self.remove(timer, journal));
        if self.horizon != Horizon::None {
            let (id, token) = (number(), Arc::clone(token));
            let cancellation = StoredCancellation { id, sender: sender.clone(), token };
            journal.cancellations.add(id, cancellation.clone());
            self.cancellations.insert(id, (cancellation, false));
        }
        cancelled
    }

    /// The next message that is due by now.
    pub(crate) fn pop(&mut self, now: Timestamp, journal: &mut Journal) -> Option<StoredTimer> {
        let place = self.first().filter(|place| place.at <= now)?;
        let timer = self.unload(place)?;
        self.remove(&timer, journal);
        Some(timer)
    }

    /// When the next message is due. While the store is read for it, it is not known.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.first().map(|place| place.at)
    }

    /// The first one, if nothing in the store may be due before it.
    fn first(&self) -> Option<DuePlace> {
        self.due.first_key_value().map(|(place, _)| *place).filter(|place| self.is_in_front(*place))
    }

    fn is_in_front(&self, place: DuePlace) -> bool {
        match self.horizon {
            Horizon::None => true,
            Horizon::At(from) => place < from,
            Horizon::Everything => false,
        }
    }

    /// All numbers below `numbers` are durable: puts out of memory what is too much for the window.
    pub(crate) fn shrink(&mut self, window: Window, numbers: u64) {
        // A read that is under way does not bring what becomes durable only now: it has to stay.
        if self.is_read {
            return;
        }
        let is_beyond = self.due.last_key_value().is_some_and(|(place, _)| !self.is_in_front(*place));
        // What is in front of the horizon would come back soon, so that it goes when there is far too much of it only.
        let factor = if is_beyond { 1 } else { 2 };
        let is_over = |count: usize, bytes: usize| {
            count > window.count.saturating_mul(factor) || bytes > window.bytes.saturating_mul(factor)
        };
        if !is_over(self.due.len(), self.bytes) {
            return;
        }
        let (mut count, mut bytes) = (self.due.len(), self.bytes);
        let mut places = Vec::new();
        for (place, timer) in self.due.iter().rev() {
            if count <= window.count && bytes <= window.bytes {
                break;
            }
            // What is not durable stays, and counts: it goes when it is.
            if timer.id < numbers {
                places.push(*place);
            }
            count -= 1;
            bytes -= timer.message.value.payload_len();
        }
        for place in places {
            self.unload(place);
            self.horizon = match self.horizon {
                Horizon::None => Horizon::At(place),
                Horizon::At(from) => Horizon::At(from.min(place)),
                Horizon::Everything => Horizon::Everything,
            };
        }
    }

    /// Whether the store is to be read on, and from where: when half of the window is empty.
    pub(crate) fn begin_read(&mut self, window: Window) -> Option<Option<DuePlace>> {
        if self.is_read {
            return None;
        }
        let from = match self.horizon {
            Horizon::None => return None,
            Horizon::Everything => None,
            Horizon::At(from) => Some(from),
        };
        let in_front = from.map_or(0, |from| self.due.range(..from).take(window.count / 2 + 1).count());
        if in_front > 0 && (in_front > window.count / 2 || self.bytes > window.bytes / 2) {
            return None;
        }
        self.is_read = true;
        Some(from)
    }

    /// What the store had from there on, up to `rest`.
    pub(crate) fn end_read(&mut self, timers: Vec<StoredTimer>, rest: Option<DuePlace>) {
        self.is_read = false;
        self.horizon = rest.map_or(Horizon::None, Horizon::At);
        for timer in timers {
            let place = timer.place();
            if !self.removed.contains(timer.id) && !self.due.contains_key(&place) && !self.is_cancelled(&timer) {
                self.keep(place, timer);
            }
        }
    }

    /// Whether a cancellation concerns it for which the store was not read to the end yet.
    fn is_cancelled(&self, timer: &StoredTimer) -> bool {
        self.cancellations.range(timer.id..).any(|(_, (cancellation, _))| cancellation.concerns(timer))
    }

    /// Senders whose delayed messages are to be read from the store because some were cancelled.
    pub(crate) fn begin_lookups(&mut self) -> Vec<Address> {
        let mut senders: Vec<Address> = Vec::new();
        for (cancellation, is_read) in self.cancellations.values_mut().filter(|(_, is_read)| !is_read) {
            *is_read = true;
            if !senders.contains(&cancellation.sender) {
                senders.push(cancellation.sender.clone());
            }
        }
        senders
    }

    /// All that the store has of a sender: removes what was cancelled, and gives it.
    pub(crate) fn end_lookup(
        &mut self,
        sender: &Address,
        stored: Vec<StoredTimer>,
        journal: &mut Journal,
    ) -> Vec<StoredTimer> {
        let of_sender =
            |(cancellation, is_read): &(StoredCancellation, bool)| *is_read && cancellation.sender == *sender;
        let found: Vec<StoredCancellation> =
            self.cancellations.extract_if(.., |_, entry| of_sender(entry)).map(|(_, (found, _))| found).collect();
        let mut cancelled = Vec::new();
        for timer in stored {
            let is_concerned = found.iter().any(|cancellation| cancellation.concerns(&timer));
            if is_concerned && !self.removed.contains(timer.id) {
                self.unload(timer.place());
                self.remove(&timer, journal);
                cancelled.push(timer);
            }
        }
        for cancellation in found {
            journal.cancellations.remove(cancellation.id, || cancellation.key());
        }
        cancelled
    }

    /// A cut is durable; `next` is the next read that begins.
    pub(crate) fn durable(&mut self, cut: u64, next: ReadId) {
        self.removed.durable(cut, next);
    }

    /// No read before this one is under way.
    pub(crate) fn forget_removed(&mut self, oldest: ReadId) {
        self.removed.forget(oldest);
    }

    fn keep(&mut self, place: DuePlace, timer: StoredTimer) {
        if let (Some(sender), Some(token)) = (&timer.message.caller, &timer.token) {
            self.tokens.entry((sender.clone(), Arc::clone(token))).or_default().push(place);
        }
        self.bytes += timer.message.value.payload_len();
        self.due.insert(place, timer);
    }

    fn unload(&mut self, place: DuePlace) -> Option<StoredTimer> {
        let timer = self.due.remove(&place)?;
        self.bytes -= timer.message.value.payload_len();
        if let (Some(sender), Some(token)) = (&timer.message.caller, &timer.token) {
            let of_token = (sender.clone(), Arc::clone(token));
            if let Some(places) = self.tokens.get_mut(&of_token) {
                places.retain(|other| *other != place);
                if places.is_empty() {
                    self.tokens.remove(&of_token);
                }
            }
        }
        Some(timer)
    }

    /// It is no delayed message any more.
    fn remove(&mut self, timer: &StoredTimer, journal: &mut Journal) {
        self.count -= 1;
        if journal.timers.remove(timer.id, || TimerKey::of(timer)) {
            self.removed.add(journal.number, timer.id);
        }
    }

    /// Checks what always holds.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self) {
        assert!(self.count >= self.due.len() as u64, "{} of {} are in memory", self.due.len(), self.count);
        if self.horizon == Horizon::None {
            assert_eq!(self.count, self.due.len() as u64, "all are in memory");
        }
        let bytes: usize = self.due.values().map(|timer| timer.message.value.payload_len()).sum();
        assert_eq!(self.bytes, bytes, "bytes of payloads");
        let with_token = self.due.values().filter(|timer| timer.token.is_some()).count();
        assert_eq!(self.tokens.values().map(Vec::len).sum::<usize>(), with_token, "tokens of those in memory");
    }
}

impl StoredTimer {
    /// Its place in the order in which delayed messages are due.
    pub fn place(&self) -> DuePlace {
        let sender = self.message.caller.as_ref().map_or("", |sender| &sender.id);
        DuePlace { at: self.at, hash: HashKey::of_text(sender), number: self.id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, Value};

    const WINDOW: Window = Window { count: 2, bytes: usize::MAX };

    fn sender() -> Address {
        Address { function: "t/f".parse().unwrap(), id: "1".into() }
    }

    fn timer(id: u64, millis: i64, token: Option<&str>) -> StoredTimer {
        let message = Message { caller: Some(sender()), value: Value::new("t/text", "x"), origin: None };
        let at = Timestamp::from_millis(millis);
        StoredTimer { id, at, to: sender(), message, token: token.map(Into::into) }
    }

    fn pop_all(timers: &mut Timers, journal: &mut Journal) -> Vec<u64> {
        std::iter::from_fn(|| timers.pop(Timestamp::from_millis(1_000), journal).map(|timer| timer.id)).collect()
    }

    #[test]
    fn a_token_takes_no_memory_when_its_messages_are_gone() {
        let (mut timers, mut journal) = (Timers::default(), Journal::new(1));
        let token: Arc<str> = "token".into();
        timers.insert(timer(0, 10, Some("token")), &mut journal);
        timers.insert(timer(1, 20, Some("token")), &mut journal);
        assert_eq!(timers.pop(Timestamp::from_millis(15), &mut journal).map(|timer| timer.id), Some(0));
        assert_eq!(timers.tokens.values().map(Vec::len).sum::<usize>(), 1);
        assert_eq!(pop_all(&mut timers, &mut journal), [1]);
        assert!(timers.tokens.is_empty());
        timers.insert(timer(2, 30, Some("token")), &mut journal);
        timers.insert(timer(3, 40, Some("token")), &mut journal);
        let cancelled = timers.cancel(&sender(), &token, || unreachable!("all are in memory"), &mut journal);
        assert_eq!(cancelled.iter().map(|timer| timer.id).collect::<Vec<_>>(), [2, 3]);
        assert!(timers.tokens.is_empty() && timers.due.is_empty());
        timers.check_invariants();
    }

    #[test]
    fn what_is_beyond_the_window_comes_back_in_its_order() {
        let (mut timers, mut journal) = (Timers::default(), Journal::new(1));
        let all: Vec<StoredTimer> = (0..9).map(|id| timer(id, 100 - 10 * id as i64, None)).collect();
        all.iter().for_each(|timer| timers.insert(timer.clone(), &mut journal));
        timers.shrink(WINDOW, 0);
        assert_eq!(timers.in_memory(), 9, "what is not durable stays");
        drop(journal.take());
        timers.shrink(WINDOW, 7);
        assert_eq!((timers.in_memory(), timers.len()), (2, 9));
        timers.check_invariants();
        let mut came = Vec::new();
        loop {
            came.extend(pop_all(&mut timers, &mut journal));
            let Some(from) = timers.begin_read(WINDOW) else { break };
            assert_eq!(timers.begin_read(WINDOW), None, "one read at a time");
            // The store shows all, those too whose removal is not durable.
            let mut found: Vec<StoredTimer> = all.clone();
            found.sort_by_key(StoredTimer::place);
            let mut found = found.into_iter().filter(|timer| Some(timer.place()) >= from);
            let page: Vec<_> = found.by_ref().take(3).collect();
            timers.end_read(page, found.next().map(|timer| timer.place()));
            timers.check_invariants();
        }
        assert_eq!(came, [8, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn what_becomes_durable_during_a_read_stays_until_its_end() {
        let (mut timers, mut journal) = (Timers::default(), Journal::new(1));
        let all: Vec<StoredTimer> = (0..6).map(|id| timer(id, 10 * id as i64, None)).collect();
        all.iter().for_each(|timer| timers.insert(timer.clone(), &mut journal));
        drop(journal.take());
        timers.shrink(WINDOW, 6);
        assert_eq!(pop_all(&mut timers, &mut journal), [0, 1]);
        timers.begin_read(WINDOW).unwrap();
        // The read has looked before these came.
        (6..10).for_each(|id| timers.insert(timer(id, 10 * id as i64, None), &mut journal));
        timers.shrink(WINDOW, 10);
        timers.end_read(all, None);
        assert_eq!(pop_all(&mut timers, &mut journal), [2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn what_is_cancelled_in_the_store_never_becomes_due() {
        let (mut timers, mut journal) = (Timers::default(), Journal::new(1));
        let all: Vec<StoredTimer> =
            (0..6).map(|id| timer(id, 10 * id as i64, Some(["a", "b"][id as usize % 2]))).collect();
        all.iter().for_each(|timer| timers.insert(timer.clone(), &mut journal));
        drop(journal.take());
        timers.shrink(WINDOW, 6);
        assert_eq!(timers.in_memory(), 2);
        // One of them is in memory, two are in the store.
        assert_eq!(timers.cancel(&sender(), &"a".into(), || 6, &mut journal).len(), 1);
        // What is sent after it is not concerned.
        timers.insert(timer(7, 5, Some("a")), &mut journal);
        assert_eq!(pop_all(&mut timers, &mut journal), [7, 1]);
        timers.begin_read(WINDOW).unwrap();
        timers.end_read(all.clone(), None);
        assert_eq!(pop_all(&mut timers, &mut journal), [3, 5]);
        assert_eq!(timers.len(), 2, "they are removed when they are found");
        assert_eq!(timers.begin_lookups(), [sender()]);
        assert!(timers.begin_lookups().is_empty());
        let found = timers.end_lookup(&sender(), all, &mut journal);
        assert_eq!(found.iter().map(|timer| timer.id).collect::<Vec<_>>(), [2, 4]);
        assert_eq!((timers.len(), timers.cancellations.len()), (0, 0));
    }
}
