use std::{
    fmt::{self, Debug},
    num::NonZeroU16,
};

use async_trait::async_trait;
use statefun_kinesis_types::{ConsumerArn, ConsumerName, ShardId, StartPosition, StreamArn, Timestamp};

use crate::{PageToken, Result, Subscription};

/// Enhanced fan-out: registered consumers, to which the service pushes records, 2 MB/s for each shard and consumer.
///
/// As with [`KinesisClient`](crate::KinesisClient), a call is one request, its future may be dropped at any await, and
/// the conformance suite has a function for each item under *Behavior*.
#[async_trait]
pub trait FanOutClient: Debug + Send + Sync + 'static {
    /// Makes a consumer of a stream (RegisterStreamConsumer).
    ///
    /// # Behavior
    ///
    /// * The consumer is first CREATING and becomes ACTIVE, under an ARN that names its stream and itself.
    /// * A name that another consumer of the stream has is [`InUse`](crate::ErrorKind::InUse).
    /// * A stream takes 20 consumers, and one more is [`LimitExceeded`](crate::ErrorKind::LimitExceeded).
    /// * A stream that does not exist is [`NotFound`](crate::ErrorKind::NotFound).
    async fn register_stream_consumer(&self, stream: &StreamArn, name: &ConsumerName) -> Result<StreamConsumer>;

    /// Describes a consumer by its name (DescribeStreamConsumer).
    ///
    /// # Behavior
    ///
    /// * Its name, ARN and time of creation are those that registration gave.
    /// * A consumer or stream that does not exist is [`NotFound`](crate::ErrorKind::NotFound).
    async fn describe_stream_consumer(&self, stream: &StreamArn, name: &ConsumerName) -> Result<StreamConsumer>;

    /// Gives a page of a stream's consumers (ListStreamConsumers).
    ///
    /// # Behavior
    ///
    /// * Pages joined are all consumers of the stream, each once.
    /// * A stream without consumers has an empty page.
    /// * A stream that does not exist is [`NotFound`](crate::ErrorKind::NotFound).
    /// * An invented token is [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    async fn list_stream_consumers(&self, stream: &StreamArn, page: ConsumerPageRequest) -> Result<ConsumerPage>;

    /// Removes a consumer (DeregisterStreamConsumer).
    ///
    /// # Behavior
    ///
    /// * A removed consumer becomes [`NotFound`](crate::ErrorKind::NotFound).
    /// * Its subscriptions end.
    /// * A name can be used again once its consumer is gone.
    /// * A consumer that does not exist is [`NotFound`](crate::ErrorKind::NotFound).
    async fn deregister_stream_consumer(&self, consumer: &ConsumerArn) -> Result<()>;

    /// Has a shard's records pushed from a place on (SubscribeToShard). An error that comes later is the last item of
    /// the subscription.
    ///
    /// # Behavior
    ///
    /// * Records come in the order of their sequence numbers, with the payload and the partition key that were put.
    /// * Records that arrive while the subscription runs are pushed.
    /// * `TrimHorizon` starts at the oldest record, `Latest` behind the newest at the time of the call.
    /// * `AtTimestamp` starts at the first record that arrived at that time or later; a time before retention is trim
    ///   horizon.
    /// * `AtSequenceNumber` starts at that record, `AfterSequenceNumber` behind it.
    /// * Events come although no records do, and each tells where the shard was read to.
    /// * A subscription that starts behind the last continuation number goes on without a gap or a repetition.
    /// * The time behind the latest record is zero at the tip, and not zero while records wait.
    /// * The last event of a closed shard has no continuation and names the child shards, and the subscription ends.
    /// * The subscription ends after five minutes, without an error.
    /// * A second subscription of the same consumer and shard is [`InUse`](crate::ErrorKind::InUse) within five
    ///   seconds of the first one.
    /// * Five seconds later it takes over, and the first one ends, by itself or with
    ///   [`InUse`](crate::ErrorKind::InUse).
    /// * Each consumer of a stream has its own subscription, and gets all records.
    /// * A consumer that is not ACTIVE is [`InUse`](crate::ErrorKind::InUse).
    /// * A consumer or shard that does not exist is [`NotFound`](crate::ErrorKind::NotFound).
    async fn subscribe_to_shard(
        &self,
        consumer: &ConsumerArn,
        shard: &ShardId,
        from: StartPosition,
    ) -> Result<Subscription>;
}

/// A registered consumer of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamConsumer {
    /// The consumer's name in its stream.
    pub name: ConsumerName,
    /// The consumer's ARN, by which it subscribes.
    pub arn: ConsumerArn,
    /// Whether it can subscribe.
    pub status: ConsumerStatus,
    /// When it was registered. Tells a consumer from an earlier one of the same name.
    pub created: Timestamp,
}

impl StreamConsumer {
    /// A consumer.
    pub fn new(arn: ConsumerArn, status: ConsumerStatus, created: Timestamp) -> Self {
        Self { name: arn.name().clone(), arn, status, created }
    }
}

/// Whether a consumer can subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsumerStatus {
    /// Being made: not yet.
    Creating,
    /// It can.
    Active,
    /// Being removed: not any more.
    Deleting,
}

impl fmt::Display for ConsumerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Deleting => "DELETING",
        })
    }
}

/// Which page of a stream's consumers is wanted: the default is the first one, of the service's own length (100).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerPageRequest {
    /// What the page before gave; `None` for the first page.
    pub token: Option<PageToken>,
    /// Most consumers of the page.
    pub max_results: Option<NonZeroU16>,
}

/// A page of ListStreamConsumers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerPage {
    /// The consumers. The service does not say in which order.
    pub consumers: Vec<StreamConsumer>,
    /// The way to the next page; `None` on the last one.
    pub next: Option<PageToken>,
}

impl ConsumerPage {
    /// A page.
    pub fn new(consumers: Vec<StreamConsumer>, next: Option<PageToken>) -> Self {
        Self { consumers, next }
    }
}
