//! Whether a shard has ended, when its answers leave that open: the verdict needs a listing.

use std::{collections::BTreeSet, time::Duration};

use statefun_kinesis_client::{ChildShard, Error, ErrorKind, Operation, PATIENCE};
use statefun_kinesis_types::{HashKeyRange, Shard, ShardId};

/// How long a listing and the other answers of the service may differ: it changes them one after the other.
///
/// What a listing leaves out counts as removed only when another one does so this much later.
pub(crate) const LISTING_LAG: Duration = Duration::from_secs(5);

/// What a complete listing says of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// It has neither an ending sequence number nor children.
    Open,
    /// It takes no more records, and continues in these.
    Closed(Vec<ChildShard>),
    /// It is left out.
    Missing,
}

impl Listed {
    /// Looks a shard up in a complete listing.
    pub(crate) fn find(shard: &ShardId, listing: &[Shard]) -> Self {
        let Some(listed) = listing.iter().find(|listed| listed.id == *shard) else { return Self::Missing };
        if !is_closed(listed, listing) {
            return Self::Open;
        }
        let is_child = |other: &&Shard| other.parents().any(|parent| parent == shard);
        let child =
            |child: &Shard| ChildShard::new(child.id.clone(), child.parents().cloned().collect(), child.hash_range);
        Self::Closed(listing.iter().filter(is_child).map(child).collect())
    }
}

/// Whether a listing says that one of its shards is closed.
pub(crate) fn is_closed(shard: &Shard, listing: &[Shard]) -> bool {
    let is_child = |other: &Shard| other.parents().any(|parent| *parent == shard.id);
    shard.ending_sequence_number.is_some() || listing.iter().any(is_child)
}

/// Whether the open shards of a listing own all hash keys, as they always do: otherwise the listing leaves some out.
pub(crate) fn covers_hash_keys(listing: &[Shard]) -> bool {
    let parents: BTreeSet<&ShardId> = listing.iter().flat_map(Shard::parents).collect();
    let is_open = |shard: &&Shard| shard.ending_sequence_number.is_none() && !parents.contains(&shard.id);
    let mut ranges: Vec<HashKeyRange> = listing.iter().filter(is_open).map(|shard| shard.hash_range).collect();
    ranges.sort_by_key(|range| range.start());
    // The first hash key that is not owned yet; `None` behind the last one.
    let mut next = Some(0);
    for range in ranges {
        match next {
            Some(key) if range.start().get() > key => return false,
            Some(key) => next = range.end().get().max(key.saturating_sub(1)).checked_add(1),
            None => break,
        }
    }
    next.is_none()
}

/// Why it is open whether a shard has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symptom {
    /// Records, or none, and then neither a way to go on nor children.
    NoContinuation,
    /// GetShardIterator gave no iterator.
    NoIterator,
    /// The service does not find the shard.
    NotFound,
}

impl Symptom {
    /// What a failed call shows; `None` if it says nothing about the end of the shard.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        let is_iterator = match error.operation() {
            Operation::GetShardIterator => true,
            Operation::GetRecords | Operation::SubscribeToShard => false,
            Operation::DescribeStreamSummary
            | Operation::ListShards
            | Operation::PutRecords
            | Operation::CreateStream
            | Operation::DeleteStream
            | Operation::ListStreams
            | Operation::SplitShard
            | Operation::MergeShards
            | Operation::RegisterStreamConsumer
            | Operation::DescribeStreamConsumer
            | Operation::ListStreamConsumers
            | Operation::DeregisterStreamConsumer => return None,
        };
        match error.kind() {
            ErrorKind::NotFound => Some(Self::NotFound),
            ErrorKind::Incomplete if is_iterator => Some(Self::NoIterator),
            ErrorKind::Incomplete => Some(Self::NoContinuation),
            ErrorKind::InUse
            | ErrorKind::ExpiredIterator
            | ErrorKind::ExpiredToken
            | ErrorKind::Throttled
            | ErrorKind::LimitExceeded
            | ErrorKind::AccessDenied
            | ErrorKind::ExpiredCredentials
            | ErrorKind::ClockSkew
            | ErrorKind::Encryption
            | ErrorKind::InvalidArgument
            | ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Unexpected => None,
        }
    }
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The shard was read to its end, and continues in these.
    Ended(Vec<ChildShard>),
    /// The service has removed the shard: records that were not read are lost.
    Removed,
    /// It has not ended, or that is not certain.
    ReadAgain,
}

/// Decides what follows when answers have left open for `doubted` whether a shard has ended. `None` means that reading it
/// fails permanently.
///
/// An end that is believed too early loses the records behind it, and one that is believed late costs some seconds. So
/// an end needs a listing that says so, and a contradiction is waited out.
pub(crate) fn judge(symptom: Symptom, listed: Listed, doubted: Duration) -> Option<Verdict> {
    let is_late = |limit: Duration| doubted >= limit;
    match (listed, symptom) {
        // Some emulators name no children at the end, and some services give no iterator for an exhausted shard whose
        // last record is older than retention. But a proxy may also answer for seconds with nothing, while records wait.
        (Listed::Closed(children), Symptom::NoContinuation | Symptom::NoIterator) if is_late(LISTING_LAG) => {
            Some(Verdict::Ended(children))
        }
        (Listed::Closed(_), Symptom::NotFound) | (Listed::Missing, _) if is_late(LISTING_LAG) => Some(Verdict::Removed),
        (Listed::Open, _) if is_late(PATIENCE) => None,
        (Listed::Open | Listed::Closed(_) | Listed::Missing, _) => Some(Verdict::ReadAgain),
    }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_types::HashKey;

    use super::*;

    fn id(number: usize) -> ShardId {
        format!("shardId-{number:012}").parse().unwrap()
    }

    fn shard(number: usize, ending: Option<u64>, parent: Option<usize>) -> Shard {
        let mut shard = Shard::new(id(number), HashKeyRange::FULL, 0_u64.into());
        shard.ending_sequence_number = ending.map(Into::into);
        shard.parent = parent.map(id);
        shard
    }

    #[test]
    fn a_shard_is_closed_when_it_has_an_ending_sequence_number_or_children() {
        let child = ChildShard::new(id(1), vec![id(0)], HashKeyRange::FULL);
        for (listing, expected) in [
            (vec![], Listed::Missing),
            (vec![shard(1, None, Some(0))], Listed::Missing),
            (vec![shard(0, None, None)], Listed::Open),
            (vec![shard(0, None, None), shard(2, None, Some(1))], Listed::Open),
            (vec![shard(0, Some(9), None)], Listed::Closed(vec![])),
            (vec![shard(0, None, None), shard(1, None, Some(0))], Listed::Closed(vec![child.clone()])),
            (vec![shard(1, None, Some(0)), shard(0, Some(9), None)], Listed::Closed(vec![child])),
        ] {
            assert_eq!(Listed::find(&id(0), &listing), expected, "{listing:?}");
        }
    }

    #[test]
    fn a_listing_that_leaves_out_an_open_shard_does_not_cover_the_hash_keys() {
        let range = |mut shard: Shard, start, end| {
            shard.hash_range = HashKeyRange::new(HashKey::new(start), HashKey::new(end)).unwrap();
            shard
        };
        let half = u128::MAX / 2;
        let low = range(shard(0, None, None), 0, half);
        let high = range(shard(1, None, None), half + 1, u128::MAX);
        let closed = range(shard(2, Some(9), None), 0, half);
        let parent = range(shard(3, None, None), 0, half);
        let child = range(shard(4, None, Some(3)), 0, half);
        for (listing, covers) in [
            (vec![], false),
            (vec![shard(0, None, None)], true),
            (vec![high.clone(), low.clone()], true),
            (vec![low.clone(), low.clone(), high.clone()], true),
            (vec![low.clone()], false),
            (vec![high.clone()], false),
            (vec![closed.clone(), high.clone()], false),
            (vec![closed, low, high.clone()], true),
            (vec![parent.clone(), high.clone()], true),
            (vec![parent, child, high], true),
        ] {
            assert_eq!(covers_hash_keys(&listing), covers, "{listing:?}");
        }
    }

    #[test]
    fn every_symptom_and_listing_has_its_verdict_at_once_and_later() {
        use Symptom::{NoContinuation, NoIterator, NotFound};
        use Verdict::{Ended, ReadAgain, Removed};

        let closed = || Listed::Closed(vec![]);
        // At once, after the lag of a listing, and when patience is over.
        let ended = || Some(Ended(vec![]));
        for (symptom, listed, verdicts) in [
            (NoContinuation, Listed::Open, [Some(ReadAgain), Some(ReadAgain), None]),
            (NoContinuation, closed(), [Some(ReadAgain), ended(), ended()]),
            (NoContinuation, Listed::Missing, [Some(ReadAgain), Some(Removed), Some(Removed)]),
            (NoIterator, Listed::Open, [Some(ReadAgain), Some(ReadAgain), None]),
            (NoIterator, closed(), [Some(ReadAgain), ended(), ended()]),
            (NoIterator, Listed::Missing, [Some(ReadAgain), Some(Removed), Some(Removed)]),
            (NotFound, Listed::Open, [Some(ReadAgain), Some(ReadAgain), None]),
            (NotFound, closed(), [Some(ReadAgain), Some(Removed), Some(Removed)]),
            (NotFound, Listed::Missing, [Some(ReadAgain), Some(Removed), Some(Removed)]),
        ] {
            for (doubted, verdict) in [Duration::ZERO, LISTING_LAG, PATIENCE].into_iter().zip(verdicts) {
                assert_eq!(judge(symptom, listed.clone(), doubted), verdict, "{symptom:?}, {listed:?}, {doubted:?}");
            }
        }
    }
}
