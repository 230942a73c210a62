//! Messages for later.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use statefun_kinesis_types::{Address, Timestamp};

use super::change::StoredTimer;

/// When a message is due, and its number.
type Key = (Timestamp, u64);

/// Delayed messages by the time when they are due, and by sender and token.
///
/// Messages of one instant are due in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<Key, StoredTimer>,
    tokens: HashMap<(Address, Arc<str>), Vec<Key>>,
}

impl Timers {
    pub(super) fn insert(&mut self, timer: StoredTimer) {
        let key = (timer.at, timer.id);
        if let (Some(sender), Some(token)) = (&timer.message.caller, &timer.token) {
            self.tokens.entry((sender.clone(), Arc::clone(token))).or_default().push(key);
        }
        self.due.insert(key, timer);
    }

    /// Removes what the sender has delayed under the token, and gives the numbers of what was removed.
    pub(super) fn cancel(&mut self, sender: &Address, token: &Arc<str>) -> Vec<u64> {
        let keys = self.tokens.remove(&(sender.clone(), Arc::clone(token))).unwrap_or_default();
        keys.into_iter().filter_map(|key| self.due.remove(&key)).map(|timer| timer.id).collect()
    }

    /// The next message that is due by now.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<StoredTimer> {
        let (key, _) = self.due.first_key_value().filter(|((at, _), _)| *at <= now)?;
        let key = *key;
        let timer = self.due.remove(&key)?;
        if let (Some(sender), Some(token)) = (&timer.message.caller, &timer.token) {
            let of_token = (sender.clone(), Arc::clone(token));
            if let Some(keys) = self.tokens.get_mut(&of_token) {
                keys.retain(|other| *other != key);
                if keys.is_empty() {
                    self.tokens.remove(&of_token);
                }
            }
        }
        Some(timer)
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, Value};

    #[test]
    fn a_token_takes_no_memory_when_its_messages_are_gone() {
        let mut timers = Timers::default();
        let sender = Address { function: "t/f".parse().unwrap(), id: "1".into() };
        let token: Arc<str> = "token".into();
        let insert = |timers: &mut Timers, id, millis| {
            let message = Message { caller: Some(sender.clone()), value: Value::new("t/text", "x"), origin: None };
            let at = Timestamp::from_millis(millis);
            timers.insert(StoredTimer { id, at, to: sender.clone(), message, token: Some(Arc::clone(&token)) });
        };
        insert(&mut timers, 1, 10);
        insert(&mut timers, 2, 20);
        assert_eq!(timers.pop(Timestamp::from_millis(15)).map(|timer| timer.id), Some(1));
        assert_eq!(timers.tokens.values().map(Vec::len).sum::<usize>(), 1);
        assert_eq!(timers.pop(Timestamp::from_millis(20)).map(|timer| timer.id), Some(2));
        assert!(timers.tokens.is_empty());
        insert(&mut timers, 3, 30);
        insert(&mut timers, 4, 40);
        assert_eq!(timers.cancel(&sender, &token), [3, 4]);
        assert!(timers.tokens.is_empty() && timers.due.is_empty());
    }
}
