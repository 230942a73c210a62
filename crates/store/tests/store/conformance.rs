//! Every behaviour, on every implementation.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use statefun_kinesis_store::{DiskSettings, DiskStore, MemoryDisk, Store};
use statefun_kinesis_store_conformance::{Backend, store_conformance};
use tempfile::TempDir;

struct OnDisk(TempDir);

impl OnDisk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Backend for OnDisk {
    async fn open(&self) -> Arc<dyn Store> {
        let mut settings = DiskSettings::default();
        // Small, so that tables are written too.
        settings.write_buffer_bytes = 64 * 1024;
        Arc::new(DiskStore::open(self.0.path(), settings).await.unwrap())
    }

    async fn restart(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        assert_eq!(Arc::strong_count(&store), 1);
        drop(store);
        self.open().await
    }

    /// The directory is locked.
    async fn take_over(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

struct InMemory(MemoryDisk);

impl InMemory {
    fn new() -> Self {
        Self(MemoryDisk::new())
    }

    fn slow() -> Self {
        let disk = MemoryDisk::new();
        disk.set_commit_takes(Duration::from_secs(3));
        disk.set_read_takes(Duration::from_secs(1));
        Self(disk)
    }
}

#[async_trait]
impl Backend for InMemory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.open().unwrap())
    }

    async fn restart(&self, _: Arc<dyn Store>) -> Arc<dyn Store> {
        self.0.crash();
        self.open().await
    }

    async fn take_over(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(self.0.take_over()))
    }
}

/// A store behind pointers, which forward all that is asked.
struct BehindPointers(InMemory);

impl BehindPointers {
    fn of(store: Arc<dyn Store>) -> Arc<dyn Store> {
        let boxed: Box<dyn Store> = Box::new(store);
        Arc::new(boxed)
    }
}

#[async_trait]
impl Backend for BehindPointers {
    async fn open(&self) -> Arc<dyn Store> {
        Self::of(self.0.open().await)
    }

    async fn restart(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Self::of(self.0.restart(store).await)
    }

    async fn take_over(&self) -> Option<Arc<dyn Store>> {
        self.0.take_over().await.map(Self::of)
    }
}

store_conformance! { mod disk = OnDisk::new() }
store_conformance! { mod memory = InMemory::new() }
store_conformance! { mod memory_that_is_slow = InMemory::slow() }
store_conformance! { mod behind_pointers = BehindPointers(InMemory::new()) }
