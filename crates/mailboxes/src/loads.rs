//! The queue of addresses whose states are read from the store.

use std::collections::VecDeque;

use statefun_kinesis_types::Address;

/// Addresses whose states should be read or are being read.
#[derive(Debug)]
pub(crate) struct Loads {
    /// Instances whose states should be read.
    wanted: VecDeque<u32>,
    /// The number of reads in progress.
    under_way: usize,
    /// Addresses with expired values in the store, which are read for no other reason.
    sweeps: VecDeque<Address>,
    /// The average size of an instance with its states.
    expected_bytes: usize,
}

impl Default for Loads {
    /// Begins with a high estimate, so that the first loads do not bring a gigabyte at once.
    fn default() -> Self {
        Self { wanted: VecDeque::new(), under_way: 0, sweeps: VecDeque::new(), expected_bytes: 1 << 20 }
    }
}

impl Loads {
    /// The number of addresses that are wanted or being read.
    pub(crate) fn count(&self) -> usize {
        self.wanted.len() + self.under_way
    }

    /// Adds an instance whose states should be read.
    pub(crate) fn want(&mut self, place: u32) {
        self.wanted.push_back(place);
    }

    /// Takes the instances whose states are read now.
    pub(crate) fn take(&mut self) -> VecDeque<u32> {
        let wanted = std::mem::take(&mut self.wanted);
        self.under_way += wanted.len();
        wanted
    }

    /// Notes that states were read. `bytes` is their size in memory.
    pub(crate) fn loaded(&mut self, bytes: usize) {
        self.under_way -= 1;
        // A moving average, in which the last sixteen weigh most.
        self.expected_bytes = (self.expected_bytes * 15 + bytes).div_ceil(16);
    }

    /// Notes that states could not be read.
    pub(crate) fn failed(&mut self) {
        self.under_way -= 1;
    }

    /// The expected bytes of all reads in progress and of one more.
    pub(crate) fn bytes_with_one_more(&self) -> usize {
        (self.count() + 1) * self.expected_bytes
    }

    /// Adds an address with an expired value in the store.
    pub(crate) fn add_sweep(&mut self, address: Address) {
        // A search finds all values of an address in a row.
        if self.sweeps.back() != Some(&address) {
            self.sweeps.push_back(address);
        }
    }

    pub(crate) fn next_sweep(&mut self) -> Option<Address> {
        self.sweeps.pop_front()
    }

    pub(crate) fn sweeps_left(&self) -> usize {
        self.sweeps.len()
    }

    /// Checks that the numbers of wanted instances and of reads in progress are the given ones.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self, wanted: usize, under_way: usize) {
        assert_eq!((self.wanted.len(), self.under_way), (wanted, under_way), "instances whose states are read");
    }
}
