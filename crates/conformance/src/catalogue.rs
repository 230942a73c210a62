use crate::{Behaviour, Requirement};

/// All behaviours, in the order of the traits' methods and their bullets.
pub fn behaviours() -> &'static [Behaviour] {
    crate::each_behaviour!(table)
}

/// The one list of behaviours, handed to a rule of `expand_behaviours`. Each line is a function, the capabilities that
/// it asks for, and how the bullet begins that it checks. What a backend must lack stands first, behind a `!`.
#[doc(hidden)]
#[macro_export]
macro_rules! each_behaviour {
    ($($rule:tt)*) => {
        $crate::expand_behaviours! { $($rule)*
            describe_stream_summary {
                a_stream_is_the_same_by_name_and_by_arn [streams_by_arn] "A stream is the same by name and by ARN"
                the_summary_describes_the_stream [] "Its ARN, name, retention"
                a_name_without_a_stream_is_not_found [] "A stream that does not exist"
                an_arn_without_a_stream_is_not_found [streams_by_arn] "A stream that does not exist"
            }
            list_shards {
                open_shards_cover_the_hash_key_space [] "The open shards of a stream cover"
                joined_pages_are_the_whole_listing [list_shards_pages] "Pages joined are the whole listing"
                closed_parents_are_listed_from_trim_horizon_but_not_at_latest [shard_filters] "The filters say"
                after_shard_id_starts_behind_that_id [shard_filters] "The filters say"
                from_timestamp_leaves_out_what_was_closed_before [shard_filters] "The filters say"
                at_timestamp_names_what_was_open_then [shard_filters] "The filters say"
                at_trim_horizon_names_what_was_open_then [exact_shard_filters] "The filters say"
                at_trim_horizon_names_too_many_shards [!exact_shard_filters, shard_filters] "The filters say"
                all_filters_name_all_shards [!shard_filters] "The filters say"
                closed_shards_leave_the_listing_with_their_last_record [movable_time] "The filters say"
                after_a_split_the_children_name_their_closed_parent [] "After a split the parent is closed"
                an_ending_number_lies_between_parent_and_children [ordered_ending_numbers] "After a split the parent"
                an_ending_number_lies_below_its_shard [!ordered_ending_numbers] "After a split the parent"
                after_a_merge_the_child_names_both_parents [] "After a merge the child names"
                shards_of_a_missing_stream_are_not_found [] "A stream that does not exist"
                an_invented_token_is_refused [rejects_garbage_tokens] "An invented token"
                a_token_expires_after_five_minutes [movable_time] "An invented token"
            }
            get_shard_iterator {
                trim_horizon_starts_at_the_oldest_record [] "`TrimHorizon` starts at the oldest record"
                latest_starts_behind_the_newest_record [] "`TrimHorizon` starts at the oldest record"
                at_timestamp_starts_at_the_first_record_from_then_on [] "`AtTimestamp` starts at the first record"
                a_timestamp_is_exact_to_the_millisecond [exact_timestamps] "`AtTimestamp` starts at the first record"
                a_timestamp_is_cut_to_its_second [!exact_timestamps] "`AtTimestamp` starts at the first record"
                a_timestamp_before_retention_is_trim_horizon [] "`AtTimestamp` starts at the first record"
                a_timestamp_in_the_future_is_refused [rejects_future_timestamps] "A timestamp in the future"
                at_sequence_number_starts_at_that_record [] "`AtSequenceNumber` starts at that record"
                after_sequence_number_starts_behind_that_record [] "`AtSequenceNumber` starts at that record"
                a_missing_shard_or_stream_is_not_found [] "A shard or stream that does not exist"
            }
            get_records {
                records_come_in_order_and_as_they_were_put [] "Records come in the order"
                the_limit_is_kept_and_the_next_iterator_goes_on [] "No more than `limit` records"
                an_iterator_can_be_used_again [] "An iterator can be used again"
                an_open_shard_always_has_a_next_iterator [] "An open shard always has"
                a_closed_shard_ends_behind_its_last_record [] "An open shard always has"
                the_end_of_a_shard_names_its_children [child_shards_at_end] "An open shard always has"
                the_end_of_a_shard_names_no_children [!child_shards_at_end] "An open shard always has"
                the_time_behind_is_zero_only_at_the_tip [reports_time_behind] "The time behind the latest record"
                the_time_behind_is_always_zero [!reports_time_behind] "The time behind the latest record"
                an_iterator_expires_after_five_minutes [movable_time] "An iterator older than five minutes"
                a_limit_out_of_range_is_refused [] "A limit of 0 or over 10 000"
                an_invented_iterator_is_refused [rejects_garbage_iterators] "A limit of 0 or over 10 000"
                an_invented_iterator_breaks_the_server [!rejects_garbage_iterators] "A limit of 0 or over 10 000"
            }
            put_records {
                outcomes_are_in_the_order_of_the_request [] "The outcomes are in the order"
                the_partition_keys_md5_decides_the_shard [] "The MD5 of the partition key"
                an_explicit_hash_key_decides_in_its_place [] "The MD5 of the partition key"
                sequence_numbers_grow_with_each_request [] "Sequence numbers of one shard"
                records_go_to_open_shards_only [] "A record goes to an open shard"
                any_bytes_are_a_payload [] "Any byte string is a payload"
                any_256_characters_are_a_key [counts_keys_in_characters] "Any byte string is a payload"
                a_request_without_records_is_refused [enforces_put_limits] "No records, more than 500"
                a_record_over_the_limit_is_refused [enforces_put_limits] "No records, more than 500"
                a_request_with_501_records_is_refused [enforces_put_limits] "No records, more than 500"
                a_request_of_any_size_is_taken [!enforces_put_limits] "No records, more than 500"
                a_request_over_ten_mebibytes_is_refused [enforces_put_limits] "No records, more than 500"
                a_failed_record_among_others_was_not_stored [throttles_writes] "Single records may fail"
                records_for_a_missing_stream_are_not_found [] "A stream that does not exist"
            }
            create_stream {
                a_new_stream_becomes_active_with_equal_shards [] "The stream is first CREATING"
                a_new_stream_is_creating_at_first [movable_time] "The stream is first CREATING"
                a_taken_name_is_in_use [] "A name that is taken"
            }
            delete_stream {
                a_removed_stream_is_not_found [] "A removed stream becomes"
                a_name_can_be_used_again [] "A name can be used again"
                a_stream_with_consumers_is_in_use
                    [fan_out, reliable_consumers, keeps_streams_with_consumers] "A stream that has consumers"
                a_stream_with_consumers_is_removed
                    [!keeps_streams_with_consumers, fan_out] "A stream that has consumers"
            }
            list_streams {
                a_stream_is_listed_from_its_creation_to_its_end [] "A stream is listed"
            }
            split_shard {
                children_divide_the_range_at_the_key [] "The children divide"
                a_key_outside_the_range_is_refused [] "A key that is not inside"
                the_first_key_of_the_range_is_refused [rejects_splits_at_the_edge] "A key that is not inside"
                the_first_key_of_the_range_is_taken [!rejects_splits_at_the_edge] "A key that is not inside"
                a_closed_shard_cannot_be_split [rejects_splits_of_closed_shards] "A shard that is closed already"
            }
            merge_shards {
                the_child_owns_both_ranges [] "The child owns both ranges"
                shards_that_are_not_adjacent_are_refused [] "Shards that are not adjacent"
            }
            register_stream_consumer {
                a_new_consumer_becomes_active [fan_out, reliable_consumers] "The consumer is first CREATING"
                a_taken_consumer_name_is_in_use [fan_out, reliable_consumers] "A name that another consumer"
                a_stream_takes_twenty_consumers [fan_out, reliable_consumers] "A stream takes 20 consumers"
                a_consumer_of_a_missing_stream_is_not_found [fan_out] "A stream that does not exist"
            }
            describe_stream_consumer {
                a_consumer_is_described_as_it_was_registered
                    [fan_out, reliable_consumers] "Its name, ARN and time of creation"
                an_unknown_consumer_is_not_found [fan_out] "A consumer or stream that does not exist"
            }
            list_stream_consumers {
                joined_pages_are_all_consumers
                    [fan_out, reliable_consumers, list_consumers_pages] "Pages joined are all consumers"
                a_stream_without_consumers_has_an_empty_page [fan_out] "A stream without consumers"
                consumers_of_a_missing_stream_are_not_found [fan_out] "A stream that does not exist"
                an_invented_consumer_token_is_refused [fan_out, rejects_garbage_consumer_tokens] "An invented token"
                an_invented_consumer_token_is_taken
                    [!rejects_garbage_consumer_tokens, fan_out] "An invented token"
            }
            deregister_stream_consumer {
                a_removed_consumer_is_not_found [fan_out, reliable_consumers] "A removed consumer becomes"
                subscriptions_of_a_removed_consumer_end
                    [fan_out, reliable_consumers, ends_subscriptions_of_removed_consumers] "Its subscriptions end"
                a_consumer_name_can_be_used_again [fan_out, reliable_consumers] "A name can be used again"
                a_missing_consumer_cannot_be_removed [fan_out] "A consumer that does not exist"
            }
            subscribe_to_shard {
                pushed_records_come_in_order_and_as_they_were_put
                    [fan_out, reliable_consumers] "Records come in the order"
                records_that_arrive_later_are_pushed [fan_out, reliable_consumers] "Records that arrive"
                a_subscription_from_trim_horizon_starts_at_the_oldest_record
                    [fan_out, reliable_consumers] "`TrimHorizon` starts at"
                a_subscription_from_latest_starts_behind_the_newest_record
                    [fan_out, reliable_consumers] "`TrimHorizon` starts at"
                a_subscription_starts_at_a_time
                    [fan_out, reliable_consumers, subscription_positions] "`AtTimestamp` starts at"
                a_subscription_before_retention_is_from_trim_horizon
                    [fan_out, reliable_consumers] "`AtTimestamp` starts at"
                a_subscription_starts_at_or_after_a_sequence_number
                    [fan_out, reliable_consumers, subscription_positions] "`AtSequenceNumber` starts at"
                positions_are_taken_for_trim_horizon [!subscription_positions, fan_out] "`AtSequenceNumber` starts at"
                events_come_without_records [fan_out, reliable_consumers] "Events come although"
                a_subscription_goes_on_behind_the_last_one
                    [fan_out, reliable_consumers, subscription_positions] "A subscription that starts behind"
                a_subscription_goes_on_behind_an_empty_event
                    [fan_out, reliable_consumers, resumable_empty_events] "A subscription that starts behind"
                a_subscription_is_behind_while_records_wait
                    [fan_out, reliable_consumers, pushes_small_events] "The time behind the latest"
                a_subscription_ends_with_its_shard_and_names_the_children
                    [fan_out, reliable_consumers, ends_subscriptions_with_their_shard] "The last event of a closed shard"
                a_subscription_ends_after_five_minutes
                    [fan_out, reliable_consumers, movable_time] "The subscription ends after five"
                a_second_subscription_is_in_use_for_five_seconds
                    [fan_out, reliable_consumers, refuses_second_subscriptions] "A second subscription"
                a_later_subscription_takes_over
                    [fan_out, reliable_consumers, subscriptions_take_over] "Five seconds later it takes"
                each_consumer_gets_all_records [fan_out, reliable_consumers] "Each consumer of a stream"
                a_consumer_that_is_not_active_cannot_subscribe
                    [fan_out, reliable_consumers, refuses_inactive_consumers] "A consumer that is not ACTIVE"
                a_missing_consumer_or_shard_cannot_be_subscribed_to
                    [fan_out, refuses_missing_subscriptions] "A consumer or shard that does not"
            }
        }
    };
}

/// What is made of the list: a table of [`Behaviour`](crate::Behaviour)s, or a module of tests.
#[doc(hidden)]
#[macro_export]
macro_rules! expand_behaviours {
    (table $($method:ident { $($name:ident [$($requires:tt)*] $bullet:literal)* })*) => {
        const {
            &[$($(Behaviour {
                name: stringify!($name),
                method: stringify!($method),
                bullet: $bullet,
                requires: $crate::requirements!([$($requires)*]),
                run: |backend| Box::pin($crate::$method::$name(backend)),
            },)*)*]
        }
    };
    (tests $module:ident $backend:tt
        $($method:ident { $($name:ident [$($requires:tt)*] $bullet:literal)* })*) => {
        mod $module {
            use super::*;

            $($($crate::paused_test! { $name $backend [$($requires)*] })*)*
        }
    };
}

/// A test of one behaviour; none of a known mistake, which a backend with all capabilities does not make.
#[doc(hidden)]
#[macro_export]
macro_rules! paused_test {
    ($name:ident $backend:tt [! $($requires:tt)*]) => {};
    ($name:ident $backend:tt [$($requires:tt)*]) => {
        #[tokio::test(start_paused = true)]
        async fn $name() {
            $crate::check(&$backend, stringify!($name)).await;
        }
    };
}

/// A list of [`Requirement`]s; `!` stands before what a backend must lack.
#[doc(hidden)]
#[macro_export]
macro_rules! requirements {
    ([$($all:tt)*]) => { $crate::requirements!(@ [] $($all)*) };
    (@ [$($done:tt)*]) => { &[$($done)*] };
    (@ [$($done:tt)*] !$capability:ident $(, $($rest:tt)*)?) => {
        $crate::requirements!(@ [
            $($done)*
            Requirement { capability: stringify!($capability), wanted: false, has: |has| has.$capability },
        ] $($($rest)*)?)
    };
    (@ [$($done:tt)*] $capability:ident $(, $($rest:tt)*)?) => {
        $crate::requirements!(@ [
            $($done)*
            Requirement { capability: stringify!($capability), wanted: true, has: |has| has.$capability },
        ] $($($rest)*)?)
    };
}
