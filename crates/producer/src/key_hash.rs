use std::hash::Hasher;

/// A hash of some bytes: each word of eight bytes is folded in with a product of 128 bits.
///
/// The hash of the standard library resists keys that were chosen to make a table slow, and takes 15 ns per key. That is
/// not needed here: the worst that chosen keys can do is to wait for each other, and equal keys do so anyway.
#[inline]
pub(crate) fn hash_bytes(bytes: &[u8], secret: u64) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let mut hash = secret ^ (bytes.len() as u64).wrapping_mul(ODD);
    // The last word may overlap the one before; only what is shorter than a word is put together.
    let last = match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(last), ..) => {
            let (words, _) = bytes[..bytes.len() - 1].as_chunks::<8>();
            for word in words {
                hash = fold(hash ^ u64::from_le_bytes(*word), ODD);
            }
            u64::from_le_bytes(*last)
        }
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    fold(fold(hash ^ last, ODD), secret | 1)
}

/// The hasher of keys that are hashes already.
#[derive(Debug, Default)]
pub(crate) struct PrehashedHasher(u64);

impl Hasher for PrehashedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "keys are hashed already");
    }
}
