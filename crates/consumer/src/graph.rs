//! The shards of a stream and their parents: which shards can be read now, and from where.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::{Duration, Instant},
};

use statefun_kinesis_client::ChildShard;
use statefun_kinesis_types::{HashKeyRange, Shard, ShardId, StartPosition};

use crate::{
    ShardPosition, StreamCheckpoint,
    cursor::Begin,
    shard_end::{LISTING_LAG, is_closed},
};

/// The shards of one stream, and how far each is.
///
/// Listings and the ends of shards go in; shards to read come out. A shard comes out when all its parents are finished:
/// records of one key lie in the parent first and then in a child, so that this order keeps the order of the key.
///
/// A parent that is not in the graph does not delay its children. It was removed by retention, or was closed before the
/// position at which reading starts. But a single listing that leaves a shard out proves nothing, because listings lag
/// behind: a new shard whose parent is unknown waits for a second listing, and positions of unlisted shards are kept.
#[derive(Debug)]
pub(crate) struct ShardGraph {
    shards: BTreeMap<ShardId, Node>,
    /// Shards with a stored position that no listing of this run has named.
    unlisted: BTreeMap<ShardId, Unlisted>,
    /// New shards whose parents are unknown, and since when. A listing may have left out the parents, and a child that
    /// started before them would make them look like ancestors that were closed before the start.
    awaiting_parents: BTreeMap<ShardId, Instant>,
    /// The greatest id in a listing, behind which the next listing looks for new shards. Children that GetRecords reports do
    /// not count: there may be unknown shards with smaller ids, which that listing would miss.
    last_listed: Option<ShardId>,
    /// Number of listings started.
    listings: u64,
}

#[derive(Debug)]
struct Node {
    parents: BTreeSet<ShardId>,
    hash_range: HashKeyRange,
    state: State,
    /// Since when complete listings leave it out.
    missed_since: Option<Instant>,
}

impl Node {
    fn new(parents: BTreeSet<ShardId>, hash_range: HashKeyRange, state: State) -> Self {
        Self { parents, hash_range, state, missed_since: None }
    }
}

#[derive(Debug)]
struct Unlisted {
    state: State,
    since: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting(Begin),
    Reading,
    /// Read to its end and acknowledged, after this many listings were started.
    Finished(u64),
}

/// A listing that was started. Its content is at least as new as its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListingId(u64);

impl ShardGraph {
    /// The graph of a stream that is read for the first time: the shards of the first listing start at `start`.
    pub(crate) fn first(start: StartPosition, listed: Vec<Shard>) -> Self {
        let mut graph = Self::empty();
        graph.insert(listed, |_| State::Waiting(Begin::From(start)));
        graph
    }

    /// The graph of a stream that was read before, from a complete listing.
    ///
    /// Shards that are stored as finished and are open start again where the stream was read from first.
    pub(crate) fn resume(now: Instant, checkpoint: StreamCheckpoint, mut listed: Vec<Shard>) -> Self {
        let open = Self::finished_but_open(&checkpoint, &listed);
        let StreamCheckpoint { start, shards: mut stored, .. } = checkpoint;
        let mut graph = Self::empty();
        let known: BTreeSet<ShardId> = stored.keys().cloned().collect();
        graph.leave_out_ancestors(&known, &mut listed);
        let state = |id: &ShardId, position| match position {
            ShardPosition::At(position) => State::Waiting(Begin::Behind(position)),
            ShardPosition::Unread => State::Waiting(Begin::From(start)),
            ShardPosition::Finished if open.contains(id) => State::Waiting(Begin::From(start)),
            ShardPosition::Finished => State::Finished(0),
        };
        graph.insert(listed, |id| match stored.remove(id) {
            Some(position) => state(id, position),
            None => State::Waiting(Begin::From(StartPosition::TrimHorizon)),
        });
        let unlisted = stored.into_iter().map(|(id, position)| {
            let state = state(&id, position);
            (id, Unlisted { state, since: now })
        });
        graph.unlisted = unlisted.collect();
        graph
    }

    /// The shards that are stored as finished although a listing says that they are open.
    pub(crate) fn finished_but_open(checkpoint: &StreamCheckpoint, listed: &[Shard]) -> BTreeSet<ShardId> {
        let is_finished = |shard: &&Shard| checkpoint.shards.get(&shard.id) == Some(&ShardPosition::Finished);
        let open = listed.iter().filter(is_finished).filter(|shard| !is_closed(shard, listed));
        open.map(|shard| shard.id.clone()).collect()
    }

    /// The shards of a listing that are not known, and whose parents are neither known nor in the listing. A shard that
    /// is new `since_first` listing has parents: one without has lost them.
    pub(crate) fn with_unknown_parents(
        known: impl Fn(&ShardId) -> bool,
        since_first: bool,
        listed: &[Shard],
    ) -> BTreeSet<ShardId> {
        let ids: BTreeSet<&ShardId> = listed.iter().map(|shard| &shard.id).collect();
        let is_unknown = |parent: &ShardId| !known(parent) && !ids.contains(parent);
        let new = listed.iter().filter(|shard| !known(&shard.id));
        new.filter(|shard| shard.parents().any(is_unknown) || (since_first && shard.parents().next().is_none()))
            .map(|shard| shard.id.clone())
            .collect()
    }

    fn empty() -> Self {
        Self {
            shards: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            awaiting_parents: BTreeMap::new(),
            last_listed: None,
            listings: 0,
        }
    }

    /// Whether new shards wait for a complete listing that may name their parents.
    pub(crate) fn awaits_parents(&self) -> bool {
        !self.awaiting_parents.is_empty()
    }

    /// A listing is started.
    pub(crate) fn begin_listing(&mut self) -> ListingId {
        self.listings += 1;
        ListingId(self.listings)
    }

    /// The greatest id of the listings so far.
    pub(crate) fn last_listed(&self) -> Option<&ShardId> {
        self.last_listed.as_ref()
    }

    /// Adds the shards of a listing. New ones start at trim horizon, whatever the startup position: they exist because of a
    /// resharding after the first start, and all their records are newer than that.
    pub(crate) fn listed(&mut self, now: Instant, mut listed: Vec<Shard>) {
        if listed.is_empty() {
            return;
        }
        self.leave_out_orphans(now, &mut listed);
        let known: BTreeSet<ShardId> = self.shards.keys().chain(self.unlisted.keys()).cloned().collect();
        self.leave_out_ancestors(&known, &mut listed);
        self.insert(listed, |_| State::Waiting(Begin::From(StartPosition::TrimHorizon)));
    }

    /// Removes new shards whose parents are unknown from a listing, with their descendants, until a listing leaves out
    /// the parents a second time and some time later.
    fn leave_out_orphans(&mut self, now: Instant, listed: &mut Vec<Shard>) {
        let is_known = |id: &ShardId| self.shards.contains_key(id) || self.unlisted.contains_key(id);
        let orphans = Self::with_unknown_parents(is_known, true, listed);
        let mut waiting = BTreeSet::new();
        for orphan in &orphans {
            let since = *self.awaiting_parents.entry(orphan.clone()).or_insert(now);
            if now.saturating_duration_since(since) < LISTING_LAG {
                waiting.insert(orphan.clone());
            }
        }
        loop {
            let before = waiting.len();
            let is_behind = |shard: &&Shard| shard.parents().any(|parent| waiting.contains(parent));
            let behind: Vec<ShardId> = listed.iter().filter(is_behind).map(|shard| shard.id.clone()).collect();
            waiting.extend(behind.into_iter().filter(|id| !self.shards.contains_key(id)));
            if waiting.len() == before {
                break;
            }
        }
        // The others are inserted now, or the listing, which is complete while any wait, has left them out.
        self.awaiting_parents.retain(|id, _| waiting.contains(id));
        listed.retain(|shard| !waiting.contains(&shard.id));
    }

    /// Adds the children that GetRecords reports at the end of a shard. A child with another parent that is not in the graph
    /// is left to the next listing: that parent may be new rather than removed, and the child has to wait for it then. So is
    /// a child without parents.
    pub(crate) fn reported(&mut self, children: Vec<ChildShard>) {
        for child in children {
            let are_known = child.parents.iter().all(|parent| self.shards.contains_key(parent));
            if are_known && !child.parents.is_empty() {
                let stored = self.unlisted.remove(&child.id).map(|unlisted| unlisted.state);
                let state = stored.unwrap_or(State::Waiting(Begin::From(StartPosition::TrimHorizon)));
                let node = Node::new(child.parents.into_iter().collect(), child.hash_range, state);
                self.shards.entry(child.id).or_insert(node);
            }
        }
    }

    /// Removes finished and stored shards that complete listings do not contain any more, and returns them.
    ///
    /// A shard that is forgotten too early would be read again from trim horizon. So the listing must have started after
    /// the shard was finished: an older one may have been made before the shard was created. And listings have to leave
    /// it out for as long as `retention`. If it is finished, a shorter time is enough as soon as they name a child of it:
    /// the ancestors of known shards are never read.
    pub(crate) fn forget_unlisted(
        &mut self,
        now: Instant,
        listing: ListingId,
        listed: &[Shard],
        retention: Duration,
    ) -> Vec<ShardId> {
        let ids: BTreeSet<&ShardId> = listed.iter().map(|shard| &shard.id).collect();
        let parents: BTreeSet<&ShardId> = listed.iter().flat_map(Shard::parents).collect();
        let is_over = |id: &ShardId, is_finished: bool, since: Instant| {
            let limit = if is_finished && parents.contains(id) { LISTING_LAG.min(retention) } else { retention };
            now.saturating_duration_since(since) >= limit
        };
        let mut removed = Vec::new();
        for (id, node) in &mut self.shards {
            match node.state {
                State::Finished(when) if when < listing.0 && !ids.contains(id) => {
                    if is_over(id, true, *node.missed_since.get_or_insert(now)) {
                        removed.push(id.clone());
                    }
                }
                State::Finished(_) | State::Waiting(_) | State::Reading => node.missed_since = None,
            }
        }
        for id in &removed {
            self.shards.remove(id);
        }
        for (id, unlisted) in &self.unlisted {
            let is_finished = matches!(unlisted.state, State::Finished(_));
            if !ids.contains(id) && is_over(id, is_finished, unlisted.since) {
                removed.push(id.clone());
            }
        }
        self.unlisted.retain(|id, _| !removed.contains(id));
        removed
    }

    /// A shard was read to its end and all of it was acknowledged, or retention removed it.
    pub(crate) fn finished(&mut self, shard: &ShardId) {
        if let Some(node) = self.shards.get_mut(shard) {
            node.state = State::Finished(self.listings);
        }
    }

    /// The hash keys of a shard.
    pub(crate) fn hash_range(&self, shard: &ShardId) -> Option<HashKeyRange> {
        self.shards.get(shard).map(|node| node.hash_range)
    }

    /// Returns the shards that can be read now and where reading begins. Each is returned once.
    pub(crate) fn start(&mut self) -> Vec<(ShardId, Begin)> {
        let finished = |id: &ShardId| match self.shards.get(id) {
            Some(parent) => matches!(parent.state, State::Finished(_)),
            None => true,
        };
        let ready: Vec<(ShardId, Begin)> = self
            .shards
            .iter()
            .filter_map(|(id, node)| match node.state {
                State::Waiting(begin) if node.parents.iter().all(finished) => Some((id.clone(), begin)),
                State::Waiting(_) | State::Reading | State::Finished(_) => None,
            })
            .collect();
        for (id, _) in &ready {
            if let Some(node) = self.shards.get_mut(id) {
                node.state = State::Reading;
            }
        }
        ready
    }

    /// Whether a child of this shard is known.
    pub(crate) fn has_child(&self, shard: &ShardId) -> bool {
        self.shards.values().any(|node| node.parents.contains(shard))
    }

    /// Whether all shards are finished.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.shards.values().all(|node| matches!(node.state, State::Finished(_)))
    }

    /// Removes unknown ancestors of known shards from a listing. They were closed before reading started, and their records
    /// are older than that. A new shard is never such an ancestor: a child becomes known with its parents or after them.
    fn leave_out_ancestors(&self, known: &BTreeSet<ShardId>, listed: &mut Vec<Shard>) {
        let mut old = BTreeSet::new();
        let by_id: BTreeMap<&ShardId, &Shard> = listed.iter().map(|shard| (&shard.id, shard)).collect();
        let mut open: Vec<&ShardId> = known.iter().collect();
        while let Some(child) = open.pop() {
            let listed_parents = by_id.get(child).into_iter().flat_map(|shard| shard.parents());
            let known_parents = self.shards.get(child).into_iter().flat_map(|node| &node.parents);
            for parent in listed_parents.chain(known_parents) {
                if !known.contains(parent) && old.insert(parent.clone()) {
                    open.push(parent);
                }
            }
        }
        listed.retain(|shard| !old.contains(&shard.id));
    }

    fn insert(&mut self, listed: Vec<Shard>, mut state: impl FnMut(&ShardId) -> State) {
        let greatest = listed.iter().map(|shard| &shard.id).max().cloned();
        self.last_listed = self.last_listed.take().max(greatest);
        for shard in listed {
            let parents: BTreeSet<ShardId> = shard.parents().cloned().collect();
            let stored = self.unlisted.remove(&shard.id).map(|unlisted| unlisted.state);
            match self.shards.entry(shard.id) {
                Entry::Vacant(place) => {
                    let state = stored.unwrap_or_else(|| state(place.key()));
                    place.insert(Node::new(parents, shard.hash_range, state));
                }
                // Its report by GetRecords may have named only some of the parents. The child waits for all of them.
                Entry::Occupied(mut known) => known.get_mut().parents.extend(parents),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statefun_kinesis_types::Timestamp;

    use super::*;
    use crate::Position;

    const TRIM_HORIZON: Begin = Begin::From(StartPosition::TrimHorizon);
    const PINNED: StartPosition = StartPosition::AtTimestamp(Timestamp::EPOCH);

    fn id(number: usize) -> ShardId {
        format!("shardId-{number:012}").parse().unwrap()
    }

    fn shard(number: usize, parents: &[usize]) -> Shard {
        let mut shard = Shard::new(id(number), HashKeyRange::FULL, 0_u64.into());
        shard.parent = parents.first().map(|&number| id(number));
        shard.adjacent_parent = parents.get(1).map(|&number| id(number));
        shard
    }

    fn shards(list: &[(usize, &[usize])]) -> Vec<Shard> {
        list.iter().map(|(number, parents)| shard(*number, parents)).collect()
    }

    fn child(number: usize, parents: &[usize]) -> ChildShard {
        ChildShard::new(id(number), parents.iter().map(|&number| id(number)).collect(), HashKeyRange::FULL)
    }

    fn checkpoint(entries: &[(usize, ShardPosition)]) -> StreamCheckpoint {
        let mut checkpoint = StreamCheckpoint::new(Timestamp::EPOCH, PINNED);
        checkpoint.shards = entries.iter().map(|(number, position)| (id(*number), *position)).collect();
        checkpoint
    }

    fn position(number: u64) -> Position {
        Position::behind(number.into())
    }

    #[track_caller]
    fn starts(graph: &mut ShardGraph, expected: &[(usize, Begin)]) {
        let expected: Vec<_> = expected.iter().map(|(number, begin)| (id(*number), *begin)).collect();
        assert_eq!(graph.start(), expected);
    }

    #[test]
    fn the_first_listing_starts_at_the_startup_position_and_later_shards_at_trim_horizon() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[]), (1, &[])]));
        starts(&mut graph, &[(0, Begin::From(PINNED)), (1, Begin::From(PINNED))]);
        graph.finished(&id(0));
        graph.listed(Instant::now(), shards(&[(2, &[0]), (3, &[0])]));
        starts(&mut graph, &[(2, TRIM_HORIZON), (3, TRIM_HORIZON)]);
        starts(&mut graph, &[]);
    }

    #[test]
    fn in_the_first_listing_parents_come_before_children_too() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[]), (1, &[0]), (2, &[0])]));
        starts(&mut graph, &[(0, Begin::From(PINNED))]);
        graph.finished(&id(0));
        starts(&mut graph, &[(1, Begin::From(PINNED)), (2, Begin::From(PINNED))]);
    }

    #[test]
    fn a_merged_shard_waits_for_both_parents() {
        for first in [0, 1] {
            let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[]), (1, &[]), (2, &[0, 1])]));
            assert_eq!(graph.start().len(), 2);
            graph.finished(&id(first));
            starts(&mut graph, &[]);
            graph.finished(&id(1 - first));
            starts(&mut graph, &[(2, Begin::From(PINNED))]);
        }
    }

    #[test]
    fn a_parent_that_retention_removed_does_not_delay_its_children() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(5, &[3]), (6, &[3, 4])]));
        starts(&mut graph, &[(5, Begin::From(PINNED)), (6, Begin::From(PINNED))]);
    }

    #[test]
    fn a_stored_position_wins_and_shards_without_one_start_at_trim_horizon() {
        let stored = checkpoint(&[
            (0, ShardPosition::Finished),
            (1, ShardPosition::At(position(7))),
            (2, ShardPosition::Unread),
            (9, ShardPosition::Finished),
        ]);
        let listed = shards(&[(0, &[]), (1, &[]), (2, &[]), (3, &[0])]);
        let mut graph = ShardGraph::resume(Instant::now(), stored, listed);
        starts(&mut graph, &[(1, Begin::Behind(position(7))), (2, Begin::From(PINNED)), (3, TRIM_HORIZON)]);
    }

    #[test]
    fn a_parent_with_a_stored_position_is_read_to_its_end_before_its_child() {
        let stored = checkpoint(&[(0, ShardPosition::At(position(7))), (1, ShardPosition::Unread)]);
        let mut graph = ShardGraph::resume(Instant::now(), stored, shards(&[(0, &[]), (1, &[0])]));
        starts(&mut graph, &[(0, Begin::Behind(position(7)))]);
        graph.finished(&id(0));
        starts(&mut graph, &[(1, Begin::From(PINNED))]);
    }

    #[test]
    fn what_closed_before_the_first_start_is_not_read_when_a_listing_names_it_without_its_child() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(3, &[1, 2])]));
        assert_eq!(graph.start().len(), 1);
        graph.listed(Instant::now(), shards(&[(0, &[]), (1, &[0]), (2, &[0])]));
        starts(&mut graph, &[]);
    }

    #[test]
    fn what_closed_before_the_first_start_is_never_read() {
        // The first listing, from a timestamp, left out 0 to 2; a later one is complete, and 5 is new in it.
        let all: &[(usize, &[usize])] = &[(0, &[]), (1, &[0]), (2, &[0]), (3, &[1, 2]), (4, &[]), (5, &[4])];
        let mut graph = ShardGraph::first(PINNED, shards(&[(3, &[1, 2]), (4, &[])]));
        assert_eq!(graph.start().len(), 2);
        graph.listed(Instant::now(), shards(all));
        graph.finished(&id(4));
        starts(&mut graph, &[(5, TRIM_HORIZON)]);

        let stored = checkpoint(&[(3, ShardPosition::At(position(1))), (4, ShardPosition::Finished)]);
        let mut graph = ShardGraph::resume(Instant::now(), stored, shards(all));
        starts(&mut graph, &[(3, Begin::Behind(position(1))), (5, TRIM_HORIZON)]);
    }

    #[test]
    fn generations_that_appear_together_start_one_after_the_other() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[])]));
        assert_eq!(graph.start().len(), 1);
        graph.finished(&id(0));
        graph.listed(Instant::now(), shards(&[(0, &[]), (1, &[0]), (2, &[0]), (3, &[1]), (4, &[1]), (5, &[2, 3])]));
        starts(&mut graph, &[(1, TRIM_HORIZON), (2, TRIM_HORIZON)]);
        graph.finished(&id(1));
        starts(&mut graph, &[(3, TRIM_HORIZON), (4, TRIM_HORIZON)]);
        graph.finished(&id(3));
        starts(&mut graph, &[]);
        graph.finished(&id(2));
        starts(&mut graph, &[(5, TRIM_HORIZON)]);
    }

    #[test]
    fn a_reported_child_starts_without_a_listing() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[])]));
        assert_eq!(graph.start().len(), 1);
        assert!(!graph.has_child(&id(0)));
        graph.reported(vec![child(1, &[0]), child(2, &[0])]);
        assert!(graph.has_child(&id(0)) && !graph.has_child(&id(1)));
        starts(&mut graph, &[]);
        graph.finished(&id(0));
        starts(&mut graph, &[(1, TRIM_HORIZON), (2, TRIM_HORIZON)]);
        assert_eq!(graph.last_listed(), Some(&id(0)));
        graph.listed(Instant::now(), shards(&[(1, &[0]), (2, &[0])]));
        starts(&mut graph, &[]);
    }

    #[test]
    fn a_reported_child_whose_other_parent_was_not_met_yet_is_left_to_the_listing() {
        // 0 was split into 2 and 3, and 1 merged with 2 into 4, before any listing named them.
        let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[]), (1, &[])]));
        assert_eq!(graph.start().len(), 2);
        graph.reported(vec![child(4, &[1, 2])]);
        graph.finished(&id(1));
        starts(&mut graph, &[]);
        graph.listed(Instant::now(), shards(&[(2, &[0]), (3, &[0]), (4, &[1, 2])]));
        starts(&mut graph, &[]);
        graph.finished(&id(0));
        starts(&mut graph, &[(2, TRIM_HORIZON), (3, TRIM_HORIZON)]);
        graph.finished(&id(2));
        starts(&mut graph, &[(4, TRIM_HORIZON)]);
    }

    #[test]
    fn a_reported_child_waits_also_for_the_parents_that_only_a_listing_names() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[]), (1, &[])]));
        assert_eq!(graph.start().len(), 2);
        graph.reported(vec![child(2, &[0])]);
        graph.listed(Instant::now(), shards(&[(0, &[]), (1, &[]), (2, &[0, 1])]));
        graph.finished(&id(0));
        assert!(graph.has_child(&id(1)));
        starts(&mut graph, &[]);
        graph.finished(&id(1));
        starts(&mut graph, &[(2, TRIM_HORIZON)]);
    }

    #[test]
    fn a_known_parent_is_still_waited_for_when_a_listing_does_not_name_it_any_more() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[]), (1, &[])]));
        assert_eq!(graph.start().len(), 2);
        graph.reported(vec![child(2, &[0, 1])]);
        graph.listed(Instant::now(), shards(&[(2, &[1])]));
        graph.finished(&id(1));
        starts(&mut graph, &[]);
        graph.finished(&id(0));
        starts(&mut graph, &[(2, TRIM_HORIZON)]);
    }

    #[test]
    fn the_last_listed_shard_is_the_greatest_of_all_listings() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(4, &[]), (1, &[]), (3, &[])]));
        assert_eq!(graph.last_listed(), Some(&id(4)));
        for (listing, expect) in [(&[2][..], 4), (&[6, 5], 6), (&[], 6)] {
            graph.listed(Instant::now(), listing.iter().map(|number| shard(*number, &[4])).collect());
            assert_eq!(graph.last_listed(), Some(&id(expect)), "{listing:?}");
        }
    }

    #[test]
    fn a_finished_parent_is_forgotten_once_a_newer_listing_leaves_it_out() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[])]));
        assert_eq!(graph.start().len(), 1);
        let older = graph.begin_listing();
        graph.reported(vec![child(1, &[0])]);
        graph.finished(&id(0));
        assert_eq!(graph.start().len(), 1);
        let newer = graph.begin_listing();
        let start = Instant::now();
        let late = start + LISTING_LAG;
        let retention = Duration::from_secs(3_600);
        let without_parent = shards(&[(1, &[0])]);
        let mut forget = |now, listing, listed: &[Shard]| graph.forget_unlisted(now, listing, listed, retention);
        assert_eq!(forget(start, older, &without_parent), []);
        assert_eq!(forget(late, older, &without_parent), [], "it may be older than the shard's end");
        assert_eq!(forget(start, newer, &shards(&[(0, &[]), (1, &[0])])), []);
        assert_eq!(forget(start, newer, &without_parent), [], "the first time");
        assert_eq!(forget(late, newer, &shards(&[(0, &[]), (1, &[0])])), [], "listed again");
        assert_eq!(forget(late, newer, &[]), [], "nothing is listed, not even its child");
        assert_eq!(forget(late + LISTING_LAG, newer, &[]), []);
        assert_eq!(forget(late + LISTING_LAG, newer, &without_parent), [id(0)]);
        assert_eq!(forget(late + retention, newer, &[]), [], "a shard that is being read stays");
    }

    #[test]
    fn a_finished_shard_without_a_listed_child_is_remembered_until_retention_has_passed() {
        let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[])]));
        assert_eq!(graph.start().len(), 1);
        graph.finished(&id(0));
        let (start, listing, retention) = (Instant::now(), graph.begin_listing(), Duration::from_secs(3_600));
        assert_eq!(graph.forget_unlisted(start, listing, &[], retention), []);
        assert_eq!(graph.forget_unlisted(start + retention - LISTING_LAG, listing, &[], retention), []);
        assert_eq!(graph.forget_unlisted(start + retention, listing, &[], retention), [id(0)]);
    }

    #[test]
    fn a_stored_position_outlives_a_listing_that_leaves_out_its_shard() {
        let stored = checkpoint(&[(0, ShardPosition::At(position(7))), (1, ShardPosition::Unread)]);
        let (start, retention) = (Instant::now(), Duration::from_secs(3_600));
        let resumed = || ShardGraph::resume(start, stored.clone(), shards(&[(1, &[0])]));
        let mut graph = resumed();
        starts(&mut graph, &[(1, Begin::From(PINNED))]);
        let listing = graph.begin_listing();
        assert_eq!(graph.forget_unlisted(start + retention / 2, listing, &shards(&[(1, &[0])]), retention), []);
        graph.listed(start + retention / 2, shards(&[(0, &[]), (1, &[0])]));
        starts(&mut graph, &[(0, Begin::Behind(position(7)))]);

        let mut graph = resumed();
        let listing = graph.begin_listing();
        assert_eq!(graph.forget_unlisted(start + retention, listing, &shards(&[(1, &[0])]), retention), [id(0)]);
    }

    #[test]
    fn an_open_shard_that_is_stored_as_finished_starts_again() {
        let stored = checkpoint(&[(0, ShardPosition::Finished), (1, ShardPosition::Finished)]);
        let mut listed = shards(&[(0, &[]), (1, &[])]);
        listed[1].ending_sequence_number = Some(9_u64.into());
        assert_eq!(ShardGraph::finished_but_open(&stored, &listed), [id(0)].into());
        starts(&mut ShardGraph::resume(Instant::now(), stored, listed), &[(0, Begin::From(PINNED))]);
    }

    #[test]
    fn new_shards_whose_parents_a_listing_leaves_out_wait_for_a_second_one() {
        let reading = || {
            let mut graph = ShardGraph::first(PINNED, shards(&[(0, &[])]));
            assert_eq!(graph.start().len(), 1);
            graph.finished(&id(0));
            graph
        };
        let start = Instant::now();
        // 0 was split into 1 and 2, and 1 into 3 and 4, of which 5 is made; 1 is left out.
        let stale: &[(usize, &[usize])] = &[(2, &[0]), (3, &[1]), (4, &[1]), (5, &[3, 4])];
        let mut graph = reading();
        graph.listed(start, shards(stale));
        assert!(graph.awaits_parents());
        starts(&mut graph, &[(2, TRIM_HORIZON)]);
        assert_eq!(graph.last_listed(), Some(&id(2)), "what waits is not behind the next listing");
        graph.listed(start + LISTING_LAG / 2, shards(stale));
        starts(&mut graph, &[]);
        graph.listed(start + LISTING_LAG / 2, shards(&[(1, &[0]), (2, &[0]), (3, &[1]), (4, &[1]), (5, &[3, 4])]));
        assert!(!graph.awaits_parents());
        starts(&mut graph, &[(1, TRIM_HORIZON)]);

        // Retention has removed 1.
        let mut graph = reading();
        graph.listed(start, shards(stale));
        graph.listed(start + LISTING_LAG, shards(stale));
        assert!(!graph.awaits_parents());
        starts(&mut graph, &[(2, TRIM_HORIZON), (3, TRIM_HORIZON), (4, TRIM_HORIZON)]);
    }

    proptest! {
        /// Random resharding, met by listings and reports in random order and repetition: every shard starts exactly
        /// once, and after its parents.
        #[test]
        fn every_shard_starts_once_and_after_its_parents(
            first in 1_usize..4,
            steps in prop::collection::vec((0_u8..6, any::<usize>(), any::<usize>()), 1..40),
        ) {
            let mut all: Vec<Shard> = (0..first).map(|number| shard(number, &[])).collect();
            let mut open: Vec<usize> = (0..first).collect();
            let mut graph = ShardGraph::first(PINNED, all.clone());
            let (mut reading, mut finished) = (Vec::new(), BTreeSet::new());
            let mut started = BTreeSet::new();
            let closes = steps.len();
            let idle = (0..2 * closes + 20).map(|step| (4 + (step % 2) as u8, 0, 0));
            for (kind, one, other) in steps.into_iter().chain(idle) {
                match kind {
                    0 => {
                        let parent = open.remove(one % open.len());
                        for _ in 0..2 {
                            open.push(all.len());
                            all.push(shard(all.len(), &[parent]));
                        }
                    }
                    1 if open.len() > 1 => {
                        let left = open.remove(one % open.len());
                        let right = open.remove(other % open.len());
                        open.push(all.len());
                        all.push(shard(all.len(), &[left, right]));
                    }
                    2 => {
                        let last = graph.last_listed().cloned();
                        graph.listed(Instant::now(), all.iter().filter(|s| last.as_ref().is_none_or(|last| s.id > *last)).cloned().collect());
                    }
                    3 | 4 => graph.listed(Instant::now(), all.clone()),
                    _ => {
                        // A shard that is closed comes to its end.
                        let closed = |number: &usize| all.iter().any(|s| s.parents().any(|parent| *parent == id(*number)));
                        let ends: Vec<usize> = reading.iter().copied().filter(closed).collect();
                        if !ends.is_empty() {
                            let end = ends[one % ends.len()];
                            reading.retain(|number| *number != end);
                            if other % 2 == 0 {
                                let children = all.iter().filter(|s| s.parents().any(|parent| *parent == id(end)));
                                graph.reported(children.map(|s| ChildShard::new(s.id.clone(), s.parents().cloned().collect(), s.hash_range)).collect());
                            }
                            graph.finished(&id(end));
                            finished.insert(id(end));
                        }
                    }
                }
                for (shard, _) in graph.start() {
                    let number = all.iter().position(|s| s.id == shard).unwrap();
                    prop_assert!(all[number].parents().all(|parent| finished.contains(parent)), "{shard} came too early");
                    prop_assert!(started.insert(shard.clone()), "{shard} came twice");
                    reading.push(number);
                }
            }
            prop_assert_eq!(started.len(), all.len());
            prop_assert_eq!(reading.len(), open.len());
        }
    }
}
