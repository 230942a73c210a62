//! `statefun-kinesis state upgrade`.

use statefun_kinesis_functions::upgrade_entries;
use statefun_kinesis_store::{DiskSettings, DiskStore, FORMAT_VERSION};

use super::store::unusable;
use crate::{args::UpgradeArguments, failure::Failure, terminal};

/// Upgrades a store that an older version wrote to the format of this version.
pub(super) async fn upgrade(arguments: &UpgradeArguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let upgraded = DiskStore::upgrade(directory, DiskSettings::default(), upgrade_entries).await;
    let directory = directory.display();
    terminal::tell(&match upgraded.map_err(|error| unusable(&error))? {
        FORMAT_VERSION => format!("the store in {directory} already has format {FORMAT_VERSION}"),
        before => format!("the store in {directory} was upgraded from format {before} to format {FORMAT_VERSION}"),
    });
    Ok(())
}
