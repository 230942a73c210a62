use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The numbers that the next message, the next delayed message and the next record for an egress get.
///
/// A store keeps them under [`NAME`](Self::NAME) in [`Table::Meta`](statefun_kinesis_store::Table::Meta). Its other
/// tables are ordered by addresses, so that the highest number could only be found by reading all of them; and what had
/// it may be gone, while its number may not be used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextNumbers {
    /// Of the next message.
    pub message: u64,
    /// Of the next delayed message.
    pub timer: u64,
    /// Of the next record for an egress.
    pub egress: u64,
}

impl NextNumbers {
    /// The name of the entry in [`Table::Meta`](statefun_kinesis_store::Table::Meta).
    pub const NAME: &str = "numbers";

    const BYTES: usize = 3 * size_of::<u64>();

    /// The value of the entry: the three numbers, 8 bytes each, the most significant byte first.
    pub fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Self::BYTES);
        [self.message, self.timer, self.egress].into_iter().for_each(|number| bytes.put_u64(number));
        bytes.freeze()
    }

    /// Reads the value of the entry; none when it is not one.
    pub fn decode(mut stored: &[u8]) -> Option<Self> {
        (stored.len() == Self::BYTES).then(|| Self {
            message: stored.get_u64(),
            timer: stored.get_u64(),
            egress: stored.get_u64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values are on disks: these stay readable.
    #[test]
    fn encodings_stay_as_they_are() {
        let numbers = NextNumbers { message: 1, timer: 0x0203, egress: u64::MAX };
        let stored = numbers.encode();
        assert_eq!(
            stored[..],
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 3, 255, 255, 255, 255, 255, 255, 255, 255]
        );
        assert_eq!(NextNumbers::decode(&stored), Some(numbers));
        assert_eq!(NextNumbers::decode(&stored[..23]), None);
        assert_eq!(NextNumbers::decode(&[0; 25]), None);
    }
}
