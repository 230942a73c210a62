//! The command as a user meets it: output, messages, exit codes.

mod check;
mod command_line;
mod module_file;
mod network;
mod run;
mod scene;
#[cfg(unix)]
mod signals;
