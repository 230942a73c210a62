//! Limits of a process that runs.

use anyhow::Result;

/// Lets no file of a process grow beyond so many bytes, or removes that limit as far as its system lets it.
#[cfg(target_os = "linux")]
pub(crate) fn files(process: u32, bytes: Option<u64>) -> Result<()> {
    use anyhow::Context as _;
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let process = Pid::from_raw(i32::try_from(process)?).context("no process has the number 0")?;
    // The process has inherited ours, and never changes it.
    let maximum = getrlimit(Resource::Fsize).maximum;
    prlimit(Some(process), Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum })?;
    Ok(())
}

/// Only Linux sets the limits of another process.
#[cfg(not(target_os = "linux"))]
pub(crate) fn files(process: u32, bytes: Option<u64>) -> Result<()> {
    anyhow::bail!("the files of process {process} cannot be limited to {bytes:?} on this system")
}
