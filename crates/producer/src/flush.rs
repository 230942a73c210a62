use std::collections::VecDeque;

/// Tells each flush when all records that were queued before it are completed: stored or failed.
///
/// The flushes divide the records into generations. A record remembers the generation in which it was queued, so that
/// completing a record costs one counter, however many flushes wait.
#[derive(Debug)]
pub(crate) struct Flushes<W> {
    /// The number of the first generation in `generations`.
    first: u64,
    /// Never empty: records that are queued now belong to the last one.
    generations: VecDeque<Generation<W>>,
}

#[derive(Debug)]
struct Generation<W> {
    outstanding: usize,
    /// The flushes that wait for this generation and all before it.
    waiters: Vec<W>,
}

impl<W> Generation<W> {
    const EMPTY: Self = Self { outstanding: 0, waiters: Vec::new() };
}

impl<W> Flushes<W> {
    pub(crate) fn new() -> Self {
        Self { first: 0, generations: VecDeque::from([Generation::EMPTY]) }
    }

    /// The generation of records that are queued now.
    pub(crate) fn current(&self) -> u64 {
        self.first + self.generations.len() as u64 - 1
    }

    /// Counts records that are queued now, and returns their generation.
    #[inline]
    pub(crate) fn queued(&mut self, records: usize) -> u64 {
        let last = self.generations.len() - 1;
        self.generations[last].outstanding += records;
        self.first + last as u64
    }

    /// Counts records of a generation as completed, and adds the waiters to `done` for which these were the last.
    pub(crate) fn completed(&mut self, generation: u64, records: usize, done: &mut Vec<W>) {
        self.generations[(generation - self.first) as usize].outstanding -= records;
        // In order: a flush waits for all generations before it.
        while self.generations.len() > 1 && self.generations[0].outstanding == 0 {
            done.extend(self.generations.pop_front().into_iter().flat_map(|oldest| oldest.waiters));
            self.first += 1;
        }
    }

    /// Waits for all records that are outstanding now. Returns the waiter when there are none.
    pub(crate) fn wait(&mut self, waiter: W) -> Option<W> {
        let last = self.generations.len() - 1;
        if self.generations[last].outstanding > 0 {
            self.generations[last].waiters.push(waiter);
            self.generations.push_back(Generation::EMPTY);
        } else if last > 0 {
            // Nothing was queued since the last flush: it waits for the same records.
            self.generations[last - 1].waiters.push(waiter);
        } else {
            return Some(waiter);
        }
        None
    }

    /// Outstanding records of all generations.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn outstanding(&self) -> usize {
        self.generations.iter().map(|generation| generation.outstanding).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_ends_with_the_last_record_before_it_and_not_before_an_earlier_flush() {
        let mut flushes = Flushes::new();
        let mut done = Vec::new();
        assert_eq!(flushes.wait("nothing outstanding"), Some("nothing outstanding"));

        let early = flushes.queued(1);
        let also_early = flushes.queued(1);
        assert_eq!(flushes.wait("first"), None);
        assert_eq!(flushes.wait("first again"), None);
        let late = flushes.queued(1);
        assert_eq!(flushes.wait("second"), None);
        let unflushed = flushes.queued(1);

        flushes.completed(late, 1, &mut done);
        flushes.completed(early, 1, &mut done);
        assert!(done.is_empty(), "{done:?}");
        flushes.completed(also_early, 1, &mut done);
        assert_eq!(done, ["first", "first again", "second"]);
        flushes.completed(unflushed, 1, &mut done);
        assert_eq!(flushes.wait("nothing outstanding"), Some("nothing outstanding"));
    }
}
