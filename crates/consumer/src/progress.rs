//! Which batches of one shard are not acknowledged, and how far everything before them was. No I/O, no locks.

use std::collections::BTreeMap;

use crate::{Position, ShardPosition};

/// The number of a batch of a shard.
pub(crate) type Ticket = u64;

/// Which batches of a shard were handed out and not acknowledged, and how far everything was.
///
/// Each open batch remembers the position right before it. So acknowledged batches take no memory, and the position of
/// the shard is that before the first open batch.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    open: BTreeMap<Ticket, Open>,
    next: Ticket,
    last: Option<Position>,
    /// A batch was dropped. It stays open, so that it holds the position, and batches behind it are not recorded any more.
    stuck: bool,
    ended: bool,
}

/// When an acknowledgement of a batch moves the position over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Now,
    /// After other acknowledgements.
    Later,
    /// Something before it, or of it, was dropped.
    Never,
}

/// A batch that is not done.
#[derive(Debug)]
struct Open {
    /// The position right before it.
    before: Option<Position>,
    waits_for: WaitsFor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    /// So many acknowledgements: its own, and one for each of its dead letters.
    Acknowledgements(usize),
    /// One of its acknowledgements was dropped. It stays open, also when the others come.
    NextStart,
}

impl Progress {
    /// A batch whose last record is at `last`.
    pub(crate) fn issue(&mut self, last: Position) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        let before = self.last.replace(last);
        if !self.stuck {
            self.open.insert(ticket, Open { before, waits_for: WaitsFor::Acknowledgements(1) });
        }
        ticket
    }

    /// A batch waits for one acknowledgement more.
    pub(crate) fn hold(&mut self, ticket: Ticket) {
        if let Some(Open { waits_for: WaitsFor::Acknowledgements(count), .. }) = self.open.get_mut(&ticket) {
            *count += 1;
        }
    }

    pub(crate) fn acknowledge(&mut self, ticket: Ticket) {
        if let Some(Open { waits_for: WaitsFor::Acknowledgements(count), .. }) = self.open.get_mut(&ticket) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&ticket);
            }
        }
    }

    /// The batch was dropped and will not be acknowledged. Later batches are forgotten: they cannot move the position any
    /// more, and would take memory until the next start.
    pub(crate) fn abandon(&mut self, ticket: Ticket) {
        if let Some(open) = self.open.get_mut(&ticket) {
            open.waits_for = WaitsFor::NextStart;
            self.open.split_off(&(ticket + 1));
            self.stuck = true;
        }
    }

    /// There are no more batches.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether an acknowledgement of this batch moves the position over it at once.
    pub(crate) fn readiness(&self, ticket: Ticket) -> Readiness {
        match self.open.first_key_value() {
            // Dropped, or behind one that was. (An acknowledged batch has no acknowledgement left to ask for it.)
            _ if !self.open.contains_key(&ticket) => Readiness::Never,
            Some((_, first)) if first.waits_for == WaitsFor::NextStart => Readiness::Never,
            Some((first, open)) if *first == ticket && open.waits_for == WaitsFor::Acknowledgements(1) => {
                Readiness::Now
            }
            _ => Readiness::Later,
        }
    }

    /// How far everything was processed; `None` while nothing of what this reader read was.
    pub(crate) fn reached(&self) -> Option<ShardPosition> {
        match self.open.first_key_value() {
            Some((_, open)) => open.before.map(ShardPosition::At),
            None if self.ended => Some(ShardPosition::Finished),
            None => self.last.map(ShardPosition::At),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(number: u64) -> Position {
        Position::behind(number.into())
    }

    fn at(number: u64) -> Option<ShardPosition> {
        Some(ShardPosition::At(position(number)))
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fate {
        Open,
        Done,
        Dropped,
    }

    proptest! {
        #[test]
        fn the_position_is_that_of_the_contiguous_prefix(
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..80),
        ) {
            let mut progress = Progress::default();
            let mut fates: Vec<Fate> = Vec::new();
            for (which, kind) in steps {
                let open: Vec<usize> = (0..fates.len()).filter(|&i| fates[i] == Fate::Open).collect();
                match kind {
                    0..=3 => {
                        let ticket = progress.issue(position(fates.len() as u64 + 1));
                        prop_assert_eq!(ticket as usize, fates.len());
                        fates.push(Fate::Open);
                    }
                    4..=6 if !open.is_empty() => {
                        let ticket = open[which.index(open.len())];
                        progress.acknowledge(ticket as u64);
                        fates[ticket] = Fate::Done;
                    }
                    7 if !open.is_empty() && which.index(3) == 0 => {
                        let ticket = open[which.index(open.len())];
                        progress.abandon(ticket as u64);
                        fates[ticket] = Fate::Dropped;
                    }
                    _ => {}
                }
                let prefix = fates.iter().take_while(|fate| **fate == Fate::Done).count();
                let expected = if prefix == 0 { None } else { at(prefix as u64) };
                prop_assert_eq!(progress.reached(), expected);
                let up_to_first_dropped = fates.iter().position(|fate| *fate == Fate::Dropped).unwrap_or(fates.len());
                prop_assert!(progress.open.len() <= up_to_first_dropped + 1);
            }
            progress.end();
            let all = fates.iter().all(|fate| *fate == Fate::Done);
            prop_assert_eq!(progress.reached() == Some(ShardPosition::Finished), all);
        }
    }

    #[test]
    fn a_batch_that_waits_for_two_is_done_after_both() {
        let mut progress = Progress::default();
        let ticket = progress.issue(position(1));
        progress.hold(ticket);
        progress.acknowledge(ticket);
        assert_eq!(progress.reached(), None);
        progress.acknowledge(ticket);
        assert_eq!(progress.reached(), at(1));

        let ticket = progress.issue(position(2));
        progress.hold(ticket);
        progress.abandon(ticket);
        progress.hold(ticket);
        for _ in 0..3 {
            progress.acknowledge(ticket);
        }
        assert_eq!(progress.reached(), at(1), "one of them was dropped");
    }
}
