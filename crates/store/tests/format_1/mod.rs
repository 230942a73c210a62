//! A directory of format 1, as the last program of that format has left it.
//!
//! It has read five records of a stream with the function `example/counter`: two for the id `anna`, one each for `-1 é`,
//! `ben` and `stuck`, who never handles what it is sent. Each of the others has set its states `total` and `name`, and has
//! sent a message to `stuck`, a delayed message to itself that it can cancel, a delayed message to `stuck`, and two
//! records to `example/results`, which no stream has taken.

use std::{fs, path::Path};

/// Each line is the path of a directory, or that of a file and its bytes: in hexadecimal, or `0*N` for N zeros.
const DIRECTORY: &str = include_str!("directory.txt");

/// Writes the directory.
pub(crate) fn unpack(to: &Path) {
    for line in DIRECTORY.lines() {
        let mut parts = line.split(' ');
        let path = to.join(parts.next().expect("a line begins with a path"));
        if line.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            continue;
        }
        let mut bytes = Vec::new();
        for part in parts {
            match part.strip_prefix("0*") {
                Some(zeros) => bytes.resize(bytes.len() + zeros.parse::<usize>().unwrap(), 0),
                None => bytes.extend((0..part.len()).step_by(2).map(|at| byte(&part[at..at + 2]))),
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

fn byte(hex: &str) -> u8 {
    u8::from_str_radix(hex, 16).unwrap()
}
