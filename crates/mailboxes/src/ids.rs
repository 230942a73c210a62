//! Instances by their ids.

use std::{collections::HashMap, sync::Arc};

/// The places of a function's instances by their ids.
///
/// It is many maps, so that none of them ever has a million entries to move when it grows, while everybody waits.
#[derive(Debug)]
pub(crate) struct Ids(Box<[HashMap<Arc<str>, u32>]>);

/// A power of two.
const MAPS: usize = 64;

impl Ids {
    pub(crate) fn new() -> Self {
        Self((0..MAPS).map(|_| HashMap::new()).collect())
    }

    pub(crate) fn get(&self, id: &str) -> Option<u32> {
        self.0[map_of(id)].get(id).copied()
    }

    pub(crate) fn insert(&mut self, id: Arc<str>, place: u32) {
        self.0[map_of(&id)].insert(id, place);
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.0[map_of(id)].remove(id);
    }
}

/// Spreads usual ids over the maps. Ids can be chosen so that all of them lie in one map. That is as if there were only
/// this one map, and its own hash is random, so that ids cannot be chosen to collide there.
fn map_of(id: &str) -> usize {
    /// The golden ratio's fraction.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        (hash.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(SPREAD)
    };
    let hash = id.as_bytes().chunks(8).fold(0, mix);
    ((hash ^ (hash >> 32)).wrapping_mul(SPREAD) >> 32) as usize % MAPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_map_has_much_more_than_its_share() {
        let ids: [fn(u32) -> String; 4] = [
            |number| number.to_string(),
            |number| format!("customer-{number:09}"),
            |number| format!("{number:x}-customer"),
            |number| format!("{:032x}", u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        ];
        for id in ids {
            let mut all = Ids::new();
            (0..64_000).for_each(|number| all.insert(id(number).into(), number));
            let most = all.0.iter().map(HashMap::len).max();
            assert!(most < Some(2_000), "{most:?} of ids such as {}", id(7));
            assert!((0..64_000).all(|number| all.get(&id(number)) == Some(number)));
            (0..64_000).for_each(|number| all.remove(&id(number)));
            assert!(all.0.iter().all(HashMap::is_empty));
        }
    }
}
