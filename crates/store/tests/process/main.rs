//! What only real processes show: `kill -9` at any instant, a full disk, a store that another process holds, what is on
//! the disk.
//!
//! The binary starts itself as a child, which commits and writes the numbers that were acknowledged.

mod child;
#[path = "../format_1/mod.rs"]
mod format_1;
mod full;
mod history;
mod kill;
mod lock;
#[cfg(target_os = "linux")]
mod synced;
mod upgrade;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(child::ARGUMENT) {
        let arguments: Vec<String> = arguments.collect();
        return child::run(&arguments);
    }
    let trials = vec![
        trial("every_acknowledged_commit_survives_kill_minus_nine", kill::run),
        trial("a_store_that_another_process_holds_is_refused", lock::run),
        trial("an_upgrade_survives_kill_minus_nine", upgrade::run),
        // Told as not run where the kernel or the file system keeps no account.
        #[cfg(target_os = "linux")]
        trial("what_is_acknowledged_is_on_the_disk", synced::run).with_ignored_flag(synced::directory().is_none()),
        #[cfg(unix)]
        trial("a_full_disk_loses_nothing_and_goes_on_when_there_is_room", full::run),
    ];
    let mut arguments = Arguments::from_args();
    // A process that is being started has all files of this one for a moment, also those that hold a directory.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, run: fn()) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}
