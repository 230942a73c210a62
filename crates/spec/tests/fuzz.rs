//! The properties of the fuzz target, on a bounded number of inputs: the corpus, and changes to it.
//!
//! The changes are the same in every run. `cargo xtask fuzz` looks further, led by what the inputs reach.

use std::{collections::BTreeMap, fs, panic, path::Path};

#[path = "../fuzz/src/properties.rs"]
mod properties;

/// Inputs that are made of the corpus.
const INPUTS: usize = 10_000;

/// Bytes that an input does not grow beyond.
const MAX_BYTES: usize = 3_000;

/// A generator of numbers that look like chance and are the same each time (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }

    fn of<'t, T>(&mut self, things: &'t [T]) -> &'t T {
        &things[self.below(things.len())]
    }
}

fn folder(path: &str) -> BTreeMap<String, Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let paths = entries.map(|entry| entry.expect("the folder can be read").path()).filter(|path| path.is_file());
    paths.map(|path| (path.display().to_string(), fs::read(&path).expect("the file can be read"))).collect()
}

fn corpus() -> Vec<Vec<u8>> {
    let yaml = |(path, content): (String, Vec<u8>)| path.ends_with(".yaml").then_some(content);
    let folders = ["fuzz/corpus", "tests/seed", "../../examples/orders"];
    let corpus: Vec<Vec<u8>> = folders.into_iter().flat_map(folder).filter_map(yaml).collect();
    assert!(corpus.len() > 20, "the corpus is there");
    corpus
}

/// The words of the dictionary, their escapes resolved.
fn dictionary() -> Vec<Vec<u8>> {
    let lines = include_str!("../fuzz/dictionary.txt").lines();
    let quoted = lines.filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let words: Vec<Vec<u8>> = quoted.map(resolved).collect();
    assert!(words.len() > 50, "the dictionary is there");
    words
}

fn resolved(quoted: &str) -> Vec<u8> {
    let mut word = Vec::new();
    let mut bytes = quoted.bytes();
    while let Some(byte) = bytes.next() {
        word.push(match (byte, byte == b'\\') {
            (byte, false) => byte,
            (_, true) => match bytes.next() {
                Some(b'x') => {
                    let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).expect("an escape has two digits")
                }
                Some(other) => other,
                None => b'\\',
            },
        });
    }
    word
}

fn lines(input: &[u8]) -> Vec<&[u8]> {
    input.split_inclusive(|byte| *byte == b'\n').collect()
}

/// One change, led by what module files are made of: words, lines and their indentation.
fn change(input: &[u8], chance: &mut Chance, corpus: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
    let at = chance.below(input.len() + 1);
    let end = at + chance.below(20).min(input.len() - at);
    let own = lines(input);
    match chance.below(9) {
        0..=2 => [&input[..at], chance.of(words).as_slice(), &input[at..]].concat(),
        3 => [&input[..at], chance.of(words).as_slice(), &input[end..]].concat(),
        4 => [&input[..at], &input[end..]].concat(),
        5 => {
            let other = lines(chance.of::<Vec<u8>>(corpus));
            let (at, from) = (chance.below(own.len() + 1), chance.below(other.len() + 1));
            let to = (from + chance.below(8)).min(other.len());
            [own[..at].concat(), other[from..to].concat(), own[at..].concat()].concat()
        }
        6 => {
            let at = chance.below(own.len());
            own.iter().enumerate().filter(|(index, _)| *index != at).flat_map(|(_, line)| line.to_vec()).collect()
        }
        7 => {
            let (at, blanks) = (chance.below(own.len() + 1), " ".repeat(chance.below(5)));
            [own[..at].concat(), blanks.into_bytes(), own[at..].concat()].concat()
        }
        _ => {
            let mut changed = input.to_vec();
            if let Some(byte) = changed.get_mut(at) {
                *byte = *chance.of(b"\n :-{}[],&*!|>'\"%@#?\\\t\r\0\x7f\x80\xffa0");
            }
            changed
        }
    }
}

#[track_caller]
fn check(input: &[u8]) {
    if let Err(panic) = panic::catch_unwind(|| properties::check(input)) {
        panic::resume_unwind(Box::new(format!("{panic:?}\n--- of the input\n{}", input.escape_ascii())));
    }
}

#[test]
fn the_corpus_and_what_is_made_of_it_are_answered() {
    let (corpus, words) = (corpus(), dictionary());
    corpus.iter().for_each(|input| check(input));
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for _ in 0..INPUTS {
        let mut input = chance.of(&corpus).clone();
        for _ in 0..=chance.below(5) {
            input = change(&input, &mut chance, &corpus, &words);
        }
        input.truncate(MAX_BYTES);
        check(&input);
    }
}
