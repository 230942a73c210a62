//! `cargo xtask bench`: all benchmarks as one table, each beside its floor.
//!
//! Conventions for a benchmark that wants to be in it:
//!
//! * it is a divan benchmark in a `[[bench]]` target of any package;
//! * it counts what it does with `divan::counter::ItemsCount`, so that its time is per item; without, a call is one item;
//! * a benchmark of the same module whose name begins with `floor_` is its floor: the least that any implementation would
//!   have to do. Where both have arguments, the floor of the same argument counts.
//!
//! A number that was measured on a busy machine is compared with a floor that was measured on the same busy machine, so the
//! ratio tells more than the time.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use cargo_metadata::TargetKind;

use crate::workspace;

/// What the name of a floor begins with.
const FLOOR: &str = "floor_";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run the benchmarks whose path contains this, and their floors.
    filter: Option<String>,
}

/// Runs the benchmarks and prints the table.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut command = workspace::cargo();
    command.arg("bench");
    let mut targets = 0;
    for package in workspace::metadata()?.workspace_packages() {
        for target in package.targets.iter().filter(|target| target.kind.contains(&TargetKind::Bench)) {
            command.args(["--package", &package.name, "--bench", &target.name]);
            targets += 1;
        }
    }
    if targets == 0 {
        bail!("no package has a benchmark");
    }
    command.arg("--");
    if let Some(filter) = &arguments.filter {
        command.args([filter, FLOOR]);
    }
    let shown = workspace::display(&command);
    eprintln!("$ {shown}");
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut reader = Reader::default();
    for line in BufReader::new(output).lines() {
        reader.line(&line?);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    let rows = rows(&reader.found, arguments.filter.as_deref());
    if rows.is_empty() {
        bail!("no benchmark matches");
    }
    print!("{}", table(&rows));
    Ok(())
}

/// A benchmark with its arguments, as divan printed it.
#[derive(Clone, Debug, PartialEq)]
struct Measured {
    /// The target, modules, the function, its arguments.
    path: Vec<String>,
    /// The median of one item's time.
    nanoseconds: f64,
}

/// Reads divan's output: a tree with six columns, in which rows without a name belong to the benchmark above them.
#[derive(Default)]
struct Reader {
    /// The character that the columns begin at.
    columns_at: usize,
    path: Vec<String>,
    found: Vec<Measured>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if line.contains("fastest") && line.contains("median") && line.contains("iters") {
            // Bytes are characters up to here: names of targets are ASCII.
            self.columns_at = line.find("fastest").unwrap_or(0);
            self.path = vec![line.split_whitespace().next().unwrap_or_default().to_owned()];
            return;
        }
        if self.path.is_empty() {
            return;
        }
        let characters: Vec<char> = line.chars().collect();
        let Some(columns) = characters.get(self.columns_at..) else {
            // What a benchmark itself printed.
            return;
        };
        let columns: String = columns.iter().collect();
        let median = columns.split('│').nth(2).unwrap_or_default().trim();
        match node(&characters[..self.columns_at]) {
            Some((depth, name)) => {
                self.path.truncate(depth + 1);
                self.path.push(name);
                if let Some(nanoseconds) = time(median) {
                    self.found.push(Measured { path: self.path.clone(), nanoseconds });
                }
            }
            None => {
                if let (Some(rate), Some(last)) = (items_per_second(median), self.found.last_mut()) {
                    last.nanoseconds = 1e9 / rate;
                }
            }
        }
    }
}

/// The depth and the name of a row of the tree, whose branches are three characters wide.
fn node(characters: &[char]) -> Option<(usize, String)> {
    for (depth, branch) in characters.chunks(3).enumerate() {
        match branch {
            ['├' | '╰', '─', ' '] => {
                let name: String = characters[(depth + 1) * 3..].iter().collect();
                return Some((depth, name.trim().to_owned()));
            }
            ['│' | ' ', ' ', ' '] => {}
            _ => return None,
        }
    }
    None
}

/// `15.45 µs` in nanoseconds.
fn time(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let factor = match unit {
        "ps" => 1e-3,
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// `64.69 Mitem/s` per second; other counters are none of ours.
fn items_per_second(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let factor = match unit.strip_suffix("item/s")? {
        "" => 1.0,
        "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// A line of the table.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    nanoseconds: f64,
    floor: Option<f64>,
}

fn rows(found: &[Measured], filter: Option<&str>) -> Vec<Row> {
    found
        .iter()
        .filter(|measured| !measured.path.iter().any(|part| part.starts_with(FLOOR)))
        .map(|measured| Row {
            name: measured.path.join(" "),
            nanoseconds: measured.nanoseconds,
            floor: floor(measured, found),
        })
        .filter(|row| filter.is_none_or(|filter| row.name.contains(filter)))
        .collect()
}

/// The floor of the nearest module around the benchmark, of the same arguments or of none.
fn floor(measured: &Measured, found: &[Measured]) -> Option<f64> {
    let path = &measured.path;
    let matches = |candidate: &Measured, at: usize, rest: &[String]| {
        let other = &candidate.path;
        other.get(at).is_some_and(|name| name.starts_with(FLOOR))
            && other[..at] == path[..at]
            && other[at + 1..] == *rest
    };
    (0..path.len())
        .rev()
        .flat_map(|at| [(at, &path[at + 1..]), (at, &[])])
        .find_map(|(at, rest)| found.iter().find(|candidate| matches(candidate, at, rest)))
        .map(|floor| floor.nanoseconds)
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max("benchmark".len());
    let mut text = format!("{:width$}  {:>12}  {:>12}  {:>7}\n", "benchmark", "ns per item", "floor", "ratio");
    for row in rows {
        let (floor, ratio) = match row.floor {
            Some(floor) => (format!("{floor:.2}"), format!("{:.1}", row.nanoseconds / floor)),
            None => ("–".to_owned(), "–".to_owned()),
        };
        text.push_str(&format!("{:width$}  {:>12.2}  {floor:>12}  {ratio:>7}\n", row.name, row.nanoseconds));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
Timer precision: 20 ns
route                  fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ floor_all           0.311 ns      │ 42.96 ns      │ 0.5 ns        │ 0.804 ns      │ 100     │ 409600
│                      3.215 GB/s    │ 23.27 MB/s    │ 3.194 GB/s    │ 1.243 GB/s    │         │
├─ one                               │               │               │               │         │
│  ├─ floor_touch                    │               │               │               │         │
│  │  ├─ 100 B × 1     15.43 µs      │ 159 µs        │ 15.45 µs      │ 19.78 µs      │ 100     │ 100
│  │  │                64.77 Mitem/s │ 6.285 Mitem/s │ 500 Mitem/s   │ 50.53 Mitem/s │         │
│  │  ╰─ 1 KiB × 1     158 µs        │ 4.247 ms      │ 158.4 µs      │ 220.6 µs      │ 100     │ 100
│  │                   6.327 Mitem/s │ 235.4 Kitem/s │ 250 Mitem/s   │ 4.532 Mitem/s │         │
│  ╰─ look                           │               │               │               │         │
│     ├─ 100 B × 1     34.4 µs       │ 76.54 µs      │ 34.5 µs       │ 35.42 µs      │ 100     │ 100
│     │                29.06 Mitem/s │ 13.06 Mitem/s │ 50 Mitem/s    │ 28.22 Mitem/s │         │
│     ╰─ 1 KiB × 1     352.8 µs      │ 4.408 ms      │ 357.2 µs      │ 436.9 µs      │ 100     │ 100
│                      2.834 Mitem/s │ 226.8 Kitem/s │ 25 Mitem/s    │ 2.288 Mitem/s │         │
╰─ plain               0.311 ns      │ 37.84 ns      │ 1.25 ms       │ 0.856 ns      │ 100     │ 409600

other        fastest       │ slowest       │ median        │ mean          │ samples │ iters
╰─ alone     1 ns          │ 1 ns          │ 2 ns          │ 3 ns          │ 100     │ 100
";

    fn read(output: &str) -> Vec<Measured> {
        let mut reader = Reader::default();
        output.lines().for_each(|line| reader.line(line));
        reader.found
    }

    #[test]
    fn the_table_has_a_row_per_benchmark_beside_the_nearest_floor() {
        assert_eq!(
            table(&rows(&read(OUTPUT), None)),
            "\
benchmark                  ns per item         floor    ratio
route one look 100 B × 1         20.00          2.00     10.0
route one look 1 KiB × 1         40.00          4.00     10.0
route plain                 1250000.00          0.50  2500000.0
other alone                       2.00             –        –
"
        );
    }

    #[test]
    fn a_filter_leaves_the_floors_in_place() {
        let rows = rows(&read(OUTPUT), Some("1 KiB"));
        assert_eq!(rows, [Row { name: "route one look 1 KiB × 1".to_owned(), nanoseconds: 40.0, floor: Some(4.0) }]);
    }

    #[test]
    fn other_lines_are_no_benchmarks() {
        assert_eq!(read("running 3 tests\ntest a ... ok\n"), []);
        assert_eq!(read("x  fastest │ slowest │ median │ mean │ samples │ iters\nhello\n╰─\n"), []);
    }
}
