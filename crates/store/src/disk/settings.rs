/// How much memory a [`DiskStore`](crate::DiskStore) may take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskSettings {
    /// Bytes of the working set that are kept in memory. 64 MiB unless set.
    pub cache_bytes: u64,
    /// Bytes of a table's changes after which they are moved from the journal to the table; per table up to three
    /// times as much, and a commit, is in memory for a while. 16 MiB unless set. More than the store was made with has
    /// no effect.
    pub write_buffer_bytes: u64,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, write_buffer_bytes: 16 * 1024 * 1024 }
    }
}
