use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Change, Changes, Commit, CommitNumber, Entry, Error, ErrorKind, KeyRange, Page, Result, Store, Table, Usage,
};

/// What becomes of a commit that neither succeeded nor certainly failed, when a crash or the next commit decides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// The seed decides, commit by commit.
    #[default]
    Seeded,
    /// It is there.
    Kept,
    /// It is not there.
    Lost,
}

/// How a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFailure {
    /// There is no room: nothing is written.
    Full,
    /// Writing breaks off: the changes may turn up later, all of them.
    BreaksOff,
}

/// A disk in memory, which outlives the store that is opened on it: for tests, and for simulated crashes.
///
/// Clones are the same disk. A commit that has returned is on it for good. One that was under way, or broke off, may
/// be there after a crash as a whole, or not at all; [`Fate`] decides.
///
/// ```
/// use statefun_kinesis_store::{Commit, ErrorKind, MemoryDisk, Store, StoreExt, Table};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let disk = MemoryDisk::seeded(7);
/// let store = disk.open()?;
/// let mut commit = Commit::new();
/// commit.put(Table::Meta, "answer", "42");
/// store.commit(commit).await?;
///
/// disk.crash();
/// assert_eq!(store.last_commit().await.unwrap_err().kind(), ErrorKind::Closed);
/// assert_eq!(disk.open()?.get_one(Table::Meta, "answer".into()).await?, Some("42".into()));
/// # Ok::<(), statefun_kinesis_store::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryDisk {
    shared: Arc<Mutex<Disk>>,
}

struct Disk {
    tables: [BTreeMap<Bytes, Bytes>; Table::ALL.len()],
    last: CommitNumber,
    /// A commit whose fate is not decided.
    doubtful: Option<Changes>,
    /// Which handle holds the store. Handles have numbers of their own, so that one from before a crash is told apart.
    holder: Option<u64>,
    handles: u64,
    /// Handles from which the store was taken over.
    fenced: BTreeSet<u64>,
    seed: u64,
    random: fastrand::Rng,
    plan: Plan,
}

#[derive(Default)]
struct Plan {
    full: bool,
    next_commits: Vec<CommitFailure>,
    next_reads: usize,
    breaks_off_ratio: f64,
    commit_takes: Duration,
    read_takes: Duration,
    fate: Fate,
}

impl MemoryDisk {
    /// An empty disk. The fates that no one sets are decided with the seed 0.
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// An empty disk whose fates follow from a seed.
    pub fn seeded(seed: u64) -> Self {
        let disk = Disk {
            tables: Default::default(),
            last: CommitNumber(0),
            doubtful: None,
            holder: None,
            handles: 0,
            fenced: BTreeSet::new(),
            seed,
            random: fastrand::Rng::with_seed(seed),
            plan: Plan::default(),
        };
        Self { shared: Arc::new(Mutex::new(disk)) }
    }

    /// Opens the store on the disk.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Locked`] while another handle holds it: dropping that one gives it free, and a crash does.
    pub fn open(&self) -> Result<MemoryStore> {
        let mut disk = self.disk();
        if disk.holder.is_some() {
            return Err(Error::new(ErrorKind::Locked, "another handle holds the store in memory"));
        }
        Ok(self.hold(&mut disk))
    }

    /// Opens the store on the disk although another handle may hold it, which is fenced from then on: its commits and
    /// reads fail as [`ErrorKind::Fenced`]. The fate of a commit that was under way is decided before.
    ///
    /// ```
    /// use statefun_kinesis_store::{Commit, ErrorKind, MemoryDisk, Store};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let disk = MemoryDisk::new();
    /// let stalled = disk.open()?;
    /// let store = disk.take_over();
    /// assert_eq!(stalled.commit(Commit::new()).await.unwrap_err().kind(), ErrorKind::Fenced);
    /// store.commit(Commit::new()).await?;
    /// # Ok::<(), statefun_kinesis_store::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_over(&self) -> MemoryStore {
        let mut disk = self.disk();
        if let Some(holder) = disk.holder.take() {
            disk.fenced.insert(holder);
        }
        disk.decide();
        self.hold(&mut disk)
    }

    fn hold(&self, disk: &mut Disk) -> MemoryStore {
        disk.handles += 1;
        disk.holder = Some(disk.handles);
        MemoryStore { disk: self.clone(), handle: disk.handles, writer: tokio::sync::Mutex::new(()) }
    }

    /// Stops the process that holds the store, as far as the disk can tell: its handle does nothing any more, and the
    /// fate of a commit that was under way is decided.
    pub fn crash(&self) {
        let mut disk = self.disk();
        disk.holder = None;
        disk.decide();
    }

    /// Fills the disk, or makes room on it again.
    pub fn set_full(&self, full: bool) {
        self.disk().plan.full = full;
    }

    /// Lets the next commits fail, one after the other, in these ways.
    pub fn fail_commits(&self, failures: impl IntoIterator<Item = CommitFailure>) {
        let mut disk = self.disk();
        disk.plan.next_commits.extend(failures);
    }

    /// Lets so many reads fail from now on.
    pub fn fail_reads(&self, reads: usize) {
        self.disk().plan.next_reads = reads;
    }

    /// Lets this share of all commits break off, as the seed decides: 0 for none, 1 for all.
    pub fn break_off_randomly(&self, ratio: f64) {
        self.disk().plan.breaks_off_ratio = ratio;
    }

    /// Whether there is a commit whose fate is not decided: one that is under way, or that broke off.
    pub fn is_in_doubt(&self) -> bool {
        self.disk().doubtful.is_some()
    }

    /// How long a commit takes, by the clock of Tokio. While it takes, a crash or a drop of its future makes its fate
    /// doubtful.
    pub fn set_commit_takes(&self, time: Duration) {
        self.disk().plan.commit_takes = time;
    }

    /// How long a read takes, by the clock of Tokio.
    pub fn set_read_takes(&self, time: Duration) {
        self.disk().plan.read_takes = time;
    }

    /// What becomes of doubtful commits from now on.
    pub fn set_fate(&self, fate: Fate) {
        self.disk().plan.fate = fate;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // Nothing here panics halfway through a change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk();
        f.debug_struct("MemoryDisk").field("seed", &disk.seed).field("last", &disk.last).finish_non_exhaustive()
    }
}

impl Disk {
    fn check(&self, handle: u64) -> Result<()> {
        if self.holder == Some(handle) {
            Ok(())
        } else if self.fenced.contains(&handle) {
            Err(Error::new(ErrorKind::Fenced, "another handle has taken the store in memory over"))
        } else {
            Err(Error::new(ErrorKind::Closed, "this handle lost the store in memory in a crash"))
        }
    }

    fn decide(&mut self) {
        if let Some(changes) = self.doubtful.take() {
            let kept = match self.plan.fate {
                Fate::Seeded => self.random.bool(),
                Fate::Kept => true,
                Fate::Lost => false,
            };
            if kept {
                self.apply(&changes);
            }
        }
    }

    fn apply(&mut self, changes: &Changes) {
        for (table, range) in changes.ranges() {
            let stored = &mut self.tables[table.index()];
            if range.is_empty() {
                continue;
            }
            let gone: Vec<Bytes> = stored
                .range(range.bounds())
                .map(|(key, _)| key.clone())
                .filter(|key| !changes.has_entry(*table, key))
                .collect();
            for key in gone {
                stored.remove(&key);
            }
        }
        for Change { table, key, value } in changes.entries() {
            let stored = &mut self.tables[table.index()];
            match value {
                Some(value) => stored.insert(key.clone(), value.clone()),
                None => stored.remove(key),
            };
        }
        self.last.0 += 1;
    }

    /// How the commit that begins now fails, if it does.
    fn failure(&mut self) -> Option<CommitFailure> {
        if self.plan.full {
            return Some(CommitFailure::Full);
        }
        if !self.plan.next_commits.is_empty() {
            return Some(self.plan.next_commits.remove(0));
        }
        let breaks_off = self.plan.breaks_off_ratio > 0.0 && self.random.f64() < self.plan.breaks_off_ratio;
        breaks_off.then_some(CommitFailure::BreaksOff)
    }
}

/// The store on a [`MemoryDisk`]: for tests, and for work without durable state.
#[derive(Debug)]
pub struct MemoryStore {
    disk: MemoryDisk,
    handle: u64,
    /// Lets one commit through at a time, in the order of asking.
    writer: tokio::sync::Mutex<()>,
}

impl MemoryStore {
    /// An empty store on a disk of its own, which nothing disturbs.
    pub fn new() -> Self {
        let disk = MemoryDisk::new();
        disk.disk().holder = Some(0);
        Self { disk, handle: 0, writer: tokio::sync::Mutex::new(()) }
    }

    async fn read<T>(&self, read: impl FnOnce(&Disk) -> T) -> Result<T> {
        let time = self.disk.disk().plan.read_takes;
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        let mut disk = self.disk.disk();
        disk.check(self.handle)?;
        if disk.plan.next_reads > 0 {
            disk.plan.next_reads -= 1;
            return Err(Error::new(ErrorKind::Io, "a read failed, as the test asked"));
        }
        Ok(read(&disk))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let mut disk = self.disk.disk();
        if disk.holder == Some(self.handle) {
            disk.holder = None;
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<CommitNumber> {
        let _writer = self.writer.lock().await;
        let changes = commit.into_changes()?;
        let time = {
            let mut disk = self.disk.disk();
            disk.check(self.handle)?;
            disk.decide();
            match disk.failure() {
                Some(CommitFailure::Full) => {
                    return Err(Error::new(ErrorKind::Full, "the disk in memory is full"));
                }
                Some(CommitFailure::BreaksOff) => {
                    disk.doubtful = Some(changes);
                    return Err(Error::new(ErrorKind::Io, "writing to the disk in memory broke off"));
                }
                None => disk.doubtful = Some(changes),
            }
            disk.plan.commit_takes
        };
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        let mut disk = self.disk.disk();
        disk.check(self.handle)?;
        if let Some(changes) = disk.doubtful.take() {
            disk.apply(&changes);
        }
        Ok(disk.last)
    }

    async fn get(&self, table: Table, keys: Vec<Bytes>) -> Result<Vec<Option<Bytes>>> {
        self.read(|disk| keys.iter().map(|key| disk.tables[table.index()].get(key).cloned()).collect()).await
    }

    async fn load(&self, table: Table, prefixes: Vec<Bytes>) -> Result<Vec<Vec<Entry>>> {
        let all = |disk: &Disk, prefix: Bytes| entries(disk, table, &KeyRange::prefix(prefix)).collect();
        self.read(|disk| prefixes.into_iter().map(|prefix| all(disk, prefix)).collect()).await
    }

    async fn scan(&self, table: Table, range: KeyRange, max_bytes: usize) -> Result<Page> {
        self.read(|disk| Page::fill(range.clone(), max_bytes, entries(disk, table, &range).map(Ok))).await?
    }

    async fn last_commit(&self) -> Result<CommitNumber> {
        self.read(|disk| disk.last).await
    }

    async fn usage(&self, table: Table) -> Result<Usage> {
        let bytes = |(key, value): (&Bytes, &Bytes)| (key.len() + value.len()) as u64;
        self.read(|disk| Usage { bytes: disk.tables[table.index()].iter().map(bytes).sum() }).await
    }
}

fn entries<'a>(disk: &'a Disk, table: Table, range: &KeyRange) -> impl Iterator<Item = Entry> + use<'a> {
    // The map panics at a range whose end comes first.
    let found = (!range.is_empty()).then(|| disk.tables[table.index()].range(range.bounds()));
    found.into_iter().flatten().map(|(key, value)| Entry { key: key.clone(), value: value.clone() })
}
