use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use statefun_kinesis_spec::parse_duration;

use super::{allowed_changes::AllowedChanges, endpoint::endpoint_url, module::ModuleArguments};
use crate::admin::AdminAddress;

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) module: ModuleArguments,

    /// Which Kinesis to use
    #[arg(long, value_enum, default_value_t = Client::Aws)]
    pub(crate) client: Client,

    /// Call this server instead of AWS, for all regions of the module
    #[arg(long, value_name = "URL", value_parser = endpoint_url)]
    pub(crate) endpoint_url: Option<String>,

    /// Which functions handle the messages
    #[arg(long, value_enum, default_value_t = Functions::Remote)]
    pub(crate) functions: Functions,

    /// Store positions, states and messages in this directory, so that the next run continues where this one stopped,
    /// also after a crash; created if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// With --state: MiB of states to keep in memory. Unsaved states and the read cache each take up to a quarter of that
    /// in addition. Other states are read from disk when they are needed
    #[arg(long, value_name = "MIB", requires = "state", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) state_memory: u32,

    /// With --state: time between checkpoints, from 10 ms to 10 min, such as `500ms` or `1 min`. After a crash, records
    /// that were written to egresses since the last checkpoint are written again
    #[arg(long, value_name = "TIME", requires = "state", default_value = "1s", value_parser = checkpoint_interval)]
    pub(crate) checkpoint_interval: Duration,

    /// With --client memory: put the records of this JSON Lines file into the streams, and exit when all are processed;
    /// `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    /// Write all records that the egress streams stored to this file, as JSON Lines; `-` is stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Serve /metrics, /healthz and /readyz over HTTP at this address, such as 127.0.0.1:9090; :9090 listens on all
    /// interfaces
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<AdminAddress>,

    /// Filter for log lines on stderr, such as `warn` or `info,statefun_kinesis_consumer=debug`. A level alone is that of
    /// this program; of libraries, only warnings and errors are shown
    #[arg(long, value_name = "FILTER", env = "STATEFUN_KINESIS_LOG", default_value = "info")]
    pub(crate) log: String,

    /// Format of log lines, and of everything else on stderr
    #[arg(long, value_enum, env = "STATEFUN_KINESIS_LOG_FORMAT", default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    #[command(flatten)]
    pub(crate) allowed: AllowedChanges,
}

impl RunArguments {
    /// Bytes of states to keep in memory.
    pub(crate) fn state_bytes(&self) -> usize {
        (self.state_memory as usize) << 20
    }
}

fn checkpoint_interval(text: &str) -> Result<Duration, String> {
    const RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(10);
    match parse_duration(text) {
        Some(interval) if RANGE.contains(&interval) => Ok(interval),
        Some(_) => Err("the value must be between 10 ms and 10 min".to_owned()),
        None => Err("not a duration; write a whole number with ms, s or min".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// AWS, or another server that --endpoint-url or a custom-endpoint region names
    Aws,
    /// In memory, with the module's streams: needs no network, and keeps nothing after the run
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Functions {
    /// Call the functions at the module's HTTP endpoints
    Remote,
    /// Send each message back to the module's egresses
    Echo,
    /// Print each message to stdout as one line of JSON
    Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people
    Text,
    /// One JSON object per line, for programs
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_interval_is_a_time_within_bounds() {
        for (text, expected) in [
            ("10ms", Ok(Duration::from_millis(10))),
            ("250", Ok(Duration::from_millis(250))),
            ("1 min", Ok(Duration::from_mins(1))),
            ("10min", Ok(Duration::from_mins(10))),
            ("9ms", Err("the value must be between 10 ms and 10 min")),
            ("0s", Err("the value must be between 10 ms and 10 min")),
            ("1h", Err("the value must be between 10 ms and 10 min")),
            ("soon", Err("not a duration; write a whole number with ms, s or min")),
            ("1.5s", Err("not a duration; write a whole number with ms, s or min")),
        ] {
            assert_eq!(checkpoint_interval(text), expected.map_err(str::to_owned), "{text}");
        }
    }
}
