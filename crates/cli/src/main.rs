//! The `statefun-kinesis` command.
fn main() {}
