//! Queues of mailboxes that wait: for their turn, for a retry, or for a commit.

use std::{
    collections::BTreeSet,
    ops::{Index, IndexMut},
    time::Duration,
};

use crate::{GroupId, GroupSettings, group::Group};

/// The groups with their ready mailboxes, and the mailboxes that wait for a retry or for a commit.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    groups: Vec<Group>,
    /// The group that may send the next request. Groups take turns.
    next_group: usize,
    /// The number of the next request.
    next_request: u64,
    /// Mailboxes that wait for a retry, by the time of the retry.
    parked: BTreeSet<(Duration, u32)>,
    /// Mailboxes whose turn it is, but whose next messages can be read only after they are durable.
    awaiting_commit: Vec<u32>,
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

    /// Ends the pauses of groups that are over.
    pub(crate) fn end_pauses(&mut self, elapsed: Duration) {
        let next = self.next_request;
        self.groups.iter_mut().for_each(|group| group.breaker.on_time(elapsed, next));
    }

    /// When the next pause of a group ends.
    pub(crate) fn next_pause_end(&self) -> Option<Duration> {
        self.groups.iter().filter_map(|group| group.breaker.pause_ends()).min()
    }

    /// Adds a mailbox that waits for a retry.
    pub(crate) fn park(&mut self, slot: u32, until: Duration) {
        self.parked.insert((until, slot));
    }

    /// Removes a mailbox that waits for a retry at that time.
    pub(crate) fn unpark(&mut self, slot: u32, until: Duration) {
        self.parked.remove(&(until, slot));
    }

    /// Takes the next mailbox whose retry is due.
    pub(crate) fn pop_parked(&mut self, elapsed: Duration) -> Option<u32> {
        let is_over = self.parked.first().is_some_and(|(until, _)| *until <= elapsed);
        if is_over { self.parked.pop_first().map(|(_, slot)| slot) } else { None }
    }

    /// The time of the next retry.
    pub(crate) fn next_retry(&self) -> Option<Duration> {
        self.parked.first().map(|(until, _)| *until)
    }

    /// The mailboxes that wait for a retry, the latest retry first.
    pub(crate) fn parked_longest(&self) -> impl Iterator<Item = (Duration, u32)> {
        self.parked.iter().rev().copied()
    }

    /// Adds a mailbox that waits until its next messages are durable.
    pub(crate) fn await_commit(&mut self, slot: u32) {
        if !self.awaiting_commit.contains(&slot) {
            self.awaiting_commit.push(slot);
        }
    }

    /// Whether mailboxes wait for a commit.
    pub(crate) fn awaits_commit(&self) -> bool {
        !self.awaiting_commit.is_empty()
    }

    /// Takes the mailboxes that waited for a commit. Some of the slots may be empty or reused by now.
    pub(crate) fn take_awaiting_commit(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.awaiting_commit)
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
