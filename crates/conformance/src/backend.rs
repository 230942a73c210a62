use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use statefun_kinesis_client::{FanOutClient, KinesisAdmin};
use statefun_kinesis_types::StreamName;

/// A service that is held to the behaviours.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The client of the service.
    fn client(&self) -> Arc<dyn KinesisAdmin>;

    /// The same service's enhanced fan-out. Only called when it has [`Capabilities::fan_out`].
    fn fan_out(&self) -> Arc<dyn FanOutClient>;

    /// What the service can do, and what it is known to get wrong.
    fn capabilities(&self) -> Capabilities;

    /// Moves the service's time. Only called when it has [`Capabilities::movable_time`].
    async fn advance(&self, by: Duration);

    /// A name that no stream of the service has, nor had.
    fn fresh_name(&self) -> StreamName;
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The honest differences between a backend and the service, each `true` where there is none.
        ///
        /// A behaviour that needs what a backend lacks is not applicable to it, which a runner has to say; where it is
        /// cheap, another behaviour holds the backend to the wrong answer that it is known to give, so that a repaired
        /// emulator is noticed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Capabilities {
            $($(#[$doc])* pub $name: bool,)*
        }

        impl Capabilities {
            /// Everything.
            pub const ALL: Self = Self { $($name: true),* };

            /// Each capability by name, in the order of the fields.
            pub fn by_name(&self) -> impl Iterator<Item = (&'static str, bool)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

capabilities! {
    /// Streams can be named by ARN in every operation.
    streams_by_arn,
    /// ListShards gives pages of the size that was asked for.
    list_shards_pages,
    /// ListShards heeds `AtLatest`, `AfterShardId`, `AtTimestamp` and `FromTimestamp`.
    shard_filters,
    /// ListShards heeds `AtTrimHorizon` too, where others name all shards.
    exact_shard_filters,
    /// An invented ListShards token is refused as such.
    rejects_garbage_tokens,
    /// An invented iterator is refused as such.
    rejects_garbage_iterators,
    /// `AtTimestamp` iterators are exact to the millisecond, where others cut the time to its second.
    exact_timestamps,
    /// A timestamp in the future is refused by GetShardIterator.
    rejects_future_timestamps,
    /// PutRecords refuses a request of no records, of more than 500 or of more than 10 MiB, and a record over the
    /// stream's limit.
    enforces_put_limits,
    /// A partition key's length is counted in characters, where others count bytes.
    counts_keys_in_characters,
    /// SplitShard refuses a shard that is closed already.
    rejects_splits_of_closed_shards,
    /// SplitShard refuses the first key of the shard's range, which would leave nothing to one child.
    rejects_splits_at_the_edge,
    /// The ending sequence number of a closed shard lies above its starting one and below its children's.
    ordered_ending_numbers,
    /// The end of a closed shard names the shards that go on from there.
    child_shards_at_end,
    /// `MillisBehindLatest` is more than nothing while records wait.
    reports_time_behind,
    /// A shard takes no more than 1 000 records and 1 MiB a second, and throttles the rest record by record.
    throttles_writes,
    /// Enhanced fan-out: consumers can be registered and can subscribe.
    fan_out,
    /// A registered consumer stays and a removed one goes. Others lose a consumer, or bring a removed one back, when
    /// something else changes at the same time; nothing that needs one can be told of them.
    reliable_consumers,
    /// ListStreamConsumers gives pages that make up the whole.
    list_consumers_pages,
    /// An invented ListStreamConsumers token is refused as such.
    rejects_garbage_consumer_tokens,
    /// A stream with consumers cannot be removed as long as it has them.
    keeps_streams_with_consumers,
    /// A subscription ends when its consumer is removed.
    ends_subscriptions_of_removed_consumers,
    /// A subscription heeds where it is to start, where others know trim horizon and latest only.
    subscription_positions,
    /// The continuation number of an event without records is one that another subscription can start behind.
    resumable_empty_events,
    /// A subscription gives some megabytes in more than one event.
    pushes_small_events,
    /// A subscription to a closed shard gives an event without a continuation that names the child shards, and ends.
    ends_subscriptions_with_their_shard,
    /// A second subscription of a consumer to a shard is refused while the first one is young.
    refuses_second_subscriptions,
    /// A second subscription of a consumer to a shard takes over after five seconds.
    subscriptions_take_over,
    /// A consumer that is CREATING cannot subscribe.
    refuses_inactive_consumers,
    /// A subscription to a shard or of a consumer that does not exist is refused as such.
    refuses_missing_subscriptions,
    /// The test can move the service's time.
    movable_time,
}

impl Capabilities {
    /// The in-memory fake with enforced throughput, under paused Tokio time.
    pub const FAKE: Self = Self::ALL;

    /// The service itself, whose clock cannot be moved.
    pub const AWS: Self = Self { movable_time: false, ..Self::ALL };

    /// LocalStack 4.14.0, which wraps kinesis-mock 0.6.2.
    pub const LOCALSTACK: Self = Self {
        exact_shard_filters: false,
        exact_timestamps: false,
        rejects_garbage_iterators: false,
        enforces_put_limits: false,
        rejects_splits_at_the_edge: false,
        ordered_ending_numbers: false,
        throttles_writes: false,
        reliable_consumers: false,
        list_consumers_pages: false,
        rejects_garbage_consumer_tokens: false,
        ends_subscriptions_of_removed_consumers: false,
        resumable_empty_events: false,
        pushes_small_events: false,
        ends_subscriptions_with_their_shard: false,
        refuses_second_subscriptions: false,
        subscriptions_take_over: false,
        refuses_inactive_consumers: false,
        refuses_missing_subscriptions: false,
        movable_time: false,
        ..Self::ALL
    };

    /// kinesis-mock 0.6.2 by itself.
    pub const KINESIS_MOCK: Self = Self {
        exact_timestamps: true,
        resumable_empty_events: true,
        refuses_second_subscriptions: true,
        ..Self::LOCALSTACK
    };

    /// ferrokinesis 0.7.0 without `--enforce-limits`.
    pub const FERROKINESIS: Self = Self {
        streams_by_arn: false,
        list_shards_pages: false,
        shard_filters: false,
        exact_shard_filters: false,
        rejects_garbage_tokens: false,
        counts_keys_in_characters: false,
        rejects_splits_of_closed_shards: false,
        child_shards_at_end: false,
        reports_time_behind: false,
        throttles_writes: false,
        list_consumers_pages: false,
        rejects_garbage_consumer_tokens: false,
        keeps_streams_with_consumers: false,
        ends_subscriptions_of_removed_consumers: false,
        subscription_positions: false,
        resumable_empty_events: false,
        pushes_small_events: false,
        ends_subscriptions_with_their_shard: false,
        refuses_second_subscriptions: false,
        subscriptions_take_over: false,
        movable_time: false,
        ..Self::ALL
    };
}
