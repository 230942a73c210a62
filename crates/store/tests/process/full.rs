//! A file system without room, as a process sees one: no file may grow beyond a limit.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use statefun_kinesis_store::{DiskStore, ErrorKind, Store as _, Table};

use crate::{
    child::{self, Running, say},
    history::{self, History},
};

/// Bytes up to which a file may grow on the "full disk".
const LIMIT_BYTES: u64 = 1024 * 1024;

/// How often a commit is tried while there is no room.
const ATTEMPTS: usize = 3;

/// How often the disk fills up in the life of one process.
const FILLED: usize = 2;

/// Commits after the disk has room again, before it fills up once more.
const COMMITS_WITH_ROOM: u64 = 30;

pub(crate) fn run() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let open = || runtime.block_on(DiskStore::open(directory.path(), child::settings())).unwrap();
    // A journal that was opened again has no reserve, so that the limit meets it early.
    runtime.block_on(async { open_and_close(directory.path()).await });

    let lines = lines_of_child("full", directory.path());
    let acknowledged: u64 = lines.last().unwrap().parse().unwrap();
    assert_eq!(lines.iter().filter(|line| *line == "full").count(), FILLED * ATTEMPTS, "{lines:?}");
    let store = open();
    let last = runtime.block_on(history::verify(&store, &mut History::default(), acknowledged, "after the child"));
    assert_eq!(last, acknowledged);
    drop(store);

    // What a process leaves that ends while the disk is full can be opened while it still is.
    let lines = lines_of_child("fill-and-end", directory.path());
    let acknowledged: u64 = lines.last().unwrap().parse().unwrap();
    assert_eq!(lines_of_child("open-without-room", directory.path()), [acknowledged.to_string()]);
    runtime.block_on(history::verify(&open(), &mut History::default(), acknowledged, "with room again"));
}

/// What a child writes until it ends.
fn lines_of_child(mode: &str, directory: &Path) -> Vec<String> {
    // The signal that a process gets at the limit would end it; a shell can have it ignored from the start.
    let inner = child::command(mode, directory);
    let mut command = Command::new("sh");
    command.arg("-c").arg("trap '' XFSZ; exec \"$0\" \"$@\"").arg(inner.get_program()).args(inner.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Running::start(command);
    let lines: Vec<String> = std::iter::from_fn(|| child.line()).collect();
    assert!(child.process.wait().unwrap().success(), "{lines:?}");
    lines
}

async fn open_and_close(directory: &std::path::Path) {
    for _ in 0..2 {
        DiskStore::open(directory, child::settings()).await.unwrap().close().await.unwrap();
    }
}

/// Commits until there is no room, tries in vain, makes room and goes on, a few times.
pub(crate) async fn fill(store: &DiskStore) {
    let unlimited = getrlimit(Resource::Fsize);
    let mut history = History::default();
    let mut step = 0;
    for _ in 0..FILLED {
        setrlimit(Resource::Fsize, Rlimit { current: Some(LIMIT_BYTES), maximum: unlimited.maximum }).unwrap();
        while store.commit(history::commit(step + 1)).await.is_ok() {
            step += 1;
        }
        for _ in 0..ATTEMPTS {
            let error = store.commit(history::commit(step + 1)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "{error}: {error:?}");
            assert!(error.to_string().contains("no room"), "{error}");
            say("full");
        }
        refuse_to_open(store, step + 1).await;
        setrlimit(Resource::Fsize, unlimited).unwrap();
        for _ in 0..COMMITS_WITH_ROOM {
            step += 1;
            store.commit(history::commit(step)).await.unwrap();
            say(&step.to_string());
        }
        history::verify(store, &mut history, step, "with room again").await;
    }
}

/// Commits until there is no room, and ends at once: what a failed commit has left is not cleaned up.
pub(crate) async fn fill_and_end(store: &DiskStore) {
    let journals = std::fs::read_dir(store.directory().join("store/data")).unwrap().map(|entry| entry.unwrap());
    let journals = journals.filter(|entry| entry.path().extension().is_some_and(|it| it == "jnl"));
    // So much that a commit breaks off.
    limit(journals.map(|entry| entry.metadata().unwrap().len() + 1_000).max());
    let mut step = history::last_step(store).await;
    while store.commit(history::commit(step + 1)).await.is_ok() {
        step += 1;
    }
    say(&step.to_string());
    std::process::exit(0);
}

/// Opens the store although no file may grow, reads, and commits in vain.
pub(crate) async fn open_without_room(directory: &str) {
    limit(Some(0));
    let store = DiskStore::open(directory, child::settings()).await.unwrap();
    let step = history::last_step(&store).await;
    say(&step.to_string());
    let error = store.commit(history::commit(step + 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}: {error:?}");
    assert_eq!(history::last_step(&store).await, step);
}

/// Lets no file of this process grow beyond a size.
fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

/// Takes the data away while the store is to be opened anew: it is down until they are back, and not for good.
async fn refuse_to_open(store: &DiskStore, step: u64) {
    let data = store.directory().join("store/data");
    let away = data.with_extension("away");
    std::fs::rename(&data, &away).unwrap();
    assert_eq!(store.commit(history::commit(step)).await.unwrap_err().kind(), ErrorKind::Damaged);
    let error = store.get(Table::State, Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("until a commit has succeeded again"), "{error}");
    std::fs::rename(&away, &data).unwrap();
}
