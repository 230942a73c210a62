//! Polling of one shard as a state machine without I/O: results and the time go in, the next step comes out.

use std::time::{Duration, Instant};

use statefun_kinesis_client::{ChildShard, Error, ErrorKind, InstantExt as _, RecordPage, ShardIterator};
use statefun_kinesis_types::{GET_RECORDS_MAX_BYTES, StartPosition, Timestamp};

use crate::{
    Settings,
    cursor::{Cursor, Page},
    failures::{Failures, until_service_reaches},
    pace::{CallPace, TokenBucket},
    prefetch::Amount,
    unpack::Contents,
};

/// Least room that is reserved for the answer of a shard that was read to its tip. With the default bounds, 200 shards can
/// be polled at a time. If more has arrived, the next call brings the rest, with room for a full answer.
const TIP_RECORDS_MIN: usize = 500;
const TIP_BYTES_MIN: usize = 256 << 10;

/// What [`Poller`](crate::poller) does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before this instant.
    Wait(Instant),
    /// Call GetShardIterator, then [`ShardMachine::iterator`].
    GetIterator(StartPosition),
    /// Make room, say [`ShardMachine::asking`], call GetRecords for as many records as there is room, then
    /// [`ShardMachine::answer`].
    GetRecords(ShardIterator, Amount),
    /// The shard was read to its end.
    End(Vec<ChildShard>),
    /// Find out whether the shard has ended: several answers in a row had neither an iterator nor children. If it has not,
    /// [`ShardMachine::read_again`].
    CheckEnd,
}

/// Whether the failure may mean that the service does not know the sequence number; emulators answer with any of these.
fn is_rejection(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidArgument | ErrorKind::Unavailable | ErrorKind::Unexpected | ErrorKind::Incomplete
    )
}

/// Polls one shard: decides from where, how often and how much to read, and what follows a failure.
#[derive(Debug)]
pub(crate) struct ShardMachine {
    settings: Settings,
    random: fastrand::Rng,
    cursor: Cursor,
    iterator: Iterator,
    calls: CallPace,
    iterator_calls: CallPace,
    bytes: TokenBucket,
    /// No call before this, because of an empty answer or a failure.
    not_before: Option<Instant>,
    idle: Duration,
    failures: Failures,
    expired: u32,
    /// The limit of the last call, in records.
    limit: usize,
    /// Size of the last answer.
    brought: Amount,
    /// The last answer reached the newest record.
    at_tip: bool,
}

/// The shard iterator; it is good for one call.
#[derive(Debug)]
enum Iterator {
    Missing,
    Ready(ShardIterator),
    /// The service gave none, and no children either.
    Absent,
    Ended(Vec<ChildShard>),
}

impl ShardMachine {
    pub(crate) fn new(cursor: Cursor, settings: &Settings, random: fastrand::Rng) -> Self {
        Self {
            random,
            cursor,
            iterator: Iterator::Missing,
            calls: CallPace::per_second(settings.read_calls_per_second),
            iterator_calls: CallPace::per_second(settings.read_calls_per_second),
            bytes: TokenBucket::per_second(settings.read_bytes_per_second as f64),
            not_before: None,
            idle: settings.poll_idle_min,
            failures: Failures::new(settings.backoff),
            expired: 0,
            limit: 0,
            brought: Amount::default(),
            at_tip: false,
            settings: settings.clone(),
        }
    }

    /// How far the shard was read.
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Failures in a row since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.in_a_row()
    }

    /// The next step at this time. Does not change anything: a step that was not carried out comes again.
    pub(crate) fn next(&self, now: Instant) -> Step {
        let pace = match &self.iterator {
            Iterator::Ended(children) => return Step::End(children.clone()),
            Iterator::Absent => return Step::CheckEnd,
            Iterator::Missing => self.iterator_calls.ready_at(),
            Iterator::Ready(_) => self.calls.ready_at().max(self.bytes.ready_at()),
        };
        // `None` is less than any instant.
        if let Some(until) = pace.max(self.not_before)
            && until > now
        {
            return Step::Wait(until);
        }
        match &self.iterator {
            Iterator::Ready(iterator) => Step::GetRecords(iterator.clone(), self.expected_answer()),
            Iterator::Missing | Iterator::Absent | Iterator::Ended(_) => Step::GetIterator(self.cursor.position()),
        }
    }

    /// How much room to reserve for the next answer. Behind the tip that is a full answer. At the tip it is twice the last
    /// answer with a small minimum, so that many quiet shards can be polled side by side.
    fn expected_answer(&self) -> Amount {
        let most = Amount { records: self.settings.max_records_per_call, bytes: GET_RECORDS_MAX_BYTES };
        if !self.at_tip {
            return most;
        }
        Amount {
            records: (2 * self.brought.records).max(TIP_RECORDS_MIN).min(most.records),
            bytes: (2 * self.brought.bytes).max(TIP_BYTES_MIN).min(most.bytes),
        }
    }

    /// GetShardIterator is called.
    pub(crate) fn asking_iterator(&mut self, now: Instant) {
        self.iterator_calls.called(now);
    }

    /// Takes the result of GetShardIterator. `today` is the time of day.
    ///
    /// # Errors
    ///
    /// A failure that no retry will mend.
    pub(crate) fn iterator(
        &mut self,
        now: Instant,
        today: Timestamp,
        result: Result<ShardIterator, Error>,
    ) -> Result<(), Error> {
        match result {
            Ok(iterator) => {
                self.iterator = Iterator::Ready(iterator);
                Ok(())
            }
            // The continuation of a subscription need not be a record's number, and only SubscribeToShard has to know it.
            // The number of the last record always works, and `Cursor::page` removes records that come twice.
            Err(error) if is_rejection(&error) && self.cursor.forget_continuation() => {
                self.retry(now, Duration::ZERO);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Incomplete => {
                if self.failures.doubt(now) {
                    return Err(error);
                }
                self.retry_doubt(now);
                Ok(())
            }
            Err(error) => {
                if let Some(wait) = until_service_reaches(self.cursor.position(), &error, today) {
                    self.retry(now, wait);
                    return Ok(());
                }
                self.failed(now, error)
            }
        }
    }

    /// GetRecords is called for at most `limit` records.
    pub(crate) fn asking(&mut self, now: Instant, limit: usize) {
        self.calls.called(now);
        self.limit = limit;
    }

    /// Takes the result of GetRecords.
    ///
    /// # Errors
    ///
    /// A failure that no retry will mend.
    pub(crate) fn answer(&mut self, now: Instant, result: Result<RecordPage, Error>) -> Result<Option<Page>, Error> {
        let RecordPage { records, next_iterator, behind_latest, child_shards, .. } = match result {
            Ok(page) => page,
            Err(error) => {
                self.failed(now, error)?;
                return Ok(None);
            }
        };
        self.calls.succeeded();
        self.expired = 0;
        let contents = Contents::of(&records);
        self.bytes.take(now, contents.bytes as f64);
        self.iterator = match next_iterator {
            Some(iterator) => Iterator::Ready(iterator),
            None if !child_shards.is_empty() => Iterator::Ended(child_shards),
            // That something is missing proves nothing: the records behind an early end would be lost. So the same
            // place is read again before anybody believes it.
            None => {
                self.iterator = if self.failures.doubt(now) { Iterator::Absent } else { Iterator::Missing };
                self.retry_doubt(now);
                return Ok(self.cursor.page(records, contents, behind_latest));
            }
        };
        self.failures.reset();
        self.brought = Amount { records: records.len(), bytes: contents.bytes };
        // A full answer is followed by more, also where an emulator always answers that it is zero behind.
        self.at_tip = behind_latest.is_zero() && records.len() < self.limit;
        if records.is_empty() && self.at_tip {
            // With jitter, so that shards that became idle together are not always polled together.
            let wait = self.idle.mul_f64(0.75 + self.random.f64() / 4.0);
            self.not_before = Some(now.saturating_add(wait));
            self.idle = self.idle.saturating_mul(2).min(self.settings.poll_idle_max);
        } else {
            self.not_before = None;
            self.idle = self.settings.poll_idle_min;
        }

        Ok(self.cursor.page(records, contents, behind_latest))
    }

    /// Since when all answers have left open whether the shard has ended.
    pub(crate) fn doubt_since(&self) -> Option<Instant> {
        self.failures.doubt_since()
    }

    /// The shard has not ended, or it is not certain: reads it again from where it was read to.
    pub(crate) fn read_again(&mut self, now: Instant) {
        self.iterator = Iterator::Missing;
        self.retry_doubt(now);
    }

    fn failed(&mut self, now: Instant, error: Error) -> Result<(), Error> {
        let kind = error.kind();
        if kind == ErrorKind::ExpiredIterator {
            self.iterator = Iterator::Missing;
            self.expired += 1;
            // An iterator lives for five minutes, so that a stall explains the first expiry. A new one that is expired too
            // is a fault of the service, and an immediate retry would be a hot loop.
            if self.expired > 1 {
                self.retry(now, Duration::ZERO);
            }
            return Ok(());
        }
        if matches!(kind, ErrorKind::Throttled | ErrorKind::LimitExceeded) {
            self.calls.throttled();
        }
        let at_least = self.failures.check(now, error)?;
        self.retry(now, at_least);
        Ok(())
    }

    fn retry_doubt(&mut self, now: Instant) {
        let delay = self.failures.doubt_delay(&mut self.random);
        self.not_before = Some(now.saturating_add(delay));
    }

    fn retry(&mut self, now: Instant, at_least: Duration) {
        let delay = self.failures.delay(at_least, &mut self.random);
        self.not_before = Some(now.saturating_add(delay));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statefun_kinesis_client::{Operation, PATIENCE, Retry};
    use statefun_kinesis_types::{HashKeyRange, Record};

    use super::*;
    use crate::{Position, cursor::Begin, failures::CLOCK_AHEAD_MAX};

    const SECOND: Duration = Duration::from_secs(1);

    fn machine(begin: Begin) -> ShardMachine {
        ShardMachine::new(Cursor::new(begin), &Settings::default().in_range(), fastrand::Rng::with_seed(3))
    }

    fn from_trim_horizon() -> ShardMachine {
        machine(Begin::From(StartPosition::TrimHorizon))
    }

    fn iterator(name: &str) -> ShardIterator {
        ShardIterator::new(name)
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(Operation::GetRecords, kind, "a test's failure")
    }

    fn record(number: u64) -> Record {
        Record::new(number.into(), None, Timestamp::EPOCH, "12345".into())
    }

    fn page(numbers: &[u64], behind: Duration) -> RecordPage {
        RecordPage::new(numbers.iter().map(|&n| record(n)).collect(), Some(iterator("next")), behind)
    }

    fn numbers(page: Option<Page>) -> Vec<u64> {
        let numbers =
            page.map(|page| page.records.iter().map(|r| r.sequence_number.to_string().parse().unwrap()).collect());
        numbers.unwrap_or_default()
    }

    /// Goes on to the next call of GetRecords, through iterators and waiting; gives its instant.
    fn to_records(machine: &mut ShardMachine, mut now: Instant) -> Instant {
        loop {
            match machine.next(now) {
                Step::Wait(until) => now = until,
                Step::GetIterator(_) => {
                    machine.asking_iterator(now);
                    machine.iterator(now, Timestamp::EPOCH, Ok(iterator("new"))).unwrap();
                }
                Step::GetRecords(_, amount) => {
                    machine.asking(now, amount.records);
                    return now;
                }
                Step::End(_) | Step::CheckEnd => panic!("the shard has ended"),
            }
        }
    }

    /// The position of the iterator that the machine asks for next.
    fn asks_for(machine: &ShardMachine, mut now: Instant) -> StartPosition {
        loop {
            match machine.next(now) {
                Step::Wait(until) => now = until,
                Step::GetIterator(from) => return from,
                other => panic!("{other:?} instead of an iterator"),
            }
        }
    }

    #[test]
    fn reading_begins_at_the_startup_position_and_resumes_behind_a_stored_one() {
        let now = Instant::now();
        let seven = 7_u64.into();
        for (begin, expected) in [
            (Begin::From(StartPosition::TrimHorizon), StartPosition::TrimHorizon),
            (Begin::From(StartPosition::AtTimestamp(Timestamp::EPOCH)), StartPosition::AtTimestamp(Timestamp::EPOCH)),
            (Begin::Behind(Position::behind(seven)), StartPosition::AfterSequenceNumber(seven)),
            (Begin::Behind(Position::inside(seven, 0)), StartPosition::AtSequenceNumber(seven)),
        ] {
            assert_eq!(machine(begin).next(now), Step::GetIterator(expected), "{begin:?}");
        }
    }

    #[test]
    fn a_record_that_was_processed_in_part_comes_again_and_one_that_was_processed_does_not() {
        for (begin, expected) in
            [(Position::inside(7_u64.into(), 1), [7, 8].as_slice()), (Position::behind(7_u64.into()), &[8])]
        {
            let mut machine = machine(Begin::Behind(begin));
            let now = to_records(&mut machine, Instant::now());
            assert_eq!(numbers(machine.answer(now, Ok(page(&[7, 8], SECOND))).unwrap()), expected);
            machine.answer(now, Err(error(ErrorKind::ExpiredIterator))).unwrap();
            assert_eq!(asks_for(&machine, now), StartPosition::AfterSequenceNumber(8_u64.into()));
        }
    }

    #[test]
    fn an_expired_iterator_is_replaced_from_the_last_delivered_record() {
        let mut machine = from_trim_horizon();
        let now = to_records(&mut machine, Instant::now());
        assert_eq!(numbers(machine.answer(now, Ok(page(&[1, 2, 3], SECOND))).unwrap()), [1, 2, 3]);
        let now = to_records(&mut machine, now);
        assert_eq!(machine.answer(now, Err(error(ErrorKind::ExpiredIterator))).unwrap(), None);
        assert_eq!(machine.failures(), 0);
        assert_eq!(asks_for(&machine, now), StartPosition::AfterSequenceNumber(3_u64.into()));
    }

    #[test]
    fn before_the_first_record_an_expired_iterator_is_replaced_from_the_start() {
        let start = StartPosition::AtTimestamp(Timestamp::from_millis(5));
        let mut machine = machine(Begin::From(start));
        let now = to_records(&mut machine, Instant::now());
        machine.answer(now, Err(error(ErrorKind::ExpiredIterator))).unwrap();
        assert_eq!(asks_for(&machine, now), start);
    }

    #[test]
    fn iterators_that_expire_at_once_do_not_make_a_hot_loop() {
        let mut machine = from_trim_horizon();
        let start = Instant::now();
        let mut now = start;
        for _ in 0..20 {
            now = to_records(&mut machine, now);
            machine.answer(now, Err(error(ErrorKind::ExpiredIterator))).unwrap();
        }
        assert!(now - start > Duration::from_secs(60), "{:?}", now - start);
    }

    #[test]
    fn a_busy_shard_is_polled_as_soon_as_pacing_permits_and_an_idle_one_less_and_less_often() {
        let mut machine = from_trim_horizon();
        let mut now = to_records(&mut machine, Instant::now());
        let mut wait = |machine: &mut ShardMachine, answer: RecordPage| {
            machine.answer(now, Ok(answer)).unwrap();
            let before = now;
            now = to_records(machine, now);
            now - before
        };
        let pace = Duration::from_millis(200);
        assert_eq!(wait(&mut machine, page(&[1], SECOND)), pace);
        assert_eq!(wait(&mut machine, page(&[2], Duration::ZERO)), pace);
        assert_eq!(wait(&mut machine, page(&[], SECOND)), pace, "empty answers come on the way to the tip too");
        for expected in [250, 500, 1_000, 1_000, 1_000] {
            let wait = wait(&mut machine, page(&[], Duration::ZERO)).as_millis();
            assert!((expected * 3 / 4..=expected).contains(&wait), "{wait} instead of up to {expected}");
        }
        assert_eq!(wait(&mut machine, page(&[3], Duration::ZERO)), pace);
    }

    #[test]
    fn an_answer_of_ten_mebibytes_is_followed_by_five_seconds_of_rest() {
        let mut machine = from_trim_horizon();
        let now = to_records(&mut machine, Instant::now());
        let mut large = page(&[1], SECOND);
        large.records[0].data = vec![0; 10 << 20].into();
        machine.answer(now, Ok(large)).unwrap();
        assert_eq!(to_records(&mut machine, now) - now, 5 * SECOND);
    }

    #[test]
    fn a_quiet_shard_needs_little_room_and_one_that_is_behind_a_full_answer() {
        let mut machine = from_trim_horizon();
        let room = |machine: &ShardMachine, mut now: Instant| loop {
            match machine.next(now) {
                Step::Wait(until) => now = until,
                Step::GetRecords(_, amount) => return amount,
                other => panic!("{other:?}"),
            }
        };
        let full = Amount { records: 10_000, bytes: 10 << 20 };
        let now = to_records(&mut machine, Instant::now());
        machine.answer(now, Ok(page(&[1], SECOND))).unwrap();
        assert_eq!(room(&machine, now), full);
        let now = to_records(&mut machine, now);
        machine.answer(now, Ok(page(&[2], Duration::ZERO))).unwrap();
        assert_eq!(room(&machine, now), Amount { records: TIP_RECORDS_MIN, bytes: TIP_BYTES_MIN });
        let now = to_records(&mut machine, now);
        let mut large = page(&(3..403).collect::<Vec<_>>(), Duration::ZERO);
        large.records[0].data = vec![0; 1 << 20].into();
        machine.answer(now, Ok(large)).unwrap();
        assert_eq!(room(&machine, now), Amount { records: 800, bytes: 2 * ((1 << 20) + 399 * 5) });

        machine.asking(now, 2);
        machine.answer(now, Ok(page(&[1_000, 1_001], Duration::ZERO))).unwrap();
        assert_eq!(room(&machine, now), full, "a full answer has more behind it");
    }

    #[test]
    fn failures_that_pass_are_tried_again_ever_later_and_end_with_a_success() {
        for kind in [
            ErrorKind::Throttled,
            ErrorKind::LimitExceeded,
            ErrorKind::Unavailable,
            ErrorKind::Timeout,
            ErrorKind::InUse,
        ] {
            let mut machine = from_trim_horizon();
            let mut now = to_records(&mut machine, Instant::now());
            let mut waits = Vec::new();
            for _ in 0..12 {
                machine.answer(now, Err(error(kind))).unwrap();
                let next = to_records(&mut machine, now);
                waits.push(next - now);
                now = next;
            }
            assert!(waits[0] <= Duration::from_millis(400), "{kind}: {waits:?}");
            assert!(waits[11] >= 5 * SECOND && waits.iter().all(|wait| *wait <= 10 * SECOND), "{kind}: {waits:?}");
            assert_eq!(numbers(machine.answer(now, Ok(page(&[1], SECOND))).unwrap()), [1]);
            assert_eq!(machine.failures(), 0);
        }
    }

    #[test]
    fn the_service_can_ask_for_a_longer_wait() {
        let mut machine = from_trim_horizon();
        let now = to_records(&mut machine, Instant::now());
        machine.answer(now, Err(error(ErrorKind::Throttled).with_retry_after(30 * SECOND))).unwrap();
        assert_eq!(to_records(&mut machine, now) - now, 30 * SECOND);
    }

    /// Fails each call from now on in this way, and returns after how long that was given on; `None` if it never is.
    fn given_on_after(kind: ErrorKind) -> Option<Duration> {
        let mut machine = from_trim_horizon();
        let start = to_records(&mut machine, Instant::now());
        let mut now = start;
        while now - start < 4 * PATIENCE {
            if let Err(given_on) = machine.answer(now, Err(error(kind))) {
                assert_eq!(given_on.kind(), kind);
                return Some(now - start);
            }
            now = to_records(&mut machine, now);
        }
        None
    }

    #[test]
    fn failures_are_given_on_when_the_table_says_so() {
        for kind in ErrorKind::ALL {
            let given_on = given_on_after(kind);
            match kind.treatment().retry {
                // Another call finds out first what it means.
                _ if kind == ErrorKind::NotFound => assert_eq!(given_on, Some(Duration::ZERO)),
                Retry::Renewed | Retry::Unlimited => assert_eq!(given_on, None, "{kind}"),
                Retry::For(limit) => {
                    let given_on = given_on.unwrap();
                    // The next attempt may be one delay later.
                    assert!(limit <= given_on && given_on <= limit + 11 * SECOND, "{kind}: {given_on:?}");
                }
                Retry::Never => assert_eq!(given_on, Some(Duration::ZERO), "{kind}"),
            }
        }
    }

    fn child() -> ChildShard {
        let parents = vec!["shardId-0".parse().unwrap()];
        ChildShard::new("shardId-1".parse().unwrap(), parents, HashKeyRange::FULL)
    }

    /// An answer without a way to go on.
    fn absent(numbers: &[u64]) -> RecordPage {
        let mut page = page(numbers, Duration::ZERO);
        page.next_iterator = None;
        page
    }

    #[test]
    fn an_answer_without_an_iterator_and_children_is_not_the_end_and_three_are_a_question() {
        let mut machine = from_trim_horizon();
        let now = to_records(&mut machine, Instant::now());
        assert_eq!(numbers(machine.answer(now, Ok(absent(&[1, 2]))).unwrap()), [1, 2], "its records count");
        assert_eq!(machine.doubt_since(), Some(now));
        assert_eq!(asks_for(&machine, now), StartPosition::AfterSequenceNumber(2_u64.into()));
        let later = to_records(&mut machine, now);
        assert!(later > now);
        assert_eq!(machine.answer(later, Ok(absent(&[]))).unwrap(), None);
        let later = to_records(&mut machine, later);
        assert_eq!(machine.answer(later, Ok(absent(&[]))).unwrap(), None);
        assert_eq!((machine.next(later), machine.doubt_since()), (Step::CheckEnd, Some(now)));

        machine.read_again(later);
        let again = to_records(&mut machine, later);
        assert!(again > later, "not at once");
        assert_eq!(numbers(machine.answer(again, Ok(page(&[3], SECOND))).unwrap()), [3]);
        assert_eq!((machine.doubt_since(), machine.failures()), (None, 0));
    }

    /// Otherwise a proxy that removes what it does not know would end a closed shard whose records wait.
    #[test]
    fn a_failure_after_an_answer_without_an_iterator_is_no_sign_of_an_end() {
        for kind in [ErrorKind::Incomplete, ErrorKind::Unexpected, ErrorKind::AccessDenied] {
            let mut machine = from_trim_horizon();
            let mut now = to_records(&mut machine, Instant::now());
            machine.answer(now, Ok(absent(&[]))).unwrap();
            let failed = loop {
                now = to_records(&mut machine, now);
                match machine.answer(now, Err(error(kind))) {
                    Ok(page) => assert_eq!(page, None),
                    Err(failed) => break failed,
                }
            };
            assert_eq!((failed.kind(), machine.doubt_since()), (kind, None));
        }
        // The shard that is not found was read a moment ago: how long that lasts counts from here.
        let mut machine = from_trim_horizon();
        let first = to_records(&mut machine, Instant::now());
        machine.answer(first, Ok(absent(&[]))).unwrap();
        let now = to_records(&mut machine, first);
        machine.answer(now, Err(error(ErrorKind::Throttled))).unwrap();
        let later = to_records(&mut machine, now);
        machine.answer(later, Err(error(ErrorKind::NotFound))).unwrap_err();
        assert_eq!(machine.doubt_since(), Some(later));
    }

    #[test]
    fn no_iterator_is_asked_for_again_and_then_a_question() {
        let mut machine = from_trim_horizon();
        let now = Instant::now();
        machine.iterator(now, Timestamp::EPOCH, Err(error(ErrorKind::Incomplete))).unwrap();
        assert_eq!(asks_for(&machine, now), StartPosition::TrimHorizon);
        machine.iterator(now, Timestamp::EPOCH, Err(error(ErrorKind::Incomplete))).unwrap();
        let given_on = machine.iterator(now + SECOND, Timestamp::EPOCH, Err(error(ErrorKind::Incomplete)));
        assert_eq!((given_on.unwrap_err().kind(), machine.doubt_since()), (ErrorKind::Incomplete, Some(now)));
    }

    #[test]
    fn records_that_a_service_repeats_or_mixes_up_are_given_on_once_and_in_order() {
        for records in [&[1, 1, 2, 2][..], &[2, 1], &[1, 2, 1, 2], &[2, 2, 1]] {
            let mut machine = from_trim_horizon();
            let now = to_records(&mut machine, Instant::now());
            let page = machine.answer(now, Ok(page(records, SECOND))).unwrap().unwrap();
            assert_eq!(page.contents, Contents::of(&page.records), "{records:?}");
            assert_eq!(numbers(Some(page)), [1, 2], "{records:?}");
        }
    }

    #[test]
    fn a_time_that_the_service_has_not_reached_is_waited_for() {
        let time = Timestamp::from_millis(1_000_000);
        let mut machine = machine(Begin::From(StartPosition::AtTimestamp(time)));
        let now = Instant::now();
        let refusal = || Err(error(ErrorKind::InvalidArgument));
        machine.iterator(now, time.before(60 * SECOND), refusal()).unwrap();
        assert_eq!(machine.next(now), Step::Wait(now + 60 * SECOND));
        machine.iterator(now, time.after(CLOCK_AHEAD_MAX - SECOND), refusal()).unwrap();
        assert!(machine.iterator(now, time.after(CLOCK_AHEAD_MAX), refusal()).is_err());
    }

    #[test]
    fn a_shard_ends_behind_its_last_records() {
        let mut machine = from_trim_horizon();
        let now = to_records(&mut machine, Instant::now());
        let mut last = absent(&[1, 2]);
        last.child_shards.push(child());
        assert_eq!(numbers(machine.answer(now, Ok(last)).unwrap()), [1, 2]);
        assert_eq!(machine.next(now), Step::End(vec![child()]));
    }

    #[derive(Clone, Debug)]
    enum Answer {
        /// So many records more, and whether the answer repeats some that were given before.
        Records(u64, u64),
        Fails(ErrorKind),
    }

    proptest! {
        #[test]
        fn records_are_given_on_once_and_in_order_whatever_fails(
            answers in prop::collection::vec(
                prop_oneof![
                    3 => (0_u64..5, 0_u64..3).prop_map(|(new, again)| Answer::Records(new, again)),
                    2 => prop::sample::select(vec![
                        ErrorKind::ExpiredIterator, ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Timeout,
                    ]).prop_map(Answer::Fails),
                ],
                1..60,
            ),
        ) {
            let mut machine = from_trim_horizon();
            let (mut now, mut given, mut served) = (Instant::now(), Vec::new(), 0_u64);
            let mut calls = Vec::new();
            for answer in answers {
                now = to_records(&mut machine, now);
                calls.push(now);
                let result = match answer {
                    Answer::Records(new, again) => {
                        let first = served.saturating_sub(again) + 1;
                        served += new;
                        Ok(page(&(first..=served).collect::<Vec<_>>(), SECOND))
                    }
                    Answer::Fails(kind) => Err(error(kind)),
                };
                given.extend(numbers(machine.answer(now, result).unwrap()));
            }
            prop_assert_eq!(&given, &(1..=served).collect::<Vec<_>>());
            prop_assert_eq!(machine.cursor().last().map(|last| last.sequence_number), given.last().map(|&n| n.into()));
            for six in calls.windows(6) {
                prop_assert!(six[5] - six[0] >= SECOND, "six calls within a second");
            }
        }
    }
}
