use statefun_kinesis_types::{SequenceNumber, Timestamp};

/// The sequence numbers of one shard.
///
/// They have 56 decimal digits, as the service's have, and can be read by eye: `49`, 14 digits of the shard's
/// generation, 28 digits that count its records, 12 digits of its number in the stream. Generations only ever grow, so
/// that the numbers of different shards never mix and a child's are all above its parents'.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// Below every record of the shard.
    pub(crate) first: SequenceNumber,
    /// Above every record of the shard.
    pub(crate) last: SequenceNumber,
}

impl Numbers {
    /// The distance between two records: the count stands above the 12 digits of the shard.
    const STEP: u64 = 1_000_000_000_000;

    fn new(generation: u64, shard: usize) -> Self {
        let number = |count: &str| -> SequenceNumber {
            format!("49{generation:014}{count}{shard:012}").parse().expect("56 digits are a sequence number")
        };
        Self { first: number(&"0".repeat(28)), last: number(&"9".repeat(28)) }
    }

    /// The number of the record behind `number`.
    pub(crate) fn next(number: SequenceNumber) -> SequenceNumber {
        number.checked_add(Self::STEP).expect("a shard has fewer than 10^28 records")
    }
}

/// Where the generations of shards come from: the time in milliseconds, pushed on where time stands still.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    last: u64,
}

impl Generations {
    /// Numbers for a new shard, above those of every shard before it.
    pub(crate) fn numbers(&mut self, now: Timestamp, shard: usize) -> Numbers {
        self.last = u64::try_from(now.as_millis()).unwrap_or(0).max(self.last + 1);
        Numbers::new(self.last, shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_56_digits_and_grow_over_records_and_shards() {
        let mut generations = Generations::default();
        let mut before = SequenceNumber::from(0_u64);
        for (millis, shard) in [(-5, 0), (0, 1), (0, 2), (1_776_902_400_000, 3), (7, 4)] {
            let numbers = generations.numbers(Timestamp::from_millis(millis), shard);
            let record = Numbers::next(numbers.first);
            for number in [numbers.first, record, numbers.last] {
                assert_eq!(number.to_string().len(), 56);
                assert!(before < number, "{before} < {number}");
                before = number;
            }
        }
    }
}
