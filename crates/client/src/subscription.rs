use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use statefun_kinesis_types::{Record, SequenceNumber};

use crate::{ChildShard, Result};

/// The events of one SubscribeToShard call, pushed by the service as records arrive: a [`Stream`] that ends.
///
/// It ends after five minutes, at the end of the shard, when another subscription of the same consumer and shard takes
/// over, and behind its first error. An event that was not taken yet holds the service back. To drop the subscription
/// closes its connection; for five seconds from the call on, the service refuses a new one all the same.
///
/// ```
/// use futures::StreamExt;
/// use statefun_kinesis_client::{FanOutClient, Result};
/// use statefun_kinesis_types::{ConsumerArn, ShardId, StartPosition};
///
/// /// Reads a shard to its end, from one subscription to the next.
/// async fn drain(client: &dyn FanOutClient, consumer: &ConsumerArn, shard: &ShardId) -> Result<usize> {
///     let (mut count, mut from) = (0, StartPosition::TrimHorizon);
///     loop {
///         let mut subscription = client.subscribe_to_shard(consumer, shard, from).await?;
///         while let Some(event) = subscription.next().await.transpose()? {
///             count += event.records.len();
///             match event.continuation {
///                 Some(number) => from = StartPosition::AfterSequenceNumber(number),
///                 None => return Ok(count),
///             }
///         }
///     }
/// }
/// ```
#[must_use = "a subscription does nothing unless it is read"]
pub struct Subscription(Option<Events>);

/// What a backend pushes.
type Events = Pin<Box<dyn Stream<Item = Result<SubscriptionEvent>> + Send>>;

impl Subscription {
    /// Wraps the events of a backend, which are dropped with their first error or their end: a subscription that is
    /// over stays over, and holds no connection.
    pub fn new(events: impl Stream<Item = Result<SubscriptionEvent>> + Send + 'static) -> Self {
        Self(Some(Box::pin(events)))
    }
}

impl Stream for Subscription {
    type Item = Result<SubscriptionEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(events) = &mut self.0 else { return Poll::Ready(None) };
        let item = ready!(events.as_mut().poll_next(context));
        if !matches!(item, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(item)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription(…)")
    }
}

/// What SubscribeToShard pushes at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionEvent {
    /// The records, by sequence number. The service also sends events without any, every few seconds.
    pub records: Vec<Record>,
    /// Where the shard was read to: the next subscription starts behind it. It moves although no record comes. `None`
    /// at the end of a closed shard.
    pub continuation: Option<SequenceNumber>,
    /// How far the event lies behind the newest record of the shard (`MillisBehindLatest`).
    pub behind_latest: Duration,
    /// The shards that go on where this one ended. Only at its end, and not from every backend.
    pub children: Vec<ChildShard>,
}

impl SubscriptionEvent {
    /// An event of a shard that goes on.
    pub fn new(records: Vec<Record>, continuation: SequenceNumber, behind_latest: Duration) -> Self {
        Self { records, continuation: Some(continuation), behind_latest, children: Vec::new() }
    }

    /// The event at the end of a closed shard.
    pub fn end(records: Vec<Record>, children: Vec<ChildShard>) -> Self {
        Self { records, continuation: None, behind_latest: Duration::ZERO, children }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt, stream};

    use super::*;
    use crate::{Error, ErrorKind, Operation};

    #[test]
    fn a_subscription_is_over_behind_its_end_and_its_first_error() {
        let event = || Ok(SubscriptionEvent::end(Vec::new(), Vec::new()));
        let error = || Err(Error::new(Operation::SubscribeToShard, ErrorKind::InUse, "taken over"));
        for (items, expect) in [(vec![event(), event()], 2), (vec![event(), error(), event()], 2), (vec![], 0)] {
            // `unfold` panics when it is asked again behind its end.
            let events = stream::unfold(items.into_iter(), async |mut items| Some((items.next()?, items)));
            let mut subscription = Subscription::new(events);
            for _ in 0..expect {
                assert!(subscription.next().now_or_never().unwrap().is_some());
            }
            for _ in 0..3 {
                assert!(subscription.next().now_or_never().unwrap().is_none());
            }
        }
    }
}
