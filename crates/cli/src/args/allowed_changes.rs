use std::collections::BTreeSet;

use clap::Args;
use statefun_kinesis_store::Allow;

/// Changes of the module with which a run goes on all the same.
#[derive(Debug, Args)]
#[command(next_help_heading = "Going on with --state although the module has changed")]
pub(crate) struct AllowedChanges {
    /// An ingress is gone: what its streams hold behind their positions is not read
    #[arg(long, requires = "state")]
    allow_removed_ingress: bool,

    /// A stream of an ingress is gone: what it holds behind its position is not read
    #[arg(long, requires = "state")]
    allow_removed_stream: bool,

    /// Records of a stream go to other functions: those that were read already do not
    #[arg(long, requires = "state")]
    allow_changed_targets: bool,

    /// Records of a stream have values of another type: those that were read already do not
    #[arg(long, requires = "state")]
    allow_changed_value_type: bool,

    /// An egress is gone: records that it had not stored yet have nowhere to go
    #[arg(long, requires = "state")]
    allow_removed_egress: bool,

    /// An egress writes to another stream: also the records that it had not stored yet
    #[arg(long, requires = "state")]
    allow_changed_egress_stream: bool,
}

impl AllowedChanges {
    pub(crate) fn kinds(&self) -> BTreeSet<Allow> {
        [
            (self.allow_removed_ingress, Allow::RemovedIngress),
            (self.allow_removed_stream, Allow::RemovedStream),
            (self.allow_changed_targets, Allow::ChangedTargets),
            (self.allow_changed_value_type, Allow::ChangedValueType),
            (self.allow_removed_egress, Allow::RemovedEgress),
            (self.allow_changed_egress_stream, Allow::ChangedEgressStream),
        ]
        .into_iter()
        .filter_map(|(is_allowed, kind)| is_allowed.then_some(kind))
        .collect()
    }
}
