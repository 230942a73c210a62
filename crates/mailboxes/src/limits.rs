//! The limits of mailboxes, and how much they hold.

/// Limits of all mailboxes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most messages in memory, including those in flight. Each function has an equal share; further messages wait in
    /// the store. Default: 100 000.
    pub messages: usize,
    /// Most bytes of memory for these messages. Default: 256 MiB.
    pub bytes: usize,
    /// Bytes of all waiting messages, in memory and in the store, from which on the mailboxes are full. Default: no
    /// limit, which suits a store on a disk.
    pub waiting_bytes: usize,
    /// Most delayed messages in memory, namely those that are due first. There may be up to twice as many for a while;
    /// the others are in the store. Each takes about 400 to 700 bytes in addition to its payload. Default: 50 000.
    pub timers: usize,
    /// Most bytes of payloads of delayed messages in memory. Default: 64 MiB.
    pub timer_bytes: usize,
    /// Number of unacknowledged records for egresses from which on no request is sent. With several functions, from half
    /// of it on, those wait that have more than their share of the other half. Default: 100 000.
    pub egress_records: usize,
    /// Bytes of unacknowledged records for egresses, likewise. Default: 64 MiB.
    pub egress_bytes: usize,
    /// Most bytes of memory for states. Beyond that, the least recently used states are evicted. States that are in use
    /// or not durable stay. Default: 256 MiB.
    pub state_bytes: usize,
    /// Bytes of changed states that are not durable from which on no request is sent. A cut has copies of some of them
    /// until it is durable. Default: 64 MiB.
    pub unsaved_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages: 100_000,
            bytes: 256 << 20,
            waiting_bytes: usize::MAX,
            timers: 50_000,
            timer_bytes: 64 << 20,
            egress_records: 100_000,
            egress_bytes: 64 << 20,
            state_bytes: 256 << 20,
            unsaved_bytes: 64 << 20,
        }
    }
}

impl Limits {
    /// The share of memory of each of `functions` functions. It is never zero.
    pub(crate) fn share(&self, functions: usize) -> Amount {
        let share = |of_all: usize| (of_all / functions.max(1)).max(1);
        Amount { messages: share(self.messages), bytes: share(self.bytes) }
    }

    /// From how many unacknowledged records of all of `functions` functions on one of them has to wait, and how many of
    /// them have to be its own. With one function, nothing has to be kept for others.
    pub(crate) fn egress(&self, functions: usize) -> (Amount, Amount) {
        let limits = Amount { messages: self.egress_records, bytes: self.egress_bytes };
        if functions < 2 {
            return (limits, Amount::default());
        }
        let part = |of: usize| Amount { messages: (limits.messages / of).max(1), bytes: (limits.bytes / of).max(1) };
        (part(2), part(2 * functions))
    }
}

/// A number of messages, and about how many bytes of memory they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Amount {
    pub(crate) fn add(&mut self, footprint: usize) {
        self.messages += 1;
        self.bytes += footprint;
    }

    pub(crate) fn remove(&mut self, footprint: usize) {
        self.messages -= 1;
        self.bytes -= footprint;
    }

    /// Whether it is at least as much as `other`, in messages or in bytes.
    pub(crate) fn reaches(self, other: Self) -> bool {
        self.messages >= other.messages || self.bytes >= other.bytes
    }
}

/// How much mailboxes hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Messages that are not handled, including those in flight and those in the store.
    pub messages: u64,
    /// Messages in memory.
    pub messages_in_memory: usize,
    /// About how many bytes of memory these take.
    pub bytes: usize,
    /// Delayed messages that are not due, including those in the store.
    pub timers: u64,
    /// Delayed messages in memory.
    pub timers_in_memory: usize,
    /// Records that their egress has not stored.
    pub egress_records: usize,
    /// Bytes of these records.
    pub egress_bytes: usize,
    /// Addresses in memory that have messages.
    pub mailboxes: usize,
    /// Addresses with messages or states in memory.
    pub instances: usize,
    /// About how many bytes of memory these addresses take, without messages.
    pub state_bytes: usize,
    /// About how many bytes of changed states are not durable.
    pub unsaved_bytes: usize,
    /// Reads of the store that are wanted or in progress. Each address whose states are read counts as one.
    pub reads: usize,
}
