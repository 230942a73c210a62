//! A history of steps that follows from their numbers alone, and what is stored after any of them.
//!
//! A step is a commit; one that failed may be there, and is then made twice. So each step stores its number.

use std::collections::BTreeMap;

use statefun_kinesis_store::{Commit, DiskStore, KeyRange, StoreExt, Table};

/// What is stored: table and key to value.
pub(crate) type Contents = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Where a step stores its number.
const POSITION: &str = "shard";

const ADDRESSES: u64 = 60;
const CHANGED: u64 = 20;
const IN_MAILBOX: u64 = 5;

enum Step {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
    DeletePrefix(Table, Vec<u8>),
}

fn steps(number: u64) -> Vec<Step> {
    let position = Step::Put(Table::Positions, POSITION.as_bytes().to_vec(), number.to_be_bytes().to_vec());
    let mut steps = vec![position];
    for index in 0..CHANGED {
        let address = (number * 7 + index) % ADDRESSES;
        // A long one now and then fills buffers and journals, so that these change while the process is killed.
        let size = if index == 0 && number.is_multiple_of(8) { 200_000 } else { 200 };
        let value = number.to_be_bytes().into_iter().cycle().take(size).collect();
        steps.push(Step::Put(Table::State, format!("address-{address}").into_bytes(), value));
    }
    steps.push(Step::Put(Table::Mailboxes, number.to_be_bytes().to_vec(), b"message".to_vec()));
    if let Some(done) = number.checked_sub(IN_MAILBOX) {
        steps.push(Step::Delete(Table::Mailboxes, done.to_be_bytes().to_vec()));
    }
    steps.push(Step::DeletePrefix(Table::Timers, b"timer-".to_vec()));
    for timer in 0..number % 4 {
        steps.push(Step::Put(Table::Timers, format!("timer-{number}-{timer}").into_bytes(), Vec::new()));
    }
    steps
}

pub(crate) fn commit(number: u64) -> Commit {
    let mut commit = Commit::new();
    for step in steps(number) {
        match step {
            Step::Put(table, key, value) => commit.put(table, key, value),
            Step::Delete(table, key) => commit.delete(table, key),
            Step::DeletePrefix(table, prefix) => commit.delete_prefix(table, prefix),
        }
    }
    commit
}

/// What is stored after the steps up to this one.
#[derive(Default)]
pub(crate) struct History {
    last: u64,
    contents: Contents,
}

impl History {
    pub(crate) fn go_to(&mut self, number: u64) -> &Contents {
        assert!(self.last <= number, "step {} was there before, and {number} is the last one now", self.last);
        while self.last < number {
            self.last += 1;
            for step in steps(self.last) {
                match step {
                    Step::Put(table, key, value) => drop(self.contents.insert((table, key), value)),
                    Step::Delete(table, key) => drop(self.contents.remove(&(table, key))),
                    Step::DeletePrefix(table, prefix) => {
                        self.contents.retain(|(of, key), _| *of != table || !key.starts_with(&prefix));
                    }
                }
            }
        }
        &self.contents
    }
}

/// All that a store holds.
pub(crate) async fn contents(store: &DiskStore) -> Contents {
    let mut contents = Contents::new();
    for table in Table::ALL {
        let mut entries = store.entries(table, KeyRange::ALL);
        while let Some(entry) = entries.next().await.unwrap() {
            contents.insert((table, entry.key.to_vec()), entry.value.to_vec());
        }
    }
    contents
}

/// The last step that a store has.
pub(crate) async fn last_step(store: &DiskStore) -> u64 {
    let stored = store.get_one(Table::Positions, POSITION.into()).await.unwrap();
    stored.map_or(0, |number| u64::from_be_bytes(number[..].try_into().unwrap()))
}

/// Checks that a store is what the history says after its last step, which is `acknowledged` or the next one.
pub(crate) async fn verify(store: &DiskStore, history: &mut History, acknowledged: u64, when: &str) -> u64 {
    let last = last_step(store).await;
    let possible = acknowledged..=acknowledged + 1;
    assert!(possible.contains(&last), "{when}: {acknowledged} was acknowledged, {last} is the last one");
    let found = contents(store).await;
    let expected = history.go_to(last);
    let wrong = found.iter().filter(|(key, value)| expected.get(*key) != Some(value)).map(|(key, _)| key);
    let missing = expected.keys().filter(|key| !found.contains_key(*key));
    let differing: Vec<String> =
        wrong.chain(missing).map(|(table, key)| format!("{table} {}", key.escape_ascii())).collect();
    assert!(differing.is_empty(), "{when}: step {last} is half there, or others are: {differing:?}");
    last
}
