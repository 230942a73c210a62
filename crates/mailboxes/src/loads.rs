//! Which states are read from the store.

use std::collections::VecDeque;

use statefun_kinesis_types::Address;

/// Addresses whose states are asked for.
#[derive(Debug)]
pub(crate) struct Loads {
    /// Instances whose states are to be asked for.
    wanted: VecDeque<u32>,
    /// How many were asked for and have not come.
    under_way: usize,
    /// Addresses that have expired values in the store and are not needed for anything else.
    sweeps: VecDeque<Address>,
    /// About how large an instance is with the states that come.
    expected_bytes: usize,
}

impl Default for Loads {
    /// A high estimate until the first states have come, so that the first loads do not bring a gigabyte at once.
    fn default() -> Self {
        Self { wanted: VecDeque::new(), under_way: 0, sweeps: VecDeque::new(), expected_bytes: 1 << 20 }
    }
}

impl Loads {
    /// How many are wanted or under way.
    pub(crate) fn count(&self) -> usize {
        self.wanted.len() + self.under_way
    }

    /// The states of an instance are to be asked for.
    pub(crate) fn want(&mut self, place: u32) {
        self.wanted.push_back(place);
    }

    /// Instances whose states are asked for now.
    pub(crate) fn take(&mut self) -> VecDeque<u32> {
        let wanted = std::mem::take(&mut self.wanted);
        self.under_way += wanted.len();
        wanted
    }

    /// States have come; `bytes` is what they take.
    pub(crate) fn came(&mut self, bytes: usize) {
        self.under_way -= 1;
        // A moving average, in which the last sixteen weigh most.
        self.expected_bytes = (self.expected_bytes * 15 + bytes).div_ceil(16);
    }

    /// States could not be read.
    pub(crate) fn failed(&mut self) {
        self.under_way -= 1;
    }

    /// About how many bytes will have come when there was one more.
    pub(crate) fn bytes_with_one_more(&self) -> usize {
        (self.count() + 1) * self.expected_bytes
    }

    /// Remembers an address that has an expired value in the store.
    pub(crate) fn add_sweep(&mut self, address: Address) {
        // The values of an address follow each other.
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

    /// Checks what always holds: so many instances are wanted, and so many are under way.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self, wanted: usize, under_way: usize) {
        assert_eq!((self.wanted.len(), self.under_way), (wanted, under_way), "instances whose states are asked for");
    }
}
