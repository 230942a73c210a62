//! Behaviours of `KinesisClient::list_shards`.

use std::time::Duration;

use statefun_kinesis_client::{ErrorKind, KinesisClientExt, PageToken, ShardFilter, ShardPageRequest};
use statefun_kinesis_types::{HashKey, RETENTION_DEFAULT, Shard, ShardId, StreamRef, Timestamp};

use crate::{
    Backend,
    stream::{TestStream, refused},
};

/// Some emulators compare times by the second.
const CLEARLY_LATER: Duration = Duration::from_secs(2);

fn ids(shards: &[Shard]) -> Vec<ShardId> {
    shards.iter().map(|shard| shard.id.clone()).collect()
}

fn next(token: PageToken) -> ShardPageRequest {
    ShardPageRequest::Next { token, max_results: None }
}

/// The open shards of a stream cover the hash key space without gap or overlap.
pub async fn open_shards_cover_the_hash_key_space(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 3).await;
    let (_, _) = stream.split(&stream.open_shards().await[1]).await;
    let open = stream.open_shards().await;
    assert_eq!(open.len(), 4);
    assert_eq!(open[0].hash_range.start(), HashKey::MIN);
    assert_eq!(open[3].hash_range.end(), HashKey::MAX);
    for pair in open.windows(2) {
        let (end, start) = (pair[0].hash_range.end(), pair[1].hash_range.start());
        assert_eq!(end.get().checked_add(1), Some(start.get()), "{} and {}", pair[0].id, pair[1].id);
    }
    stream.remove().await;
}

/// Pages joined are the whole listing, each shard once, by id.
pub async fn joined_pages_are_the_whole_listing(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 5).await;
    let whole = stream.shards(ShardFilter::FromTrimHorizon).await;
    let mut page = stream.page(2).await;
    let mut joined = Vec::new();
    let mut sizes = Vec::new();
    loop {
        sizes.push(page.shards.len());
        joined.append(&mut page.shards);
        let Some(token) = page.next else { break };
        let request = ShardPageRequest::Next { token, max_results: std::num::NonZeroU16::new(2) };
        page = stream.client.list_shards(&stream.stream, request).await.expect("a fresh token gives the next page");
    }
    assert_eq!(sizes, [2, 2, 1]);
    assert_eq!(joined, whole);
    assert!(joined.is_sorted_by(|a, b| a.id < b.id), "shards come by id: {:?}", ids(&joined));
    stream.remove().await;
}

/// `FromTrimHorizon` names closed parents whose records are retained, `AtLatest` does not.
pub async fn closed_parents_are_listed_from_trim_horizon_but_not_at_latest(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let first = stream.open_shards().await.remove(0);
    let (_, children) = stream.split(&first).await;
    let mut all = vec![first.id];
    all.extend(ids(&children));
    assert_eq!(stream.ids(ShardFilter::FromTrimHorizon).await, all);
    assert_eq!(stream.ids(ShardFilter::AtLatest).await, all[1..]);
    stream.remove().await;
}

/// `AfterShardId` starts behind that id.
pub async fn after_shard_id_starts_behind_that_id(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 3).await;
    let all = stream.ids(ShardFilter::FromTrimHorizon).await;
    for (index, id) in all.iter().enumerate() {
        assert_eq!(stream.ids(ShardFilter::AfterShardId(id.clone())).await, all[index + 1..], "after {id}");
    }
    stream.remove().await;
}

/// `FromTimestamp` leaves out what was closed before, and nothing that was closed later.
pub async fn from_timestamp_leaves_out_what_was_closed_before(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let before = stream.wait_until_after(Timestamp::EPOCH).await;
    let (parent, children) = stream.split(&stream.open_shards().await[0]).await;
    let closed = stream.wait_until_after(before).await;
    let later = stream.wait_until_after(closed.after(CLEARLY_LATER)).await;
    assert_eq!(stream.ids(ShardFilter::FromTimestamp(later)).await, ids(&children));
    let from_before = stream.ids(ShardFilter::FromTimestamp(before)).await;
    assert!(from_before.contains(&parent.id), "{from_before:?} holds {}, which was open then", parent.id);
    stream.remove().await;
}

/// `AtTimestamp` names what was open then, and nothing else.
pub async fn at_timestamp_names_what_was_open_then(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let before = stream.wait_until_after(Timestamp::EPOCH).await;
    // The split is long after `before`, so that no rounding makes them the same time.
    stream.wait_until_after(before.after(CLEARLY_LATER)).await;
    let (parent, children) = stream.split(&stream.open_shards().await[0]).await;
    let closed = stream.wait_until_after(before).await;
    let later = stream.wait_until_after(closed.after(CLEARLY_LATER)).await;
    assert_eq!(stream.ids(ShardFilter::AtTimestamp(before)).await, [parent.id]);
    assert_eq!(stream.ids(ShardFilter::AtTimestamp(later)).await, ids(&children));
    stream.remove().await;
}

/// `AtTrimHorizon` names what was open at the trim horizon: of a young stream its first shards.
pub async fn at_trim_horizon_names_what_was_open_then(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let (parent, _) = stream.split(&stream.open_shards().await[0]).await;
    assert_eq!(stream.ids(ShardFilter::AtTrimHorizon).await, [parent.id]);
    stream.remove().await;
}

/// A known mistake: `AtTrimHorizon` names shards that were not open at the trim horizon.
pub async fn at_trim_horizon_names_too_many_shards(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    stream.split(&stream.open_shards().await[0]).await;
    assert_eq!(stream.ids(ShardFilter::AtTrimHorizon).await.len(), 3, "this backend has learnt `AtTrimHorizon`");
    stream.remove().await;
}

/// A known mistake: a filter changes nothing.
pub async fn all_filters_name_all_shards(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let (parent, _) = stream.split(&stream.open_shards().await[0]).await;
    for filter in [ShardFilter::AtLatest, ShardFilter::AtTrimHorizon, ShardFilter::AfterShardId(parent.id)] {
        assert_eq!(stream.ids(filter.clone()).await.len(), 3, "this backend has learnt {filter:?}");
    }
    stream.remove().await;
}

/// Closed shards are part of `FromTrimHorizon` as long as they can hold records, and no longer.
pub async fn closed_shards_leave_the_listing_with_their_last_record(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    stream.put_one("old").await;
    let (parent, children) = stream.split(&stream.open_shards().await[0]).await;
    let minute = Duration::from_secs(60);
    backend.advance(RETENTION_DEFAULT - minute).await;
    assert!(stream.ids(ShardFilter::FromTrimHorizon).await.contains(&parent.id));
    backend.advance(2 * minute).await;
    assert_eq!(stream.ids(ShardFilter::FromTrimHorizon).await, ids(&children));
    assert_eq!(stream.ids(ShardFilter::AtTrimHorizon).await, ids(&children));
    stream.remove().await;
}

/// After a split the parent is closed and has an ending sequence number, and the children name it as parent.
pub async fn after_a_split_the_children_name_their_closed_parent(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let (parent, children) = stream.split(&stream.open_shards().await[0]).await;
    assert!(!parent.is_open(), "{} was split and has no ending sequence number", parent.id);
    assert_eq!(children.len(), 2);
    for child in &children {
        assert_eq!((child.parent.as_ref(), child.adjacent_parent.as_ref()), (Some(&parent.id), None));
        assert!(child.is_open(), "{} is open", child.id);
        let (start, before) = (child.starting_sequence_number, parent.starting_sequence_number);
        assert!(before < start, "{} starts above its parent", child.id);
    }
    stream.remove().await;
}

/// The ending sequence number of a closed shard lies above its records and below its children's.
pub async fn an_ending_number_lies_between_parent_and_children(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let last = stream.put_one("last").await.sequence_number;
    let (parent, children) = stream.split(&stream.open_shards().await[0]).await;
    let end = parent.ending_sequence_number.expect("a split shard has an ending sequence number");
    assert!(last <= end, "the record {last} lies in the shard that ends at {end}");
    for child in &children {
        assert!(end < child.starting_sequence_number, "{} starts above {end}", child.id);
    }
    stream.remove().await;
}

/// A known mistake: the ending sequence number of a closed shard lies below its starting one.
pub async fn an_ending_number_lies_below_its_shard(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let (parent, _) = stream.split(&stream.open_shards().await[0]).await;
    let start = Some(parent.starting_sequence_number);
    assert!(parent.ending_sequence_number < start, "this backend has learnt to end shards: {parent:?}");
    stream.remove().await;
}

/// After a merge the child names both parents.
pub async fn after_a_merge_the_child_names_both_parents(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 2).await;
    let open = stream.open_shards().await;
    stream.client.merge_shards(&stream.stream, &open[0].id, &open[1].id).await.expect("adjacent shards can be merged");
    stream.wait_until_active().await;
    let (parent, children) = stream.family(&open[0].id).await;
    let [child] = &children[..] else { panic!("two shards were merged into one, not {children:?}") };
    assert_eq!(child.parent.as_ref(), Some(&open[0].id));
    assert_eq!(child.adjacent_parent.as_ref(), Some(&open[1].id));
    assert!(!parent.is_open() && child.is_open());
    stream.remove().await;
}

/// The shards of a stream that does not exist are not found.
pub async fn shards_of_a_missing_stream_are_not_found(backend: &dyn Backend) {
    let missing = StreamRef::from(backend.fresh_name());
    let shards = backend.client().all_shards(&missing, ShardFilter::FromTrimHorizon).await;
    refused(shards, ErrorKind::NotFound, "the shards of a missing stream");
}

/// An invented token is an invalid argument.
pub async fn an_invented_token_is_refused(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let page = stream.client.list_shards(&stream.stream, next(PageToken::new("invented"))).await;
    refused(page, ErrorKind::InvalidArgument, "an invented token");
    stream.remove().await;
}

/// A token works for five minutes and has expired after that.
pub async fn a_token_expires_after_five_minutes(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 3).await;
    let token = stream.page(1).await.next.expect("two shards are left");
    backend.advance(Duration::from_secs(299)).await;
    let page = stream.client.list_shards(&stream.stream, next(token.clone())).await.expect("the token is young enough");
    assert_eq!(page.shards.len(), 2);
    backend.advance(Duration::from_secs(2)).await;
    let page = stream.client.list_shards(&stream.stream, next(token)).await;
    refused(page, ErrorKind::ExpiredToken, "a token older than five minutes");
    stream.remove().await;
}
