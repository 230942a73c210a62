//! How much the mailboxes may hold, and how much they hold.

/// Bounds of all mailboxes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages in memory that are not handled, those in flight too. Each function has an equal share; what is more waits
    /// in the store. Default: 100 000.
    pub messages: usize,
    /// The same in bytes of memory. Default: 256 MiB.
    pub bytes: usize,
    /// Bytes of all messages that wait, in memory and in the store, from which on nothing more is taken in. Default: no
    /// bound, as suits a store on a disk.
    pub waiting_bytes: usize,
    /// Delayed messages in memory: those that are due first. Up to twice as many are there at times; the others are in the
    /// store. Each takes about 400 to 700 bytes beside its payload. Default: 50 000.
    pub timers: usize,
    /// The same in bytes of payloads. Default: 64 MiB.
    pub timer_bytes: usize,
    /// Records on their way to egresses from which on no request goes out. Default: 100 000.
    pub egress_records: usize,
    /// The same in bytes. Default: 64 MiB.
    pub egress_bytes: usize,
    /// Bytes of memory for states. Beyond that, those that were not used for longest are evicted. What is in use
    /// or not durable stays. Default: 256 MiB.
    pub state_bytes: usize,
    /// Bytes of changed states that are in no durable cut from which on no request goes out. A cut has copies of some of
    /// them until it is durable. Default: 64 MiB.
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
    /// What each of so many functions may have in memory. Any function may have something, however many there are.
    pub(crate) fn share(&self, functions: usize) -> Amount {
        let share = |of_all: usize| (of_all / functions.max(1)).max(1);
        Amount { messages: share(self.messages), bytes: share(self.bytes) }
    }
}

/// Messages, and about how much memory they take.
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

    /// Whether it is as much as the other one, in messages or in bytes.
    pub(crate) fn reaches(self, other: Self) -> bool {
        self.messages >= other.messages || self.bytes >= other.bytes
    }
}

/// What mailboxes hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Messages that are not handled, those in flight and those in the store too.
    pub messages: u64,
    /// Those of them that are in memory.
    pub messages_in_memory: usize,
    /// About how much memory these take.
    pub bytes: usize,
    /// Delayed messages that are not due, those in the store too.
    pub timers: u64,
    /// Those of them that are in memory.
    pub timers_in_memory: usize,
    /// Records that their egress has not stored.
    pub egress_records: usize,
    /// The bytes of these records.
    pub egress_bytes: usize,
    /// Addresses in memory that have messages.
    pub mailboxes: usize,
    /// Addresses with messages or states in memory.
    pub instances: usize,
    /// About how much memory these addresses take, messages apart.
    pub state_bytes: usize,
    /// About how many bytes of changed states are in no durable cut.
    pub unsaved_bytes: usize,
    /// Addresses whose states the store is asked for, and other reads.
    pub reads: usize,
}
