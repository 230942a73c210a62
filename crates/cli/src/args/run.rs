use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use statefun_kinesis_spec::parse_duration;

use super::{allowed_changes::AllowedChanges, endpoint::endpoint_url, module::ModuleArguments};
use crate::admin::AdminAddress;

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) module: ModuleArguments,

    /// Which Kinesis: AWS (or whatever speaks its protocol), or one in memory with the module's streams
    #[arg(long, value_enum, default_value_t = Client::Aws)]
    pub(crate) client: Client,

    /// Ask this server in place of AWS, whatever the module's regions say
    #[arg(long, value_name = "URL", value_parser = endpoint_url)]
    pub(crate) endpoint_url: Option<String>,

    /// What handles routed messages
    #[arg(long, value_enum, default_value_t = Functions::Remote)]
    pub(crate) functions: Functions,

    /// Keep positions, states and messages in this directory, so that the next run goes on where this one stopped, however
    /// that was; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// With --state: how many MiB of states are kept in memory, beside a quarter of that each for states that are not
    /// written yet and for what was read last; other states are read when they are needed
    #[arg(long, value_name = "MIB", requires = "state", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) state_memory: u32,

    /// With --state: time from one checkpoint to the next, such as `500ms` or `1 min`, from 10 ms to 10 min. What was
    /// written to egresses since the last one is written again after a crash
    #[arg(long, value_name = "TIME", requires = "state", default_value = "1s", value_parser = checkpoint_interval)]
    pub(crate) checkpoint_interval: Duration,

    /// Put the records of this JSON Lines file into the streams in memory, and end when all are processed; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    /// Write what reached the egress streams to this file as JSON Lines; `-` is stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Serve /metrics, /healthz and /readyz there by HTTP, such as 127.0.0.1:9090; :9090 is all interfaces
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<AdminAddress>,

    /// Which log lines appear on stderr, such as `warn` or `info,statefun_kinesis_consumer=debug`
    #[arg(long, value_name = "FILTER", env = "STATEFUN_KINESIS_LOG", default_value = "info")]
    pub(crate) log: String,

    #[command(flatten)]
    pub(crate) allowed: AllowedChanges,
}

impl RunArguments {
    /// Bytes of states in memory.
    pub(crate) fn state_bytes(&self) -> usize {
        (self.state_memory as usize) << 20
    }
}

fn checkpoint_interval(text: &str) -> Result<Duration, String> {
    const RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(10);
    match parse_duration(text) {
        Some(interval) if RANGE.contains(&interval) => Ok(interval),
        Some(_) => Err("it has to be from 10 ms to 10 min".to_owned()),
        None => Err("it is no time; write a whole number with ms, s or min".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// AWS, or the server of --endpoint-url or of a custom-endpoint region
    Aws,
    /// In memory: needs no network, and forgets everything at the end
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Functions {
    /// The functions that the module's endpoints serve over HTTP
    Remote,
    /// Send each message back to the module's egresses
    Echo,
    /// Print each message as one JSON line to stdout
    Log,
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
            ("9ms", Err("it has to be from 10 ms to 10 min")),
            ("0s", Err("it has to be from 10 ms to 10 min")),
            ("1h", Err("it has to be from 10 ms to 10 min")),
            ("soon", Err("it is no time; write a whole number with ms, s or min")),
            ("1.5s", Err("it is no time; write a whole number with ms, s or min")),
        ] {
            assert_eq!(checkpoint_interval(text), expected.map_err(str::to_owned), "{text}");
        }
    }
}
