//! Runs the command, and looks at what it printed.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use statefun_kinesis::ExitCode;

/// A folder of its own for a test, empty at its start.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) fn example(name: &str) -> String {
    format!("{}/../../examples/orders/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What a run of the command gave.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statefun-kinesis"));
    // No test depends on what the machine has to say about AWS or about logs.
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn run_with_input(arguments: &[&str], input: &str) -> Ran {
    let mut child = command(arguments).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn run(arguments: &[&str]) -> Ran {
    run_with_input(arguments, "")
}

impl Ran {
    #[track_caller]
    pub(crate) fn ended(&self, code: ExitCode) -> &Self {
        assert_eq!(self.code, code as i32, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn said(&self, parts: &[&str]) -> &Self {
        for part in parts {
            let said = self.err.contains(part) || self.out.contains(part);
            assert!(said, "`{part}` is missing\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        }
        self
    }
}

pub(crate) const INGRESS: &str = "\
kind: io.statefun.kinesis.v1/ingress
spec:
  id: example/orders
  startupPosition: {type: latest}
  streams:
    - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream
      valueType: example/Order
      targets: [example/order-handler, example/audit]
---
kind: io.statefun.kinesis.v1/egress
spec:
  id: example/notifications
  streamName: notifications-stream
";
