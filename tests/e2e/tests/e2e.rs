//! The end-to-end cases. `cargo xtask e2e` starts a server, hands it to them and runs them.

mod cases;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use statefun_kinesis_e2e::{Environment, Suite};

#[expect(clippy::print_stderr, reason = "the runner talks to whoever started it")]
fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut suite = Suite::new(Environment::read());
    cases::add_all(&mut suite);
    match suite.run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
