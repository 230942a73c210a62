//! What waits takes no more memory when there is ten times as much of it: the rest is in the store.

use std::sync::{Mutex, PoisonError};

use peak_alloc::PeakAlloc;

mod states;
mod waiting;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Tests take turns, so that nothing else takes memory meanwhile.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn ten_times_as_much_that_waits_takes_no_more_memory() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for (what, grow) in [
        ("delayed messages", waiting::delayed as fn(usize) -> waiting::Bytes),
        ("messages at a failing address", waiting::failing),
    ] {
        let (few, many) = (grow(30_000), grow(300_000));
        assert!(many.end as f64 <= 1.2 * few.end as f64, "{what}: {few:?} for 30 000 and {many:?} for 300 000");
        assert!(many.peak as f64 <= 1.2 * few.peak as f64, "{what}: {few:?} for 30 000 and {many:?} for 300 000");
    }
}

/// Healthy addresses are served beside a failing one, which is retried.
#[test]
fn healthy_addresses_go_on_beside_a_failing_one() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    waiting::Beside::new(30_000).handle_healthy(100_000);
}

/// `--state-memory` is a promise about the process, so what is counted has to be what is taken.
#[test]
fn states_take_the_memory_that_they_are_counted_for() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for size in [20, 200, 20_000] {
        let (bytes, counted) = states::states(4_000_000 / (size + 200), size);
        let factor = bytes.end as f64 / counted as f64;
        assert!((0.6..=1.15).contains(&factor), "{size} bytes: {bytes:?}, {counted} counted: {factor}");
    }
}
