//! Records that fail permanently.

use statefun_kinesis_client::{ErrorKind, PutFailure};

use super::scene::{DEAD_LETTER, Rig, SKIP, plain, record, stored};
use crate::machine::PendingDeadLetter;

#[test]
fn a_record_that_is_skipped_lets_those_behind_it_go_on() {
    let mut rig = Rig::with_policy(plain(), SKIP, 1_000);
    rig.send(&["a1", "a2"]);
    let request = rig.request_of("a");
    rig.answer(request, [Err(PutFailure::new(ErrorKind::InvalidArgument, "InvalidArgumentException", "invalid"))]);
    assert_eq!(rig.outcomes(), ["a1 skipped"]);
    let request = rig.request_of("a");
    rig.answer(request, [stored()]);
    assert_eq!(rig.outcomes(), ["a2 stored"]);

    rig.machine.submit(rig.now, record("a", 1_000), "too large");
    rig.send(&["a3", "b1"]);
    rig.request_of("ba");
    assert_eq!(rig.outcomes(), ["too large skipped"]);
}

#[test]
fn a_record_with_a_dead_letter_holds_up_its_key_until_the_letter_is_stored_or_not() {
    for is_stored in [true, false] {
        let mut rig = Rig::with_policy(plain(), DEAD_LETTER, 1_000);
        rig.machine.submit(rig.now, record("a", 1_000), "a1");
        rig.send(&["a2", "b1"]);
        let request = rig.request_of("b");
        rig.answer(request, [stored()]);
        assert_eq!(rig.outcomes(), ["b1 stored"]);
        rig.nothing_to_send();
        let PendingDeadLetter { id, record, error } = rig.machine.take_dead_letters().pop().unwrap();
        assert_eq!(record.data.len(), 1_000);
        rig.machine.dead_letter_written(id, record, error, is_stored);
        if is_stored {
            assert_eq!(rig.outcomes(), ["a1 dead-lettered"]);
            rig.request_of("a");
        } else {
            assert_eq!(rig.outcomes(), ["a1 too large", "a2 predecessor failed"]);
            assert!(rig.machine.is_idle());
        }
    }
}
