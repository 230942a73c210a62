//! What signals do to a run.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command},
};

use statefun_kinesis::ExitCode;

use crate::scene::{INGRESS, command, example, folder};

/// Sends a signal to a run of the command.
#[track_caller]
fn signal(child: &Child, signal: &str) {
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

#[test]
fn a_signal_stops_a_run_that_has_nothing_left_to_do() {
    for name in ["-INT", "-TERM"] {
        let module = example("module.yaml");
        let mut child = command(&["run", &module, "--client", "memory", "--functions", "log"]).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(err.any(|line| line.unwrap().contains("ready")), "the run is never ready");
        signal(&child, name);
        let rest: Vec<String> = err.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(ExitCode::Done as i32), "{rest:#?}");
        assert!(rest.iter().any(|line| line.contains("done after")), "{rest:#?}");
    }
}

#[test]
fn a_signal_ends_a_start_that_waits() {
    let module = folder("waits").join("module.yaml");
    fs::write(&module, INGRESS).unwrap();
    // No process listens at the discard port. The run waits for it like for any server.
    let arguments = ["run", module.to_str().unwrap(), "--functions", "log", "--endpoint-url", "http://127.0.0.1:9"];
    let mut command = command(&arguments);
    command.envs([("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
    let mut child = command.spawn().unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(err.any(|line| line.unwrap().contains("retrying")), "the start does not wait");
    signal(&child, "-TERM");
    let rest: Vec<String> = err.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(ExitCode::Done as i32), "{rest:#?}");
    assert!(rest.iter().any(|line| line == "stopped before reading began"), "{rest:#?}");
}

#[test]
fn a_second_signal_stops_at_once() {
    // No process reads stdout, and a pipe holds only a part of the messages, so in-flight records never finish.
    let (module, input) = (example("module.yaml"), example("orders.jsonl"));
    let arguments = ["run", &module, "--client", "memory", "--functions", "log", "--input", &input];
    let mut child = command(&arguments).spawn().unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(err.any(|line| line.unwrap().contains("ready")), "the run is never ready");
    signal(&child, "-TERM");
    assert!(err.any(|line| line.unwrap().contains("stopping")), "the first signal is not heard");
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(ExitCode::Interrupted as i32));
}
