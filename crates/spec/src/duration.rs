use std::time::Duration;

/// The units that Flink knows, with their nanoseconds (`TimeUtils` of flink-core).
const UNITS: &[(&[&str], u64)] = &[
    (&["ns", "nano", "nanos", "nanosecond", "nanoseconds"], 1),
    (&["us", "µs", "micro", "micros", "microsecond", "microseconds"], 1_000),
    (&["ms", "milli", "millis", "millisecond", "milliseconds", ""], 1_000_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60 * 1_000_000_000),
    (&["h", "hour", "hours"], 3600 * 1_000_000_000),
    (&["d", "day", "days"], 24 * 3600 * 1_000_000_000),
];

/// Reads a duration as Flink writes it: `30sec`, `1 min`, `2m`, and a bare number for milliseconds. Units go from
/// nanoseconds (`ns`) to days (`d`); `None` for anything else, and for more than 584 years.
///
/// ```
/// use std::time::Duration;
/// use statefun_kinesis_spec::parse_duration;
///
/// assert_eq!(parse_duration("1 min"), Some(Duration::from_secs(60)));
/// assert_eq!(parse_duration("a while"), None);
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_lowercase();
    let (_, nanos) = UNITS.iter().find(|(names, _)| names.contains(&unit.as_str()))?;
    number.checked_mul(*nanos).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_flink_writes_them() {
        for (text, expected) in [
            ("30sec", Some(Duration::from_secs(30))),
            ("1 min", Some(Duration::from_secs(60))),
            ("2m", Some(Duration::from_secs(120))),
            ("250", Some(Duration::from_millis(250))),
            ("1 D", Some(Duration::from_secs(86_400))),
            ("0s", Some(Duration::ZERO)),
            ("", None),
            ("min", None),
            ("-1s", None),
            ("1.5s", None),
            ("1 fortnight", None),
            ("99999999999999999999s", None),
            ("9999999999999d", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
