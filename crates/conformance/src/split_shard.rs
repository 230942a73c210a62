//! Behaviours of `KinesisAdmin::split_shard`.

use statefun_kinesis_client::ErrorKind;
use statefun_kinesis_types::HashKey;

use crate::{
    Backend,
    stream::{TestStream, middle, refused},
};

/// The children divide the parent's range at that key.
pub async fn children_divide_the_range_at_the_key(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 2).await;
    let shard = stream.open_shards().await.remove(1);
    let at = middle(&shard);
    let (_, children) = stream.split(&shard).await;
    let ranges: Vec<_> = children.iter().map(|child| (child.hash_range.start(), child.hash_range.end())).collect();
    let (start, end) = (shard.hash_range.start(), shard.hash_range.end());
    assert_eq!(ranges, [(start, HashKey::new(at.get() - 1)), (at, end)]);
    stream.remove().await;
}

/// A key that is not inside the shard's range is an invalid argument.
pub async fn a_key_outside_the_range_is_refused(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 2).await;
    let shards = stream.open_shards().await;
    for at in [shards[1].hash_range.start(), HashKey::MAX] {
        let split = stream.client.split_shard(&stream.stream, &shards[0].id, at).await;
        refused(split, ErrorKind::InvalidArgument, &format!("{at} is not inside {}", shards[0].hash_range));
    }
    assert_eq!(stream.open_shards().await, shards, "a refused split changes nothing");
    stream.remove().await;
}

/// The first key of the range would leave nothing to one child, and is an invalid argument.
pub async fn the_first_key_of_the_range_is_refused(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let shard = stream.open_shards().await.remove(0);
    let split = stream.client.split_shard(&stream.stream, &shard.id, shard.hash_range.start()).await;
    refused(split, ErrorKind::InvalidArgument, "the first key of the shard's range");
    stream.remove().await;
}

/// A known mistake: the first key of the range is taken.
pub async fn the_first_key_of_the_range_is_taken(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let shard = stream.open_shards().await.remove(0);
    let split = stream.client.split_shard(&stream.stream, &shard.id, shard.hash_range.start()).await;
    assert!(split.is_ok(), "this backend has learnt where a shard can be split: {split:?}");
    stream.remove().await;
}

/// A shard that is closed already is an invalid argument, or in use.
pub async fn a_closed_shard_cannot_be_split(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let (parent, _) = stream.split(&stream.open_shards().await[0]).await;
    let at = HashKey::new(middle(&parent).get() / 2);
    match stream.client.split_shard(&stream.stream, &parent.id, at).await {
        Ok(()) => panic!("a closed shard was split"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::InUse), "{error}"),
    }
    stream.remove().await;
}
