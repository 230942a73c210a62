//! Holds requests back while the server of a group takes none: a circuit breaker.

use std::time::Duration;

/// How many addresses in a row have to find the server unavailable before it gets no more requests. Single failures, as
/// of one connection or of one overloaded process behind a load balancer, are left to the retries of their address.
const FAILURES_IN_A_ROW: usize = 5;

/// The first pause. Each further one is twice as long, up to [`PAUSE_MAX`], unless the server asks for a longer one.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause, the same as the longest delay between attempts of an address.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Decides how many requests a group may have in flight, by the answers of its server.
///
/// Without it, each waiting address would ask an overloaded server by itself, which keeps it overloaded. A function that
/// fails is no reason for a pause: its server answers, and other addresses may succeed.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// Pauses since the state was last `Closed`.
    pauses: u32,
}

#[derive(Debug)]
enum State {
    /// All requests are sent. Has the slots of the addresses that found the server unavailable since its last answer.
    Closed { unavailable: Vec<u32> },
    /// No request is sent until this time.
    Open { until: Duration },
    /// Few requests are in flight at a time, to find out whether the server takes them. Each answer doubles the number.
    HalfOpen {
        allowed: u32,
        in_flight: u32,
        /// The number of the first request that was sent in this state. Earlier ones say nothing about the server now.
        first: u64,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed { unavailable: Vec::new() }, pauses: 0 }
    }
}

impl Breaker {
    /// Whether another request may be sent.
    pub(crate) fn has_room(&self) -> bool {
        match &self.state {
            State::Closed { .. } => true,
            State::Open { .. } => false,
            State::HalfOpen { allowed, in_flight, .. } => in_flight < allowed,
        }
    }

    /// Whether requests are held back.
    pub(crate) fn holds_back(&self) -> bool {
        match &self.state {
            State::Closed { .. } => false,
            State::Open { .. } | State::HalfOpen { .. } => true,
        }
    }

    /// When the pause ends.
    pub(crate) fn pause_ends(&self) -> Option<Duration> {
        match &self.state {
            State::Open { until } => Some(*until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Ends the pause if it is over. `next` is the number of the next request.
    pub(crate) fn on_time(&mut self, elapsed: Duration, next: u64) {
        if self.pause_ends().is_some_and(|until| until <= elapsed) {
            self.state = State::HalfOpen { allowed: 1, in_flight: 0, first: next };
        }
    }

    /// Notes that a request is sent.
    pub(crate) fn sent(&mut self) {
        if let State::HalfOpen { in_flight, .. } = &mut self.state {
            *in_flight += 1;
        }
    }

    /// Notes that a request is no longer in flight.
    pub(crate) fn ended(&mut self, request: u64) {
        if let State::HalfOpen { in_flight, first, .. } = &mut self.state
            && request >= *first
        {
            *in_flight -= 1;
        }
    }

    /// Notes that the server answered a request, even if with an error. `max_in_flight` is the group's limit.
    pub(crate) fn answered(&mut self, request: u64, max_in_flight: u32) {
        match &mut self.state {
            State::Closed { unavailable } => unavailable.clear(),
            State::HalfOpen { allowed, first, .. } if request >= *first => {
                *allowed = allowed.saturating_mul(2);
                if *allowed >= max_in_flight {
                    *self = Self::default();
                }
            }
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    /// Notes that the server was not available for a request of the address in this slot. `wait` is what it asks for.
    pub(crate) fn unavailable(&mut self, request: u64, slot: u32, elapsed: Duration, wait: Duration) {
        match &mut self.state {
            State::Closed { unavailable } => {
                if !unavailable.contains(&slot) {
                    unavailable.push(slot);
                }
                if unavailable.len() >= FAILURES_IN_A_ROW {
                    self.pause(elapsed, wait);
                }
            }
            State::Open { until } => *until = (*until).max(elapsed.saturating_add(wait)),
            State::HalfOpen { first, .. } if request >= *first => self.pause(elapsed, wait),
            State::HalfOpen { .. } => {}
        }
    }

    fn pause(&mut self, elapsed: Duration, wait: Duration) {
        let pause = PAUSE_MIN.saturating_mul(1 << self.pauses.min(16)).min(PAUSE_MAX).max(wait);
        self.pauses += 1;
        self.state = State::Open { until: elapsed.saturating_add(pause) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        (0..5).for_each(|slot| breaker.unavailable(slot.into(), slot, Duration::ZERO, Duration::ZERO));
        assert!(!breaker.has_room());
        breaker
    }

    #[test]
    fn requests_are_held_back_after_failures_of_several_addresses_in_a_row() {
        let mut breaker = Breaker::default();
        for request in 0..100 {
            breaker.unavailable(request, 7, Duration::ZERO, Duration::ZERO);
        }
        assert!(!breaker.holds_back(), "one address retries by itself");
        (0..3).for_each(|slot| breaker.unavailable(200, slot, Duration::ZERO, Duration::ZERO));
        breaker.answered(3, 1_024);
        (0..4).for_each(|slot| breaker.unavailable(200, slot, Duration::ZERO, Duration::ZERO));
        assert!(!breaker.holds_back(), "the server answered in between");
        breaker.unavailable(200, 4, Duration::ZERO, Duration::ZERO);
        assert!(breaker.holds_back() && !breaker.has_room());
        assert_eq!(breaker.pause_ends(), Some(PAUSE_MIN));
    }

    #[test]
    fn one_request_asks_after_each_pause_and_pauses_grow() {
        let mut breaker = opened();
        let (mut asked, mut number) = (Vec::new(), 100);
        while let Some(until) = breaker.pause_ends() {
            breaker.on_time(until - millis(1), number);
            assert!(!breaker.has_room());
            breaker.on_time(until, number);
            assert!(breaker.has_room());
            breaker.sent();
            assert!(!breaker.has_room(), "one request at a time");
            asked.push(until);
            if asked.len() == 20 {
                break;
            }
            breaker.unavailable(number, 1, until, Duration::ZERO);
            breaker.ended(number);
            number += 1;
        }
        let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!((asked[0], pauses[0], pauses[1], pauses[18]), (millis(50), millis(100), millis(200), PAUSE_MAX));
    }

    #[test]
    fn the_server_may_ask_for_a_longer_pause() {
        let mut breaker = opened();
        breaker.unavailable(9, 9, millis(20), Duration::from_secs(7));
        assert_eq!(breaker.pause_ends(), Some(millis(7_020)));
        breaker.unavailable(10, 10, millis(30), Duration::from_secs(1));
        assert_eq!(breaker.pause_ends(), Some(millis(7_020)));
    }

    #[test]
    fn each_answer_doubles_the_requests_until_all_are_sent() {
        let mut breaker = opened();
        breaker.on_time(Duration::from_secs(1), 100);
        let mut number = 100;
        for allowed in [1_u64, 2, 4] {
            for _ in 0..allowed {
                assert!(breaker.has_room());
                breaker.sent();
            }
            assert!(!breaker.has_room());
            breaker.ended(99);
            breaker.answered(99, 8);
            assert!(!breaker.has_room(), "an answer to a request from before the pause says nothing");
            for _ in 0..allowed {
                breaker.ended(number);
                number += 1;
            }
            breaker.answered(number, 8);
        }
        assert!(!breaker.holds_back());
        breaker.unavailable(number, 1, Duration::ZERO, Duration::ZERO);
        assert!(!breaker.holds_back(), "it starts over");
    }
}
