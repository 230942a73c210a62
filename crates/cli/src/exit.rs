/// The exit codes of `statefun-kinesis`. They are part of the public interface: scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, or stopped by a signal with no unfinished work.
    Done = 0,
    /// A module file has errors, or has warnings that `--deny-warnings` rejects, or cannot be read. Nothing was started.
    InvalidModule = 2,
    /// A stream, a region, credentials or a permission is missing, or Kinesis cannot be reached. Nothing was read.
    /// `check --live` exits with this code too.
    Setup = 3,
    /// Kinesis failed permanently while records were read or written.
    Kinesis = 4,
    /// A function failed permanently.
    Functions = 5,
    /// The file of records for `--input` has errors, or cannot be read. Nothing was started.
    InvalidInput = 6,
    /// Cannot write to stdout or to the file of `--output`.
    Output = 7,
    /// A record is invalid: it cannot become a message. The error names its stream, shard and sequence number.
    InvalidRecord = 8,
    /// Stopped by a signal before all work was finished. The last line says what is unfinished.
    Unfinished = 9,
    /// The command line is invalid (like `EX_USAGE` of `sysexits.h`).
    Usage = 64,
    /// A bug in this program: it panicked. Please report the output.
    Bug = 101,
    /// Stopped at once by a second signal; in-flight records were not finished.
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
