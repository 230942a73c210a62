//! Since when messages have been waiting.

use std::{collections::VecDeque, time::Duration};

/// How many messages wait, by function and by the period in which they arrived.
///
/// Message numbers rise, so a period is a range of numbers. This costs a few bytes per period instead of a time per
/// message, and it works for messages that are only in the store.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// Never empty. The last period is the current one.
    periods: VecDeque<Period>,
}

#[derive(Debug, Default)]
struct Period {
    /// The number of its first message.
    first: u64,
    /// When it began, by the monotonic clock.
    began: Duration,
    /// Its waiting messages, by the index of their function.
    waiting: Vec<u64>,
    total: u64,
}

impl Period {
    fn add(&mut self, function: u32, messages: u64) {
        let place = function as usize;
        if self.waiting.len() <= place {
            self.waiting.resize(place + 1, 0);
        }
        self.waiting[place] += messages;
        self.total += messages;
    }

    /// Adds the messages of the period that follows.
    fn merge(&mut self, next: &Self) {
        for (function, messages) in (0..).zip(&next.waiting) {
            self.add(function, *messages);
        }
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { periods: VecDeque::from([Period::default()]) }
    }
}

impl Arrivals {
    /// Length of a new period, and the accuracy of the age of a recent message.
    const PERIOD: Duration = Duration::from_secs(1);

    /// Most periods. When there are more, two become one, so that the accuracy of an age is a fraction of it.
    const PERIODS_MAX: usize = 64;

    /// Begins a new period if the current one is long enough. `next` is the number of the next message.
    pub(crate) fn advance(&mut self, elapsed: Duration, next: u64) {
        let Some(current) = self.periods.back_mut() else { return };
        if elapsed.saturating_sub(current.began) < Self::PERIOD {
            return;
        }
        if current.total == 0 {
            (current.first, current.began) = (next, elapsed);
            return;
        }
        self.periods.push_back(Period { first: next, began: elapsed, ..Period::default() });
        if self.periods.len() > Self::PERIODS_MAX {
            self.merge_two(elapsed);
        }
    }

    /// Makes one period of two, where that costs the least accuracy relative to the age.
    fn merge_two(&mut self, elapsed: Duration) {
        let began = |place: usize| self.periods[place].began;
        let loss = |place: &usize| {
            let (length, age) = (began(place + 2) - began(*place), elapsed.saturating_sub(began(*place)));
            length.as_secs_f64() / age.as_secs_f64().max(1.0)
        };
        let places = 0..self.periods.len().saturating_sub(2);
        let Some(place) = places.min_by(|a, b| loss(a).total_cmp(&loss(b))) else { return };
        if let Some(next) = self.periods.remove(place + 1) {
            self.periods[place].merge(&next);
        }
    }

    /// Notes that messages arrived now.
    pub(crate) fn add(&mut self, function: u32, messages: u64) {
        if let Some(current) = self.periods.back_mut() {
            current.add(function, messages);
        }
    }

    /// Notes that a message was handled or given up.
    pub(crate) fn remove(&mut self, function: u32, number: u64) {
        // The first period has all messages of earlier runs.
        let place = self.periods.partition_point(|period| period.first <= number).saturating_sub(1);
        let period = &mut self.periods[place];
        period.waiting[function as usize] -= 1;
        period.total -= 1;
        while self.periods.len() > 1 && self.periods[0].total == 0 {
            self.periods.pop_front();
        }
    }

    /// When the oldest waiting message of a function arrived, up to a second or a fraction of its age earlier.
    pub(crate) fn oldest(&self, function: u32) -> Option<Duration> {
        let has_any = |period: &&Period| period.waiting.get(function as usize).is_some_and(|waiting| *waiting > 0);
        self.periods.iter().find(has_any).map(|period| period.began)
    }

    /// Checks the totals and the order, and that the messages of each function are all here.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self, messages: impl Iterator<Item = u64>) {
        assert!(self.periods.iter().is_sorted_by(|a, b| a.first <= b.first && a.began < b.began), "periods in order");
        for period in &self.periods {
            assert_eq!(period.total, period.waiting.iter().sum::<u64>(), "messages of a period");
        }
        for (function, messages) in messages.enumerate() {
            let waiting: u64 = self.periods.iter().filter_map(|period| period.waiting.get(function)).sum();
            assert_eq!(waiting, messages, "messages of function {function} by their arrival");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_message_of_each_function_is_known_within_a_fraction_of_its_age() {
        let mut arrivals = Arrivals::default();
        let (mut rng, mut all) = (fastrand::Rng::with_seed(7), Vec::<(u32, u64, Duration)>::new());
        let (mut number, mut now) = (0, Duration::ZERO);
        for _ in 0..20_000 {
            now += Duration::from_millis(rng.u64(0..3_000));
            arrivals.advance(now, number);
            for _ in 0..rng.u32(0..3) {
                let function = rng.u32(0..3);
                arrivals.add(function, 1);
                all.push((function, number, now));
                number += 1;
            }
            while all.len() > 200 || (rng.bool() && !all.is_empty()) {
                // The first one hangs for long, as a message that fails does.
                let place = if rng.u32(0..500) == 0 { 0 } else { rng.usize(0..all.len()) };
                let (function, number, _) = all.remove(place);
                arrivals.remove(function, number);
            }
            let count = |function| all.iter().filter(|(of, ..)| *of == function).count() as u64;
            arrivals.check_invariants((0..3).map(count));
            assert!(arrivals.periods.len() <= Arrivals::PERIODS_MAX);
            for function in 0..3 {
                let since = all.iter().find(|(of, ..)| *of == function).map(|(.., since)| *since);
                let (Some(since), Some(found)) = (since, arrivals.oldest(function)) else {
                    assert_eq!(since, arrivals.oldest(function));
                    continue;
                };
                let (age, found) = (now - since, now - found);
                assert!(
                    found >= age && found <= age + Duration::from_secs(1) + age / 5,
                    "{found:?} instead of {age:?}"
                );
            }
        }
    }
}
