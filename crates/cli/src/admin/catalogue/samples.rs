//! Encodes the samples of a family of metrics.

use std::{fmt, time::Duration};

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

use super::kind::Kind;

/// Encodes the samples of a family. After the first error it ignores samples, and `finish` returns the error.
pub(crate) struct Samples<'a> {
    kind: Kind,
    labels: &'static [&'static str],
    encoder: MetricEncoder<'a>,
    result: fmt::Result,
}

impl<'a> Samples<'a> {
    /// An encoder for samples of this kind, with these names of labels.
    pub(crate) fn new(kind: Kind, labels: &'static [&'static str], encoder: MetricEncoder<'a>) -> Self {
        Self { kind, labels, encoder, result: Ok(()) }
    }

    /// Whether all samples could be written.
    ///
    /// # Errors
    ///
    /// When a sample does not fit its family.
    pub(crate) fn finish(self) -> fmt::Result {
        self.result
    }

    /// Adds a whole number, for these values of the family's labels.
    pub(crate) fn count<const N: usize>(&mut self, labels: [&str; N], value: u64) {
        let kind = self.kind;
        self.put(labels, |encoder| match kind {
            Kind::Counter(_) => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
            Kind::Gauge(_) => encoder.encode_gauge(&value),
            Kind::Histogram | Kind::Info => Err(fmt::Error),
        });
    }

    /// Adds a number that is not whole, such as seconds.
    pub(crate) fn real<const N: usize>(&mut self, labels: [&str; N], value: f64) {
        let kind = self.kind;
        self.put(labels, |encoder| match kind {
            Kind::Counter(_) => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
            Kind::Gauge(_) => encoder.encode_gauge(&value),
            Kind::Histogram | Kind::Info => Err(fmt::Error),
        });
    }

    /// Adds times, counted by bounds. Times above the last bound are only in `count`.
    pub(crate) fn times<const N: usize>(
        &mut self,
        labels: [&str; N],
        buckets: impl Iterator<Item = (Duration, u64)>,
        count: u64,
        sum: Duration,
    ) {
        let mut buckets: Vec<_> = buckets.map(|(bound, count)| (bound.as_secs_f64(), count)).collect();
        let above = count - buckets.iter().map(|(_, count)| count).sum::<u64>();
        buckets.push((f64::INFINITY, above));
        let is_histogram = self.kind == Kind::Histogram;
        self.put(labels, |encoder| {
            if !is_histogram {
                return Err(fmt::Error);
            }
            encoder.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, &buckets, None)
        });
    }

    /// Adds a fact that is in the labels.
    pub(crate) fn fact<const N: usize>(&mut self, labels: [&str; N]) {
        if let Some(labels) = self.labelled(labels) {
            // The encoder takes the labels of a fact as an argument, not as the labels of a family.
            self.result = self.encoder.encode_info(&labels);
        }
    }

    fn put<const N: usize>(&mut self, values: [&str; N], encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result) {
        let Some(labels) = self.labelled(values) else { return };
        self.result = if labels.is_empty() {
            encode(&mut self.encoder)
        } else {
            self.encoder.encode_family(&labels).and_then(|mut encoder| encode(&mut encoder))
        };
    }

    /// The labels with their values; `None` after an error.
    fn labelled<'v, const N: usize>(&mut self, values: [&'v str; N]) -> Option<Vec<(&'static str, &'v str)>> {
        let names = self.labels;
        if names.len() != N {
            self.result = Err(fmt::Error);
        }
        self.result.is_ok().then(|| names.iter().copied().zip(values).collect())
    }
}
