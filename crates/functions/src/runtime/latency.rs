//! Latency of requests, as a histogram per function.

use std::{collections::HashMap, time::Duration};

use statefun_kinesis_types::FunctionType;

/// The latency of a function's requests, including failed ones, as a histogram with fixed [bounds](Self::BOUNDS)
/// (StateFun's `remoteInvocationLatency`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InvocationLatency {
    counts: [u64; Self::BOUNDS.len()],
    longer: u64,
    sum: Duration,
}

impl InvocationLatency {
    /// The upper bounds of the buckets, in rising order. They range from a function on the same machine to the default
    /// time limit of a call, two minutes.
    pub const BOUNDS: [Duration; 16] = {
        let millis = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000];
        let mut bounds = [Duration::ZERO; 16];
        let mut at = 0;
        while at < bounds.len() {
            bounds[at] = Duration::from_millis(millis[at]);
            at += 1;
        }
        bounds
    };

    fn record(&mut self, took: Duration) {
        match self.counts.get_mut(Self::BOUNDS.partition_point(|bound| *bound < took)) {
            Some(count) => *count += 1,
            None => self.longer += 1,
        }
        self.sum = self.sum.saturating_add(took);
    }

    /// The number of requests per bucket. A request counts in the first bucket whose bound it did not exceed; one above
    /// the last bound counts in no bucket.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        Self::BOUNDS.into_iter().zip(self.counts)
    }

    /// The number of all requests, including those above the last bound.
    pub fn requests(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.longer
    }

    /// The total time of all requests.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

/// Latencies by function.
#[derive(Debug, Default)]
pub(super) struct Latencies(HashMap<FunctionType, InvocationLatency>);

impl Latencies {
    pub(super) fn record(&mut self, function: &FunctionType, took: Duration) {
        match self.0.get_mut(function) {
            Some(latency) => latency.record(took),
            None => self.0.entry(function.clone()).or_default().record(took),
        }
    }

    pub(super) fn all(&self) -> Vec<(FunctionType, InvocationLatency)> {
        self.0.iter().map(|(function, latency)| (function.clone(), *latency)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_the_least_bound_that_they_keep() {
        let mut latencies = Latencies::default();
        let function: FunctionType = "example/counter".parse().unwrap();
        let millis = Duration::from_millis;
        for took in [Duration::ZERO, millis(1), millis(2), millis(3), millis(120_000), millis(120_001)] {
            latencies.record(&function, took);
        }
        let [(_, found)] = latencies.all()[..] else { panic!("one function") };
        let counted: Vec<_> = found.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(millis(1), 2), (millis(2), 1), (millis(5), 1), (millis(120_000), 1)]);
        assert_eq!((found.requests(), found.sum()), (6, millis(240_007)));
        assert!(InvocationLatency::BOUNDS.is_sorted());
    }
}
