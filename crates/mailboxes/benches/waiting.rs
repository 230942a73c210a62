//! What mailboxes take while much waits: bytes of memory for delayed messages and for messages at a failing address, and
//! the processor's time that messages of healthy addresses take beside a failing one.
//!
//! Figures rather than times per call. Memory is what the allocator was asked for; what waits beyond the window is in the
//! store, which is not counted.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::time::Instant;

use peak_alloc::PeakAlloc;

use waiting::{Beside, Bytes};

#[path = "../tests/memory/waiting.rs"]
mod waiting;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Messages of healthy addresses in one measurement.
const HEALTHY: usize = 200_000;
const ROUNDS: usize = 7;

fn main() {
    println!("waiting: delayed messages | bytes | most bytes");
    for count in [100_000, 1_000_000, 10_000_000] {
        let Bytes { end, peak } = waiting::delayed(count);
        println!("  {count} | {end} | {peak}");
    }
    println!("waiting: messages at a failing address | bytes | most bytes");
    for count in [100_000, 1_000_000] {
        let Bytes { end, peak } = waiting::failing(count);
        println!("  {count} | {end} | {peak}");
    }
    println!("waiting: messages at a failing address | ns per message of a healthy one | beside none");
    for count in [100_000, 1_000_000] {
        let (mut without, mut with) = (Beside::new(0), Beside::new(count));
        let mut found: Vec<(f64, f64)> =
            (0..ROUNDS).map(|_| (nanoseconds(&mut without), nanoseconds(&mut with))).collect();
        found.sort_by(|one, two| (one.1 / one.0).total_cmp(&(two.1 / two.0)));
        let (without, with) = found[ROUNDS / 2];
        println!("  {count} | {with:.0} | {without:.0}, {:.2} times", with / without);
    }
}

fn nanoseconds(beside: &mut Beside) -> f64 {
    let began = Instant::now();
    beside.handle_healthy(HEALTHY);
    began.elapsed().as_nanos() as f64 / HEALTHY as f64
}
