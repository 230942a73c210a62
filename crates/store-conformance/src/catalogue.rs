use crate::{Behaviour, behaviour::Run};

/// All behaviours, in the order of the trait's methods and their bullets.
pub fn behaviours() -> &'static [Behaviour] {
    crate::each_behaviour!(table)
}

/// The list of behaviours, passed to a rule of `expand_behaviours`. Each line has a function, its argument, and the
/// beginning of the bullet that it checks.
#[doc(hidden)]
#[macro_export]
macro_rules! each_behaviour {
    ($($rule:tt)*) => {
        $crate::expand_behaviours! { $($rule)*
            commit {
                commits_outlive_a_restart [Backend] "When it returns, a crash"
                a_commit_changes_every_table_at_once [Store] "Reads see all of the changes"
                reads_see_a_commit_as_a_whole [Store] "Reads see all of the changes"
                the_last_change_of_a_key_counts [Store] "Of several changes to a key"
                a_deleted_range_keeps_what_is_put_afterwards [Store] "Of several changes to a key"
                changes_that_are_added_later_count_too [Store] "Of several changes to a key"
                commits_are_counted [Store] "The number is one more"
                numbers_go_on_after_a_restart [Backend] "The number is one more"
                commits_come_in_the_order_of_asking [Store] "One commit is made at a time"
                commits_that_overlap_are_all_made [Store] "One commit is made at a time"
                an_empty_commit_is_counted [Store] "A commit without changes"
                an_impossible_key_is_refused_with_its_whole_commit [Store] "A commit with a key or a value"
                the_longest_key_is_taken [Store] "A commit with a key or a value"
                a_fenced_writer_changes_nothing [Backend] "Once another writer has taken"
            }
            get {
                values_come_in_the_order_asked_for [Store] "A value is there for each key"
                values_are_of_one_moment [Store] "All values are of one moment"
            }
            load {
                prefixes_are_loaded_in_the_order_asked_for [Store] "There is a list for each prefix"
                loaded_entries_are_of_one_moment [Store] "All entries are of one moment"
                entries_of_a_prefix_are_in_order [Store] "The entries of a prefix"
            }
            scan {
                keys_are_ordered_byte_by_byte [Store] "Entries are in the order of their keys"
                pages_joined_are_the_whole_range [Store] "Entries are in the order of their keys"
                a_page_ends_with_the_entry_that_fills_it [Store] "A page ends with the entry"
                a_page_has_an_entry_at_least [Store] "A page ends with the entry"
                a_range_without_keys_is_empty [Store] "A page ends with the entry"
                a_page_is_of_one_moment [Store] "A page is of one moment"
            }
            last_commit {
                the_last_commit_is_told [Store] "It is 0 in a new store"
                the_last_commit_is_told_after_a_restart [Backend] "It is 0 in a new store"
            }
            usage {
                every_table_has_a_usage [Store] "There is an answer for every table"
            }
        }
    };
}

/// Expands the list to a table of [`Behaviour`](crate::Behaviour)s, or to a module of tests.
#[doc(hidden)]
#[macro_export]
macro_rules! expand_behaviours {
    (table $($method:ident { $($name:ident [$given:ident] $bullet:literal)* })*) => {
        const {
            &[$($(Behaviour {
                name: stringify!($name),
                method: stringify!($method),
                bullet: $bullet,
                run: Run::$given(|given| Box::pin($crate::$method::$name(given))),
            },)*)*]
        }
    };
    (tests $module:ident { $backend:expr } $($method:ident { $($name:ident [$given:ident] $bullet:literal)* })*) => {
        mod $module {
            use super::*;

            $($(#[tokio::test(start_paused = true)]
            async fn $name() {
                $crate::check(&$backend, stringify!($name)).await;
            })*)*
        }
    };
}
