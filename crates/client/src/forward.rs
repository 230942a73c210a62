//! A client behind a pointer is a client, and a macro for those who wrap one.

use std::sync::Arc;

use crate::{FanOutClient, KinesisAdmin, KinesisClient};

/// Implements [`KinesisClient`], [`KinesisAdmin`] or [`FanOutClient`] for a type that wraps a client: the methods that
/// are named go to the wrapped client, the others are written out.
///
/// A method that is neither named nor written out does not compile, also when the trait gets a new one. `..` in place of
/// the names forwards all methods.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
/// use statefun_kinesis_client::{KinesisClient, PutOutcome, Result, forward_client};
/// use statefun_kinesis_types::{PutRecord, StreamRef};
///
/// /// Counts the records that are written through it.
/// #[derive(Debug)]
/// struct Counting {
///     client: Arc<dyn KinesisClient>,
///     records: AtomicUsize,
/// }
///
/// forward_client! {
///     impl KinesisClient for Counting {
///         |this| this.client => describe_stream_summary, list_shards, get_shard_iterator, get_records;
///
///         async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> Result<Vec<PutOutcome>> {
///             self.records.fetch_add(records.len(), Ordering::Relaxed);
///             self.client.put_records(stream, records).await
///         }
///     }
/// }
/// ```
///
/// ```compile_fail,E0046
/// use statefun_kinesis_client::{KinesisClient, forward_client};
///
/// #[derive(Debug)]
/// struct Incomplete(Box<dyn KinesisClient>);
///
/// forward_client! {
///     impl KinesisClient for Incomplete {
///         |this| this.0 => describe_stream_summary, list_shards, get_shard_iterator, get_records;
///     }
/// }
/// ```
///
/// Type parameters stand in brackets: `impl [T: KinesisClient] KinesisClient for Wrapper<T> { … }`.
#[macro_export]
macro_rules! forward_client {
    (impl $([$($generics:tt)*])? KinesisClient for $client:ty { |$this:ident| $target:expr => ..; $($own:tt)* }) => {
        $crate::forward_client! {
            impl $([$($generics)*])? KinesisClient for $client {
                |$this| $target =>
                    describe_stream_summary, list_shards, get_shard_iterator, get_records, put_records;
                $($own)*
            }
        }
    };
    (impl $([$($generics:tt)*])? KinesisAdmin for $client:ty { |$this:ident| $target:expr => ..; $($own:tt)* }) => {
        $crate::forward_client! {
            impl $([$($generics)*])? KinesisAdmin for $client {
                |$this| $target => create_stream, delete_stream, list_streams, split_shard, merge_shards;
                $($own)*
            }
        }
    };
    (impl $([$($generics:tt)*])? FanOutClient for $client:ty { |$this:ident| $target:expr => ..; $($own:tt)* }) => {
        $crate::forward_client! {
            impl $([$($generics)*])? FanOutClient for $client {
                |$this| $target =>
                    register_stream_consumer, describe_stream_consumer, list_stream_consumers,
                    deregister_stream_consumer, subscribe_to_shard;
                $($own)*
            }
        }
    };
    (
        impl $([$($generics:tt)*])? $trait:ident for $client:ty {
            |$this:ident| $target:expr => $($method:ident),+ $(,)?;
            $($own:tt)*
        }
    ) => {
        $crate::forward_client! {
            @next [$($method)+] to (|$this| $target) of { $([$($generics)*])? $trait for $client } done { $($own)* }
        }
    };

    // The methods are put together one after the other, as `async_trait` has to see the finished text.
    (@next [] to $to:tt of { $([$($generics:tt)*])? $trait:ident for $client:ty } done { $($done:tt)* }) => {
        #[deny(clippy::missing_trait_methods)]
        #[$crate::forwarding::async_trait]
        impl $(<$($generics)*>)? $crate::$trait for $client {
            $($done)*
        }
    };
    (@next [$method:ident $($more:ident)*] to $to:tt of $of:tt done $done:tt) => {
        $crate::forward_client! { @$method [$($more)*] to $to of $of done $done }
    };
    (
        @add $trait:ident::$method:ident($($argument:ident: $type:ty),*) -> $result:ty;
        [$($more:ident)*] to (|$this:ident| $target:expr) of $of:tt done { $($done:tt)* }
    ) => {
        $crate::forward_client! {
            @next [$($more)*] to (|$this| $target) of $of done {
                $($done)*

                async fn $method(&self, $($argument: $type),*) -> $crate::Result<$result> {
                    let $this = self;
                    $crate::$trait::$method(&$target, $($argument),*).await
                }
            }
        }
    };

    (@describe_stream_summary $($rest:tt)*) => {
        $crate::forward_client! {
            @add KinesisClient::describe_stream_summary(stream: &$crate::forwarding::StreamRef) -> $crate::StreamSummary; $($rest)*
        }
    };
    (@list_shards $($rest:tt)*) => {
        $crate::forward_client! {
            @add KinesisClient::list_shards(stream: &$crate::forwarding::StreamRef, page: $crate::ShardPageRequest)
                -> $crate::ShardPage;
            $($rest)*
        }
    };
    (@get_shard_iterator $($rest:tt)*) => {
        $crate::forward_client! {
            @add KinesisClient::get_shard_iterator(
                stream: &$crate::forwarding::StreamRef,
                shard: &$crate::forwarding::ShardId,
                from: $crate::forwarding::StartPosition
            ) -> $crate::ShardIterator;
            $($rest)*
        }
    };
    (@get_records $($rest:tt)*) => {
        $crate::forward_client! {
            @add KinesisClient::get_records(iterator: &$crate::ShardIterator, limit: usize) -> $crate::RecordPage; $($rest)*
        }
    };
    (@put_records $($rest:tt)*) => {
        $crate::forward_client! {
            @add KinesisClient::put_records(stream: &$crate::forwarding::StreamRef, records: &[$crate::forwarding::PutRecord])
                -> ::std::vec::Vec<$crate::PutOutcome>;
            $($rest)*
        }
    };

    (@create_stream $($rest:tt)*) => {
        $crate::forward_client! {
            @add KinesisAdmin::create_stream(name: &$crate::forwarding::StreamName, shards: usize) -> (); $($rest)*
        }
    };
    (@delete_stream $($rest:tt)*) => {
        $crate::forward_client! { @add KinesisAdmin::delete_stream(stream: &$crate::forwarding::StreamRef) -> (); $($rest)* }
    };
    (@list_streams $($rest:tt)*) => {
        $crate::forward_client! {
            @add KinesisAdmin::list_streams() -> ::std::vec::Vec<$crate::forwarding::StreamName>; $($rest)*
        }
    };
    (@split_shard $($rest:tt)*) => {
        $crate::forward_client! {
            @add KinesisAdmin::split_shard(
                stream: &$crate::forwarding::StreamRef,
                shard: &$crate::forwarding::ShardId,
                at: $crate::forwarding::HashKey
            ) -> ();
            $($rest)*
        }
    };
    (@merge_shards $($rest:tt)*) => {
        $crate::forward_client! {
            @add KinesisAdmin::merge_shards(
                stream: &$crate::forwarding::StreamRef,
                shard: &$crate::forwarding::ShardId,
                adjacent: &$crate::forwarding::ShardId
            ) -> ();
            $($rest)*
        }
    };

    (@register_stream_consumer $($rest:tt)*) => {
        $crate::forward_client! {
            @add FanOutClient::register_stream_consumer(
                stream: &$crate::forwarding::StreamArn,
                name: &$crate::forwarding::ConsumerName
            ) -> $crate::StreamConsumer;
            $($rest)*
        }
    };
    (@describe_stream_consumer $($rest:tt)*) => {
        $crate::forward_client! {
            @add FanOutClient::describe_stream_consumer(
                stream: &$crate::forwarding::StreamArn,
                name: &$crate::forwarding::ConsumerName
            ) -> $crate::StreamConsumer;
            $($rest)*
        }
    };
    (@list_stream_consumers $($rest:tt)*) => {
        $crate::forward_client! {
            @add FanOutClient::list_stream_consumers(
                stream: &$crate::forwarding::StreamArn,
                page: $crate::ConsumerPageRequest
            ) -> $crate::ConsumerPage;
            $($rest)*
        }
    };
    (@deregister_stream_consumer $($rest:tt)*) => {
        $crate::forward_client! {
            @add FanOutClient::deregister_stream_consumer(consumer: &$crate::forwarding::ConsumerArn) -> (); $($rest)*
        }
    };
    (@subscribe_to_shard $($rest:tt)*) => {
        $crate::forward_client! {
            @add FanOutClient::subscribe_to_shard(
                consumer: &$crate::forwarding::ConsumerArn,
                shard: &$crate::forwarding::ShardId,
                from: $crate::forwarding::StartPosition
            ) -> $crate::Subscription;
            $($rest)*
        }
    };
}

forward_client! { impl [T: KinesisClient + ?Sized] KinesisClient for Arc<T> { |this| (**this) => ..; } }
forward_client! { impl [T: KinesisAdmin + ?Sized] KinesisAdmin for Arc<T> { |this| (**this) => ..; } }
forward_client! { impl [T: FanOutClient + ?Sized] FanOutClient for Arc<T> { |this| (**this) => ..; } }
forward_client! { impl [T: KinesisClient + ?Sized] KinesisClient for Box<T> { |this| (**this) => ..; } }
forward_client! { impl [T: KinesisAdmin + ?Sized] KinesisAdmin for Box<T> { |this| (**this) => ..; } }
forward_client! { impl [T: FanOutClient + ?Sized] FanOutClient for Box<T> { |this| (**this) => ..; } }
