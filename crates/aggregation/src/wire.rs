//! The little that the format needs of the protocol buffers encoding.

/// A field of a message, as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) number: u64,
    pub(crate) value: Value,
}

/// The value of a field. What the format does not use is skipped and says only that it was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Varint(u64),
    /// Where the bytes begin and end in the whole input.
    Bytes(usize, usize),
    Skipped,
}

/// The bytes end in the middle of a field, or say something that no writer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Walks over the fields of one message within a longer input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    input: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    /// The deepest nesting of groups that is skipped; protobuf's own parsers stop at 100 as well.
    const GROUPS_MAX_DEPTH: usize = 100;

    /// The message between two places of the input, which must lie within it.
    pub(crate) fn new(input: &'a [u8], start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= input.len(), "the message lies within its input");
        Self { input, at: start, end }
    }

    /// The next field; `None` at the end of the message.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Field>, Malformed> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (number, kind) = (tag >> 3, tag & 7);
        if number == 0 {
            return Err(Malformed);
        }
        let value = match kind {
            0 => Value::Varint(self.varint()?),
            2 => {
                let length = self.varint()?;
                let start = self.at;
                self.skip(length)?;
                Value::Bytes(start, self.at)
            }
            _ => {
                self.skip_other(number, kind)?;
                Value::Skipped
            }
        };
        Ok(Some(Field { number, value }))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7F);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Malformed> {
        if self.at == self.end {
            return Err(Malformed);
        }
        let byte = self.input[self.at];
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, length: u64) -> Result<(), Malformed> {
        if length > (self.end - self.at) as u64 {
            return Err(Malformed);
        }
        self.at += length as usize;
        Ok(())
    }

    /// Skips a value of fixed size or a group with all that is in it.
    fn skip_other(&mut self, number: u64, kind: u64) -> Result<(), Malformed> {
        let mut open = Vec::new();
        let (mut number, mut kind) = (number, kind);
        loop {
            match kind {
                0 => _ = self.varint()?,
                1 => self.skip(8)?,
                2 => {
                    let length = self.varint()?;
                    self.skip(length)?;
                }
                3 if open.len() < Self::GROUPS_MAX_DEPTH => open.push(number),
                4 if open.last() == Some(&number) => _ = open.pop(),
                5 => self.skip(4)?,
                _ => return Err(Malformed),
            }
            if open.is_empty() {
                return Ok(());
            }
            let tag = self.varint()?;
            (number, kind) = (tag >> 3, tag & 7);
        }
    }
}

/// Bytes of a number on the wire.
pub(crate) const fn varint_size(value: u64) -> usize {
    // Seven bits a byte, and one byte for zero.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Bytes of a field of bytes with a field number below 16: its tag, its length and itself.
pub(crate) const fn bytes_field_size(length: usize) -> usize {
    1 + varint_size(length as u64) + length
}

/// Bytes of a number's field with a field number below 16.
pub(crate) const fn varint_field_size(value: u64) -> usize {
    1 + varint_size(value)
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Writes a number's field. `number` is below 16.
pub(crate) fn put_varint_field(to: &mut Vec<u8>, number: u8, value: u64) {
    to.push(number << 3);
    put_varint(to, value);
}

/// Writes the head of a field of so many bytes, which the caller writes next. `number` is below 16.
pub(crate) fn put_bytes_head(to: &mut Vec<u8>, number: u8, length: usize) {
    to.push(number << 3 | 2);
    put_varint(to, length as u64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The fields of a whole input, or how many there were before it turned out to be malformed.
    fn fields(input: &[u8]) -> Result<Vec<Field>, usize> {
        let mut fields = Fields::new(input, 0, input.len());
        let mut found = Vec::new();
        loop {
            match fields.next() {
                Ok(Some(field)) => found.push(field),
                Ok(None) => return Ok(found),
                Err(Malformed) => return Err(found.len()),
            }
        }
    }

    #[track_caller]
    fn check(input: &[u8], expect: Result<&[(u64, Value)], usize>) {
        let expect =
            expect.map(|fields| fields.iter().map(|&(number, value)| Field { number, value }).collect::<Vec<_>>());
        assert_eq!(fields(input), expect, "{input:02x?}");
    }

    #[test]
    fn values_of_every_kind_are_walked_over() {
        check(&[], Ok(&[]));
        check(&[0x08, 0x96, 0x01], Ok(&[(1, Value::Varint(150))]));
        check(&[0x12, 0x02, 0xAA, 0xBB, 0x1A, 0x00], Ok(&[(2, Value::Bytes(2, 4)), (3, Value::Bytes(6, 6))]));
        check(&[0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2D, 1, 2, 3, 4], Ok(&[(4, Value::Skipped), (5, Value::Skipped)]));
        // A group with a number, a nested group with bytes in it, and a number behind it.
        check(
            &[0x33, 0x08, 0x05, 0x3B, 0x12, 0x01, 0xFF, 0x3C, 0x34, 0x08, 0x07],
            Ok(&[(6, Value::Skipped), (1, Value::Varint(7))]),
        );
    }

    #[test]
    fn what_is_cut_off_or_contradicts_itself_is_malformed() {
        check(&[0x08], Err(0));
        check(&[0x08, 0x80], Err(0));
        check(&[0x12, 0x02, 0xAA], Err(0));
        check(&[0x21, 1, 2], Err(0));
        check(&[0x2D, 1], Err(0));
        check(&[0x08, 0x01, 0x00, 0x01], Err(1));
        check(&[0x33, 0x08, 0x05], Err(0));
        check(&[0x33, 0x3C], Err(0));
        check(&[0x34], Err(0));
        check(&[0x36], Err(0));
        check(&[0x33; 200], Err(0));
    }

    #[test]
    fn a_number_has_64_bits() {
        let most = [0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        check(&most, Ok(&[(1, Value::Varint(u64::MAX))]));
        let mut over = most;
        over[10] = 0x02;
        check(&over, Err(0));
        check(&[0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x81, 0x00], Err(0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_has_the_predicted_size(value in any::<u64>(), shift in 0..64_u32, length in 0..300_usize) {
            let value = value >> shift;
            let mut written = Vec::new();
            put_varint_field(&mut written, 1, value);
            prop_assert_eq!(written.len(), varint_field_size(value));
            let head = written.len();
            put_bytes_head(&mut written, 3, length);
            written.resize(written.len() + length, 0xAB);
            prop_assert_eq!(written.len() - head, bytes_field_size(length));
            let end = written.len();
            prop_assert_eq!(fields(&written), Ok(vec![
                Field { number: 1, value: Value::Varint(value) },
                Field { number: 3, value: Value::Bytes(end - length, end) },
            ]));
        }
    }
}
