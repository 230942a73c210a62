//! Process groups: started apart from ours, ended whole.
//!
//! A group is not enough for LocalStack, whose engine makes a session of its own. Every process of a server therefore
//! carries a mark in its environment, and what is
//! left after the group is gone is found by that mark.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The variable that marks every process of one server.
pub(crate) const MARK: &str = "STATEFUN_KINESIS_E2E_MARK";

/// How long killed processes may take to disappear.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// Makes the command the leader of a process group of its own, so that a Ctrl-C in the terminal does not reach it.
pub(crate) fn in_own_group(command: &mut Command) -> &mut Command {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command
}

/// Kills every process of the group. A group that no longer exists is no error.
pub(crate) fn kill_group(leader: u32) {
    kill(&format!("-{leader}"));
}

/// Kills the group of `leader` and every process marked with `mark`, and waits until none of them is left.
pub(crate) fn kill_marked(leader: Option<u32>, mark: &str) -> Result<()> {
    // Where the environment of a process cannot be read, its descent is the second-best way to find it; it has to be
    // looked up while the parents still live.
    let mut others = match leader {
        Some(leader) if marked(mark).is_none() => descendants(leader),
        _ => Vec::new(),
    };
    // The parent goes first, or it would start its engine again.
    if let Some(leader) = leader {
        kill_group(leader);
    }
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        match marked(mark) {
            Some(found) => others = found,
            None => others.retain(|&process| alive(process)),
        }
        if others.is_empty() {
            return Ok(());
        }
        for process in &others {
            kill(&process.to_string());
        }
        if Instant::now() > deadline {
            bail!("these processes outlived a kill: {others:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends SIGKILL by the shell's built-in: the standard library cannot, and slim images have no `kill` program.
fn kill(target: &str) {
    send("KILL", target);
}

fn alive(process: u32) -> bool {
    send("0", &process.to_string())
}

fn send(signal: &str, target: &str) -> bool {
    Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"$2\"", "kill", signal, target])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The processes whose environment holds the mark; `None` where the system does not show environments as files.
fn marked(mark: &str) -> Option<Vec<u32>> {
    let entry = format!("{MARK}={mark}");
    let mut found = Vec::new();
    if !std::path::Path::new("/proc/self/environ").exists() {
        return None;
    }
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that ended meanwhile, a zombie, and one of another user read as nothing.
        let Ok(environment) = std::fs::read(process.path().join("environ")) else {
            continue;
        };
        if environment.split(|&byte| byte == 0).any(|variable| variable == entry.as_bytes()) {
            found.push(id);
        }
    }
    Some(found)
}

/// All processes below `ancestor`, from one listing of the system's processes.
fn descendants(ancestor: u32) -> Vec<u32> {
    let Ok(listing) = Command::new("ps").args(["-axo", "pid=,ppid="]).output() else {
        return Vec::new();
    };
    below(ancestor, &String::from_utf8_lossy(&listing.stdout))
}

fn below(ancestor: u32, listing: &str) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for line in listing.lines() {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
        if let (Some(process), Some(parent)) = (numbers.next(), numbers.next()) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = children.remove(&ancestor).unwrap_or_default();
    let mut next = 0;
    while let Some(&process) = found.get(next) {
        found.extend(children.remove(&process).unwrap_or_default());
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descent_is_followed_through_all_generations() {
        let listing = "  1 0\n 10 1\n 11 10\n 12 11\n 13 1\n garbage\n";
        assert_eq!(below(10, listing), [11, 12]);
        assert_eq!(below(12, listing), [] as [u32; 0]);
        let mut all = below(1, listing);
        all.sort_unstable();
        assert_eq!(all, [10, 11, 12, 13]);
    }

    /// Starts two processes that sleep in a group of their own.
    #[cfg(unix)]
    fn sleepers(mark: &str) -> std::process::Child {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & sleep 600"]).env(MARK, mark);
        in_own_group(&mut command).spawn().expect("sh starts")
    }

    #[cfg(unix)]
    #[test]
    fn a_group_is_gone_when_the_kill_returns() {
        let mark = format!("group-{}", std::process::id());
        let mut leader = sleepers(&mark);
        kill_marked(Some(leader.id()), &mark).expect("the processes end");
        assert!(!leader.wait().expect("it was our child").success());
        assert!(marked(&mark).is_none_or(|left| left.is_empty()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_marked_process_that_left_the_group_is_gone_too() {
        let mark = format!("left-{}", std::process::id());
        let (mut leader, mut left) = (sleepers(&mark), sleepers(&mark));
        let mut other = sleepers("another");
        kill_marked(Some(leader.id()), &mark).expect("the processes end");
        assert_eq!(marked(&mark), Some(Vec::new()));
        assert!(!leader.wait().expect("it was our child").success());
        assert!(!left.wait().expect("it was our child").success());
        assert!(other.try_wait().expect("it is our child").is_none(), "a process of another mark lives");
        kill_group(other.id());
        other.wait().expect("it was our child");
    }
}
