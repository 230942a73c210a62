//! Every family of metrics: its name, what it means, and where its numbers come from. The page of the documentation is
//! made of this table.

mod egress;
mod functions;
mod process;
mod reading;

use super::{
    exposition::{In, Samples},
    snapshot::{RunSnapshot, Snapshot},
};

/// A family of metrics.
#[derive(Debug)]
pub(super) struct Family {
    /// What it is about, as a heading of the page.
    #[cfg_attr(not(test), expect(dead_code, reason = "the page is made by its test"))]
    pub(super) about: About,
    /// The name without unit and without `_total` or `_info`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    /// What it says, as a sentence that ends with a full stop.
    pub(super) help: &'static str,
    /// The name that StateFun has for it.
    pub(super) statefun: Option<&'static str>,
    pub(super) samples: fn(&Snapshot, &mut Samples<'_>),
}

/// What metrics are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Process,
    Ingress,
    Records,
    Function,
    Mailboxes,
    Checkpoint,
    Egress,
}

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only rises.
    Counter(Option<In>),
    /// It rises and falls.
    Gauge(Option<In>),
    /// Times, in seconds.
    Histogram,
    /// A fact; its value is always 1.
    Info,
}

impl Family {
    /// The name as it is asked for.
    #[cfg(test)]
    pub(super) fn full_name(&self) -> String {
        let unit = |unit: Option<In>| unit.map_or("", In::suffix);
        match self.kind {
            Kind::Counter(of) => format!("{}{}_total", self.name, unit(of)),
            Kind::Gauge(of) => format!("{}{}", self.name, unit(of)),
            Kind::Histogram => format!("{}{}", self.name, unit(Some(In::Seconds))),
            Kind::Info => format!("{}_info", self.name),
        }
    }
}

const COUNTER: Kind = Kind::Counter(None);
const GAUGE: Kind = Kind::Gauge(None);

/// A family that StateFun does not have.
const fn family(
    about: About,
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Snapshot, &mut Samples<'_>),
) -> Family {
    Family { about, name, kind, labels, help, statefun: None, samples }
}

impl Family {
    /// The same under the name that StateFun has for it.
    const fn known_as(mut self, statefun: &'static str) -> Self {
        self.statefun = Some(statefun);
        self
    }
}

/// All families, in the order of the text and of the page.
pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    [process::FAMILIES, reading::FAMILIES, functions::FAMILIES, egress::FAMILIES].into_iter().flatten()
}

fn of_run(all: &Snapshot, tell: impl FnOnce(&RunSnapshot)) {
    if let Some(run) = &all.run {
        tell(run);
    }
}
