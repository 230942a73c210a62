//! The disks of stores, and their faults.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_store::{DiskStore, Error, ErrorKind, MemoryDisk, Store};
use tempfile::TempDir;
use tokio::time::sleep;

/// A disk that outlives the runs whose stores are on it.
#[derive(Debug)]
pub(crate) enum Disk {
    /// A disk in memory, which can be slow, full or broken.
    Memory(MemoryDisk),
    /// A directory of the machine.
    Directory(TempDir),
}

impl Disk {
    pub(crate) fn directory() -> Self {
        Self::Directory(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn open(&self) -> Result<Arc<dyn Store>, Error> {
        match self {
            Self::Memory(disk) => Ok(Arc::new(disk.open()?)),
            Self::Directory(directory) => loop {
                match DiskStore::open(directory.path(), Default::default()).await {
                    // Waits for a thread that used the store when its run was killed.
                    Err(error) if error.kind() == ErrorKind::Locked => sleep(Duration::from_millis(1)).await,
                    opened => return Ok(Arc::new(opened?)),
                }
            },
        }
    }

    /// The end of the run that has the disk. What a directory was given by then stays there, as it does when a process
    /// is killed.
    pub(crate) fn crash(&self) {
        if let Self::Memory(disk) = self {
            disk.crash();
        }
    }

    /// The disk in memory, the only one that can be made to fail; `None` for a directory.
    pub(crate) fn in_memory(&self) -> Option<&MemoryDisk> {
        match self {
            Self::Memory(disk) => Some(disk),
            Self::Directory(_) => None,
        }
    }
}
