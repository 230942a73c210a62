//! The `statefun-kinesis` command; `statefun-kinesis --help` tells what it can do.

fn main() -> std::process::ExitCode {
    statefun_kinesis::main().into()
}
