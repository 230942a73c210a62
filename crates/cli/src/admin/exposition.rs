//! Numbers as OpenMetrics text.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::{
    catalogue::{Family, Kind, families},
    snapshot::Snapshot,
};

/// The content type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes all families, also those without a number.
///
/// # Errors
///
/// A string takes all that is written, so that an error is a mistake in the catalogue.
pub(super) fn exposition(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in families() {
            let unit = match family.kind {
                Kind::Counter(unit) | Kind::Gauge(unit) => unit.map(Unit::from),
                Kind::Histogram => Some(Unit::Seconds),
                Kind::Info => None,
            };
            let encoder = encoder.encode_descriptor(family.name, family.help, unit.as_ref(), family.kind.into())?;
            let mut samples = Samples { family, encoder, result: Ok(()) };
            (family.samples)(self, &mut samples);
            samples.result?;
        }
        Ok(())
    }
}

/// What a number of a family is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum In {
    Bytes,
    Seconds,
}

impl In {
    #[cfg(test)]
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Bytes => "_bytes",
            Self::Seconds => "_seconds",
        }
    }
}

impl From<In> for Unit {
    fn from(unit: In) -> Self {
        match unit {
            In::Bytes => Self::Bytes,
            In::Seconds => Self::Seconds,
        }
    }
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter(_) => Self::Counter,
            Kind::Gauge(_) => Self::Gauge,
            Kind::Histogram => Self::Histogram,
            Kind::Info => Self::Info,
        }
    }
}

/// Takes the samples of a family. The first error ends it and is told at the end.
pub(super) struct Samples<'a> {
    family: &'a Family,
    encoder: MetricEncoder<'a>,
    result: fmt::Result,
}

impl Samples<'_> {
    /// A whole number, for these values of the family's labels.
    pub(super) fn count<const N: usize>(&mut self, labels: [&str; N], value: u64) {
        let kind = self.family.kind;
        self.put(labels, |encoder| match kind {
            Kind::Counter(_) => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
            Kind::Gauge(_) => encoder.encode_gauge(&value),
            Kind::Histogram | Kind::Info => Err(fmt::Error),
        });
    }

    /// A number of seconds, or any other that is not whole.
    pub(super) fn real<const N: usize>(&mut self, labels: [&str; N], value: f64) {
        let kind = self.family.kind;
        self.put(labels, |encoder| match kind {
            Kind::Counter(_) => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
            Kind::Gauge(_) => encoder.encode_gauge(&value),
            Kind::Histogram | Kind::Info => Err(fmt::Error),
        });
    }

    /// Times, counted by bounds; those above the last bound are in `count` only.
    pub(super) fn times<const N: usize>(
        &mut self,
        labels: [&str; N],
        buckets: impl Iterator<Item = (Duration, u64)>,
        count: u64,
        sum: Duration,
    ) {
        let mut buckets: Vec<_> = buckets.map(|(bound, count)| (bound.as_secs_f64(), count)).collect();
        let above = count - buckets.iter().map(|(_, count)| count).sum::<u64>();
        buckets.push((f64::INFINITY, above));
        let is_histogram = self.family.kind == Kind::Histogram;
        self.put(labels, |encoder| {
            if !is_histogram {
                return Err(fmt::Error);
            }
            encoder.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, &buckets, None)
        });
    }

    /// A fact that is in the labels.
    pub(super) fn fact<const N: usize>(&mut self, labels: [&str; N]) {
        if let Some(labels) = self.labels(labels) {
            // They are the encoder's own argument here, not those of a family.
            self.result = self.encoder.encode_info(&labels);
        }
    }

    fn put<const N: usize>(&mut self, values: [&str; N], encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result) {
        let Some(labels) = self.labels(values) else { return };
        self.result = if labels.is_empty() {
            encode(&mut self.encoder)
        } else {
            self.encoder.encode_family(&labels).and_then(|mut encoder| encode(&mut encoder))
        };
    }

    /// The labels with their values; none when there was an error.
    fn labels<'v, const N: usize>(&mut self, values: [&'v str; N]) -> Option<Vec<(&'static str, &'v str)>> {
        let names = self.family.labels;
        if names.len() != N {
            self.result = Err(fmt::Error);
        }
        self.result.is_ok().then(|| names.iter().copied().zip(values).collect())
    }
}
