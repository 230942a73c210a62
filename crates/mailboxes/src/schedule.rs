//! The mailboxes that wait: for their turn, for a time or for a cut.

use std::{
    collections::BTreeSet,
    ops::{Index, IndexMut},
    time::Duration,
};

use crate::{GroupId, GroupSettings, group::Group};

/// The groups with the mailboxes whose turn it is, and the mailboxes that wait for a time or for a cut.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    groups: Vec<Group>,
    /// The group that is asked first for the next request: groups take turns.
    next_group: usize,
    /// The number of the next request.
    next_request: u64,
    /// Mailboxes that wait after a failure, by when their wait ends.
    parked: BTreeSet<(Duration, u32)>,
    /// Mailboxes whose turn it is and whose next messages are not durable yet, so that they cannot be read.
    starved: Vec<u32>,
}

impl Schedule {
    pub(crate) fn add_group(&mut self, settings: GroupSettings) -> GroupId {
        let id = GroupId(u32::try_from(self.groups.len()).expect("groups come from a module file of bounded size"));
        self.groups.push(Group::new(settings));
        id
    }

    /// The group that takes the next turn.
    pub(crate) fn next_group(&mut self) -> GroupId {
        let index = self.next_group % self.groups.len();
        self.next_group = index + 1;
        GroupId(index as u32)
    }

    /// All groups.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The number of a new request.
    pub(crate) fn number_request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request - 1
    }

    /// A mailbox waits until then.
    pub(crate) fn park(&mut self, slot: u32, until: Duration) {
        self.parked.insert((until, slot));
    }

    /// A mailbox that waited until then does not wait any more.
    pub(crate) fn unpark(&mut self, slot: u32, until: Duration) {
        self.parked.remove(&(until, slot));
    }

    /// The next mailbox whose wait has ended.
    pub(crate) fn pop_parked(&mut self, elapsed: Duration) -> Option<u32> {
        let is_over = self.parked.first().is_some_and(|(until, _)| *until <= elapsed);
        if is_over { self.parked.pop_first().map(|(_, slot)| slot) } else { None }
    }

    /// When the next wait ends.
    pub(crate) fn next_retry(&self) -> Option<Duration> {
        self.parked.first().map(|(until, _)| *until)
    }

    /// The mailboxes that wait after a failure, those first whose wait ends last.
    pub(crate) fn parked_longest(&self) -> impl Iterator<Item = (Duration, u32)> {
        self.parked.iter().rev().copied()
    }

    /// A mailbox waits until its next messages are durable.
    pub(crate) fn starve(&mut self, slot: u32) {
        if !self.starved.contains(&slot) {
            self.starved.push(slot);
        }
    }

    pub(crate) fn has_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// Those that waited until more messages are durable. Some of them may be gone.
    pub(crate) fn take_starved(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.starved)
    }
}

impl Index<GroupId> for Schedule {
    type Output = Group;

    fn index(&self, group: GroupId) -> &Group {
        &self.groups[group.index()]
    }
}

impl IndexMut<GroupId> for Schedule {
    fn index_mut(&mut self, group: GroupId) -> &mut Group {
        &mut self.groups[group.index()]
    }
}
