use std::collections::BTreeSet;

use clap::Args;
use statefun_kinesis_store::Allow;

/// Changes of the module that a run accepts although it continues with the state of the old module.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accepted changes of the module since the last run with --state")]
pub(crate) struct AllowedChanges {
    /// An ingress was removed: unread records of its streams are not read
    #[arg(long, requires = "state")]
    allow_removed_ingress: bool,

    /// A stream of an ingress was removed: its unread records are not read
    #[arg(long, requires = "state")]
    allow_removed_stream: bool,

    /// The targets of a stream changed: records that were already read still go to the old targets
    #[arg(long, requires = "state")]
    allow_changed_targets: bool,

    /// The value type of a stream changed: records that were already read keep the old type
    #[arg(long, requires = "state")]
    allow_changed_value_type: bool,

    /// An egress was removed: its unsent records are lost
    #[arg(long, requires = "state")]
    allow_removed_egress: bool,

    /// The stream of an egress changed: unsent records go to the new stream too
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
