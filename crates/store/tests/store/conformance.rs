//! Every behaviour, on every implementation.

use statefun_kinesis_store::{DiskSettings, DiskStore, MemoryDisk, MemoryStore, Store};
use std::sync::Arc;

use crate::behaviours;

macro_rules! behaviours {
    ($($name:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                behaviours::$name(&MemoryStore::new()).await;
            })*
        }

        mod memory_with_slow_disk {
            use super::*;
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                let disk = MemoryDisk::new();
                disk.set_commit_takes(std::time::Duration::from_secs(3));
                disk.set_read_takes(std::time::Duration::from_secs(1));
                behaviours::$name(&disk.open().unwrap()).await;
            })*
        }

        mod disk {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let store = DiskStore::open(directory.path(), DiskSettings::default()).await.unwrap();
                behaviours::$name(&store).await;
            })*
        }

        mod behind_a_pointer {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
                let boxed: Box<dyn Store> = Box::new(store);
                behaviours::$name(&boxed).await;
            })*
        }
    };
}

behaviours!(
    a_new_store_is_empty,
    a_commit_changes_every_table_at_once,
    commits_are_counted,
    the_last_change_of_a_key_counts,
    a_deleted_range_keeps_what_is_put_afterwards,
    values_come_in_the_order_asked_for,
    prefixes_are_loaded_in_the_order_asked_for,
    keys_are_ordered_byte_by_byte,
    a_range_comes_in_pages,
    all_entries_come_page_by_page,
    an_impossible_key_is_refused_and_nothing_of_its_commit_happens,
    commits_come_in_the_order_of_asking,
);
