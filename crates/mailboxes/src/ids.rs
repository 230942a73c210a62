//! Finds instances by their ids.

use std::{collections::HashMap, sync::Arc};

/// The places of a function's instances by their ids.
///
/// It consists of many maps. A single map with a million entries would hold the lock of the mailboxes for long each
/// time it grows.
#[derive(Debug)]
pub(crate) struct Ids(Box<[HashMap<Arc<str>, u32>]>);

/// The number of maps, a power of two.
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

/// Spreads usual ids over the maps. Somebody could choose ids that all belong to one map. That is no worse than having
/// a single map, because each map has a random hash of its own, and an attacker cannot choose ids that collide.
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
