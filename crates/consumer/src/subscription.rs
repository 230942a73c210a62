//! The subscription to one shard by enhanced fan-out, as a state machine without I/O: events and the time go in, the next
//! step comes out.

use std::time::{Duration, Instant};

use statefun_kinesis_client::{Backoff, ChildShard, Error, ErrorKind, InstantExt as _, SubscriptionEvent};
use statefun_kinesis_types::{StartPosition, Timestamp};

use crate::{
    Settings,
    cursor::{Cursor, Page},
    failures::{Failures, until_service_reaches},
    unpack::Contents,
};

/// Latest age at which a subscription is replaced. The service ends it after five minutes.
const RENEW_AFTER: Duration = Duration::from_secs(280);

/// Renewals are spread over this long, so that shards whose subscriptions started together do not renew together.
const RENEW_SPREAD: Duration = Duration::from_secs(40);

/// A subscription that the service ends at this age or later ended as planned.
const FULL_LIFE_MIN: Duration = Duration::from_secs(230);

/// SubscribeToShard takes one call per second and consumer-shard (API reference).
const SUBSCRIBE_EVERY: Duration = Duration::from_secs(1);

/// The service rejects another subscription to the shard until the present one is this old (API reference,
/// SubscribeToShard).
const TAKEOVER_AFTER: Duration = Duration::from_secs(5);

/// Longest wait of a reader before it subscribes to a shard again that other readers took over.
const YIELD_MAX: Duration = Duration::from_secs(60);

/// A subscription that no other reader took over for this long resets the count of takeovers.
const OWN_AFTER: Duration = Duration::from_secs(60);

/// How long a subscription may bring no event. The service sends one every few seconds, with or without records, so that
/// the connection is dead by then, although the network may not have reported it.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// What [`Subscriber`](crate::subscriber) does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before this instant.
    Wait(Instant),
    /// Drop the subscription, if there is one; say [`SubscriptionMachine::subscribing`], call SubscribeToShard, then
    /// [`SubscriptionMachine::subscribed`].
    Subscribe(StartPosition),
    /// Make room, say [`SubscriptionMachine::receiving`], wait for the next event until the instant that it gives, then
    /// [`SubscriptionMachine::event`] or [`SubscriptionMachine::silent`].
    Receive,
    /// The shard was read to its end.
    End(Vec<ChildShard>),
    /// Find out whether the shard has ended: several events in a row had neither a continuation nor children. If it has not,
    /// [`SubscriptionMachine::read_again`].
    CheckEnd,
}

/// Subscribes to one shard: decides from where and when to subscribe, when to renew, and what follows a failure.
#[derive(Debug)]
pub(crate) struct SubscriptionMachine {
    random: fastrand::Rng,
    cursor: Cursor,
    state: State,
    not_before: Option<Instant>,
    failures: Failures,
    /// How often in a row another reader took over the shard.
    takeovers: u32,
}

#[derive(Debug)]
enum State {
    None,
    Running {
        since: Instant,
        renew_at: Instant,
    },
    /// The service gave no continuation, and no children either.
    Absent,
    Ended(Vec<ChildShard>),
}

impl SubscriptionMachine {
    pub(crate) fn new(cursor: Cursor, settings: &Settings, random: fastrand::Rng) -> Self {
        Self {
            random,
            cursor,
            state: State::None,
            not_before: None,
            failures: Failures::new(settings.backoff),
            takeovers: 0,
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
        match &self.state {
            State::Ended(children) => return Step::End(children.clone()),
            State::Absent => return Step::CheckEnd,
            State::Running { renew_at, .. } if now < *renew_at => return Step::Receive,
            State::Running { .. } | State::None => {}
        }
        match self.not_before {
            Some(until) if until > now => Step::Wait(until),
            _ => Step::Subscribe(self.cursor.position()),
        }
    }

    /// SubscribeToShard is called.
    pub(crate) fn subscribing(&mut self, now: Instant) {
        self.state = State::None;
        self.not_before = Some(now + SUBSCRIBE_EVERY);
    }

    /// Takes the result of SubscribeToShard. `today` is the time of day.
    ///
    /// # Errors
    ///
    /// A failure that no retry will mend.
    pub(crate) fn subscribed(
        &mut self,
        now: Instant,
        today: Timestamp,
        result: Result<(), Error>,
    ) -> Result<(), Error> {
        let Err(error) = result else {
            let renew_at = now + RENEW_AFTER - RENEW_SPREAD.mul_f64(self.random.f64());
            self.state = State::Running { since: now, renew_at };
            return Ok(());
        };
        if error.kind() == ErrorKind::InUse {
            // There is a subscription younger than five seconds: an earlier one of this reader whose end the service has
            // not noticed, or that of another reader. No backoff: the service says how long to wait.
            let spread = Duration::from_secs(1).mul_f64(self.random.f64());
            self.wait(now, TAKEOVER_AFTER + spread);
            self.failures.count();
            return Ok(());
        }
        if let Some(wait) = until_service_reaches(self.cursor.position(), &error, today) {
            self.retry(now, wait);
            return Ok(());
        }
        self.failed(now, error)
    }

    /// How long to wait for the next event that is waited for now.
    pub(crate) fn receiving(&self, now: Instant) -> Instant {
        match self.state {
            State::Running { renew_at, .. } => renew_at.min(now + SILENCE_MAX),
            State::None | State::Absent | State::Ended(_) => now,
        }
    }

    /// No event came until the instant that [`receiving`](Self::receiving) returned.
    pub(crate) fn silent(&mut self, now: Instant) {
        if let State::Running { renew_at, .. } = self.state
            && now < renew_at
        {
            self.state = State::None;
            self.retry(now, Duration::ZERO);
        }
    }

    /// Takes an event of the subscription; `None` is its end.
    ///
    /// # Errors
    ///
    /// A failure that no retry will mend.
    pub(crate) fn event(
        &mut self,
        now: Instant,
        event: Option<Result<SubscriptionEvent, Error>>,
    ) -> Result<Option<Page>, Error> {
        let State::Running { since, .. } = self.state else { return Ok(None) };
        let lived = now.saturating_duration_since(since);
        if lived >= OWN_AFTER {
            self.takeovers = 0;
        }
        match event {
            Some(Ok(event)) => {
                let SubscriptionEvent { records, continuation, behind_latest, children, .. } = event;
                // The continuation covers the records of the same event, and `Cursor::position` prefers whichever is later.
                match continuation {
                    Some(number) => {
                        self.failures.reset();
                        self.cursor.set_continuation(number);
                    }
                    None if !children.is_empty() => self.state = State::Ended(children),
                    // That something is missing proves nothing: the records behind an early end would be lost. So the
                    // same place is read again before anybody believes it.
                    None => {
                        self.state = if self.failures.doubt(now) { State::Absent } else { State::None };
                        let delay = self.failures.doubt_delay(&mut self.random);
                        self.wait(now, delay);
                    }
                }
                let contents = Contents::of(&records);
                return Ok(self.cursor.page(records, contents, behind_latest));
            }
            Some(Err(error)) => {
                self.state = State::None;
                if error.kind() == ErrorKind::InUse {
                    self.yield_to_another(now, since);
                } else {
                    self.failed(now, error)?;
                }
            }
            None => {
                self.state = State::None;
                // The connection closed or another reader took over, which look the same. The first time counts as the
                // former, so that a network failure does not cost this reader the shard.
                if lived < FULL_LIFE_MIN && self.takeovers == 0 {
                    self.takeovers = 1;
                    self.retry(now, (since + TAKEOVER_AFTER).saturating_duration_since(now));
                } else if lived < FULL_LIFE_MIN {
                    self.yield_to_another(now, since);
                }
            }
        }
        Ok(None)
    }

    /// Since when all answers have left open whether the shard has ended.
    pub(crate) fn doubt_since(&self) -> Option<Instant> {
        self.failures.doubt_since()
    }

    /// The shard has not ended, or it is not certain: subscribes again behind where it was read to.
    pub(crate) fn read_again(&mut self, now: Instant) {
        self.state = State::None;
        let delay = self.failures.doubt_delay(&mut self.random);
        self.wait(now, delay);
    }

    /// SubscribeToShard does not find the shard, although it finds the consumer.
    pub(crate) fn not_found(&mut self, now: Instant) {
        self.failures.doubt(now);
    }

    /// Another reader took over the shard. The last reader to subscribe should keep it, because it may be the replacement of
    /// this one. So this one waits, longer each time, instead of taking the shard back at once: two readers that do that
    /// would both make no progress.
    fn yield_to_another(&mut self, now: Instant, since: Instant) {
        self.takeovers = self.takeovers.saturating_add(1);
        self.failures.count();
        let wait = Backoff::new(2 * TAKEOVER_AFTER, YIELD_MAX).delay(self.takeovers - 1, &mut self.random);
        let earliest = (since + TAKEOVER_AFTER).saturating_duration_since(now);
        self.wait(now, wait.max(earliest));
    }

    fn failed(&mut self, now: Instant, error: Error) -> Result<(), Error> {
        let at_least = self.failures.check(now, error)?;
        self.retry(now, at_least);
        Ok(())
    }

    fn retry(&mut self, now: Instant, at_least: Duration) {
        let delay = self.failures.delay(at_least, &mut self.random);
        self.wait(now, delay);
    }

    fn wait(&mut self, now: Instant, delay: Duration) {
        // Never earlier than what is set: SubscribeToShard has a limit of its own.
        self.not_before = self.not_before.max(Some(now.saturating_add(delay)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statefun_kinesis_client::Operation;
    use statefun_kinesis_types::{HashKeyRange, Record};

    use super::*;
    use crate::{Position, cursor::Begin};

    const SECOND: Duration = Duration::from_secs(1);

    fn machine(begin: Begin) -> SubscriptionMachine {
        SubscriptionMachine::new(Cursor::new(begin), &Settings::default().in_range(), fastrand::Rng::with_seed(3))
    }

    fn from_trim_horizon() -> SubscriptionMachine {
        machine(Begin::From(StartPosition::TrimHorizon))
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(Operation::SubscribeToShard, kind, "a test's failure")
    }

    fn event(numbers: &[u64], continuation: u64) -> Option<Result<SubscriptionEvent, Error>> {
        let record = |&number: &u64| Record::new(number.into(), None, Timestamp::EPOCH, "12345".into());
        Some(Ok(SubscriptionEvent::new(numbers.iter().map(record).collect(), continuation.into(), Duration::ZERO)))
    }

    fn numbers(page: Option<Page>) -> Vec<u64> {
        let records = page.map(|page| page.records).unwrap_or_default();
        records.iter().map(|record| record.sequence_number.to_string().parse().unwrap()).collect()
    }

    /// Goes on, through waiting, to the next call; gives its instant and where it starts.
    fn to_call(machine: &mut SubscriptionMachine, mut now: Instant) -> (Instant, StartPosition) {
        loop {
            match machine.next(now) {
                Step::Wait(until) => now = until,
                Step::Subscribe(from) => {
                    machine.subscribing(now);
                    return (now, from);
                }
                other => panic!("{other:?} instead of a call"),
            }
        }
    }

    fn subscribe(machine: &mut SubscriptionMachine, now: Instant) -> (Instant, StartPosition) {
        let (now, from) = to_call(machine, now);
        machine.subscribed(now, Timestamp::EPOCH, Ok(())).unwrap();
        assert_eq!(machine.next(now), Step::Receive);
        (now, from)
    }

    #[test]
    fn a_subscription_begins_at_its_position_and_continues_behind_the_last_event() {
        let seven = 7_u64.into();
        for (begin, expected) in [
            (Begin::From(StartPosition::TrimHorizon), StartPosition::TrimHorizon),
            (Begin::Behind(Position::behind(seven)), StartPosition::AfterSequenceNumber(seven)),
            (Begin::Behind(Position::inside(seven, 2)), StartPosition::AtSequenceNumber(seven)),
        ] {
            let mut machine = machine(begin);
            let (now, from) = subscribe(&mut machine, Instant::now());
            assert_eq!(from, expected);
            machine.event(now, event(&[], 12)).unwrap();
            machine.event(now, Some(Err(error(ErrorKind::Unavailable)))).unwrap();
            assert_eq!(subscribe(&mut machine, now).1, StartPosition::AfterSequenceNumber(12_u64.into()));
        }
    }

    #[test]
    fn a_subscription_is_replaced_before_the_service_ends_it() {
        let mut machine = from_trim_horizon();
        let (start, _) = subscribe(&mut machine, Instant::now());
        let mut now = start;
        while machine.next(now) == Step::Receive {
            assert!(machine.receiving(now) <= now + SILENCE_MAX);
            now += SECOND;
            machine.event(now, event(&[], 5)).unwrap();
        }
        let lived = now - start;
        assert!(RENEW_AFTER - RENEW_SPREAD <= lived && lived <= RENEW_AFTER + SECOND, "{lived:?}");
        assert_eq!(to_call(&mut machine, now).0, now, "at once");
    }

    #[test]
    fn one_that_ended_after_its_full_life_is_followed_at_once_and_a_young_one_after_five_seconds() {
        for (lived, least) in [(299, 0), (2, 3), (4, 1)] {
            let mut machine = from_trim_horizon();
            let (start, _) = subscribe(&mut machine, Instant::now());
            let end = start + lived * SECOND;
            machine.event(end, None).unwrap();
            let wait = to_call(&mut machine, end).0 - end;
            assert!(least * SECOND <= wait && wait < (least + 1) * SECOND, "{lived}: {wait:?}");
        }
    }

    #[test]
    fn another_subscription_that_is_too_young_is_waited_for() {
        let mut machine = from_trim_horizon();
        let (mut now, _) = to_call(&mut machine, Instant::now());
        for _ in 0..5 {
            machine.subscribed(now, Timestamp::EPOCH, Err(error(ErrorKind::InUse))).unwrap();
            let next = to_call(&mut machine, now).0;
            assert!((TAKEOVER_AFTER..=TAKEOVER_AFTER + SECOND).contains(&(next - now)));
            now = next;
        }
    }

    #[test]
    fn a_reader_that_is_taken_over_waits_longer_each_time_until_no_other_reader_comes() {
        let mut machine = from_trim_horizon();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            (now, _) = subscribe(&mut machine, now);
            machine.event(now + SECOND, event(&[], 1)).unwrap();
            machine.event(now + 6 * SECOND, Some(Err(error(ErrorKind::InUse)))).unwrap();
            let next = to_call(&mut machine, now + 6 * SECOND).0;
            waits.push(next - now - 6 * SECOND);
            machine.subscribed(next, Timestamp::EPOCH, Err(error(ErrorKind::Throttled))).unwrap();
            now = next;
        }
        assert!(waits[0] >= TAKEOVER_AFTER && waits[0] <= 2 * TAKEOVER_AFTER, "{waits:?}");
        assert!(waits[7] >= YIELD_MAX / 2 && waits.iter().all(|wait| *wait <= YIELD_MAX), "{waits:?}");
        (now, _) = subscribe(&mut machine, now);
        machine.event(now + OWN_AFTER, Some(Err(error(ErrorKind::InUse)))).unwrap();
        let wait = to_call(&mut machine, now + OWN_AFTER).0 - now - OWN_AFTER;
        assert!(wait <= 2 * TAKEOVER_AFTER, "{wait:?}");
    }

    #[test]
    fn a_subscription_that_falls_silent_is_replaced() {
        let mut machine = from_trim_horizon();
        let (now, _) = subscribe(&mut machine, Instant::now());
        let until = machine.receiving(now);
        assert_eq!(until, now + SILENCE_MAX);
        machine.silent(until);
        let (next, _) = to_call(&mut machine, until);
        assert!(next - until <= SECOND, "{:?}", next - until);
    }

    #[test]
    fn a_shard_ends_behind_its_last_records() {
        let mut machine = from_trim_horizon();
        let (now, _) = subscribe(&mut machine, Instant::now());
        let record = Record::new(1_u64.into(), None, Timestamp::EPOCH, "1".into());
        let last = SubscriptionEvent::end(vec![record], vec![child()]);
        assert_eq!(numbers(machine.event(now, Some(Ok(last))).unwrap()), [1]);
        assert_eq!(machine.next(now), Step::End(vec![child()]));
    }

    fn child() -> ChildShard {
        let parents = vec!["shardId-0".parse().unwrap()];
        ChildShard::new("shardId-1".parse().unwrap(), parents, HashKeyRange::FULL)
    }

    #[test]
    fn failures_that_no_retry_mends_are_given_on() {
        for kind in [ErrorKind::InvalidArgument, ErrorKind::NotFound] {
            let mut machine = from_trim_horizon();
            let (now, _) = subscribe(&mut machine, Instant::now());
            assert_eq!(machine.event(now, Some(Err(error(kind)))).unwrap_err().kind(), kind);
            let (now, _) = to_call(&mut machine, now);
            assert_eq!(machine.subscribed(now, Timestamp::EPOCH, Err(error(kind))).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn an_event_without_a_continuation_and_children_is_not_the_end_and_three_are_a_question() {
        let absent = |numbers: &[u64]| {
            let Some(Ok(mut event)) = event(numbers, 1) else { unreachable!() };
            event.continuation = None;
            Some(Ok(event))
        };
        let mut machine = from_trim_horizon();
        let (first, _) = subscribe(&mut machine, Instant::now());
        assert_eq!(numbers(machine.event(first, absent(&[1, 2])).unwrap()), [1, 2], "its records count");
        assert_eq!(machine.doubt_since(), Some(first));
        let (now, from) = subscribe(&mut machine, first);
        assert_eq!(from, StartPosition::AfterSequenceNumber(2_u64.into()));
        machine.event(now, absent(&[])).unwrap();
        let (now, _) = subscribe(&mut machine, now);
        machine.event(now, absent(&[])).unwrap();
        assert_eq!((machine.next(now), machine.doubt_since()), (Step::CheckEnd, Some(first)));

        machine.read_again(now);
        let (now, _) = subscribe(&mut machine, now);
        machine.event(now, event(&[3], 3)).unwrap();
        assert_eq!((machine.doubt_since(), machine.failures()), (None, 0));
        let child =
            ChildShard::new("shardId-1".parse().unwrap(), vec!["shardId-0".parse().unwrap()], HashKeyRange::FULL);
        machine.event(now, Some(Ok(SubscriptionEvent::end(vec![], vec![child.clone()])))).unwrap();
        assert_eq!(machine.next(now), Step::End(vec![child]));
    }

    #[test]
    fn a_time_that_the_service_has_not_reached_is_waited_for() {
        let time = Timestamp::from_millis(1_000_000);
        let mut machine = machine(Begin::From(StartPosition::AtTimestamp(time)));
        let (now, _) = to_call(&mut machine, Instant::now());
        machine.subscribed(now, time.before(60 * SECOND), Err(error(ErrorKind::InvalidArgument))).unwrap();
        assert_eq!(machine.next(now), Step::Wait(now + 60 * SECOND));
    }

    #[derive(Clone, Debug)]
    enum Happens {
        /// So many records more, behind some that were given before.
        Records(u64, u64),
        Fails(ErrorKind),
        Refused(ErrorKind),
        Ends,
        Silence,
    }

    proptest! {
        #[test]
        fn records_are_given_on_once_and_in_order_and_calls_keep_their_distance_whatever_happens(
            happens in prop::collection::vec(
                prop_oneof![
                    4 => (0_u64..5, 0_u64..3).prop_map(|(new, again)| Happens::Records(new, again)),
                    2 => prop::sample::select(vec![ErrorKind::InUse, ErrorKind::Unavailable, ErrorKind::LimitExceeded])
                        .prop_map(Happens::Fails),
                    1 => prop::sample::select(vec![ErrorKind::InUse, ErrorKind::Throttled, ErrorKind::Timeout])
                        .prop_map(Happens::Refused),
                    1 => Just(Happens::Ends),
                    1 => Just(Happens::Silence),
                ],
                1..60,
            ),
            pause in 0_u64..100,
        ) {
            let mut machine = from_trim_horizon();
            let (mut now, mut given, mut served) = (Instant::now(), Vec::new(), 0_u64);
            let mut calls: Vec<Instant> = Vec::new();
            for happen in happens {
                while machine.next(now) != Step::Receive {
                    let (call, from) = to_call(&mut machine, now);
                    prop_assert!(calls.last().is_none_or(|last| call - *last >= SECOND));
                    calls.push(call);
                    now = call;
                    if let StartPosition::AfterSequenceNumber(number) = from {
                        prop_assert!(number <= served.into());
                    }
                    let result = match happen {
                        Happens::Refused(kind) => Err(error(kind)),
                        _ => Ok(()),
                    };
                    let refused = result.is_err();
                    machine.subscribed(now, Timestamp::EPOCH, result).unwrap();
                    if refused {
                        break;
                    }
                }
                now += Duration::from_secs(pause);
                let what = match happen {
                    Happens::Records(new, again) => {
                        let first = served.saturating_sub(again) + 1;
                        served += new;
                        event(&(first..=served).collect::<Vec<_>>(), served)
                    }
                    Happens::Fails(kind) => Some(Err(error(kind))),
                    Happens::Ends => None,
                    Happens::Refused(_) => continue,
                    Happens::Silence => {
                        machine.silent(now);
                        continue;
                    }
                };
                given.extend(numbers(machine.event(now, what).unwrap()));
            }
            prop_assert_eq!(given, (1..=served).collect::<Vec<_>>());
        }
    }
}
