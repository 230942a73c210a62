//! Behaviours of `KinesisAdmin::list_streams`.

use crate::{Backend, stream::TestStream};

/// A stream is listed from its creation to its end, and the list is in alphabetical order.
pub async fn a_stream_is_listed_from_its_creation_to_its_end(backend: &dyn Backend) {
    let stream = TestStream::creating(backend, 1).await;
    let other = TestStream::creating(backend, 1).await;
    let list = async || backend.client().list_streams().await.expect("streams can be listed");
    let listed = list().await;
    assert!(listed.contains(&stream.name) && listed.contains(&other.name), "new streams are listed: {listed:?}");
    assert!(listed.is_sorted(), "{listed:?}");
    let name = stream.name.clone();
    stream.remove().await;
    let listed = list().await;
    assert!(!listed.contains(&name) && listed.contains(&other.name), "{name} was removed: {listed:?}");
    other.remove().await;
}
