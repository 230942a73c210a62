use std::collections::VecDeque;

/// Tells when all that was queued before some instant is settled.
///
/// Time is cut into generations by the flushes themselves. A record remembers the generation that it was queued in, so
/// that settling costs a counter, however many flushes wait.
#[derive(Debug)]
pub(crate) struct Flushes<W> {
    /// The number of the first generation in `generations`.
    first: u64,
    /// Never empty: the last one is the one that grows.
    generations: VecDeque<Generation<W>>,
}

#[derive(Debug)]
struct Generation<W> {
    outstanding: usize,
    /// Who waits for this generation and all before it.
    waiters: Vec<W>,
}

impl<W> Generation<W> {
    const EMPTY: Self = Self { outstanding: 0, waiters: Vec::new() };
}

impl<W> Flushes<W> {
    pub(crate) fn new() -> Self {
        Self { first: 0, generations: VecDeque::from([Generation::EMPTY]) }
    }

    /// The generation that records have to remember that are queued now.
    pub(crate) fn now(&self) -> u64 {
        self.first + self.generations.len() as u64 - 1
    }

    /// Counts records that were queued now, and gives their generation.
    #[inline]
    pub(crate) fn queued(&mut self, records: usize) -> u64 {
        let last = self.generations.len() - 1;
        self.generations[last].outstanding += records;
        self.first + last as u64
    }

    /// Counts so many records of a generation as settled, and hands over whoever need not wait any longer.
    pub(crate) fn settled(&mut self, generation: u64, records: usize, done: &mut Vec<W>) {
        self.generations[(generation - self.first) as usize].outstanding -= records;
        while self.generations.len() > 1 && self.generations[0].outstanding == 0 {
            done.extend(self.generations.pop_front().into_iter().flat_map(|oldest| oldest.waiters));
            self.first += 1;
        }
    }

    /// Waits for everything that is outstanding now. Gives the waiter back when that is nothing.
    pub(crate) fn wait(&mut self, waiter: W) -> Option<W> {
        let last = self.generations.len() - 1;
        if self.generations[last].outstanding > 0 {
            self.generations[last].waiters.push(waiter);
            self.generations.push_back(Generation::EMPTY);
        } else if last > 0 {
            self.generations[last - 1].waiters.push(waiter);
        } else {
            return Some(waiter);
        }
        None
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

        flushes.settled(late, 1, &mut done);
        flushes.settled(early, 1, &mut done);
        assert!(done.is_empty(), "{done:?}");
        flushes.settled(also_early, 1, &mut done);
        assert_eq!(done, ["first", "first again", "second"]);
        flushes.settled(unflushed, 1, &mut done);
        assert_eq!(flushes.wait("nothing outstanding"), Some("nothing outstanding"));
    }
}
