//! Resources of this process, as the operating system reports them.

use std::fs;

/// Data about a process from Linux' `/proc`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) open_files: u64,
    pub(super) max_files: Option<u64>,
    pub(super) threads: u64,
}

impl Process {
    /// The numbers at this moment; `None` without `/proc`.
    pub(super) fn now() -> Option<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        let status = Status::parse(&read("status")?)?;
        Some(Self {
            cpu_seconds: cpu_ticks(&read("stat")?)? as f64 / TICKS_PER_SECOND,
            resident_bytes: status.resident_bytes,
            // Listing the folder opens one file.
            open_files: (fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1),
            max_files: max_files(&read("limits")?),
            threads: status.threads,
        })
    }
}

/// The kernel's unit of CPU time, on all architectures that Rust's standard library supports (`USER_HZ`,
/// proc_pid_stat(5)).
const TICKS_PER_SECOND: f64 = 100.0;

struct Status {
    resident_bytes: u64,
    threads: u64,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Self { resident_bytes: number("VmRSS")? * 1024, threads: number("Threads")? })
    }
}

/// The CPU time of user and kernel: fields 14 and 15 of `/proc/self/stat`.
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, and may itself contain spaces and parentheses.
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn max_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_kernel_are_parsed() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 3 0 100";
        assert_eq!(cpu_ticks(stat), Some(300));
        let status = Status::parse("Name:\ta\nVmRSS:\t    2048 kB\nThreads:\t3\n").unwrap();
        assert_eq!((status.resident_bytes, status.threads), (2048 * 1024, 3));
        let limits = "Max processes   1   2   processes\nMax open files            1024      4096      files\n";
        assert_eq!(max_files(limits), Some(1024));
        assert_eq!(max_files("Max open files   unlimited  unlimited  files\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_measured() {
        let process = Process::now().unwrap();
        assert!(process.resident_bytes > 1 << 20 && process.threads > 0 && process.open_files > 2, "{process:?}");
    }
}
