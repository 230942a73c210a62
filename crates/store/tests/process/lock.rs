use statefun_kinesis_store::{DiskStore, ErrorKind};

use crate::child::{self, Running};

pub(crate) fn run() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let child = Running::start(child::command("hold", directory.path()));
    assert_eq!(child.line().as_deref(), Some("held"));

    let open = || runtime.block_on(DiskStore::open(directory.path(), child::settings()));
    let error = open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&format!("process {}", child.process.id())), "{error}");
    let error = runtime.block_on(DiskStore::remove(directory.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);

    // The lock goes with its process.
    child.kill();
    open().unwrap();
}
