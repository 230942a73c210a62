//! Delayed messages.

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

/// The limits of delayed messages in memory: their number, and the bytes of their payloads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Window {
    /// A window of half the size.
    pub(crate) fn half(self) -> Self {
        Self { count: self.count / 2, bytes: self.bytes / 2 }
    }
}

/// Delayed messages in the order in which they are due. Those that are due first are in memory, the others in the
/// store.
///
/// Messages of one sender that are due at the same time are delivered in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Messages in memory: all before the horizon. After the horizon, those that are not durable or not evicted yet.
    due: BTreeMap<DuePlace, StoredTimer>,
    /// The places of messages in memory that can be cancelled, by sender and token.
    tokens: HashMap<(Address, Arc<str>), Vec<DuePlace>>,
    /// Bytes of the payloads in memory.
    bytes: usize,
    horizon: Horizon,
    is_read: bool,
    /// The number of all messages, in memory and in the store.
    count: u64,
    removed: Removed,
    /// Cancellations that may concern messages in the store, each with whether a read for it has been started.
    cancellations: BTreeMap<u64, (StoredCancellation, bool)>,
}

/// The place from which on messages may be in the store and not in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Horizon {
    /// All messages are in memory.
    #[default]
    None,
    /// From this place on, some messages are only in the store.
    At(DuePlace),
    /// Nothing was read from the store yet, so any message may be only there.
    Everything,
}

impl Timers {
    /// Creates the delayed messages of a store, of which nothing is read yet.
    pub(crate) fn stored(count: u64, cancellations: Vec<StoredCancellation>) -> Self {
        let unread = |cancellation: StoredCancellation| (cancellation.id, (cancellation, false));
        Self {
            horizon: if count > 0 { Horizon::Everything } else { Horizon::None },
            count,
            cancellations: cancellations.into_iter().map(unread).collect(),
            ..Self::default()
        }
    }

    /// The number of all messages, in memory and in the store.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// The number of messages in memory.
    pub(crate) fn in_memory(&self) -> usize {
        self.due.len()
    }

    /// Whether more messages are in memory than fit into the window.
    pub(crate) fn exceeds(&self, window: Window) -> bool {
        self.due.len() > window.count || self.bytes > window.bytes
    }

    /// Adds a new delayed message. It stays in memory at least until it is durable.
    pub(crate) fn insert(&mut self, timer: StoredTimer, journal: &mut Journal) {
        self.count += 1;
        journal.timers.add(timer.id, timer.clone());
        self.keep_in_memory(timer.place(), timer);
    }

    /// Removes the messages in memory that the sender sent with the token, and returns them.
    ///
    /// If more of them may be in the store, the cancellation gets a number and is kept until a read has found and
    /// removed them. Meanwhile it keeps them from becoming due.
    pub(crate) fn cancel(
        &mut self,
        sender: &Address,
        token: &Arc<str>,
        number: impl FnOnce() -> u64,
        journal: &mut Journal,
    ) -> Vec<StoredTimer> {
        let places = self.tokens.get(&(sender.clone(), Arc::clone(token))).cloned().unwrap_or_default();
        let cancelled: Vec<StoredTimer> =
            places.into_iter().filter_map(|place| self.remove_from_memory(place)).collect();
        cancelled.iter().for_each(|timer| self.remove(timer, journal));
        if self.horizon != Horizon::None {
            let (id, token) = (number(), Arc::clone(token));
            let cancellation = StoredCancellation { id, sender: sender.clone(), token };
            journal.cancellations.add(id, cancellation.clone());
            self.cancellations.insert(id, (cancellation, false));
        }
        cancelled
    }

    /// Takes the next message that is due.
    pub(crate) fn pop(&mut self, now: Timestamp, journal: &mut Journal) -> Option<StoredTimer> {
        let place = self.first().filter(|place| place.at <= now)?;
        let timer = self.remove_from_memory(place)?;
        self.remove(&timer, journal);
        Some(timer)
    }

    /// When the next message is due; `None` without messages, or while an earlier one may still be in the store.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.first().map(|place| place.at)
    }

    /// The place of the first message in memory, unless one in the store may be due before it.
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

    /// Evicts messages beyond the window, those first that are due last. Messages with numbers below `durable` are
    /// durable.
    pub(crate) fn shrink(&mut self, window: Window, durable: u64) {
        // A read in progress does not see messages that became durable after it began. If they were evicted now, the
        // read would move the horizon past them, and they would be lost until the next start.
        if self.is_read {
            return;
        }
        let is_beyond = self.due.last_key_value().is_some_and(|(place, _)| !self.is_in_front(*place));
        // Messages before the horizon would be read back soon. They are evicted only beyond twice the window, so that
        // evictions and reads do not alternate.
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
            // A message that is not durable stays for now, but is counted as evicted. It is evicted once it is durable.
            if timer.id < durable {
                places.push(*place);
            }
            count -= 1;
            bytes -= timer.message.value.payload_len();
        }
        for place in places {
            self.remove_from_memory(place);
            self.horizon = match self.horizon {
                Horizon::None => Horizon::At(place),
                Horizon::At(from) => Horizon::At(from.min(place)),
                Horizon::Everything => Horizon::Everything,
            };
        }
    }

    /// Begins a read when half of the window is empty. Returns its first place: `Some(None)` stands for the beginning.
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

    /// Takes the messages of a read. It has seen all messages from its first place up to `rest`, or up to the end.
    pub(crate) fn end_read(&mut self, timers: Vec<StoredTimer>, rest: Option<DuePlace>) {
        self.is_read = false;
        self.horizon = rest.map_or(Horizon::None, Horizon::At);
        for timer in timers {
            let place = timer.place();
            if !self.removed.contains(timer.id) && !self.due.contains_key(&place) && !self.is_cancelled(&timer) {
                self.keep_in_memory(place, timer);
            }
        }
    }

    /// Whether a kept cancellation concerns the message.
    fn is_cancelled(&self, timer: &StoredTimer) -> bool {
        self.cancellations.range(timer.id..).any(|(_, (cancellation, _))| cancellation.concerns(timer))
    }

    /// Takes the senders whose messages have to be read from the store to find cancelled ones.
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

    /// Takes all messages of a sender that the store has. Removes the cancelled ones and returns them.
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
                self.remove_from_memory(timer.place());
                self.remove(&timer, journal);
                cancelled.push(timer);
            }
        }
        for cancellation in found {
            journal.cancellations.remove(cancellation.id, || cancellation.key());
        }
        cancelled
    }

    /// Notes that a cut is durable. `next` is the next read that begins.
    pub(crate) fn durable(&mut self, cut: u64, next: ReadId) {
        self.removed.durable(cut, next);
    }

    /// Forgets removed numbers. `oldest` is the oldest read in progress, or else the next one.
    pub(crate) fn forget_removed(&mut self, oldest: ReadId) {
        self.removed.forget(oldest);
    }

    fn keep_in_memory(&mut self, place: DuePlace, timer: StoredTimer) {
        if let (Some(sender), Some(token)) = (&timer.message.caller, &timer.token) {
            self.tokens.entry((sender.clone(), Arc::clone(token))).or_default().push(place);
        }
        self.bytes += timer.message.value.payload_len();
        self.due.insert(place, timer);
    }

    fn remove_from_memory(&mut self, place: DuePlace) -> Option<StoredTimer> {
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

    /// Removes a message that was delivered or cancelled, from the counts and from the store.
    fn remove(&mut self, timer: &StoredTimer, journal: &mut Journal) {
        self.count -= 1;
        if journal.timers.remove(timer.id, || TimerKey::of(timer)) {
            self.removed.add(journal.number, timer.id);
        }
    }

    /// Checks the counts, and that `tokens` matches the messages in memory.
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
    fn a_token_takes_no_memory_after_its_last_message() {
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
    fn messages_beyond_the_window_are_read_back_in_order() {
        let (mut timers, mut journal) = (Timers::default(), Journal::new(1));
        let all: Vec<StoredTimer> = (0..9).map(|id| timer(id, 100 - 10 * id as i64, None)).collect();
        all.iter().for_each(|timer| timers.insert(timer.clone(), &mut journal));
        timers.shrink(WINDOW, 0);
        assert_eq!(timers.in_memory(), 9, "messages that are not durable stay");
        drop(journal.take());
        timers.shrink(WINDOW, 7);
        assert_eq!((timers.in_memory(), timers.len()), (2, 9));
        timers.check_invariants();
        let mut came = Vec::new();
        loop {
            came.extend(pop_all(&mut timers, &mut journal));
            let Some(from) = timers.begin_read(WINDOW) else { break };
            assert_eq!(timers.begin_read(WINDOW), None, "one read at a time");
            // The store returns all messages, also those whose removal is not durable.
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
    fn messages_that_become_durable_during_a_read_stay_until_its_end() {
        let (mut timers, mut journal) = (Timers::default(), Journal::new(1));
        let all: Vec<StoredTimer> = (0..6).map(|id| timer(id, 10 * id as i64, None)).collect();
        all.iter().for_each(|timer| timers.insert(timer.clone(), &mut journal));
        drop(journal.take());
        timers.shrink(WINDOW, 6);
        assert_eq!(pop_all(&mut timers, &mut journal), [0, 1]);
        timers.begin_read(WINDOW).unwrap();
        // These are sent after the read has seen the store.
        (6..10).for_each(|id| timers.insert(timer(id, 10 * id as i64, None), &mut journal));
        timers.shrink(WINDOW, 10);
        timers.end_read(all, None);
        assert_eq!(pop_all(&mut timers, &mut journal), [2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn messages_cancelled_in_the_store_never_become_due() {
        let (mut timers, mut journal) = (Timers::default(), Journal::new(1));
        let all: Vec<StoredTimer> =
            (0..6).map(|id| timer(id, 10 * id as i64, Some(["a", "b"][id as usize % 2]))).collect();
        all.iter().for_each(|timer| timers.insert(timer.clone(), &mut journal));
        drop(journal.take());
        timers.shrink(WINDOW, 6);
        assert_eq!(timers.in_memory(), 2);
        // One of them is in memory, two are in the store.
        assert_eq!(timers.cancel(&sender(), &"a".into(), || 6, &mut journal).len(), 1);
        // A message that is sent after the cancellation is not cancelled.
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
