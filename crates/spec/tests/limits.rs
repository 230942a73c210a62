//! Whatever the text, the answer takes little memory and little time.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use peak_alloc::PeakAlloc;
use statefun_kinesis_spec::{Checked, MODULE_MAX_BYTES, Options, SourceFile, read_module};

mod hostile;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Most memory for an answer, the text included.
const MAX_MEMORY: usize = 50_000_000;

/// Most time for an answer, in times of what a right module takes that has as many bytes: it has
/// fewer nodes, and nothing wrong.
const MAX_RATIO: u32 = 8;

/// Bytes of the texts whose time is taken: enough to tell what grows with the square of the text.
const TIMED_BYTES: usize = MODULE_MAX_BYTES / 8;

/// A text that needs less at an eighth of the size is not tried at full size: it would have to grow twice as fast as the
/// text to need too much.
const LITTLE_MEMORY: usize = MAX_MEMORY / 16;

/// How often a text is read to find out how long it takes: a machine that is busy takes longer, never shorter.
const TRIES: usize = 7;

/// A right module that has nearly so many bytes.
fn module(bytes: usize) -> String {
    let mut text = String::new();
    for number in 0.. {
        let start = text.len();
        write!(
            text,
            "---
kind: io.statefun.kinesis.v1/ingress
spec:
  id: example/orders-{number}
  streams:
    - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-{number}
      valueType: example/Order
      targets:
        - example/order-handler
        - example/audit
"
        )
        .expect("a String takes everything");
        if text.len() > bytes {
            text.truncate(start);
            return text;
        }
    }
    unreachable!("it grows")
}

/// What an answer took, and the answer.
fn measure(text: &str) -> (usize, Duration, Checked) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let start = Instant::now();
    let files = [SourceFile::new("hostile", text)];
    let checked = read_module(&files, &Options::default());
    let time = start.elapsed();
    (MEMORY.peak_usage() - before, time, checked)
}

/// The only test of this file: another one would allocate at the same time.
#[test]
fn every_text_is_answered_with_little_memory_and_in_little_time() {
    let (memory, _, checked) = measure(&module(MODULE_MAX_BYTES));
    assert!(checked.module.is_some_and(|module| module.ingresses.len() > 3000), "the largest module is right");
    assert!(memory < MAX_MEMORY, "the largest module takes {memory} bytes");

    let right = module(TIMED_BYTES);
    let known = (0..TRIES).map(|_| measure(&right).1).min().expect("it was tried");
    for (name, text) in hostile::ALL {
        let timed = text(TIMED_BYTES);
        let mut fastest = Duration::MAX;
        let mut largest = 0;
        for _ in 0..TRIES {
            let (memory, time, checked) = measure(&timed);
            assert!(checked.diagnostics.len() <= 3003, "{name}: {} diagnostics", checked.diagnostics.len());
            fastest = fastest.min(time);
            largest = largest.max(memory);
            if fastest < known * MAX_RATIO {
                break;
            }
        }
        assert!(fastest < known * MAX_RATIO, "{name} took {fastest:?}, a right module {known:?}");
        if largest > LITTLE_MEMORY {
            largest = measure(&text(MODULE_MAX_BYTES)).0;
        }
        assert!(largest < MAX_MEMORY, "{name}: {largest} bytes of memory");
    }
}
