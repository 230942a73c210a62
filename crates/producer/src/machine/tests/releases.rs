//! When records of throttled shards are sent.

use std::time::Duration;

use statefun_kinesis_types::HashKey;

use super::scene::{HALF, MILLI, Rig, aggregated, count, plain, record, stored_in, throttled, with_shards};
use crate::{Settings, machine::listing::LIST_EVERY, request::Request};

/// The shortest and the longest time between two releases.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(100);

/// A machine of shards that have just throttled, a second ago. Of each, one record was throttled and is stored by now.
fn throttling(settings: Settings, starts: &[u128]) -> Rig {
    let mut rig = with_shards(Rig::new(settings), starts);
    for (start, token) in starts.iter().zip(["s", "t", "u", "v", "w", "x", "y", "z"]) {
        rig.send_to(*start, &[token]);
    }
    let request = rig.request();
    let throttled = vec![throttled(); request.len()];
    rig.answer(request, throttled);
    assert!(rig.wait() <= LONGEST);
    let request = rig.request();
    let outcomes: Vec<_> = (0..request.len()).map(stored_in).collect();
    rig.answer(request, outcomes);
    assert_eq!(rig.machine.metrics().paced_shards, starts.len());
    rig.outcomes();
    rig.now += Duration::from_secs(1);
    rig
}

#[test]
fn a_record_of_a_throttled_shard_goes_at_once_after_a_pause_and_the_next_ones_go_together() {
    for settings in [plain(), aggregated()] {
        let mut rig = throttling(settings, &[0]);
        rig.send_to(0, &["a"]);
        let request = rig.request();
        rig.answer(request, [stored_in(0)]);
        for token in ["b", "c", "d"] {
            rig.now += MILLI;
            rig.send_to(0, &[token]);
            rig.nothing_to_send();
        }
        assert_eq!(rig.wait(), LONGEST - 3 * MILLI);
        let request = rig.request();
        let outcomes = vec![stored_in(0); request.len()];
        rig.answer(request, outcomes);
        assert_eq!(rig.outcomes(), ["a stored", "b stored", "c stored", "d stored"]);
    }
}

#[test]
fn all_throttled_shards_share_a_request() {
    let mut rig = throttling(plain(), &[0, HALF]);
    rig.send_to(HALF, &["a"]);
    rig.request_of("a");
    rig.send_to(0, &["b"]);
    rig.send_to(HALF, &["c"]);
    rig.nothing_to_send();
    rig.wait();
    rig.request_of("bc");
}

#[test]
fn records_of_other_shards_do_not_wait_for_a_release() {
    let mut rig = throttling(plain(), &[0]);
    rig.list(&[0, HALF], 0);
    rig.send_to(0, &["a"]);
    rig.request_of("a");
    rig.send_to(0, &["b"]);
    rig.send_to(HALF, &["c"]);
    rig.request_of("c");
    rig.nothing_to_send();
}

#[test]
fn releases_are_as_far_apart_as_it_takes_to_fill_a_request_or_half_of_the_queue() {
    #[track_caller]
    fn check(outstanding: u32, starts: &[u128], expect: Duration) {
        let settings = Settings { max_outstanding_records: count(outstanding), ..plain() };
        let mut rig = throttling(settings, starts);
        for (start, tokens) in starts.iter().zip([["a", "b"], ["c", "d"]]) {
            rig.send_to(*start, &tokens[..1]);
        }
        rig.request();
        for (start, tokens) in starts.iter().zip([["a", "b"], ["c", "d"]]) {
            rig.send_to(*start, &tokens[1..]);
        }
        assert_eq!(rig.wait(), expect);
    }
    check(1_000, &[0], LONGEST);
    check(100, &[0], 50 * MILLI);
    check(100, &[0, HALF], 25 * MILLI);
    check(10, &[0], SHORTEST);
    check(1_000, &[0, HALF], LONGEST);
}

#[test]
fn a_release_takes_as_many_requests_as_it_needs() {
    let many = Settings { max_outstanding_records: count(10_000), ..plain() };
    let starts: Vec<u128> = (0..8).map(|shard| shard << 125).collect();
    let mut rig = throttling(many, &starts);
    for number in 0..300 {
        for (shard, start) in starts.iter().enumerate() {
            let key = format!("{shard}-{number}");
            let record = record(&key, 10).with_explicit_hash_key(HashKey::new(*start));
            rig.machine.submit(rig.now, record, "");
        }
    }
    // Each of them has 200 tokens saved up.
    let requests: Vec<_> = std::iter::from_fn(|| rig.machine.next_request(rig.now)).collect();
    assert_eq!(requests.iter().map(Request::len).collect::<Vec<_>>(), [500, 500, 500, 100]);
    rig.machine.check_invariants();
}

#[test]
fn a_shard_keeps_its_pace_when_the_shards_are_listed_again_and_loses_it_when_it_is_closed() {
    let mut rig = throttling(plain(), &[0, HALF]);
    rig.send_to(0, &["a"]);
    rig.send_to(HALF, &["b"]);
    rig.request_of("ab");
    rig.send_to(0, &["c"]);
    rig.send_to(HALF, &["d"]);
    // The first shard is split, so that the second one is the third in the list.
    rig.now += LIST_EVERY / 10;
    let shards = [(7, 0, HALF / 2 - 1), (8, HALF / 2, HALF - 1), (1, HALF, u128::MAX)];
    rig.list_ranges(&shards);
    assert_eq!(rig.machine.metrics().paced_shards, 1);
    rig.request_of("c");
    rig.nothing_to_send();
    rig.wait();
    rig.request_of("d");
}
