//! A family of metrics: its name, its meaning, and where its numbers come from.

#[cfg(test)]
use super::kind::Unit;
use super::{kind::Kind, samples::Samples};
use crate::admin::snapshot::Snapshot;

/// A family of metrics.
#[derive(Debug)]
pub(crate) struct Family {
    /// The section of the documentation's page that lists the family.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test generates the page"))]
    pub(crate) section: Section,
    /// The name without unit and without `_total` or `_info`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    /// The meaning, as a sentence that ends with a full stop.
    pub(crate) help: &'static str,
    /// StateFun's name of the metric.
    pub(crate) statefun: Option<&'static str>,
    pub(crate) samples: fn(&Snapshot, &mut Samples<'_>),
}

/// A section of the documentation's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Process,
    Ingress,
    Records,
    Function,
    Mailboxes,
    Checkpoint,
    Egress,
    Credentials,
}

impl Family {
    /// Adds StateFun's name of the metric.
    pub(crate) const fn known_as(mut self, statefun: &'static str) -> Self {
        self.statefun = Some(statefun);
        self
    }

    /// The name with unit and suffix, as in queries.
    #[cfg(test)]
    pub(crate) fn full_name(&self) -> String {
        let unit = self.kind.unit().map_or("", Unit::suffix);
        let suffix = match self.kind {
            Kind::Counter(_) => "_total",
            Kind::Gauge(_) | Kind::Histogram => "",
            Kind::Info => "_info",
        };
        format!("{}{unit}{suffix}", self.name)
    }
}

pub(crate) const COUNTER: Kind = Kind::Counter(None);
pub(crate) const GAUGE: Kind = Kind::Gauge(None);

/// A family that StateFun does not have.
pub(crate) const fn family(
    section: Section,
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Snapshot, &mut Samples<'_>),
) -> Family {
    Family { section, name, kind, labels, help, statefun: None, samples }
}
