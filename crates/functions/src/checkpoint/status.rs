use std::time::Duration;

use statefun_kinesis_types::Timestamp;

/// How the checkpoints of a run are doing, for people and for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointStatus {
    /// Time from one checkpoint to the next, while there is something to write.
    pub interval: Duration,
    /// Commits that this run has made.
    pub commits: u64,
    /// Tries of a commit that failed.
    pub failures: u64,
    /// The moment up to which everything is durable: the last cut that was committed, or a later look that found nothing
    /// new. A restart goes on from there. None before the run began.
    pub durable_at: Option<Timestamp>,
    /// Since when commits have failed; none while they do not. Nothing more is taken in meanwhile.
    pub failing_since: Option<Timestamp>,
    /// How long the last commit took, from its cut until it was durable.
    pub last_took: Duration,
    /// How long the mailboxes were held for the last cut.
    pub last_held: Duration,
    /// Entries that the last commit changed.
    pub last_changes: u64,
    /// Bytes of the keys and values of the last commit.
    pub last_bytes: u64,
    /// The same of all commits of this run.
    pub bytes: u64,
}

impl CheckpointStatus {
    /// How far durable is behind: what a crash now would make the next start do again.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        self.durable_at.map(|at| now.since(at))
    }
}
