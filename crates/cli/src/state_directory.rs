//! `--state DIR`: the store of a run, and whether it fits the module.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use statefun_kinesis_functions::upgrade_entries;
use statefun_kinesis_spec::Module;
use statefun_kinesis_store::{Commit, DiskSettings, DiskStore, Error, ErrorKind, ModuleRecord, Store, StreamRecord};
use tracing::info;

use crate::{ExitCode, args::AllowedChanges, failure::Failure, regional_ingress::RegionalIngress};

/// The store of a run.
#[derive(Clone, Debug)]
pub(crate) struct StateDirectory(Arc<DiskStore>);

impl StateDirectory {
    /// Opens the store. Creates it if it does not exist, and upgrades it if an older version wrote it. Its read cache takes
    /// a quarter of the memory for states.
    pub(crate) async fn open(directory: &Path, state_bytes: usize) -> Result<Self, Failure> {
        let mut settings = DiskSettings::default();
        settings.cache_bytes = (state_bytes / 4) as u64;
        let store = DiskStore::open_upgrading(directory, settings, upgrade_entries).await;
        store.map(|store| Self(Arc::new(store))).map_err(|error| unusable(&error, UsedBy::Run))
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0) as Arc<_>
    }

    /// Checks that the store was written with this module, or that its changes are allowed, and stores the new module.
    pub(crate) async fn fit(
        &self,
        module: &Module,
        ingresses: &[RegionalIngress],
        allowed: &AllowedChanges,
    ) -> Result<(), Failure> {
        let now = record_of(module, ingresses).await?;
        let before = ModuleRecord::load(&*self.0).await.map_err(|error| unusable(&error, UsedBy::Run))?;
        let changes = before.as_ref().map(|before| now.changes_since(before)).unwrap_or_default();
        let allowed = allowed.kinds();
        let refused: Vec<_> = changes
            .iter()
            .filter_map(|change| Some((change, change.needs()?)))
            .filter(|(_, kind)| !allowed.contains(kind))
            .collect();
        if !refused.is_empty() {
            let (mut what, mut switches) = (Vec::new(), BTreeSet::new());
            for (change, kind) in refused {
                what.push(change.to_string());
                switches.insert(format!("--{}", kind.switch()));
            }
            let directory = self.0.directory().display();
            let message = format!("the state in {directory} was written with another module: {}", what.join("; "));
            let switches: Vec<_> = switches.into_iter().collect();
            return Err(Failure::new(ExitCode::InvalidModule, message)
                .hint(format!("run with the previous module, or accept the changes: {}", switches.join(" "))));
        }
        for change in &changes {
            info!("{change}");
        }
        if before.as_ref() != Some(&now) {
            let mut commit = Commit::new();
            now.put(&mut commit);
            self.0.commit(commit).await.map_err(|error| unusable(&error, UsedBy::Run))?;
        }
        Ok(())
    }
}

/// The parts of the module that its state depends on. Looks up the ARNs of streams that have none in the module.
async fn record_of(module: &Module, ingresses: &[RegionalIngress]) -> Result<ModuleRecord, Failure> {
    let mut record = ModuleRecord::default();
    for ingress in ingresses {
        let streams = record.ingresses.entry(ingress.spec.id.clone()).or_default();
        for route in &ingress.spec.streams {
            let stream = match route.stream.arn() {
                Some(arn) => arn.clone(),
                None => {
                    let summary = ingress.client.describe_stream_summary(&route.stream).await;
                    summary.map_err(|error| Failure::from_error(ExitCode::Setup, &error))?.arn
                }
            };
            streams
                .insert(stream, StreamRecord { value_type: route.value_type.clone(), targets: route.targets.clone() });
        }
    }
    for egress in &module.egresses {
        record.egresses.insert(egress.id.clone(), egress.stream_name.clone().map(Into::into));
    }
    Ok(record)
}

/// Which command uses a state directory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UsedBy {
    /// `run`, which creates a store if none exists.
    Run,
    /// `state`, which opens the store of a previous run.
    State,
}

/// Why a state directory cannot be used, with a hint.
pub(crate) fn unusable(error: &Error, by: UsedBy) -> Failure {
    let failure = Failure::from_error(ExitCode::Setup, error);
    match hint(error.kind(), by) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn hint(kind: ErrorKind, by: UsedBy) -> Option<&'static str> {
    Some(match (kind, by) {
        (ErrorKind::Locked, UsedBy::Run) => "stop the other process, or name another directory",
        (ErrorKind::Locked, UsedBy::State) => "stop the run first; while it is running, see its metrics (--admin)",
        (ErrorKind::Missing, _) => "check the path; a run with --state creates the store",
        (ErrorKind::NotAStore, UsedBy::Run) => "name an empty or new directory",
        (ErrorKind::NotAStore, UsedBy::State) => "name the directory that `run` uses as --state",
        (ErrorKind::Newer, _) => "use the version that wrote it, or a newer one",
        (ErrorKind::Older, _) => "upgrade it with: statefun-kinesis state upgrade DIR; `run --state` also upgrades it",
        (ErrorKind::Damaged, _) => {
            "restore the directory from a backup; or start over with empty state: statefun-kinesis state reset DIR --all"
        }
        (ErrorKind::Full, _) => "free some disk space; no data was lost",
        (ErrorKind::Io, _) => "check that this process may create and write to the directory, and that the disk works",
        (ErrorKind::Fenced, _) => {
            "another process uses the directory now; start this one again after that process has ended"
        }
        (ErrorKind::Closed | ErrorKind::Invalid, _) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_gets_its_own_hint() {
        #[track_caller]
        fn check(kind: ErrorKind, by: UsedBy, says: Option<&str>) {
            let shown = unusable(&Error::new(kind, "the store in x"), by).to_string();
            let hint = shown.lines().find_map(|line| line.strip_prefix("hint: "));
            match says {
                Some(says) => assert!(hint.is_some_and(|hint| hint.contains(says)), "{kind:?}: {shown}"),
                None => assert_eq!(hint, None, "{kind:?}"),
            }
        }
        for by in [UsedBy::Run, UsedBy::State] {
            check(ErrorKind::Missing, by, Some("a run with --state creates the store"));
            check(ErrorKind::Newer, by, Some("the version that wrote it"));
            check(ErrorKind::Older, by, Some("state upgrade DIR"));
            check(ErrorKind::Damaged, by, Some("state reset DIR --all"));
            check(ErrorKind::Full, by, Some("free some disk space"));
            check(ErrorKind::Io, by, Some("may create and write to the directory"));
            check(ErrorKind::Fenced, by, Some("another process uses the directory"));
            check(ErrorKind::Closed, by, None);
        }
        check(ErrorKind::Locked, UsedBy::Run, Some("name another directory"));
        check(ErrorKind::Locked, UsedBy::State, Some("stop the run first"));
        check(ErrorKind::NotAStore, UsedBy::Run, Some("empty or new directory"));
        check(ErrorKind::NotAStore, UsedBy::State, Some("that `run` uses as --state"));
    }
}
