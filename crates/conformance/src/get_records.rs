//! Behaviours of `KinesisClient::get_records`.

use std::time::Duration;

use statefun_kinesis_client::{ErrorKind, RecordPage, ShardIterator};
use statefun_kinesis_types::{GET_RECORDS_MAX_RECORDS, ITERATOR_LIFETIME, ShardId, StartPosition};

use crate::{
    Backend,
    stream::{Deadline, TestStream, key, record, refused, texts},
};

/// A stream of one shard with these records, and the shard.
async fn stream_of(backend: &dyn Backend, records: &[&str]) -> (TestStream, ShardId) {
    let stream = TestStream::new(backend, 1).await;
    let records: Vec<_> = records.iter().map(|text| record(text)).collect();
    stream.put(&records).await;
    let shard = stream.open_shards().await.remove(0).id;
    stream.read_from(&shard, StartPosition::TrimHorizon, records.len()).await;
    (stream, shard)
}

/// Records come in the order of their sequence numbers, with the payload and the partition key that were put.
pub async fn records_come_in_order_and_as_they_were_put(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let put: Vec<_> = (0..20).map(|n| record(&format!("record {n}"))).collect();
    let mut placements = stream.put(&put[..10]).await;
    placements.extend(stream.put(&put[10..]).await);
    let read = stream.read_from(&placements[0].shard, StartPosition::TrimHorizon, 20).await;
    assert!(read.is_sorted_by(|a, b| a.sequence_number < b.sequence_number), "sequence numbers grow");
    for (put, placement) in put.iter().zip(&placements) {
        let read = read
            .iter()
            .find(|read| read.sequence_number == placement.sequence_number)
            .expect("a stored record is read under the sequence number that its writer was told");
        assert_eq!(read.data, put.data);
        assert_eq!(read.partition_key.as_ref(), Some(&put.partition_key));
    }
    stream.remove().await;
}

/// No more than `limit` records come; the next iterator goes on behind the last one.
pub async fn the_limit_is_kept_and_the_next_iterator_goes_on(backend: &dyn Backend) {
    let (stream, shard) = stream_of(backend, &["a", "b", "c", "d", "e"]).await;
    let mut iterator = stream.iterator(&shard, StartPosition::TrimHorizon).await;
    let deadline = Deadline::for_("all records, two by two");
    let mut read = Vec::new();
    while read.len() < 5 {
        let page = stream.read(&iterator, 2).await;
        assert!(page.records.len() <= 2, "two records at most: {:?}", texts(&page.records));
        read.extend(texts(&page.records));
        iterator = page.next_iterator.expect("the shard is open");
        deadline.pause().await;
    }
    assert_eq!(read, ["a", "b", "c", "d", "e"]);
    stream.remove().await;
}

/// An iterator can be used again and gives the same records.
pub async fn an_iterator_can_be_used_again(backend: &dyn Backend) {
    let (stream, shard) = stream_of(backend, &["a", "b"]).await;
    let iterator = stream.iterator(&shard, StartPosition::TrimHorizon).await;
    let first = stream.read_some(&iterator, 1).await.records;
    let second = stream.read_some(&iterator, 1).await.records;
    assert_eq!(first, second);
    stream.remove().await;
}

/// An open shard always has a next iterator, also behind its newest record.
pub async fn an_open_shard_always_has_a_next_iterator(backend: &dyn Backend) {
    let (stream, shard) = stream_of(backend, &["a"]).await;
    let mut iterator = stream.iterator(&shard, StartPosition::Latest).await;
    for _ in 0..3 {
        let page = stream.read(&iterator, 10).await;
        assert!(page.records.is_empty(), "nothing was put: {:?}", texts(&page.records));
        iterator = page.next_iterator.expect("an open shard has a next iterator behind its newest record");
    }
    stream.put_one("b").await;
    assert_eq!(texts(&stream.read_some(&iterator, 10).await.records), ["b"]);
    stream.remove().await;
}

/// A closed shard has no next iterator behind its last record, wherever reading started.
pub async fn a_closed_shard_ends_behind_its_last_record(backend: &dyn Backend) {
    let (stream, shard) = stream_of(backend, &["a", "b"]).await;
    stream.split(&stream.open_shards().await[0]).await;
    let (records, _) = stream.read_to_end(&shard, StartPosition::TrimHorizon).await;
    assert_eq!(texts(&records), ["a", "b"]);
    let after = StartPosition::AfterSequenceNumber(records[1].sequence_number);
    for from in [StartPosition::Latest, after] {
        let (records, _) = stream.read_to_end(&shard, from).await;
        assert_eq!(texts(&records), [""; 0], "{from} in a closed shard is its end");
    }
    stream.remove().await;
}

/// The children of the stream's first shard, after it was split; and the page that ended it.
async fn end_of_a_split_shard(backend: &dyn Backend) -> (TestStream, Vec<ShardId>, RecordPage) {
    let (stream, shard) = stream_of(backend, &["a"]).await;
    let (_, children) = stream.split(&stream.open_shards().await[0]).await;
    let (_, page) = stream.read_to_end(&shard, StartPosition::TrimHorizon).await;
    (stream, children.into_iter().map(|child| child.id).collect(), page)
}

/// The end of a closed shard names its children, with their parents and ranges.
pub async fn the_end_of_a_shard_names_its_children(backend: &dyn Backend) {
    let (stream, _, page) = end_of_a_split_shard(backend).await;
    let mut told = page.child_shards;
    told.sort_by_key(|child| child.hash_range.start());
    let open = stream.open_shards().await;
    assert_eq!(told.len(), open.len(), "{told:?}");
    for (told, listed) in told.iter().zip(&open) {
        assert_eq!((&told.id, told.hash_range), (&listed.id, listed.hash_range));
        assert!(told.parents.iter().eq(listed.parents()), "{:?} are the parents of {}", told.parents, told.id);
    }
    stream.remove().await;
}

/// A known mistake: the end of a closed shard does not name its children.
pub async fn the_end_of_a_shard_names_no_children(backend: &dyn Backend) {
    let (stream, children, page) = end_of_a_split_shard(backend).await;
    assert_eq!(children.len(), 2);
    assert!(page.child_shards.is_empty(), "this backend has learnt to name child shards");
    stream.remove().await;
}

/// The time behind the latest record is zero at the tip, and not zero while records wait.
pub async fn the_time_behind_is_zero_only_at_the_tip(backend: &dyn Backend) {
    let (stream, shard) = stream_of(backend, &["a"]).await;
    // A second apart, because some count from the newest record instead of from now.
    let first = stream.read_from(&shard, StartPosition::TrimHorizon, 1).await.remove(0);
    stream.wait_until_after(first.approximate_arrival.after(Duration::from_secs(1))).await;
    let iterator = stream.iterator(&shard, StartPosition::TrimHorizon).await;
    let page = stream.read_some(&iterator, 1).await;
    assert!(!page.behind_latest.is_zero(), "records wait, and the page claims to be at the tip");
    let deadline = Deadline::for_("the tip of the shard");
    let mut next = page.next_iterator;
    while let Some(iterator) = next {
        let page = stream.read(&iterator, 1_000).await;
        if page.behind_latest.is_zero() {
            break;
        }
        next = page.next_iterator;
        deadline.pause().await;
    }
    stream.remove().await;
}

/// A known mistake: the time behind the latest record is zero while records wait.
pub async fn the_time_behind_is_always_zero(backend: &dyn Backend) {
    let (stream, shard) = stream_of(backend, &["a", "b", "c"]).await;
    let iterator = stream.iterator(&shard, StartPosition::TrimHorizon).await;
    let page = stream.read_some(&iterator, 1).await;
    assert!(page.behind_latest.is_zero(), "this backend has learnt to report the time behind");
    stream.remove().await;
}

/// An iterator works for five minutes and has expired after that.
pub async fn an_iterator_expires_after_five_minutes(backend: &dyn Backend) {
    let (stream, shard) = stream_of(backend, &["a"]).await;
    let iterator = stream.iterator(&shard, StartPosition::TrimHorizon).await;
    let second = Duration::from_secs(1);
    backend.advance(ITERATOR_LIFETIME - second).await;
    let page = stream.read(&iterator, 10).await;
    assert_eq!(texts(&page.records), ["a"]);
    backend.advance(2 * second).await;
    let late = stream.client.get_records(&iterator, 10).await;
    refused(late, ErrorKind::ExpiredIterator, "an iterator older than five minutes");
    let next = page.next_iterator.expect("the shard is open");
    assert!(stream.read(&next, 10).await.records.is_empty(), "the next iterator has a life of its own");
    stream.remove().await;
}

/// A limit of 0 or over 10 000 is an invalid argument.
pub async fn a_limit_out_of_range_is_refused(backend: &dyn Backend) {
    let (stream, shard) = stream_of(backend, &["a"]).await;
    let iterator = stream.iterator(&shard, StartPosition::TrimHorizon).await;
    for limit in [0, GET_RECORDS_MAX_RECORDS + 1] {
        let page = stream.client.get_records(&iterator, limit).await;
        refused(page, ErrorKind::InvalidArgument, &format!("a limit of {limit}"));
    }
    let page = stream.read(&iterator, GET_RECORDS_MAX_RECORDS).await;
    assert_eq!(page.records[0].partition_key, Some(key("a")));
    stream.remove().await;
}

/// An invented iterator is an invalid argument.
pub async fn an_invented_iterator_is_refused(backend: &dyn Backend) {
    let page = backend.client().get_records(&ShardIterator::new("invented"), 10).await;
    refused(page, ErrorKind::InvalidArgument, "an invented iterator");
}

/// A known mistake: an invented iterator is an internal failure.
pub async fn an_invented_iterator_breaks_the_server(backend: &dyn Backend) {
    let page = backend.client().get_records(&ShardIterator::new("invented"), 10).await;
    refused(page, ErrorKind::Unavailable, "this backend has learnt to refuse invented iterators");
}
