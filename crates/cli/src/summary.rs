//! The counts of a run, as text.

use std::time::Duration;

use statefun_kinesis_router::{Counts, Progress};

/// One line about a run in progress.
pub(crate) fn on_the_way(counts: &Counts, elapsed: Duration) -> String {
    format!(
        "{} records in ({} records/s), {} done, {} records out",
        grouped(counts.records_in),
        grouped(per_second(counts.records_in, elapsed)),
        grouped(counts.records_done),
        grouped(counts.records_out),
    )
}

/// The summary at the end of a run.
pub(crate) fn at_the_end(progress: &Progress, elapsed: Duration) -> String {
    let counts = progress.counts();
    let row = |name: &str, records: u64, bytes: u64| {
        format!(
            "  {name:<4}{:>12} records  {:>10}  {:>10} records/s  {:>10}/s\n",
            grouped(records),
            size(bytes),
            grouped(per_second(records, elapsed)),
            size(per_second(bytes, elapsed)),
        )
    };
    let mut text = format!("done after {}\n", seconds(elapsed));
    text += &row("in", counts.records_in, counts.bytes_in);
    text += &row("out", counts.records_out, counts.bytes_out);
    text +=
        &format!("  {} messages to functions; {} records done", grouped(counts.messages), grouped(counts.records_done));
    if let Some(latency) = progress.latency() {
        text += &format!(
            "\n  arrival to done: p50 {}, p95 {}, p99 {}, max {}",
            seconds(latency.p50),
            seconds(latency.p95),
            seconds(latency.p99),
            seconds(latency.max),
        );
    }
    text
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64().max(0.001)) as u64
}

fn seconds(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// A count with a space between thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit < UNITS.len() - 1 {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_easily() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
        assert_eq!([0, 999, 1_000, 2_500_000].map(size), ["0 B", "999 B", "1.0 kB", "2.5 MB"]);
        assert_eq!(seconds(Duration::from_millis(1_250)), "1.2 s");
    }
}
