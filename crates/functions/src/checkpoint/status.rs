use std::time::Duration;

use statefun_kinesis_types::Timestamp;

/// The status of a run's checkpoints, for people and for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointStatus {
    /// Time between two checkpoints while there are changes.
    pub interval: Duration,
    /// Commits that this run has made.
    pub commits: u64,
    /// Failed attempts to commit.
    pub failures: u64,
    /// The time up to which everything is durable: that of the last committed cut, or of a later check that found no
    /// changes. A restart continues from there. `None` before the run begins.
    pub durable_at: Option<Timestamp>,
    /// When commits began to fail; `None` while they succeed. No messages are taken while commits fail.
    pub failing_since: Option<Timestamp>,
    /// How long the last commit took, from its cut until it was durable.
    pub last_took: Duration,
    /// How long the last cut locked the mailboxes.
    pub last_held: Duration,
    /// The number of entries that the last commit changed.
    pub last_changes: u64,
    /// Bytes of the keys and values of the last commit.
    pub last_bytes: u64,
    /// Bytes of the keys and values of all commits of this run.
    pub bytes: u64,
}

impl CheckpointStatus {
    /// The time since [`durable_at`](Self::durable_at): how much work the next start would repeat after a crash now.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        self.durable_at.map(|at| now.since(at))
    }
}
