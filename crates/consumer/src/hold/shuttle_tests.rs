//! The lock protocol of acknowledgements under the model checker `shuttle`, which tries orders of threads.

use std::sync::Arc;

use shuttle::{
    check_random,
    future::block_on,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use statefun_kinesis_types::ShardId;
use tokio::sync::mpsc;

use super::{
    MovedPositions,
    tests::{at, position, shard, shard_of},
};
use crate::ShardPosition;

/// Orders that each test tries; which take a few seconds.
const ORDERS: usize = 5_000;

#[test]
fn a_childs_position_is_never_taken_without_the_end_of_its_parent() {
    check_random(
        || {
            let (finished, mut ends) = mpsc::unbounded_channel::<ShardId>();
            let moved = Arc::<MovedPositions>::default();
            let parent = shard_of("shardId-000000000000", &moved, &finished);
            let child = shard_of("shardId-000000000001", &moved, &finished);
            let [first, last] = [1, 2].map(|number| parent.issue(position(number)));

            let acknowledging = thread::spawn(move || first.done());
            let reading = thread::spawn({
                let parent = Arc::clone(&parent);
                move || {
                    last.done();
                    parent.end();
                }
            });
            let starting_the_child = thread::spawn({
                let child = Arc::clone(&child);
                move || {
                    while ends.try_recv().is_err() {
                        thread::yield_now();
                    }
                    child.issue(position(3)).done();
                }
            });
            let saving = thread::spawn({
                let moved = Arc::clone(&moved);
                move || {
                    let (mut of_parent, mut of_child) = (None, None);
                    let mut save = || {
                        for (shard, position) in moved.take() {
                            match shard.shard.as_str() {
                                "shardId-000000000000" => of_parent = Some(position),
                                _ => of_child = Some(position),
                            }
                        }
                        assert!(of_child.is_none() || of_parent == Some(ShardPosition::Finished), "{of_parent:?}");
                        (of_parent, of_child)
                    };
                    while save() != (Some(ShardPosition::Finished), at(3)) {
                        thread::yield_now();
                    }
                }
            });
            for thread in [acknowledging, reading, starting_the_child, saving] {
                thread.join().unwrap();
            }
        },
        ORDERS,
    );
}

#[test]
fn an_acknowledgement_that_has_returned_is_in_the_next_take() {
    check_random(
        || {
            let (shard, moved, _finished) = shard();
            let batches = [1, 2].map(|number| shard.issue(position(number)));
            let returned: [Arc<AtomicBool>; 2] = Default::default();
            let threads = batches.into_iter().zip(&returned).map(|(batch, returned)| {
                let returned = Arc::clone(returned);
                thread::spawn(move || {
                    batch.done();
                    returned.store(true, Ordering::SeqCst);
                })
            });
            let threads: Vec<_> = threads.collect();
            let mut reached = None;
            let mut done = [false, false];
            while done != [true, true] {
                done = [0, 1].map(|batch: usize| returned[batch].load(Ordering::SeqCst));
                for (_, position) in moved.take() {
                    reached = Some(position);
                }
                match done {
                    [true, true] => assert_eq!(reached, at(2)),
                    [true, false] => assert!(reached == at(1) || reached == at(2), "{reached:?}"),
                    [false, _] => thread::yield_now(),
                }
            }
            for thread in threads {
                thread.join().unwrap();
            }
        },
        ORDERS,
    );
}

#[test]
fn a_batch_that_waits_for_an_earlier_one_is_woken() {
    check_random(
        || {
            let (shard, _moved, _finished) = shard();
            let [first, second, third] = [1, 2, 3].map(|number| shard.issue(position(number)));
            let acknowledging = thread::spawn(move || first.done());
            let dropping = thread::spawn(move || {
                assert!(block_on(second.ready()));
                drop(second);
            });
            assert!(!block_on(third.ready()), "what lies before it was dropped");
            acknowledging.join().unwrap();
            dropping.join().unwrap();
        },
        ORDERS,
    );
}
