//! Behaviours of `KinesisAdmin::merge_shards`.

use statefun_kinesis_client::ErrorKind;

use crate::{
    Backend,
    stream::{TestStream, refused},
};

/// The child owns both ranges.
pub async fn the_child_owns_both_ranges(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 3).await;
    let shards = stream.open_shards().await;
    let merge = stream.client.merge_shards(&stream.stream, &shards[1].id, &shards[2].id).await;
    merge.expect("adjacent shards can be merged");
    stream.wait_until_active().await;
    let open = stream.open_shards().await;
    assert_eq!(open.len(), 2);
    assert_eq!(open[0], shards[0]);
    assert_eq!(open[1].hash_range.start(), shards[1].hash_range.start());
    assert_eq!(open[1].hash_range.end(), shards[2].hash_range.end());
    stream.remove().await;
}

/// Shards that are not adjacent are an invalid argument.
pub async fn shards_that_are_not_adjacent_are_refused(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 3).await;
    let shards = stream.open_shards().await;
    let merge = stream.client.merge_shards(&stream.stream, &shards[0].id, &shards[2].id).await;
    refused(merge, ErrorKind::InvalidArgument, "the first and the last of three shards");
    assert_eq!(stream.open_shards().await, shards, "a refused merge changes nothing");
    stream.remove().await;
}
