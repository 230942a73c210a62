//! Lets libFuzzer look for a text that breaks a property of reading module files.

#![no_main]

mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::check(input));
