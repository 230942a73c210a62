//! Addresses with states, and how much memory they take.

use statefun_kinesis_mailboxes::{Answer, Effects, Expiration, StateChange, StateSpec, Value};
use statefun_kinesis_types::Timestamp;

use crate::waiting::{Bytes, deliver, grown};

const NOW: Timestamp = Timestamp::EPOCH;

/// Addresses with a state of this size each, and how many bytes the mailboxes count for them.
pub(crate) fn states(count: usize, size: usize) -> (Bytes, usize) {
    let spec = || StateSpec { name: "blob".into(), typename: "t/blob".into(), expiration: Expiration::Never };
    let (bytes, mailboxes) = grown(count, |mailboxes, number| {
        deliver(mailboxes, &format!("customer-{number}"));
        let request = mailboxes.next_request(NOW).unwrap();
        if number == 0 {
            mailboxes.answered(request.id, Answer::StatesMissing(vec![spec()]), NOW).unwrap();
            return;
        }
        let value = Some(Value::new("t/blob", vec![7; size]));
        let effects = Effects { states: vec![StateChange { name: "blob".into(), value }], ..Effects::default() };
        mailboxes.answered(request.id, Answer::Handled(effects), NOW).unwrap();
    });
    (bytes, mailboxes.usage().state_bytes)
}
