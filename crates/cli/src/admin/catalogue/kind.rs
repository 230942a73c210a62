//! What the numbers of a metric are, and in which unit.

use prometheus_client::{metrics::MetricType, registry};

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only rises.
    Counter(Option<Unit>),
    /// Rises and falls.
    Gauge(Option<Unit>),
    /// A distribution of times, in seconds.
    Histogram,
    /// A fact in the labels; the value is always 1.
    Info,
}

impl Kind {
    /// The unit, which is part of the name.
    pub(crate) const fn unit(self) -> Option<Unit> {
        match self {
            Self::Counter(unit) | Self::Gauge(unit) => unit,
            Self::Histogram => Some(Unit::Seconds),
            Self::Info => None,
        }
    }
}

/// The unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Seconds,
}

impl Unit {
    #[cfg(test)]
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Bytes => "_bytes",
            Self::Seconds => "_seconds",
        }
    }
}

impl From<Unit> for registry::Unit {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Bytes => Self::Bytes,
            Unit::Seconds => Self::Seconds,
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
