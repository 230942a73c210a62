//! Behaviours of `KinesisAdmin::create_stream`.

use statefun_kinesis_client::{ErrorKind, StreamStatus};
use statefun_kinesis_types::{HashKey, StartPosition};

use crate::{
    Backend,
    stream::{TestStream, refused},
};

/// A new stream becomes ACTIVE, with as many shards as asked, of equal hash key ranges.
pub async fn a_new_stream_becomes_active_with_equal_shards(backend: &dyn Backend) {
    let stream = TestStream::creating(backend, 4).await;
    let status = stream.status().await;
    assert!(matches!(status, StreamStatus::Creating | StreamStatus::Active), "a new stream is {status}");
    stream.wait_until_active().await;
    let open = stream.open_shards().await;
    assert_eq!(open.len(), 4);
    assert_eq!((open[0].hash_range.start(), open[3].hash_range.end()), (HashKey::MIN, HashKey::MAX));
    for shard in &open {
        // How the remainder of the division is shared out is not promised.
        let size = shard.hash_range.end().get() - shard.hash_range.start().get();
        assert!(size.abs_diff(u128::MAX / 4) < 8, "{} has a quarter of the space: {}", shard.id, shard.hash_range);
    }
    assert!(open.iter().all(|shard| !shard.is_child()), "first shards have no parents: {open:?}");
    stream.remove().await;
}

/// The stream is first CREATING, and no records can be read or written yet.
pub async fn a_new_stream_is_creating_at_first(backend: &dyn Backend) {
    let stream = TestStream::creating(backend, 1).await;
    assert_eq!(stream.status().await, StreamStatus::Creating);
    let shard = "shardId-000000000000".parse().expect("the id is well formed");
    let iterator = stream.client.get_shard_iterator(&stream.stream, &shard, StartPosition::TrimHorizon).await;
    refused(iterator, ErrorKind::NotFound, "an iterator of a stream that is CREATING");
    stream.remove().await;
}

/// A name that is taken is in use.
pub async fn a_taken_name_is_in_use(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let again = stream.client.create_stream(&stream.name, 1).await;
    refused(again, ErrorKind::InUse, "a name that is taken");
    stream.remove().await;
}
