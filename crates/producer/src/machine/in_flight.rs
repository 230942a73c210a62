use slab::Slab;

use crate::record_meta::{RecordMetas, Token};

/// The requests in flight, as far as the machine has to remember them.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    pub(super) requests: usize,
    /// The untracked records of requests. Those with an entry say themselves that they are in flight.
    pub(super) untracked: Slab<UntrackedInFlight<T>>,
}

/// The untracked records of one request.
#[derive(Debug)]
pub(super) struct UntrackedInFlight<T> {
    pub(super) metas: RecordMetas<T>,
    pub(super) bytes: usize,
}

impl<T: Token> InFlight<T> {
    pub(super) fn new() -> Self {
        Self { requests: 0, untracked: Slab::new() }
    }

    /// Untracked records in flight and their bytes.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn untracked_records(&self) -> (usize, usize) {
        self.untracked
            .iter()
            .fold((0, 0), |(records, bytes), (_, untracked)| (records + untracked.metas.len(), bytes + untracked.bytes))
    }
}
