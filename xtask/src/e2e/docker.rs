//! LocalStack as a container, where a Docker daemon answers.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::backend::succeeds;
use super::keeper::Program;
use crate::workspace;

/// A daemon that does not answer by then is treated as absent: the command would wait for ever on a dead socket.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Whether a daemon answers; the `docker` command alone, as on many CI machines, is not enough.
pub(crate) fn daemon_answers() -> bool {
    if workspace::on_path("docker").is_none() {
        return false;
    }
    let Ok(mut child) = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false;
    };
    let deadline = Instant::now() + ANSWERS_WITHIN;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            _ => {
                // It is our child and hangs: it ends here or not at all.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// Pulls the image unless it is there.
pub(crate) fn ensure_image(image: &str) -> Result<()> {
    if succeeds(Command::new("docker").args(["image", "inspect", image])) {
        return Ok(());
    }
    workspace::run(Command::new("docker").args(["pull", image]))
}

/// The container in the foreground, so that its output is the server's log and its end is the end of the process.
pub(crate) fn server(image: &str, container: &str, port: u16, settings: &[(&'static str, String)]) -> Program {
    let mut program = Program::new(Path::new("docker"))
        .inherit(&["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "HOME"])
        .arguments(&["run", "--rm", "--name", container, "--publish"])
        .argument(format!("127.0.0.1:{port}:4566"));
    for (name, value) in settings {
        program = program.argument("--env").argument(format!("{name}={value}"));
    }
    program.argument(image)
}

/// Removes a container, running or not. One that does not exist is no error.
pub(crate) fn remove(container: &str) {
    succeeds(Command::new("docker").args(["rm", "--force", container]));
}
