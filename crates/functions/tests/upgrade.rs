//! Upgrades a store of format 1, which the last version with that format wrote.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use statefun_kinesis_functions::{
    FunctionTotals, NumberedEntry, StoredEgress, StoredMessage, StoredTimer, StoredValue, TOTALS, Totals, Value,
    decode_totals, upgrade_entries,
};
use statefun_kinesis_store::{
    Commit, DiskSettings, DiskStore, ErrorKind, KeyRange, ModuleRecord, OldEntries, StoreExt, Table, key,
    key::StoredKey, positions, values_of,
};
use statefun_kinesis_types::{Address, HashKey, ShardId, StreamArn, Timestamp, TypeName};

#[path = "../../store/tests/format_1/mod.rs"]
mod format_1;

fn format_1() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    format_1::unpack(directory.path());
    directory
}

async fn upgrade(directory: &Path) -> DiskStore {
    DiskStore::open_upgrading(directory, DiskSettings::default(), upgrade_entries).await.unwrap()
}

async fn entries(store: &DiskStore, table: Table) -> Vec<(StoredKey, Bytes)> {
    let mut entries = store.entries(table, KeyRange::ALL);
    let mut found = Vec::new();
    while let Some(entry) = entries.next().await.unwrap() {
        found.push((StoredKey::parse(table, &entry.key).unwrap(), entry.value));
    }
    found
}

/// The entries of the old directory in the tables whose keys have changed.
async fn old_values() -> BTreeMap<(Table, u64), Bytes> {
    let directory = format_1();
    let found = Arc::new(Mutex::new(BTreeMap::new()));
    let seen = Arc::clone(&found);
    let look = move |entries: OldEntries| {
        for entry in entries {
            let entry = entry?;
            seen.lock().unwrap().insert((entry.table, entry.number), entry.value);
        }
        Ok(Commit::new())
    };
    DiskStore::upgrade(directory.path(), DiskSettings::default(), look).await.unwrap();
    std::mem::take(&mut *found.lock().unwrap())
}

/// The entries of a table by number: the hash of the id that each belongs to, and that its value is the one of before.
async fn numbered(store: &DiskStore, table: Table) -> BTreeMap<u64, (HashKey, Bytes)> {
    let numbered = entries(store, table).await.into_iter().map(|(key, value)| match key {
        StoredKey::Numbered { hash, number } => (number, (hash, value)),
        other => panic!("{table}: {other:?}"),
    });
    numbered.collect()
}

fn counter(id: &str) -> Address {
    Address { function: "example/counter".parse().unwrap(), id: id.into() }
}

#[tokio::test]
async fn every_entry_is_there_under_its_new_key_with_its_value() {
    let old = old_values().await;
    let directory = format_1();
    let store = upgrade(directory.path()).await;
    let mut upgraded = 0;
    let mut check = |table, number, hash, id: &str, value: &Bytes| {
        assert_eq!(hash, key::hash(id), "{table} {number}");
        assert_eq!(old[&(table, number)], value, "{table} {number}");
        upgraded += 1;
    };

    let messages = numbered(&store, Table::Mailboxes).await;
    for (number, (hash, value)) in &messages {
        let message = StoredMessage::decode(*number, value.clone()).unwrap();
        assert_eq!(message.to, counter("stuck"));
        check(Table::Mailboxes, *number, *hash, "stuck", value);
    }
    assert_eq!(messages.keys().copied().collect::<Vec<_>>(), [3, 5, 6, 7, 8]);

    let senders = ["anna", "anna", "anna", "anna", "-1 é", "-1 é", "ben", "ben"];
    let timers = numbered(&store, Table::Timers).await;
    let mut due = Vec::new();
    for ((number, (hash, value)), sender) in timers.iter().zip(senders) {
        let timer = StoredTimer::decode(*number, value.clone()).unwrap();
        assert_eq!(timer.message.caller, Some(counter(sender)));
        // Those with even numbers have a token.
        assert_eq!((timer.to.id.as_ref() == "stuck", timer.token.is_some()), (number % 2 == 1, number % 2 == 0));
        check(Table::Timers, *number, *hash, sender, value);
        due.push((timer.at, *hash, *number));
    }
    due.sort();

    let records = numbered(&store, Table::Egress).await;
    for ((number, (hash, value)), key) in records.iter().zip(senders) {
        let message = StoredEgress::decode(*number, value.clone()).unwrap().message;
        assert_eq!(message.record().unwrap().partition_key.as_str(), key);
        // Format 1 does not have the sender.
        check(Table::Egress, *number, *hash, "", value);
    }
    assert_eq!((upgraded, old.len()), (5 + 8 + 8, 5 + 8 + 8));

    // Delayed messages are found by when they are due.
    let found: Vec<(Timestamp, HashKey, u64)> = entries(&store, Table::Due)
        .await
        .into_iter()
        .map(|(key, value)| match key {
            StoredKey::Due { at, hash, number } if value.is_empty() => (at, hash, number),
            other => panic!("{other:?}: {value:?}"),
        })
        .collect();
    assert_eq!(found, due);
    assert_eq!(entries(&store, Table::Cancellations).await, []);

    let totals = store.get_one(Table::Meta, key::meta(TOTALS)).await.unwrap().unwrap();
    let of_counter = FunctionTotals { function: "example/counter".parse().unwrap(), messages: 5, timers: 8 };
    let expected = Totals { next_message: 9, next_timer: 8, next_record: 8, functions: vec![of_counter] };
    assert_eq!(decode_totals(totals), Some(expected));
}

#[tokio::test]
async fn positions_states_and_the_module_are_as_they_were() {
    let directory = format_1();
    let store = upgrade(directory.path()).await;
    let (ingress, stream): (TypeName, StreamArn) =
        ("example/orders".parse().unwrap(), "arn:aws:kinesis:us-east-1:000000000000:stream/orders".parse().unwrap());
    let checkpoint = positions::load(&store, &ingress, &stream).await.unwrap().unwrap();
    let shard: ShardId = "shardId-000000000000".parse().unwrap();
    let position = format!("{:?}", checkpoint.shards[&shard]);
    assert!(position.contains("49017960075202460000000000000000000000000005000000000000"), "{position}");
    for (id, total) in [("anna", 2), ("ben", 1), ("-1 é", 1)] {
        let values = values_of(&store, &counter(id)).await.unwrap();
        let value = |name: &str| StoredValue::decode(values[name].clone()).unwrap().value;
        assert_eq!(value("total"), Value::of(&i64::from(total)));
        assert_eq!(value("name"), Value::of(&format!("the \"{id}\"")));
    }
    let module = ModuleRecord::load(&store).await.unwrap().unwrap();
    assert_eq!(module.fingerprint(), "737f5fda3e3a162ea35b9cb5fa939562");
}

#[tokio::test]
async fn a_second_start_finds_what_the_first_one_has_made() {
    let directory = format_1();
    let mut found = Vec::new();
    for _ in 0..2 {
        let store = upgrade(directory.path()).await;
        let mut all = Vec::new();
        for table in Table::ALL {
            all.extend(entries(&store, table).await);
        }
        found.push(all);
        store.close().await.unwrap();
    }
    assert_eq!(found[0], found[1]);
}

#[tokio::test]
async fn a_value_that_cannot_be_read_leaves_the_store_as_it_is() {
    let directory = format_1();
    // A byte of the first message, and the checksum of the whole commit, would have to change on the disk.
    let damaged = |entries: OldEntries| {
        let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        entries[0].value = "what is this?".into();
        upgrade_entries(OldEntries::from_iter(entries))
    };
    let error = DiskStore::upgrade(directory.path(), DiskSettings::default(), damaged).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("the entry 3 of the table `mailboxes`"), "{error}");
    upgrade(directory.path()).await;
}
