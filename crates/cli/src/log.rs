//! Log lines on stderr: which ones, and in which form.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use statefun_kinesis_types::Timestamp;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    filter::LevelFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    registry::LookupSpan,
};

use crate::{
    ExitCode,
    args::LogFormat,
    failure::Failure,
    terminal::{self, Stderr},
};

/// Sends log lines to stderr. In the JSON format, everything else on stderr becomes a JSON line, too.
///
/// # Errors
///
/// When the filter is invalid.
pub(crate) fn start(filter: &str, format: LogFormat) -> Result<(), Failure> {
    let filter = env_filter(filter)?;
    // Only the first subscriber of a process can be set; it stays in use.
    let _ = match format {
        LogFormat::Text => tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(Stderr)
            .with_ansi(terminal::colour_on_stderr())
            .compact()
            .try_init(),
        LogFormat::Json => {
            terminal::use_json_on_stderr();
            json(filter, Stderr)
        }
    };
    Ok(())
}

type InitResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn json(filter: EnvFilter, writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static) -> InitResult {
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    subscriber.event_format(JsonLines).try_init()
}

fn env_filter(filter: &str) -> Result<EnvFilter, Failure> {
    let hint = "write a level (error, warn, info, debug, trace), or levels by module: \
                `info,statefun_kinesis_consumer=debug`";
    if let Some(word) = no_level(filter) {
        return Err(Failure::new(ExitCode::Usage, format!("`{word}` is not a log level")).hint(hint));
    }
    EnvFilter::try_new(directives(filter)).map_err(|error| {
        Failure::new(ExitCode::Usage, format!("`{filter}` is not a log filter")).because(&error).hint(hint)
    })
}

fn words(filter: &str) -> impl Iterator<Item = &str> {
    filter.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// The level that a word of a filter sets for everything, if it is one.
fn level(word: &str) -> Option<LevelFilter> {
    if word.contains(['=', '[', ']']) { None } else { word.parse().ok() }
}

/// A word of the filter that is not a level. Without this check, a mistyped level would be taken for the name of a module,
/// and no line of any other module would appear, not even errors.
fn no_level(filter: &str) -> Option<&str> {
    words(filter).find(|word| !word.contains(['=', '[', ']']) && level(word).is_none())
}

/// The filter as `tracing` reads it. A level alone means the crates of this program, whose names begin with the same
/// word; libraries are held to warnings. The libraries of the AWS SDK are held to errors: their warnings print internal
/// structures and access key ids, and what fails in them is an error of this program too, with a remedy.
fn directives(filter: &str) -> String {
    /// Beginnings of the names of crates.
    const OWN: &str = "statefun_kinesis";
    const SDK: &str = "aws_";
    let mut directives = Vec::new();
    if let Some(own) = words(filter).filter_map(level).last() {
        directives.push(own.min(LevelFilter::WARN).to_string());
        directives.push(format!("{OWN}={own}"));
        // A filter that names a crate of the SDK is meant for those who look for errors there.
        if !words(filter).any(|word| word.starts_with("aws")) {
            directives.push(format!("{SDK}={}", own.min(LevelFilter::ERROR)));
        }
    }
    directives.extend(words(filter).filter(|word| level(word).is_none()).map(str::to_owned));
    directives.join(",")
}

/// A line of JSON for text that is not an event.
pub(crate) fn json_line(level: Level, text: &str) -> String {
    let message = Value::from(text);
    Line { level, target: env!("CARGO_CRATE_NAME"), fields: vec![("message", message)] }.to_json()
}

/// An event as an object on one line: time, level, message, its fields, and the module that it comes from.
#[derive(Debug)]
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = Line { level: *metadata.level(), target: metadata.target(), fields: Vec::new() };
        event.record(&mut line);
        writeln!(writer, "{}", line.to_json())
    }
}

struct Line<'a> {
    level: Level,
    target: &'a str,
    /// In the order of the event, the message among them.
    fields: Vec<(&'static str, Value)>,
}

impl Line<'_> {
    fn to_json(&self) -> String {
        // Nothing in it can fail to be JSON: names are strings, and so are numbers that JSON does not have.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const MESSAGE: &str = "message";
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &Timestamp::now().to_string())?;
        map.serialize_entry("level", self.level.as_str())?;
        let (message, others): (Vec<_>, Vec<_>) = self.fields.iter().partition(|(name, _)| *name == MESSAGE);
        for (name, value) in message.into_iter().chain(others) {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("target", self.target)?;
        map.end()
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.push((field.name(), format!("{value:?}").into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), value.into()));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing::{debug, error, info, subscriber::with_default, trace, warn};

    use super::*;

    /// Collects what is written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        /// The JSON lines that `log` writes through a filter.
        fn lines(filter: &str, log: impl FnOnce()) -> Vec<Value> {
            let written = Self::default();
            let writer = written.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(env_filter(filter).unwrap())
                .with_writer(move || writer.clone())
                .event_format(JsonLines)
                .finish();
            with_default(subscriber, log);
            let bytes = written.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    #[test]
    fn a_mistyped_level_is_not_taken_for_a_module() {
        for filter in ["", "info", "WARN", "off", "3", "info, statefun_kinesis_consumer=debug", "[span{a=1}]=debug"] {
            assert_eq!(no_level(filter), None, "{filter}");
        }
        for (filter, word) in
            [("wran", "wran"), ("a=debug,inof", "inof"), ("info,statefun_kinesis", "statefun_kinesis")]
        {
            assert_eq!(no_level(filter), Some(word), "{filter}");
        }
    }

    #[test]
    fn a_level_alone_means_the_crates_of_this_program() {
        let log = || {
            trace!(target: "statefun_kinesis_producer::driver", "own trace");
            debug!(target: "statefun_kinesis_consumer::reader", "own debug");
            info!(target: "statefun_kinesis::run", "own info");
            error!(target: "statefun_kinesis_functions", "own error");
            debug!(target: "hyper::client", "library debug");
            info!(target: "fjall::journal", "library info");
            warn!(target: "fjall::journal", "library warn");
            info!(target: "aws_config::profile::credentials", "sdk info");
            warn!(target: "aws_smithy_runtime::client", "sdk warn");
            error!(target: "aws_runtime", "sdk error");
        };
        for (filter, expected) in [
            ("off", &[][..]),
            ("error", &["own error", "sdk error"]),
            ("info", &["own info", "own error", "library warn", "sdk error"]),
            ("debug", &["own debug", "own info", "own error", "library warn", "sdk error"]),
            ("TRACE", &["own trace", "own debug", "own info", "own error", "library warn", "sdk error"]),
            ("warn,statefun_kinesis_consumer=debug", &["own debug", "own error", "library warn", "sdk error"]),
            ("statefun_kinesis_producer=trace", &["own trace"]),
            (
                "info,hyper=debug,aws_config=info",
                &["own info", "own error", "library debug", "library warn", "sdk info", "sdk warn", "sdk error"],
            ),
        ] {
            let lines = Written::lines(filter, log);
            let messages: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
            assert_eq!(messages, expected, "{filter}");
        }
    }

    #[test]
    fn a_json_line_has_the_message_and_the_fields_of_its_event() {
        let stream = "arn:aws:kinesis:us-east-1:1:stream/a";
        let lines = Written::lines("info", || {
            warn!(target: "statefun_kinesis", stream, records = 3_u64, behind = 1.5, is_open = true, error = %"no \"way\"\n", "a call\u{1b} failed");
        });
        let [line] = &lines[..] else { panic!("one line: {lines:?}") };
        let mut line = line.as_object().unwrap().clone();
        let time = line.remove("timestamp").unwrap();
        time.as_str().unwrap().parse::<Timestamp>().unwrap();
        let expected = serde_json::json!({
            "level": "WARN", "message": "a call\u{1b} failed", "stream": stream, "records": 3, "behind": 1.5,
            "is_open": true, "error": "no \"way\"\n", "target": "statefun_kinesis",
        });
        assert_eq!(Value::from(line), expected);
        let told: Value = serde_json::from_str(&json_line(Level::ERROR, "error: one\n  because: two")).unwrap();
        assert_eq!((&told["level"], &told["message"]), (&"ERROR".into(), &"error: one\n  because: two".into()));
    }
}
