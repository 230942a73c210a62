use std::fmt;

use statefun_kinesis_types::{FunctionType, StreamRef};

/// The work of an ended run that is neither finished nor durable.
///
/// If positions were stored, the next start reads its records again. Otherwise it is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Records of ingresses that were read but not completed.
    pub records: u64,
    /// Messages that wait or are in flight, by function. Functions without such messages are not listed.
    pub messages: Vec<(FunctionType, u64)>,
    /// Records that were not stored in an egress stream in time, by stream. Streams without such records are not
    /// listed.
    pub egress_records: Vec<(StreamRef, u64)>,
}

impl Unfinished {
    /// Whether everything was finished.
    pub fn is_empty(&self) -> bool {
        self.records == 0 && self.messages.is_empty() && self.egress_records.is_empty()
    }
}

impl fmt::Display for Unfinished {
    /// Formats it like `12 records of ingresses, 3 messages to example/greeter, 5 records for out-stream`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let mut parts = Vec::new();
        if self.records > 0 {
            parts.push(format!("{} record{} of ingresses", self.records, plural(self.records)));
        }
        for (function, count) in &self.messages {
            parts.push(format!("{count} message{} to {function}", plural(*count)));
        }
        for (stream, count) in &self.egress_records {
            parts.push(format!("{count} record{} for {stream}", plural(*count)));
        }
        if parts.is_empty() { f.write_str("nothing") } else { f.write_str(&parts.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_work_is_reported_by_kind_and_place() {
        let mut unfinished = Unfinished::default();
        assert!(unfinished.is_empty());
        assert_eq!(unfinished.to_string(), "nothing");
        unfinished.records = 1;
        unfinished.messages.push(("example/greeter".parse().unwrap(), 3));
        unfinished.egress_records.push(("out".parse().unwrap(), 1));
        assert!(!unfinished.is_empty());
        assert_eq!(unfinished.to_string(), "1 record of ingresses, 3 messages to example/greeter, 1 record for out");
    }
}
