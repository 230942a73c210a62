//! The workspace's fake of Kinesis behind HTTP, so that the program and the AWS SDK can be held to what no server from a
//! package registry does: enhanced fan-out that ends with its shard, throttling, failures of single records.
//!
//! `fake-kinesis PORT` listens on the loopback interface until it is killed. As LocalStack does it, an access key of
//! twelve digits is the account of that number, and every account and region has streams of its own; any other key is of
//! account 000000000000. Nothing is checked of a signature, and nothing is kept.

mod frame;
mod operation;
mod parameters;
mod server;
mod values;

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the program talks to whoever started it")]
fn main() -> ExitCode {
    let Some(port) = std::env::args().nth(1).and_then(|port| port.parse().ok()) else {
        eprintln!("usage: fake-kinesis PORT");
        return ExitCode::FAILURE;
    };
    match server::run(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-kinesis ends: {error}");
            ExitCode::FAILURE
        }
    }
}
