//! States that are in the store and not in memory.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_router::FunctionError;
use statefun_kinesis_store::{Entry, Error, ErrorKind, KeyRange, Result, Store, Table, key, key::StoredKey};
use statefun_kinesis_types::{Address, ErrorChain, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::{failures::backoff, shared::Shared};
use crate::{StoredState, StoredValue};

/// Most addresses whose states are asked for by one call.
const ADDRESSES_PER_CALL: usize = 256;
/// How much of the store is looked through at a time for values that have expired. With one look per second this is a
/// gigabyte in a little more than an hour, and no load to speak of.
const SWEEP_BYTES: usize = 256 << 10;
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Least time from the beginning of one search through the whole store to the next.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10 * 60);

impl Shared {
    /// Asks the store for the states of addresses, beside the work.
    pub(super) fn load_all(self: &Arc<Self>, addresses: &[Address]) {
        for addresses in addresses.chunks(ADDRESSES_PER_CALL) {
            let (shared, addresses, stop) = (Arc::clone(self), addresses.to_vec(), self.stop.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = shared.load(addresses) => {}
                }
            });
        }
    }

    async fn load(self: Arc<Self>, addresses: Vec<Address>) {
        let Some(checkpoint) = &self.checkpoint else { return };
        let mut failures = 0;
        let found = loop {
            let error = match states_of(&**checkpoint.store(), &addresses).await {
                Ok(found) => break found,
                Err(error) => error,
            };
            if !error.kind().is_retryable() {
                if let Some(run) = self.run.get() {
                    run.fail(FunctionError::new("states cannot be read").because(error));
                }
                return;
            }
            if failures == 0 {
                warn!(error = %ErrorChain(&error), "states could not be read; it is tried again, and their addresses wait");
            }
            failures += 1;
            sleep(backoff(failures)).await;
        };
        let now = self.now();
        {
            let mut inner = self.lock();
            for (address, states) in addresses.iter().zip(found) {
                inner.mailboxes.loaded(address, states, now);
            }
        }
        self.pump();
    }

    /// Looks through the store, slowly, for values that have expired and that nobody asks for.
    pub(super) async fn sweep(self: Arc<Self>) {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.sweep_on() => {}
        }
    }

    async fn sweep_on(self: &Arc<Self>) {
        let Some(checkpoint) = &self.checkpoint else { return };
        loop {
            let next = Instant::now() + SWEEP_INTERVAL;
            let mut rest = Some(KeyRange::ALL);
            while let Some(range) = rest {
                sleep(SWEEP_PAUSE).await;
                // Where nothing expires there is nothing to look for, and what was found last goes first.
                if !checkpoint.has_expiring_states() || self.lock().mailboxes.sweeps_left() > 0 {
                    rest = Some(range);
                    continue;
                }
                // What cannot be read now is found another time.
                let Ok(page) = checkpoint.store().scan(Table::State, range, SWEEP_BYTES).await else { break };
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

/// Reads the states of addresses, those that have expired too.
async fn states_of(store: &dyn Store, addresses: &[Address]) -> Result<Vec<Vec<StoredState>>> {
    let loaded = store.load(Table::State, addresses.iter().map(key::address).collect()).await?;
    let states = addresses.iter().zip(loaded).map(|(address, entries)| {
        entries.into_iter().map(|entry| state(address, entry)).collect::<Result<Vec<StoredState>>>()
    });
    states.collect()
}

fn state(address: &Address, entry: Entry) -> Result<StoredState> {
    let name = match StoredKey::parse(Table::State, &entry.key) {
        Some(StoredKey::State { name, .. }) => Some(name),
        Some(
            StoredKey::Meta { .. }
            | StoredKey::Stream { .. }
            | StoredKey::Shard { .. }
            | StoredKey::Number { .. }
            | StoredKey::Timer { .. },
        )
        | None => None,
    };
    let state = name.zip(StoredValue::decode(entry.value)).map(|(name, StoredValue { value, expires })| StoredState {
        address: address.clone(),
        name: name.into(),
        value: Some(value),
        expires,
    });
    state.ok_or_else(|| Error::new(ErrorKind::Damaged, format!("a state of {address} cannot be read")))
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
