use std::{fmt, str::FromStr};

use crate::InvalidValue;

/// A sequence number: the place of a record in its shard.
///
/// A decimal of up to 129 digits (API model: `0|([1-9]\d{0,128})`; the service gives 56 digits today), so neither
/// `u128` nor text order would do. It is `Copy`, needs no allocation, and compares as the number that it is.
///
/// ```
/// use statefun_kinesis_types::SequenceNumber;
///
/// let text = "49590338271490256608559692538361571095921575989136588898";
/// let number: SequenceNumber = text.parse()?;
/// assert_eq!(number.to_string(), text);
/// assert!(number > SequenceNumber::from(u64::MAX));
/// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber([u64; SequenceNumber::LIMBS]);

impl SequenceNumber {
    /// Most decimal digits of a sequence number.
    pub const MAX_DIGITS: usize = 129;

    /// 129 digits need 429 bits: seven 64-bit limbs, the most significant first, so that derived order is numeric.
    const LIMBS: usize = 7;

    /// Decimal digits that one limb can take in at a time.
    const CHUNK: usize = 19;

    /// The number so much higher, or none when it would have more than [`MAX_DIGITS`](Self::MAX_DIGITS) digits.
    #[must_use]
    pub fn checked_add(self, add: u64) -> Option<Self> {
        let mut sum = self;
        sum.multiply_add(1, add);
        // Seven limbs hold a little more than 129 digits; numbers without a seventh limb are far below the limit.
        (sum.0[0] == 0 || sum.to_string().len() <= Self::MAX_DIGITS).then_some(sum)
    }

    /// Sets `self` to `self * factor + add`. The caller makes sure that the result fits.
    fn multiply_add(&mut self, factor: u64, add: u64) {
        let mut carry = u128::from(add);
        for limb in self.0.iter_mut().rev() {
            let product = u128::from(*limb) * u128::from(factor) + carry;
            *limb = product as u64;
            carry = product >> 64;
        }
        debug_assert_eq!(carry, 0, "a sequence number never overflows its limbs");
    }

    /// The same for a number whose last `used` limbs hold all of it; returns how many more do so afterwards.
    fn append(&mut self, used: usize, factor: u64, add: u64) -> usize {
        let mut carry = add;
        for limb in self.0[Self::LIMBS - used..].iter_mut().rev() {
            let product = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            *limb = product as u64;
            carry = (product >> 64) as u64;
        }
        if carry == 0 {
            return 0;
        }
        self.0[Self::LIMBS - used - 1] = carry;
        1
    }

    /// Sets `self` to `self / divisor` and returns the remainder.
    fn divide(&mut self, divisor: u64) -> u64 {
        let mut rest = 0_u128;
        for limb in &mut self.0 {
            let part = (rest << 64) | u128::from(*limb);
            *limb = (part / u128::from(divisor)) as u64;
            rest = part % u128::from(divisor);
        }
        rest as u64
    }
}

impl From<u64> for SequenceNumber {
    fn from(value: u64) -> Self {
        u128::from(value).into()
    }
}

impl From<u128> for SequenceNumber {
    fn from(value: u128) -> Self {
        let mut limbs = [0; Self::LIMBS];
        limbs[Self::LIMBS - 2] = (value >> 64) as u64;
        limbs[Self::LIMBS - 1] = value as u64;
        Self(limbs)
    }
}

impl FromStr for SequenceNumber {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = text.as_bytes();
        let leading_zero = digits.len() > 1 && digits[0] == b'0';
        let (first, blocks) = digits.as_rchunks::<8>();
        let in_range = !digits.is_empty() && digits.len() <= Self::MAX_DIGITS && !leading_zero;
        if !in_range || !first.iter().all(u8::is_ascii_digit) || !blocks.iter().all(are_digits) {
            return Err(InvalidValue::new(
                "sequence number",
                text,
                "a decimal of 1 to 129 digits without leading zeros",
            ));
        }
        let mut number = Self([0; Self::LIMBS]);
        // Sequence numbers are parsed once per record that is read: no limb is touched before the number reaches it.
        number.0[Self::LIMBS - 1] = first.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let mut used = 1;
        let (odd, pairs) = blocks.as_rchunks::<2>();
        for block in odd {
            used += number.append(used, EIGHT_DIGITS, value_of(block));
        }
        for [high, low] in pairs {
            used += number.append(used, EIGHT_DIGITS * EIGHT_DIGITS, value_of(high) * EIGHT_DIGITS + value_of(low));
        }
        Ok(number)
    }
}

/// What eight more digits multiply a number by.
const EIGHT_DIGITS: u64 = 100_000_000;

/// Whether all eight are decimal digits, looked at as one word: the high half of a digit is 3, and stays so with 6 added.
fn are_digits(block: &[u8; 8]) -> bool {
    const HIGH: u64 = 0xF0F0_F0F0_F0F0_F0F0;
    const THREES: u64 = 0x3030_3030_3030_3030;
    const SIXES: u64 = 0x0606_0606_0606_0606;
    let word = u64::from_le_bytes(*block);
    // The addition cannot carry from one byte into the next when the first comparison holds.
    word & HIGH == THREES && word.wrapping_add(SIXES) & HIGH == THREES
}

/// The value of eight decimal digits: neighbours are put together, first digits, then pairs, then fours.
fn value_of(block: &[u8; 8]) -> u64 {
    let digits = u64::from_le_bytes(*block) & 0x0F0F_0F0F_0F0F_0F0F;
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 7 limbs of 64 bits are at most 135 digits.
        let mut digits = [0_u8; 140];
        let mut start = digits.len();
        let mut rest = *self;
        loop {
            let mut chunk = rest.divide(10_u64.pow(Self::CHUNK as u32));
            let last = rest.0 == [0; Self::LIMBS];
            for _ in 0..Self::CHUNK {
                if last && chunk == 0 && start < digits.len() {
                    break;
                }
                start -= 1;
                digits[start] = b'0' + (chunk % 10) as u8;
                chunk /= 10;
                if last && chunk == 0 {
                    break;
                }
            }
            if last {
                break;
            }
        }
        f.pad(std::str::from_utf8(&digits[start..]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_goes_in_and_comes_out(text in "0|[1-9][0-9]{0,128}") {
            prop_assert_eq!(text.parse::<SequenceNumber>().unwrap().to_string(), text);
        }

        /// The parsing is by blocks; this one is digit by digit.
        #[test]
        fn the_value_is_the_digits(text in "[1-9][0-9]{0,128}") {
            let mut number = SequenceNumber::from(0_u64);
            for digit in text.bytes() {
                number.multiply_add(10, u64::from(digit - b'0'));
            }
            prop_assert_eq!(text.parse::<SequenceNumber>().unwrap(), number);
        }

        #[test]
        fn order_is_by_length_then_digits(a in "0|[1-9][0-9]{0,128}", b in "0|[1-9][0-9]{0,128}") {
            let expected = (a.len(), &a).cmp(&(b.len(), &b));
            let order = a.parse::<SequenceNumber>().unwrap().cmp(&b.parse().unwrap());
            prop_assert_eq!(order, expected);
        }
    }

    #[test]
    fn addition_carries_and_stops_at_the_last_number() {
        let sum = SequenceNumber::from(u128::MAX).checked_add(1).unwrap();
        assert_eq!(sum.to_string(), "340282366920938463463374607431768211456");
        let last: SequenceNumber = "9".repeat(129).parse().unwrap();
        assert_eq!((last.checked_add(0), last.checked_add(1)), (Some(last), None));
    }

    #[test]
    fn the_edges_are_exact() {
        for text in ["0", "1", "10", "10000000000000000000", "99999999999999999999999999999999999999", &"9".repeat(129)]
        {
            assert_eq!(text.parse::<SequenceNumber>().unwrap().to_string(), text);
        }
        assert_eq!(SequenceNumber::from(u128::MAX).to_string(), u128::MAX.to_string());
        for bad in ["", "01", "+1", "-1", "1 ", "1e9", &"9".repeat(130)] {
            assert!(bad.parse::<SequenceNumber>().is_err(), "{bad}");
        }
    }

    #[test]
    fn any_character_that_is_not_a_digit_is_found() {
        let digits = b"49590338271490256608559692538361571095921575989136588898";
        for length in [1, 7, 8, 9, 16, 17, 24, 56] {
            for at in 0..length {
                for byte in (0..128).filter(|byte: &u8| !byte.is_ascii_digit()) {
                    let mut text = digits[..length].to_vec();
                    text[at] = byte;
                    let text = String::from_utf8(text).unwrap();
                    assert!(text.parse::<SequenceNumber>().is_err(), "{text:?}");
                }
            }
        }
    }
}
