//! What only real processes show: `kill -9` at any instant, a full disk, a store that another process holds.
//!
//! The binary starts itself as a child, which commits and writes the numbers that were acknowledged.

mod child;
mod full;
mod history;
mod kill;
mod lock;

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
        #[cfg(unix)]
        trial("a_full_disk_loses_nothing_and_goes_on_when_there_is_room", full::run),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, run: fn()) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}
