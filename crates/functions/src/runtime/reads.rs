//! Reads states, messages and delayed messages from the store, and searches it for expired states.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_router::FunctionError;
use statefun_kinesis_store::{Entry, Error, ErrorKind, KeyRange, Result, Store, Table, key, key::StoredKey};
use statefun_kinesis_types::{Address, ErrorChain, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::{failures::backoff, shared::Shared};
use crate::{
    DuePlace, Found, MessagePlace, NumberedEntry, Read, ReadId, StoredMessage, StoredState, StoredTimer, StoredValue,
    checkpoint::{damaged, decode, place},
};

/// Most addresses whose states are read by one call.
const ADDRESSES_PER_CALL: usize = 256;
/// Bytes of states that one step of the search for expired states reads. With one step per second, the search covers a
/// gigabyte in a little more than an hour, at negligible load.
const SWEEP_BYTES: usize = 256 << 10;
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Shortest time between the starts of two searches through the whole store.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Bytes of the index of delayed messages that one read takes: about 4 096 entries. Their values are read afterwards.
const DUE_PAGE_BYTES: usize = 4_096 * 32;

/// Bytes of waiting messages that one read takes.
const PAGE_BYTES: usize = 1 << 20;

impl Shared {
    /// Reads the states of addresses from the store, in tasks of their own.
    pub(super) fn load_all(self: &Arc<Self>, addresses: &[Address]) {
        for addresses in addresses.chunks(ADDRESSES_PER_CALL) {
            self.spawn("reading states from the store", Arc::clone(self).load(addresses.to_vec()));
        }
    }

    async fn load(self: Arc<Self>, addresses: Vec<Address>) {
        let read = || states_of(&*self.store, &addresses);
        let Some(found) = self.retry_read("states", read).await else { return };
        let now = self.now();
        {
            let mut inner = self.lock();
            for (address, states) in addresses.iter().zip(found) {
                inner.mailboxes.loaded(address, states, now);
            }
        }
        self.pump();
    }

    /// Reads messages or delayed messages that are in the store and not in memory.
    pub(super) async fn read(self: Arc<Self>, id: ReadId, read: Read) {
        let Some(found) = self.retry_read("waiting messages", || found(&*self.store, &read)).await else { return };
        let taken = self.lock().mailboxes.found(id, found);
        if let Err(unknown) = taken {
            return self.fail(FunctionError::new("the store has a message for an unknown function").because(unknown));
        }
        self.pump();
    }

    /// Reads, and retries until it succeeds. Returns `None` after an error that a retry cannot mend, which ends the
    /// run.
    async fn retry_read<T, R: Future<Output = Result<T>>>(&self, what: &str, read: impl Fn() -> R) -> Option<T> {
        let mut failures = 0;
        loop {
            let error = match read().await {
                Ok(found) => return Some(found),
                Err(error) => error,
            };
            if !error.kind().is_retryable() {
                self.fail(FunctionError::new(format!("cannot read {what} from the store")).because(error));
                return None;
            }
            if failures == 0 {
                let error = ErrorChain(&error);
                warn!(%error, "cannot read {what} from the store; retrying, and only the affected addresses wait");
            }
            failures += 1;
            sleep(backoff(failures)).await;
        }
    }

    /// Searches the store, slowly, for expired states of addresses that get no messages. All other expired states are
    /// removed when their address is loaded.
    pub(super) async fn sweep(self: Arc<Self>) {
        loop {
            let next = Instant::now() + SWEEP_INTERVAL;
            let mut rest = Some(KeyRange::ALL);
            while let Some(range) = rest {
                sleep(SWEEP_PAUSE).await;
                // Waits while no function declares states that expire, and until the last page's states are removed.
                if !self.checkpoint.has_expiring_states() || self.lock().mailboxes.sweeps_left() > 0 {
                    rest = Some(range);
                    continue;
                }
                // The next search finds what cannot be read now.
                let Ok(page) = self.store.scan(Table::State, range, SWEEP_BYTES).await else { break };
                let now = self.now();
                let expired: Vec<StoredState> = page.entries.iter().filter_map(|entry| expired(entry, now)).collect();
                if !expired.is_empty() {
                    self.lock().mailboxes.sweep(expired, now);
                    self.pump();
                }
                rest = page.rest;
            }
            sleep_until(next).await;
        }
    }
}

async fn found(store: &dyn Store, read: &Read) -> Result<Found> {
    Ok(match read {
        Read::Messages { to, from, until } => {
            let range = KeyRange::new(key::numbered(&to.id, *from), Some(key::numbered(&to.id, *until)));
            let page = store.scan(Table::Mailboxes, range, PAGE_BYTES).await?;
            let mut messages: Vec<StoredMessage> = decode_all(Table::Mailboxes, page.entries)?;
            let rest = page.rest.and_then(|_| messages.last().map(|last| last.id + 1));
            // Other functions have messages for the same id, and other ids may have the same hash.
            messages.retain(|message| message.to == *to);
            Found::Messages { messages, rest }
        }
        Read::Waiting { function, from: MessagePlace { hash, number } } => {
            let page =
                store.scan(Table::Mailboxes, KeyRange::new(key::numbered_at(*hash, *number), None), PAGE_BYTES).await?;
            let rest = match page.entries.last().filter(|_| page.rest.is_some()) {
                Some(last) => {
                    let (hash, number) = place(Table::Mailboxes, &last.key)?;
                    Some(MessagePlace { hash, number: number + 1 })
                }
                None => None,
            };
            let mut messages: Vec<StoredMessage> = decode_all(Table::Mailboxes, page.entries)?;
            messages.retain(|message| message.to.function == *function);
            Found::Waiting { messages, rest }
        }
        Read::Delayed { from } => {
            let start = from.map(|place| key::due_at(place.at, place.hash, place.number)).unwrap_or_default();
            let page = store.scan(Table::Due, KeyRange::new(start, None), DUE_PAGE_BYTES).await?;
            let places = page.entries.iter().map(|entry| {
                let Some(StoredKey::Due { at, hash, number }) = StoredKey::parse(Table::Due, &entry.key) else {
                    return Err(damaged(Table::Due, &entry.key));
                };
                Ok(DuePlace { at, hash, number })
            });
            let places = places.collect::<Result<Vec<_>>>()?;
            let keys: Vec<_> = places.iter().map(|place| key::numbered_at(place.hash, place.number)).collect();
            let values = store.get(Table::Timers, keys.clone()).await?;
            let mut timers = Vec::with_capacity(values.len());
            for (key, value) in keys.iter().zip(values) {
                // A message that was delivered or cancelled between the two reads is gone.
                if let Some(value) = value {
                    timers.push(decode::<StoredTimer>(Table::Timers, key, value)?);
                }
            }
            let last = page.rest.and_then(|_| places.last().copied());
            Found::Delayed { timers, rest: last.map(|last| DuePlace { number: last.number + 1, ..last }) }
        }
        Read::DelayedBy { sender } => {
            let loaded = store.load(Table::Timers, vec![key::id(&sender.id)]).await?;
            let mut timers: Vec<StoredTimer> = decode_all(Table::Timers, loaded.into_iter().flatten())?;
            timers.retain(|timer| timer.message.caller.as_ref() == Some(sender));
            Found::DelayedBy { timers }
        }
    })
}

fn decode_all<T: NumberedEntry>(table: Table, entries: impl IntoIterator<Item = Entry>) -> Result<Vec<T>> {
    entries.into_iter().map(|entry| decode(table, &entry.key, entry.value)).collect()
}

/// Reads the states of addresses, including expired ones.
async fn states_of(store: &dyn Store, addresses: &[Address]) -> Result<Vec<Vec<StoredState>>> {
    let loaded = store.load(Table::State, addresses.iter().map(key::address).collect()).await?;
    let states = addresses.iter().zip(loaded).map(|(address, entries)| {
        entries.into_iter().map(|entry| state(address, entry)).collect::<Result<Vec<StoredState>>>()
    });
    states.collect()
}

fn state(address: &Address, entry: Entry) -> Result<StoredState> {
    if let Some(StoredKey::State { name, .. }) = StoredKey::parse(Table::State, &entry.key)
        && let Some(StoredValue { value, expires }) = StoredValue::decode(entry.value)
    {
        return Ok(StoredState { address: address.clone(), name: name.into(), value: Some(value), expires });
    }
    Err(Error::new(ErrorKind::Damaged, format!("cannot decode a state of {address}")))
}

/// The state of an entry, if it has expired.
fn expired(entry: &Entry, now: Timestamp) -> Option<StoredState> {
    let StoredValue { value, expires } = StoredValue::decode(entry.value.clone())?;
    if expires.is_none_or(|at| at > now) {
        return None;
    }
    let Some(StoredKey::State { address, name }) = StoredKey::parse(Table::State, &entry.key) else { return None };
    Some(StoredState { address, name: name.into(), value: Some(value), expires })
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_store::{Commit, MemoryStore};

    use super::*;
    use crate::{Message, Value};

    const AT: [i64; 3] = [-7, 0, 1_000];

    fn message(number: u64) -> StoredMessage {
        let id = ["a", "b"][(number / 2 % 2) as usize];
        let to = Address { function: ["t/f", "t/g"][(number % 2) as usize].parse().unwrap(), id: id.into() };
        let caller = Some(Address { function: "t/sender".parse().unwrap(), id: id.into() });
        StoredMessage { id: number, to, message: Message { caller, value: Value::new("t/x", "x"), origin: None } }
    }

    fn timer(number: u64) -> StoredTimer {
        let StoredMessage { to, message, .. } = message(number);
        StoredTimer { id: number, at: Timestamp::from_millis(AT[(number % 3) as usize]), to, message, token: None }
    }

    /// A store with far more messages and delayed messages than one read takes.
    async fn full() -> MemoryStore {
        let store = MemoryStore::new();
        let mut commit = Commit::new();
        for number in 0..20_000 {
            let mut message = message(number);
            message.message.value = Value::new("t/x", vec![b'x'; 200]);
            commit.put(Table::Mailboxes, key::numbered(&message.to.id, number), message.encode());
            let timer = timer(number);
            let sender = &timer.message.caller.as_ref().unwrap().id;
            commit.put(Table::Timers, key::numbered(sender, number), timer.encode());
            commit.put(Table::Due, key::due(timer.at, sender, number), "");
        }
        store.commit(commit).await.unwrap();
        store
    }

    /// The numbers of all entries that a read and those of the rest find, and how many reads that takes.
    async fn follow(store: &MemoryStore, first: Read) -> (Vec<u64>, usize) {
        let (mut numbers, mut reads, mut next) = (Vec::new(), 0, Some(first));
        while let Some(mut read) = next.take() {
            reads += 1;
            assert!(reads < 100, "the reads do not end");
            let rest = match (found(store, &read).await.unwrap(), &mut read) {
                (Found::Messages { messages, rest }, Read::Messages { from, .. }) => {
                    numbers.extend(messages.iter().map(|message| message.id));
                    rest.map(|rest| *from = rest)
                }
                (Found::Waiting { messages, rest }, Read::Waiting { from, .. }) => {
                    numbers.extend(messages.iter().map(|message| message.id));
                    rest.map(|rest| *from = rest)
                }
                (Found::Delayed { timers, rest }, Read::Delayed { from }) => {
                    numbers.extend(timers.iter().map(|timer| timer.id));
                    rest.map(|rest| *from = Some(rest))
                }
                (found, read) => panic!("{found:?} for {read:?}"),
            };
            next = rest.map(|()| read);
        }
        (numbers, reads)
    }

    #[track_caller]
    fn check(numbers: &[u64], reads: usize, expected: &[u64]) {
        assert!(reads > 1, "one read had them all");
        let same = numbers.iter().zip(expected).take_while(|(number, expected)| number == expected).count();
        let other = (numbers.get(same), expected.get(same));
        assert_eq!(other, (None, None), "behind {same} entries, in {reads} reads");
    }

    #[tokio::test]
    async fn reads_in_parts_find_each_entry_once_and_in_order() {
        let store = full().await;
        let of = |function: &str, id: &str| Address { function: function.parse().unwrap(), id: id.into() };

        let messages = Read::Messages { to: of("t/g", "a"), from: 9, until: 19_001 };
        let (numbers, reads) = follow(&store, messages).await;
        check(&numbers, reads, &(9..19_001).filter(|number| number % 4 == 1).collect::<Vec<_>>());

        let (numbers, reads) =
            follow(&store, Read::Waiting { function: "t/g".parse().unwrap(), from: MessagePlace::MIN }).await;
        let mut expected: Vec<_> = (0..20_000).filter(|number| number % 2 == 1).collect();
        expected.sort_by_key(|number| (key::hash(&message(*number).to.id), *number));
        check(&numbers, reads, &expected);

        let (numbers, reads) = follow(&store, Read::Delayed { from: None }).await;
        let mut expected: Vec<_> = (0..20_000).collect();
        expected.sort_by_key(|number| timer(*number).place());
        check(&numbers, reads, &expected);
    }
}
