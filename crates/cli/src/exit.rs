/// The exit codes of `statefun-kinesis`. They are part of the public interface: scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything was done, or a signal asked to stop and nothing was left unfinished.
    Done = 0,
    /// A module file has errors, or warnings where these are denied, or cannot be read. Nothing was started.
    InvalidModule = 2,
    /// What the module asks for is not there: a stream, a region, credentials, a permission, or the service itself.
    /// Nothing was read. `check --live` ends so when it finds something missing.
    Setup = 3,
    /// Kinesis failed permanently while records were read or written.
    Kinesis = 4,
    /// A function failed permanently.
    Functions = 5,
    /// The file of records for `--input` has errors, or cannot be read. Nothing was started.
    InvalidInput = 6,
    /// stdout or the file of `--output` could not be written.
    Output = 7,
    /// A record of a stream cannot become a message; the error names its stream, shard and sequence number.
    InvalidRecord = 8,
    /// A signal asked to stop, and not everything could be finished in time. The last line says how many of what.
    Unfinished = 9,
    /// The command line is wrong (as `EX_USAGE` of `sysexits.h`).
    Usage = 64,
    /// A bug of this program: it panicked. Please report what it printed.
    Bug = 101,
    /// A second signal asked to stop at once; in-flight records were not finished.
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
