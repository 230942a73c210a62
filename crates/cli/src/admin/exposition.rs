//! The metrics as OpenMetrics text.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::{Registry, Unit},
};

use super::{
    catalogue::{Samples, families},
    snapshot::Snapshot,
};

/// The content type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes all families, also those without samples.
///
/// # Errors
///
/// Only for a mistake in the catalogue, because writing to a string cannot fail.
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
            let unit = family.kind.unit().map(Unit::from);
            let encoder = encoder.encode_descriptor(family.name, family.help, unit.as_ref(), family.kind.into())?;
            let mut samples = Samples::new(family.kind, family.labels, encoder);
            (family.samples)(self, &mut samples);
            samples.finish()?;
        }
        Ok(())
    }
}
