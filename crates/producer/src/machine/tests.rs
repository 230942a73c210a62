use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use statefun_kinesis_client::{Backoff, Error, ErrorKind, Operation, PutFailure};
use statefun_kinesis_types::{HashKey, HashKeyRange, PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, Shard, ShardId};

use super::{
    answer::FIRST_RETRY_WITHIN,
    listing::{LIST_EVERY, LIST_RETRY_AFTER},
    *,
};
use crate::{Aggregation, Failure, Handling, Reason, request::Content};

const MIB: usize = 1 << 20;
static PAYLOAD: [u8; 3 * MIB] = [0; 3 * MIB];
const MILLI: Duration = Duration::from_millis(1);

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// No lingering and delays of exactly known bounds, so that a test sees one thing at a time.
fn plain() -> Settings {
    Settings {
        linger: Duration::ZERO,
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
        seed: Some(1),
        ..Settings::default()
    }
}

fn record(key: &str, bytes: usize) -> PutRecord {
    PutRecord::new(key.parse().unwrap(), Bytes::from_static(&PAYLOAD[..bytes]))
}

fn machine<T: Token, W>(settings: Settings) -> Machine<T, W> {
    let limits = Limits { max_record_bytes: PUT_RECORDS_MAX_BYTES, hash_decides: true };
    Machine::new("orders".parse().unwrap(), settings, Policy::Fail, limits)
}

fn placement() -> Placement {
    Placement { shard: "shardId-000000000000".parse().unwrap(), sequence_number: 1_u64.into() }
}

fn stored() -> PutOutcome {
    Ok(placement())
}

fn throttled() -> PutOutcome {
    Err(PutFailure::new(ErrorKind::Throttled, "ProvisionedThroughputExceededException", "slow down"))
}

fn internal() -> PutOutcome {
    Err(PutFailure::new(ErrorKind::Unavailable, "InternalFailure", "try again"))
}

fn call_error(kind: ErrorKind) -> Error {
    Error::new(Operation::PutRecords, kind, "as the test wants it")
}

/// Records by name: each was sent by itself.
impl Token for &'static str {
    fn is_followed_by(&self, _: &Self, _: u32) -> bool {
        false
    }

    fn advanced_by(&self, _: u32) -> Self {
        unreachable!("no name is followed by another one")
    }
}

/// Records by number: all of one batch.
impl Token for u64 {
    fn is_followed_by(&self, next: &Self, records: u32) -> bool {
        self + u64::from(records) == *next
    }

    fn advanced_by(&self, records: u32) -> Self {
        *self + u64::from(records)
    }
}

/// A machine with its time, and a token per record that says which one it is.
struct Rig {
    machine: Machine<&'static str, &'static str>,
    now: Instant,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        Self { machine: machine(settings), now: Instant::now() }
    }

    /// Queues records of a few bytes whose keys are the first letters of their tokens.
    #[track_caller]
    fn send(&mut self, tokens: &[&'static str]) {
        for token in tokens {
            let record = record(&token[..1], 10);
            assert!(self.machine.admits(record.size()), "{token} has no room");
            self.machine.submit(self.now, record, token);
            self.machine.check_invariants();
        }
    }

    #[track_caller]
    fn request(&mut self) -> Request {
        let request = self.machine.next_request(self.now).expect("there must be something to send");
        self.machine.check_invariants();
        request
    }

    /// The next request, which must carry exactly these keys, in this order: first those that have waited for nothing.
    #[track_caller]
    fn request_of(&mut self, keys: &str) -> Request {
        let request = self.request();
        let found: String = request.plain().iter().map(|record| record.partition_key.as_str()).collect();
        assert_eq!(found, keys);
        request
    }

    #[track_caller]
    fn nothing_to_send(&mut self) {
        let request = self.machine.next_request(self.now);
        assert!(request.is_none(), "{request:?}");
    }

    fn answer(&mut self, request: Request, answer: impl IntoIterator<Item = PutOutcome>) {
        self.machine.answered(self.now, request, Ok(answer.into_iter().collect()));
        self.machine.check_invariants();
    }

    fn fail(&mut self, request: Request, error: Error) {
        self.machine.answered(self.now, request, Err(error));
        self.machine.check_invariants();
    }

    /// Goes on to the time that the machine asked for, and returns how long that was.
    #[track_caller]
    fn wait(&mut self) -> Duration {
        let wake_at = self.machine.wake_at().expect("the machine must wait for something");
        let waited = wake_at.saturating_duration_since(self.now);
        self.now += waited;
        waited
    }

    /// The tokens whose outcome came since the last call, each with `stored` or the name of its error.
    fn outcomes(&mut self) -> Vec<String> {
        let name = |error: SendError| match (error.handling(), error.reason()) {
            (Handling::Skipped, _) => "skipped",
            (Handling::DeadLettered, _) => "dead-lettered",
            (_, Reason::TooLarge { .. }) => "too large",
            (_, Reason::GaveUp { .. }) => "gave up",
            (_, Reason::Rejected { .. }) => "rejected",
            (_, Reason::PredecessorFailed) => "predecessor failed",
            (_, Reason::Closed) => "closed",
            (_, other) => panic!("{other:?}"),
        };
        let outcomes = all_outcomes(&mut self.machine).into_iter();
        outcomes.map(|(token, result)| format!("{token} {}", result.map_or_else(name, |_| "stored"))).collect()
    }
}

/// The outcomes since the last call, record by record.
fn all_outcomes<T: Token, W>(machine: &mut Machine<T, W>) -> Vec<(T, Result<Stored, SendError>)> {
    machine.check_invariants();
    let each = |outcome| match outcome {
        Outcome::Record(token, result) => vec![(token, result)],
        Outcome::Aggregate(tokens, Placement { shard, sequence_number }) => {
            let stored =
                |sub_sequence_number| Ok(Stored { shard: shard.clone(), sequence_number, sub_sequence_number });
            (0..).zip(tokens).map(|(index, token)| (token, stored(index))).collect()
        }
        Outcome::Untracked(metas, outcomes) => {
            assert_eq!(metas.len(), outcomes.len());
            let stored = |outcome: PutOutcome| {
                let Placement { shard, sequence_number } = outcome.unwrap();
                Ok(Stored { shard, sequence_number, sub_sequence_number: 0 })
            };
            metas.into_records().zip(outcomes).map(|(meta, outcome)| (meta.token, stored(outcome))).collect()
        }
    };
    machine.take_outcomes().flat_map(each).collect()
}

#[test]
fn a_record_waits_for_its_predecessor_while_other_keys_go_on() {
    let mut rig = Rig::new(plain());
    rig.send(&["a1", "a2", "b1"]);
    let first = rig.request_of("ab");
    rig.send(&["c1", "a3"]);
    let second = rig.request_of("c");
    rig.nothing_to_send();

    rig.answer(first, [throttled(), stored()]);
    rig.answer(second, [stored()]);
    assert_eq!(rig.outcomes(), ["b1 stored", "c1 stored"]);
    rig.nothing_to_send();

    rig.wait();
    let retry = rig.request_of("a");
    rig.nothing_to_send();
    rig.answer(retry, [stored()]);
    assert_eq!(rig.outcomes(), ["a1 stored"]);
    for token in ["a2 stored", "a3 stored"] {
        let next = rig.request_of("a");
        rig.nothing_to_send();
        rig.answer(next, [stored()]);
        assert_eq!(rig.outcomes(), [token]);
    }
    assert!(rig.machine.is_idle());
}

#[test]
fn ready_records_leave_in_the_order_of_their_arrival() {
    let mut rig = Rig::new(Settings { max_in_flight_requests: count(1), ..plain() });
    let send = |rig: &mut Rig, tokens: [&'static str; 3]| {
        for token in tokens {
            rig.machine.submit(rig.now, record(&token[..1], 3 * MIB), token);
        }
    };
    send(&mut rig, ["a1", "a2", "b1"]);
    let first = rig.request_of("ab");
    send(&mut rig, ["c1", "b2", "d1"]);
    send(&mut rig, ["e1", "f1", "g1"]);
    rig.answer(first, [internal(), stored()]);
    rig.now += FIRST_RETRY_WITHIN;
    // Three have room in a request, and each one takes the oldest: a1, c1 and b2, then a2, d1 and e1.
    let second = rig.request_of("cab");
    rig.answer(second, [stored(), stored(), stored()]);
    let third = rig.request_of("dea");
    rig.answer(third, [stored(), stored(), stored()]);
    rig.request_of("fg");
}

#[test]
fn only_the_records_that_failed_are_sent_again() {
    let mut rig = Rig::new(plain());
    rig.send(&["a", "b", "c", "d"]);
    let first = rig.request_of("abcd");
    rig.answer(first, [stored(), internal(), stored(), internal()]);
    assert_eq!(rig.outcomes(), ["a stored", "c stored"]);
    rig.wait();
    let second = rig.request_of("bd");
    rig.answer(second, [stored(), stored()]);
    assert_eq!(rig.outcomes(), ["b stored", "d stored"]);
    assert_eq!(rig.machine.wake_at(), None);
}

#[test]
fn a_request_holds_500_records() {
    let mut rig = Rig::new(plain());
    for key in 0..1_000 {
        rig.machine.submit(rig.now, record(&key.to_string(), 1), "");
    }
    assert_eq!(rig.request().plain().len(), 500);
    assert_eq!(rig.request().plain().len(), 500);
    rig.nothing_to_send();
}

#[test]
fn a_request_holds_10_mib_keys_included() {
    #[track_caller]
    fn check(sizes: &[usize], expect: &[usize]) {
        let mut rig = Rig::new(plain());
        for (key, size) in (b'a'..).zip(sizes) {
            let key = char::from(key).to_string();
            rig.machine.submit(rig.now, record(&key, *size), "");
        }
        let requests = std::iter::from_fn(|| rig.machine.next_request(rig.now));
        let counts: Vec<_> = requests.map(|request| request.plain().len()).collect();
        assert_eq!(counts, expect, "{sizes:?}");
    }
    check(&[MIB - 1; 11], &[10, 1]);
    check(&[MIB; 11], &[9, 2]);
    check(&[2 * MIB - 1; 6], &[5, 1]);
    check(&[3 * MIB, 3 * MIB, 3 * MIB, MIB - 4, 1], &[4, 1]);
    check(&[3 * MIB, 3 * MIB, 3 * MIB, MIB - 3, 1], &[3, 2]);
}

#[test]
fn a_record_lingers_for_company_and_a_full_request_does_not() {
    let mut rig = Rig::new(Settings { linger: 5 * MILLI, ..plain() });
    rig.send(&["a"]);
    rig.now += 3 * MILLI;
    rig.send(&["b"]);
    rig.nothing_to_send();
    assert_eq!(rig.wait(), 2 * MILLI);
    rig.request_of("ab");

    for key in 0..499 {
        rig.machine.submit(rig.now, record(&key.to_string(), 1), "");
    }
    rig.nothing_to_send();
    rig.send(&["c"]);
    assert_eq!(rig.request().plain().len(), 500);

    for key in ["d", "e", "f"] {
        rig.machine.submit(rig.now, record(key, 3 * MIB), "");
    }
    rig.nothing_to_send();
    rig.machine.submit(rig.now, record("g", 3 * MIB), "");
    rig.request_of("def");
    rig.nothing_to_send();
}

#[test]
fn a_request_holds_10_mib_also_when_later_records_have_waited() {
    let mut rig = Rig::new(Settings { max_in_flight_requests: count(1), ..plain() });
    rig.send(&["x1"]);
    let first = rig.request_of("x");
    for key in ["a", "b", "c", "x"] {
        rig.machine.submit(rig.now, record(key, 3 * MIB), "large");
    }
    rig.answer(first, [stored()]);
    let second = rig.request_of("abc");
    rig.answer(second, [stored(), stored(), stored()]);
    rig.request_of("x");
}

#[test]
fn a_request_lingers_until_it_has_10_mib_and_not_a_byte_longer() {
    let mut rig = Rig::new(Settings { linger: Duration::from_secs(3_600), ..plain() });
    for key in ["a", "b", "c"] {
        rig.machine.submit(rig.now, record(key, 3 * MIB - 1), "");
    }
    rig.machine.submit(rig.now, record("d", MIB - 2), "");
    rig.nothing_to_send();
    // The last byte is that of the key.
    rig.machine.submit(rig.now, record("e", 0), "");
    assert_eq!(rig.request().plain().len(), 5);
}

#[test]
fn an_aggregate_lingers_until_it_has_as_many_records_as_are_allowed() {
    let aggregation = Some(Aggregation { max_records: count(3), ..Aggregation::default() });
    let linger = Settings { linger: Duration::from_secs(3_600), aggregation, ..plain() };
    let mut rig = with_shards(Rig::new(linger), &[0]);
    rig.send_to(0, &["a", "b"]);
    rig.nothing_to_send();
    rig.send_to(0, &["c"]);
    rig.aggregates(&[3]);
}

#[test]
fn a_request_of_aggregates_holds_10_mib() {
    const MIB_U32: u32 = MIB as u32;
    let aggregation = Some(Aggregation { max_bytes: count(MIB_U32), ..Aggregation::default() });
    let mut rig = with_shards(Rig::new(Settings { aggregation, ..plain() }), &[0]);
    for key in 0..250 {
        let record = record(&key.to_string(), 100_000).with_explicit_hash_key(HashKey::MIN);
        rig.machine.submit(rig.now, record, "");
    }
    let mut records = 0;
    while records < 250 {
        let request = rig.request();
        let Content::Aggregates(aggregates) = &request.content else { panic!("not aggregated: {request:?}") };
        let bytes: usize =
            aggregates.iter().filter_map(|aggregate| aggregate.unsealed.as_ref()).map(|it| it.size()).sum();
        assert!(bytes <= PUT_RECORDS_MAX_BYTES, "{bytes} bytes in a request");
        assert_eq!(aggregates.iter().filter(|aggregate| aggregate.unsealed.is_some()).count(), aggregates.len());
        records += aggregates.iter().map(|aggregate| aggregate.records).sum::<usize>();
    }
    rig.nothing_to_send();
}

#[test]
fn a_batch_is_queued_as_far_as_there_is_room_for_records_and_bytes() {
    #[track_caller]
    fn check(max_records: u32, max_bytes: u32, before: &[usize], sizes: &[usize], expect: usize) {
        let mut machine: Machine<u64, ()> = machine(Settings {
            max_outstanding_records: count(max_records),
            max_outstanding_bytes: count(max_bytes),
            ..plain()
        });
        let now = Instant::now();
        for (number, size) in (0..).zip(before) {
            machine.submit(now, record(&format!("{number:03}"), size - 3), number);
        }
        let of_batch = |(number, size): (usize, &usize)| record(&format!("{number:03}"), size - 3);
        let mut rest = (before.len()..).zip(sizes).map(of_batch).collect::<Vec<_>>().into_iter();
        assert_eq!(machine.queue_run(now, &mut rest, before.len() as u64).0, expect);
        assert_eq!(machine.metrics().outstanding_records, before.len() + expect);
        let bytes: usize = before.iter().chain(&sizes[..expect]).sum();
        assert_eq!(machine.metrics().outstanding_bytes, bytes);
        machine.check_invariants();
    }
    check(10, 1_000, &[], &[10, 10, 10], 3);
    check(2, 1_000, &[], &[10, 10, 10], 2);
    check(3, 1_000, &[10, 10], &[10, 10, 10], 1);
    check(3, 1_000, &[10, 10, 10], &[10], 0);
    check(10, 30, &[], &[10, 10, 10], 3);
    check(10, 29, &[], &[10, 10, 10], 2);
    check(10, 50, &[10, 20], &[10, 10, 10], 2);
    check(10, 49, &[10, 20], &[10, 10, 10], 1);
    check(10, 30, &[10, 20], &[10], 0);
}

#[test]
fn a_record_after_a_quiet_while_leaves_at_once_and_the_next_ones_linger() {
    let mut rig = Rig::new(Settings { linger: 5 * MILLI, ..plain() });
    rig.send(&["a"]);
    rig.wait();
    rig.request_of("a");
    rig.now += 5 * MILLI;
    rig.send(&["b"]);
    rig.request_of("b");
    rig.now += 2 * MILLI;
    rig.send(&["c"]);
    rig.nothing_to_send();
    assert_eq!(rig.wait(), 3 * MILLI);
    rig.request_of("c");
}

#[test]
fn the_longest_linger_is_as_long_as_it_says() {
    let mut rig = Rig::new(Settings { linger: Duration::MAX, give_up_after: Duration::MAX, ..plain() });
    rig.send(&["a"]);
    rig.now += Duration::from_secs(24 * 60 * 60);
    rig.nothing_to_send();
    rig.machine.flush("now");
    rig.request_of("a");
}

#[test]
fn no_setting_and_no_retry_after_is_too_long() {
    let forever = Settings {
        linger: Duration::MAX,
        give_up_after: Duration::MAX,
        backoff: Backoff::new(Duration::MAX, Duration::MAX),
        ..plain()
    };
    for aggregation in [None, Some(Aggregation::default())] {
        let mut rig = with_shards(Rig::new(Settings { aggregation, ..forever.clone() }), &[0]);
        rig.send_to(0, &["a", "b", "c"]);
        rig.machine.flush("all");
        let request = rig.request();
        let error = call_error(ErrorKind::Throttled).with_retry_after(Duration::from_secs(u64::MAX));
        rig.fail(request, error.with_retry_after(Duration::MAX));
        // It waits for years, and in no other way than it would for a minute.
        assert!(rig.wait() > Duration::from_secs(365 * 24 * 60 * 60));
        let request = rig.request();
        let outcomes = vec![internal(); request.len()];
        rig.answer(request, outcomes);
        rig.wait();
        let request = rig.request();
        let outcomes = vec![throttled(); request.len()];
        rig.answer(request, outcomes);
        rig.machine.wake_at();
        rig.machine.abandon();
        assert_eq!(rig.outcomes(), ["a closed", "b closed", "c closed"]);
    }
}

#[test]
fn a_record_that_has_waited_already_does_not_linger() {
    let mut rig = Rig::new(Settings { linger: Duration::from_secs(3_600), ..plain() });
    rig.send(&["a1", "a2", "b1"]);
    rig.machine.flush("all");
    let first = rig.request_of("ab");
    rig.send(&["b2"]);
    rig.answer(first, [internal(), stored()]);
    let second = rig.request_of("b");
    rig.now += FIRST_RETRY_WITHIN;
    rig.request_of("a");
    rig.answer(second, [stored()]);
}

#[test]
fn no_record_lingers_while_the_queue_is_full_and_a_sender_waits() {
    let mut rig =
        Rig::new(Settings { linger: Duration::from_secs(3_600), max_outstanding_records: count(2), ..plain() });
    rig.send(&["a", "b"]);
    rig.nothing_to_send();
    assert!(!rig.machine.admits(1));
    rig.request_of("ab");
}

#[test]
fn a_throttled_record_backs_off_and_an_internal_failure_is_tried_at_once() {
    #[track_caller]
    fn check(outcome: fn() -> PutOutcome, bounds_in_ms: &[(u64, u64)]) {
        for seed in 0..20 {
            let mut rig = Rig::new(Settings { seed: Some(seed), ..plain() });
            rig.send(&["a"]);
            for (least, most) in bounds_in_ms {
                let request = rig.request_of("a");
                rig.answer(request, [outcome()]);
                let waited = rig.wait();
                let bounds = Duration::from_millis(*least)..=Duration::from_millis(*most);
                assert!(bounds.contains(&waited), "seed {seed}: {waited:?} is not in {bounds:?}");
            }
        }
    }
    check(throttled, &[(50, 100), (100, 200), (200, 400), (400, 800), (800, 1_600), (1_000, 2_000), (1_000, 2_000)]);
    check(internal, &[(0, 20), (50, 100), (100, 200)]);
}

#[test]
fn records_that_failed_together_share_the_next_request() {
    let mut rig = Rig::new(plain());
    rig.send(&["a", "b", "c", "d"]);
    let request = rig.request();
    rig.answer(request, [throttled(), throttled(), throttled(), throttled()]);
    rig.wait();
    rig.request_of("abcd");
}

#[test]
fn a_failed_call_is_repeated_as_a_whole_after_the_delay_that_the_service_asked_for() {
    for kind in [ErrorKind::Throttled, ErrorKind::Timeout, ErrorKind::Unavailable, ErrorKind::InUse] {
        let mut rig = Rig::new(plain());
        rig.send(&["a", "b"]);
        let request = rig.request_of("ab");
        rig.fail(request, call_error(kind));
        let waited = rig.wait();
        assert!((50 * MILLI..=100 * MILLI).contains(&waited), "{kind}: {waited:?}");
        let request = rig.request_of("ab");
        rig.fail(request, call_error(kind).with_retry_after(Duration::from_secs(7)));
        assert_eq!(rig.wait(), Duration::from_secs(7));
        let request = rig.request_of("ab");
        rig.answer(request, [stored(), stored()]);
        assert_eq!(rig.outcomes(), ["a stored", "b stored"]);
    }
}

#[test]
fn a_record_is_given_up_when_the_next_try_would_come_too_late() {
    let mut rig = Rig::new(Settings { give_up_after: Duration::from_secs(10), ..plain() });
    rig.send(&["a1", "a2"]);
    rig.now += Duration::from_secs(60);
    let first = rig.now;
    let mut attempts = 0;
    let (token, error) = loop {
        let request = rig.request_of("a");
        attempts += 1;
        rig.now += 10 * MILLI;
        assert!(attempts < 100, "the record is never given up");
        if attempts == 2 {
            rig.fail(request, call_error(ErrorKind::Timeout));
        } else {
            rig.answer(request, [throttled()]);
        }
        let mut outcomes = all_outcomes(&mut rig.machine).into_iter();
        if let Some((token, result)) = outcomes.next() {
            let (next, predecessor_failed) = outcomes.next().unwrap();
            assert_eq!(next, "a2");
            assert!(matches!(predecessor_failed.unwrap_err().reason(), Reason::PredecessorFailed));
            break (token, result.unwrap_err());
        }
        rig.wait();
    };
    assert_eq!(token, "a1");
    let spent = rig.now - first;
    assert!((Duration::from_secs(8)..=Duration::from_secs(11)).contains(&spent), "{spent:?}");
    let Reason::GaveUp { elapsed, last } = error.reason() else { panic!("{error:?}") };
    assert_eq!((error.stream().to_string().as_str(), error.key().as_str(), error.size()), ("orders", "a", 11));
    assert_eq!((error.attempts(), *elapsed, error.may_be_stored()), (attempts, spent, true));
    assert_eq!(last.kind(), ErrorKind::Throttled);
    assert!(rig.machine.is_idle());
}

#[test]
fn a_refused_call_fails_its_records_and_those_behind_them_and_no_others() {
    for kind in [ErrorKind::AccessDenied, ErrorKind::NotFound, ErrorKind::Encryption] {
        let mut rig = Rig::new(plain());
        rig.send(&["a1", "b1", "a2", "a3"]);
        let request = rig.request_of("ab");
        rig.send(&["c1"]);
        rig.fail(request, call_error(kind));
        assert_eq!(rig.outcomes(), ["a1 rejected", "a2 predecessor failed", "a3 predecessor failed", "b1 rejected"]);
        rig.send(&["a4"]);
        let request = rig.request_of("ca");
        rig.answer(request, [stored(), stored()]);
        assert_eq!(rig.outcomes(), ["c1 stored", "a4 stored"]);
    }
}

#[test]
fn a_record_that_the_service_refuses_for_good_is_not_tried_again() {
    let mut rig = Rig::new(plain());
    rig.send(&["a", "b"]);
    let request = rig.request();
    let refused = PutFailure::new(ErrorKind::Encryption, "KMSDisabledException", "the key is disabled");
    rig.answer(request, [Err(refused.clone()), stored()]);
    let (_, result) = all_outcomes(&mut rig.machine).remove(0);
    let error = result.unwrap_err();
    let Reason::Rejected { last: Failure::Record(last) } = error.reason() else { panic!("{error:?}") };
    assert_eq!((&**last, error.attempts(), error.may_be_stored()), (&refused, 1, false));
    assert!(rig.machine.is_idle());
}

#[test]
fn a_wrong_number_of_outcomes_is_an_error_for_all_records_of_the_request() {
    for outcomes in [0, 1, 3] {
        let mut rig = Rig::new(plain());
        rig.send(&["a", "b"]);
        let request = rig.request();
        rig.answer(request, vec![stored(); outcomes]);
        for (token, result) in all_outcomes(&mut rig.machine) {
            let error = result.expect_err(token);
            let Reason::Rejected { last } = error.reason() else { panic!("{error:?}") };
            assert!(error.may_be_stored());
            assert_eq!(last.kind(), ErrorKind::Unexpected);
            let says = format!("2 records were answered with {outcomes} outcomes");
            assert!(last.to_string().contains(&says), "{last}");
        }
        assert!(rig.machine.is_idle());
    }
}

#[test]
fn room_is_for_so_many_records_and_bytes_and_for_one_record_of_any_size() {
    let mut rig =
        Rig::new(Settings { max_outstanding_records: count(3), max_outstanding_bytes: count(100), ..plain() });
    assert!(rig.machine.admits(1_000));
    rig.machine.submit(rig.now, record("x", 999), "x");
    assert!(!rig.machine.admits(1));
    let request = rig.request();
    assert!(!rig.machine.admits(1), "records in flight are outstanding too");
    rig.answer(request, [stored()]);

    rig.machine.submit(rig.now, record("y", 89), "y");
    assert!(rig.machine.admits(10) && !rig.machine.admits(11));
    rig.machine.submit(rig.now, record("y", 1), "y");
    rig.machine.submit(rig.now, record("y", 1), "y");
    assert!(!rig.machine.admits(1), "three records are outstanding");
}

#[test]
fn no_more_requests_are_in_flight_than_allowed() {
    let mut rig = Rig::new(Settings { max_in_flight_requests: count(2), ..plain() });
    rig.send(&["a"]);
    let first = rig.request_of("a");
    rig.send(&["b"]);
    rig.request_of("b");
    rig.send(&["c"]);
    rig.nothing_to_send();
    assert_eq!(rig.machine.wake_at(), None);
    rig.answer(first, [stored()]);
    rig.request_of("c");
}

#[test]
fn a_flush_ends_lingering_for_what_came_before_and_lasts_until_it_is_completed() {
    let mut rig = Rig::new(Settings { linger: Duration::from_secs(3_600), ..plain() });
    rig.machine.flush("nothing");
    assert_eq!(rig.machine.take_flushed(), ["nothing"]);

    rig.send(&["a1", "a2"]);
    rig.machine.flush("two");
    rig.send(&["a3"]);
    for outcome in [throttled(), stored()] {
        let waited = rig.wait();
        assert!(waited <= 100 * MILLI, "a flush lingers: {waited:?}");
        let request = rig.request_of("a");
        assert!(rig.machine.take_flushed().is_empty());
        rig.answer(request, [outcome]);
    }
    let request = rig.request_of("a");
    rig.send(&["b1"]);
    rig.nothing_to_send();
    rig.answer(request, [stored()]);
    assert_eq!(rig.machine.take_flushed(), ["two"]);
    assert_eq!(rig.outcomes(), ["a1 stored", "a2 stored"]);
}

#[test]
fn abandoning_fails_what_is_queued_and_leaves_the_rest_to_its_answers() {
    let mut rig = Rig::new(plain());
    rig.send(&["a1", "b1"]);
    let first = rig.request_of("ab");
    rig.send(&["c1"]);
    let second = rig.request_of("c");
    rig.send(&["d1"]);
    let third = rig.request_of("d");
    rig.answer(third, [throttled()]);
    rig.send(&["a2", "e1"]);
    rig.machine.flush("all");

    rig.machine.abandon();
    assert_eq!(rig.outcomes(), ["d1 closed", "a2 closed", "e1 closed"]);
    rig.nothing_to_send();
    rig.answer(first, [stored(), internal()]);
    assert_eq!(rig.outcomes(), ["a1 stored", "b1 closed"]);
    assert!(rig.machine.take_flushed().is_empty());
    rig.fail(second, call_error(ErrorKind::Timeout));
    let (_, result) = all_outcomes(&mut rig.machine).remove(0);
    assert!(result.is_err_and(|error| error.may_be_stored()));
    assert_eq!(rig.machine.take_flushed(), ["all"]);
    assert!(rig.machine.is_idle() && rig.machine.wake_at().is_none());
}

/// A machine that knows these shards, each with the first hash key of its range.
fn with_shards(mut rig: Rig, starts: &[u128]) -> Rig {
    rig.list(starts, 0);
    rig
}

impl Rig {
    fn with_policy(settings: Settings, policy: Policy, max_record_bytes: usize) -> Self {
        let limits = Limits { max_record_bytes, hash_decides: true };
        Self { machine: Machine::new("orders".parse().unwrap(), settings, policy, limits), now: Instant::now() }
    }

    /// Tells the machine which shards are open; they are numbered from `first` on.
    fn list(&mut self, starts: &[u128], first: usize) {
        let ends = starts[1..].iter().map(|start| start - 1).chain([u128::MAX]);
        let shard = |(number, (start, end)): (usize, (&u128, u128))| {
            let range = HashKeyRange::new(HashKey::new(*start), HashKey::new(end)).unwrap();
            Shard::new(shard_id(number), range, 1_u64.into())
        };
        let shards = (first..).zip(starts.iter().zip(ends)).map(shard).collect();
        self.machine.listed(self.now, Some(shards));
        self.machine.check_invariants();
    }

    /// Queues records that go where their explicit hash keys say; the first letter of a token is its key.
    fn send_to(&mut self, hash: u128, tokens: &[&'static str]) {
        for token in tokens {
            let record = record(&token[..1], 10).with_explicit_hash_key(HashKey::new(hash));
            self.machine.submit(self.now, record, token);
        }
    }

    /// The next request, which must carry aggregates of so many records.
    #[track_caller]
    fn aggregates(&mut self, sizes: &[usize]) -> Request {
        let request = self.request();
        let Content::Aggregates(aggregates) = &request.content else { panic!("not aggregated: {request:?}") };
        assert_eq!(aggregates.iter().map(|aggregate| aggregate.records).collect::<Vec<_>>(), sizes);
        request
    }
}

fn shard_id(number: usize) -> ShardId {
    format!("shardId-{number:012}").parse().unwrap()
}

fn stored_in(shard: usize) -> PutOutcome {
    Ok(Placement { shard: shard_id(shard), sequence_number: 1_u64.into() })
}

fn aggregated() -> Settings {
    Settings { aggregation: Some(Aggregation::default()), ..plain() }
}

const HALF: u128 = 1 << 127;

#[test]
fn a_request_that_is_refused_is_divided_until_the_wrong_record_is_alone() {
    let mut rig = Rig::new(Settings { max_attempts: Some(count(2)), ..plain() });
    rig.send(&["a1", "b1", "c1", "d1", "e1", "c2", "d2"]);
    let mut requests = 0;
    let mut first = Some(rig.request_of("abcde"));
    let mut throttles = true;
    while !rig.machine.is_idle() {
        let Some(request) = first.take().or_else(|| rig.machine.next_request(rig.now)) else {
            rig.wait();
            continue;
        };
        requests += 1;
        if request.plain().iter().any(|record| record.partition_key.as_str() == "c") {
            rig.fail(request, call_error(ErrorKind::InvalidArgument));
        } else {
            // The first to be heard is throttled once, which is the first of its two attempts.
            let mut outcomes = vec![stored(); request.len()];
            if std::mem::take(&mut throttles) {
                outcomes[0] = throttled();
            }
            rig.answer(request, outcomes);
        }
        // Others go on meanwhile.
        if requests == 1 {
            rig.send(&["f1"]);
        }
    }
    assert!(requests <= 10, "{requests}");
    let mut outcomes = rig.outcomes();
    outcomes.sort();
    let expect = [
        "a1 stored",
        "b1 stored",
        "c1 rejected",
        "c2 predecessor failed",
        "d1 stored",
        "d2 stored",
        "e1 stored",
        "f1 stored",
    ];
    assert_eq!(outcomes, expect);
}

#[test]
fn a_record_is_given_up_after_so_many_attempts() {
    let mut rig = Rig::new(Settings { max_attempts: Some(count(3)), ..plain() });
    rig.send(&["a"]);
    for attempt in 1..=3 {
        let request = rig.request_of("a");
        rig.answer(request, [throttled()]);
        if attempt < 3 {
            rig.wait();
        }
    }
    let (_, result) = all_outcomes(&mut rig.machine).remove(0);
    let error = result.unwrap_err();
    assert!(matches!(error.reason(), Reason::GaveUp { .. }) && error.attempts() == 3, "{error:?}");
    assert!(rig.machine.is_idle());
}

#[test]
fn a_record_that_is_skipped_lets_those_behind_it_go_on() {
    let mut rig = Rig::with_policy(plain(), Policy::Skip, 1_000);
    rig.send(&["a1", "a2"]);
    let request = rig.request_of("a");
    rig.answer(request, [Err(PutFailure::new(ErrorKind::Encryption, "KMSDisabledException", "disabled"))]);
    assert_eq!(rig.outcomes(), ["a1 skipped"]);
    let request = rig.request_of("a");
    rig.answer(request, [stored()]);
    assert_eq!(rig.outcomes(), ["a2 stored"]);

    rig.machine.submit(rig.now, record("a", 1_000), "too large");
    rig.send(&["a3", "b1"]);
    rig.request_of("ba");
    assert_eq!(rig.outcomes(), ["too large skipped"]);
}

#[test]
fn a_record_with_a_dead_letter_holds_up_its_key_until_the_letter_is_stored_or_not() {
    for is_stored in [true, false] {
        let mut rig = Rig::with_policy(plain(), Policy::DeadLetter, 1_000);
        rig.machine.submit(rig.now, record("a", 1_000), "a1");
        rig.send(&["a2", "b1"]);
        let request = rig.request_of("b");
        rig.answer(request, [stored()]);
        assert_eq!(rig.outcomes(), ["b1 stored"]);
        rig.nothing_to_send();
        let PendingDeadLetter { id, record, error } = rig.machine.take_dead_letters().pop().unwrap();
        assert_eq!(record.data.len(), 1_000);
        rig.machine.dead_letter_written(id, record, error, is_stored);
        if is_stored {
            assert_eq!(rig.outcomes(), ["a1 dead-lettered"]);
            rig.request_of("a");
        } else {
            assert_eq!(rig.outcomes(), ["a1 too large", "a2 predecessor failed"]);
            assert!(rig.machine.is_idle());
        }
    }
}

#[test]
fn without_order_records_of_a_key_share_a_request_and_do_not_wait_for_each_other() {
    let mut rig = Rig::new(Settings { order: crate::Order::None, ..plain() });
    rig.send(&["a1", "a2", "a3"]);
    let first = rig.request_of("aaa");
    rig.send(&["a4"]);
    let second = rig.request_of("a");
    rig.answer(second, [stored()]);
    let refused = PutFailure::new(ErrorKind::Encryption, "KMSDisabledException", "disabled");
    rig.answer(first, [throttled(), Err(refused), stored()]);
    assert_eq!(rig.outcomes(), ["a4 stored", "a2 rejected", "a3 stored"]);
    rig.wait();
    rig.request_of("a");
}

#[test]
fn the_shards_are_asked_for_when_one_throttles_and_then_it_has_a_pace() {
    let mut rig = Rig::new(plain());
    rig.send_to(0, &["a", "b"]);
    rig.send_to(HALF, &["c"]);
    assert!(!rig.machine.wants_shards(rig.now));
    let request = rig.request_of("abc");
    rig.answer(request, [throttled(), throttled(), stored_in(1)]);
    assert!(rig.machine.wants_shards(rig.now));
    assert!(!rig.machine.wants_shards(rig.now), "one listing at a time");
    rig.list(&[0, HALF], 0);
    rig.wait();
    let request = rig.request_of("ab");
    rig.answer(request, [throttled(), stored_in(0)]);
    assert_eq!(rig.machine.metrics().paced_shards, 1);

    // The other shard is written at will, and the throttled one by its pace and not by the backoff.
    let tokens: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    for (index, token) in tokens.iter().enumerate() {
        let hash = HashKey::new(if index < 500 { 0 } else { HALF });
        rig.machine.submit(rig.now, record(token, 10).with_explicit_hash_key(hash), "many");
    }
    let others = rig.request();
    assert_eq!(others.len(), 500);
    assert!(others.plain().iter().all(|record| record.hash_key().get() == HALF));
    assert!(rig.wait() < 5 * MILLI);
    let (start, mut sent) = (rig.now, 0);
    while sent < 501 {
        while let Some(request) = rig.machine.next_request(rig.now) {
            sent += request.len();
            let outcomes = vec![stored_in(0); request.len()];
            rig.answer(request, outcomes);
        }
        rig.now += MILLI;
    }
    let took = rig.now - start;
    assert!((450 * MILLI..=650 * MILLI).contains(&took), "{took:?}");
    rig.now += Duration::from_secs(10);
    rig.answer(others, vec![stored_in(1); 500]);
    assert_eq!(rig.machine.metrics().paced_shards, 0, "a shard that is quiet for long has no pace any more");
}

#[test]
fn an_aggregate_has_records_of_one_shard_with_as_much_of_each_line_as_fits() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0, HALF]);
    rig.send_to(0, &["a1", "a2"]);
    rig.send_to(HALF, &["b1"]);
    rig.send_to(0, &["c1", "a3"]);
    let request = rig.aggregates(&[4, 1]);
    rig.send_to(0, &["a4", "d1", "a5"]);
    let second = rig.aggregates(&[1]);
    rig.nothing_to_send();
    rig.answer(request, [stored_in(0), stored_in(1)]);
    let expect = ["a1 stored", "a2 stored", "a3 stored", "c1 stored", "b1 stored"];
    assert_eq!(rig.outcomes(), expect);
    let third = rig.aggregates(&[2]);
    rig.answer(third, [throttled()]);
    rig.answer(second, [stored_in(0)]);
    assert_eq!(rig.outcomes(), ["d1 stored"]);
    rig.now += MILLI * 200;
    let again = rig.aggregates(&[2]);
    rig.answer(again, [stored_in(0)]);
    assert_eq!(rig.outcomes(), ["a4 stored", "a5 stored"]);
    assert!(rig.machine.is_idle());
}

#[test]
fn records_of_a_key_for_different_shards_travel_one_after_the_other() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0, HALF]);
    rig.send_to(0, &["a1"]);
    rig.send_to(HALF, &["a2", "a3"]);
    rig.send_to(0, &["a4"]);
    for (shard, tokens) in [(0, &["a1 stored"][..]), (1, &["a2 stored", "a3 stored"]), (0, &["a4 stored"])] {
        let request = rig.aggregates(&[tokens.len()]);
        rig.nothing_to_send();
        rig.answer(request, [stored_in(shard)]);
        assert_eq!(rig.outcomes(), tokens);
    }
}

#[test]
fn a_full_aggregate_does_not_linger_and_others_do() {
    let linger = Settings { linger: Duration::from_secs(1), ..aggregated() };
    let mut rig = with_shards(Rig::new(linger), &[0, HALF]);
    rig.send_to(HALF, &["b1"]);
    let large = record("a", 30_000).with_explicit_hash_key(HashKey::MIN);
    rig.machine.submit(rig.now, large.clone(), "a1");
    rig.nothing_to_send();
    rig.machine.submit(rig.now, large, "a2");
    rig.aggregates(&[1]);
    rig.nothing_to_send();
    assert_eq!(rig.wait(), Duration::from_secs(1));
    rig.aggregates(&[1]);
}

#[test]
fn an_aggregate_on_a_child_of_its_shard_is_sent_again_as_a_whole_and_one_on_a_merged_shard_is_not() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0]);
    rig.send_to(0, &["a1"]);
    rig.send_to(HALF, &["b1"]);
    let request = rig.aggregates(&[2]);
    rig.answer(request, [stored_in(1)]);
    assert!(rig.outcomes().is_empty() && !rig.machine.is_idle());
    rig.now += LIST_EVERY;
    assert!(rig.machine.wants_shards(rig.now));
    rig.nothing_to_send();
    // Until the shards are known again, records go by themselves.
    rig.send_to(0, &["c1", "c2"]);
    let single = rig.request_of("c");
    rig.answer(single, [stored_in(1)]);
    assert_eq!(rig.outcomes(), ["c1 stored"]);

    rig.list(&[0, HALF], 1);
    let request = rig.aggregates(&[2, 1]);
    rig.answer(request, [stored_in(1), stored_in(2)]);
    assert_eq!(rig.outcomes(), ["a1 stored", "c2 stored", "b1 stored"]);
    assert_eq!(rig.machine.metrics().misplaced_aggregates, 1);

    rig.send_to(0, &["a2", "c3"]);
    let request = rig.aggregates(&[2]);
    rig.answer(request, [stored_in(3)]);
    assert!(rig.outcomes().is_empty());
    rig.now += LIST_EVERY;
    assert!(rig.machine.wants_shards(rig.now));
    rig.list(&[0], 3);
    assert_eq!(rig.outcomes(), ["a2 stored", "c3 stored"]);
    assert_eq!(rig.machine.metrics().misplaced_aggregates, 1);
}

#[test]
fn a_misplaced_aggregate_that_is_abandoned_may_be_stored() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0]);
    rig.send_to(0, &["a1", "a2", "b1"]);
    let request = rig.aggregates(&[3]);
    rig.send_to(0, &["a3"]);
    rig.answer(request, [stored_in(7)]);
    rig.machine.abandon();
    let found: Vec<_> =
        all_outcomes(&mut rig.machine).into_iter().map(|(token, result)| (token, result.unwrap_err())).collect();
    let found: Vec<_> = found.iter().map(|(token, error)| (*token, error.may_be_stored())).collect();
    assert_eq!(found, [("a1", true), ("a2", true), ("b1", true), ("a3", false)]);
    assert!(rig.machine.is_idle());
}

#[test]
fn a_misplaced_aggregate_does_not_wait_for_ever_for_the_shards() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0]);
    rig.send_to(0, &["a1", "b1"]);
    let request = rig.aggregates(&[2]);
    rig.answer(request, [stored_in(7)]);
    let start = rig.now;
    while !rig.machine.is_idle() {
        rig.now += LIST_RETRY_AFTER;
        assert!(rig.machine.wants_shards(rig.now));
        rig.machine.listed(rig.now, None);
    }
    assert!(rig.now - start < Duration::from_secs(125));
    let errors: Vec<_> = all_outcomes(&mut rig.machine).into_iter().map(|(_, result)| result.unwrap_err()).collect();
    assert!(errors.iter().all(SendError::may_be_stored), "{errors:?}");
    assert!(matches!(errors[0].reason(), Reason::GaveUp { last: Failure::WrongShard { .. }, .. }));
}

#[derive(Clone, Debug)]
enum Event {
    Send {
        key: u8,
        bytes: usize,
    },
    /// Answers one of the requests in flight.
    Answer {
        which: prop::sample::Index,
        how: How,
    },
    Wait(u64),
    Flush,
}

#[derive(Clone, Debug)]
enum How {
    /// Each record has an outcome of its own, drawn from these in turn.
    Single(Vec<u8>),
    /// The call fails, and nothing was stored.
    Failed(ErrorKind),
    /// No answer; everything was stored, at once or when something else happens later.
    LostAnswer {
        late: bool,
    },
    WrongCount,
}

fn event() -> impl Strategy<Value = Event> {
    let how = prop_oneof![
        6 => vec(0..10_u8, 1..20).prop_map(How::Single),
        2 => prop::sample::select(vec![
            ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::LimitExceeded,
            ErrorKind::AccessDenied, ErrorKind::InvalidArgument,
        ]).prop_map(How::Failed),
        2 => any::<bool>().prop_map(|late| How::LostAnswer { late }),
        1 => Just(How::WrongCount),
    ];
    let bytes = prop_oneof![5 => 0..200_usize, 1 => Just(MIB - 1), 1 => Just(3 * MIB)];
    prop_oneof![
        12 => (0..12_u8, bytes).prop_map(|(key, bytes)| Event::Send { key, bytes }),
        5 => (any::<prop::sample::Index>(), how).prop_map(|(which, how)| Event::Answer { which, how }),
        3 => (0..3_000_u64).prop_map(Event::Wait),
        1 => Just(Event::Flush),
    ]
}

/// A service that stores what the events say, and a reader that checks what a machine must never do.
struct Model {
    machine: Machine<u64, u64>,
    settings: Settings,
    now: Instant,
    in_flight: Vec<Request>,
    /// Requests whose answer was lost and that the service has not carried out yet.
    late: Vec<Request>,
    /// Tokens in the order in which they were sent, by key. The token is in the explicit hash key, so that it can be
    /// read off the record.
    sent: BTreeMap<String, Vec<u64>>,
    next_token: u64,
    stored: Vec<u64>,
    completed: HashMap<u64, Result<Stored, SendError>>,
    outstanding: HashMap<u64, usize>,
    /// The flushes that wait, each with what was outstanding when it began.
    flushes: Vec<(u64, BTreeSet<u64>)>,
    next_flush: u64,
}

fn token(record: &PutRecord) -> u64 {
    record.explicit_hash_key.unwrap().get() as u64
}

impl Model {
    fn new(settings: Settings) -> Self {
        Self {
            machine: machine(settings.clone()),
            settings,
            now: Instant::now(),
            in_flight: Vec::new(),
            late: Vec::new(),
            sent: BTreeMap::new(),
            next_token: 0,
            stored: Vec::new(),
            completed: HashMap::new(),
            outstanding: HashMap::new(),
            flushes: Vec::new(),
            next_flush: 0,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Send { key, bytes } => {
                let token = self.next_token;
                let key = format!("k{key}");
                let record = record(&key, bytes).with_explicit_hash_key(HashKey::new(u128::from(token)));
                let size = record.size();
                if self.machine.admits(size) {
                    self.next_token += 1;
                    self.machine.submit(self.now, record, token);
                    self.sent.entry(key).or_default().push(token);
                    self.outstanding.insert(token, size);
                }
            }
            Event::Answer { which, how } if !self.in_flight.is_empty() => {
                let request = self.in_flight.swap_remove(which.index(self.in_flight.len()));
                self.answer(request, how);
            }
            Event::Answer { .. } => {}
            Event::Wait(millis) => self.now += Duration::from_millis(millis),
            Event::Flush => {
                let number = self.next_flush;
                self.next_flush += 1;
                self.flushes.push((number, self.outstanding.keys().copied().collect()));
                self.machine.flush(number);
            }
        }
        self.look();
    }

    fn answer(&mut self, request: Request, how: How) {
        let tokens: Vec<u64> = request.plain().iter().map(token).collect();
        let answer = match how {
            How::Single(outcomes) => {
                let outcome = |(token, outcome): (&u64, &u8)| match outcome {
                    0..6 => {
                        self.stored.push(*token);
                        stored()
                    }
                    6 | 7 => throttled(),
                    8 => internal(),
                    _ => Err(PutFailure::new(ErrorKind::Encryption, "KMSDisabledException", "disabled")),
                };
                Ok(tokens.iter().zip(outcomes.iter().cycle()).map(outcome).collect())
            }
            How::Failed(kind) => Err(call_error(kind)),
            How::LostAnswer { late } => {
                if late {
                    self.late.push(request.clone());
                } else {
                    self.stored.extend(&tokens);
                }
                Err(call_error(ErrorKind::Timeout))
            }
            How::WrongCount => {
                self.stored.extend(&tokens);
                Ok(vec![stored(); tokens.len() + 1])
            }
        };
        self.machine.answered(self.now, request, answer);
        // Some arbitrary later answer lets a late request through.
        if let Some(late) = self.late.pop_if(|_| tokens.len().is_multiple_of(2)) {
            self.stored.extend(late.plain().iter().map(token));
        }
    }

    /// Takes what the machine gives, and checks it against what was promised.
    fn look(&mut self) {
        self.machine.check_invariants();
        while let Some(request) = self.machine.next_request(self.now) {
            let records = request.plain();
            assert!((1..=PUT_RECORDS_MAX_RECORDS).contains(&records.len()));
            assert!(records.iter().map(PutRecord::size).sum::<usize>() <= PUT_RECORDS_MAX_BYTES);
            self.in_flight.push(request);
        }
        let carried = || self.in_flight.iter().flat_map(Request::plain);
        let keys: HashSet<_> = carried().map(|record| &record.partition_key).collect();
        assert_eq!(keys.len(), carried().count(), "a key is in flight twice");
        assert!(self.in_flight.len() <= self.settings.max_in_flight_requests.get() as usize);

        for (token, result) in all_outcomes(&mut self.machine) {
            assert!(self.outstanding.remove(&token).is_some(), "{token} was completed twice");
            if let Err(error) = &result {
                assert!(error.may_be_stored() || !self.stored.contains(&token), "{token} was stored: {error:?}");
            } else {
                assert!(self.stored.contains(&token), "{token} was not stored");
            }
            self.completed.insert(token, result);
        }
        assert_eq!(self.machine.is_idle(), self.outstanding.is_empty());
        assert!(self.outstanding.len() <= self.settings.max_outstanding_records.get() as usize);
        let bytes: usize = self.outstanding.values().sum();
        assert!(bytes <= self.settings.max_outstanding_bytes.get() as usize || self.outstanding.len() == 1);

        for number in self.machine.take_flushed() {
            let position = self.flushes.iter().position(|(flush, _)| *flush == number).expect("flushed twice");
            let (_, before) = self.flushes.swap_remove(position);
            assert!(before.iter().all(|token| self.completed.contains_key(token)), "flush {number} came too early");
        }
        let wake_at = self.machine.wake_at();
        assert!(wake_at.is_none_or(|at| at > self.now), "the machine has nothing to send although it is time");
        let asleep = wake_at.is_none();
        assert!(!asleep || self.outstanding.is_empty() || !self.in_flight.is_empty(), "the machine has stopped");
    }

    /// Lets the service carry out everything, and checks the whole story.
    fn end(mut self) {
        self.machine.flush(u64::MAX);
        self.flushes.push((u64::MAX, self.outstanding.keys().copied().collect()));
        for _ in 0..10_000 {
            self.look();
            if let Some(request) = self.in_flight.pop() {
                self.answer(request, How::Single(vec![0]));
            } else if let Some(wake_at) = self.machine.wake_at() {
                assert!(wake_at > self.now, "the machine has nothing to send although it is time");
                self.now = wake_at;
            }
        }
        assert!(self.outstanding.is_empty(), "{:?} never came to an end", self.outstanding);
        assert!(self.flushes.is_empty(), "{:?} were never told", self.flushes);
        for late in std::mem::take(&mut self.late) {
            self.stored.extend(late.plain().iter().map(token));
        }
        for (key, sent) in &self.sent {
            let acknowledged = sent.iter().filter(|token| self.completed[token].is_ok());
            let mut before = None;
            for token in acknowledged {
                let first = self.stored.iter().position(|stored| stored == token);
                assert!(first > before, "{token} of {key} was stored before its predecessor: {:?}", self.stored);
                before = first;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_order_and_bounds_hold_and_everything_is_completed_once(
        events in vec(event(), 1..300),
        records in 1..30_u32,
        requests in 1..5_u32,
        linger in prop::sample::select(vec![0, 5, 1_000]),
    ) {
        let mut model = Model::new(Settings {
            max_outstanding_records: count(records),
            max_outstanding_bytes: count(13 << 20),
            max_in_flight_requests: count(requests),
            linger: Duration::from_millis(linger),
            give_up_after: Duration::from_secs(20),
            ..plain()
        });
        for event in events {
            model.happen(event);
        }
        model.end();
    }
}
