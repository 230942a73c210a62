//! A steady flow of commands to counters, what comes out of it, and the memory that it takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use statefun_kinesis_e2e::{Case, Program, StreamReader, Text, until};
use statefun_kinesis_types::StreamArn;
use tokio::time::Instant;

use super::counter::add_one;

/// Between two looks at the memory of a process.
const SAMPLE: Duration = Duration::from_millis(500);

/// How much the second half of a curve may be higher than the first one: thirty per cent, and what an allocator keeps.
const GROWTH: (f64, u64) = (1.3, 16 << 20);

/// Commands for some counters, each of which adds one.
pub(crate) struct Flow {
    stream: StreamArn,
    keys: Vec<String>,
    /// How many were sent to each of them.
    rounds: AtomicUsize,
}

impl Flow {
    pub(crate) fn new(stream: &StreamArn, name: &str, keys: usize) -> Self {
        let keys = (0..keys).map(|index| format!("{name}-{index}")).collect();
        Self { stream: stream.clone(), keys, rounds: AtomicUsize::new(0) }
    }

    /// Sends one command to each counter again and again, at most once in `pace`, until then.
    pub(crate) async fn feed(&self, case: &Case, pace: Duration, end: Instant) -> Result<()> {
        let round: Vec<Text> = self.keys.iter().cloned().map(add_one).collect();
        let mut pace = tokio::time::interval(pace);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while Instant::now() < end {
            pace.tick().await;
            case.put(&self.stream, &round).await.context("the commands")?;
            self.rounds.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// The commands that were sent to each counter so far.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Acquire)
    }

    /// The number of counters.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }
}

/// The totals that came out of a stream so far, of which each has to follow the one before.
pub(crate) struct Totals<'a> {
    reader: StreamReader<'a>,
    highest: BTreeMap<String, usize>,
    repeats: usize,
    /// Whether each total comes out, or only that of each batch.
    each: bool,
}

impl<'a> Totals<'a> {
    /// Those of a function that tells each total.
    pub(crate) fn new(case: &'a Case, stream: &StreamArn) -> Self {
        Self { reader: StreamReader::new(case, stream), highest: BTreeMap::new(), repeats: 0, each: true }
    }

    /// Those of a function that tells the total of each of its requests.
    pub(crate) fn by_batch(case: &'a Case, stream: &StreamArn) -> Self {
        Self { each: false, ..Self::new(case, stream) }
    }

    /// Reads a page of each shard. A total that came before may come again: its record was stored, and the answer that
    /// said so was lost. None may be left out.
    pub(crate) async fn read_on(&mut self) -> Result<()> {
        self.reader.read_on().await?;
        for text in self.reader.take_texts()? {
            let total: usize = text.payload.trim_start().parse().with_context(|| format!("{text:?}"))?;
            let highest = self.highest.entry(text.key).or_default();
            if total <= *highest {
                self.repeats += 1;
                continue;
            }
            ensure!(!self.each || total == *highest + 1, "a total of {total} follows one of {highest}");
            *highest = total;
        }
        Ok(())
    }

    /// Reads on until then.
    pub(crate) async fn follow(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            self.read_on().await?;
            tokio::time::sleep(SAMPLE).await;
        }
        Ok(())
    }

    /// Waits until the last total of each counter has come out, and none beyond it. Each command counts so often.
    pub(crate) async fn are_complete(&mut self, flow: &Flow, times: usize, program: &mut Program) -> Result<()> {
        let rounds = flow.rounds() * times;
        let mut done = 0;
        // After hours they take long to come, but each of them follows the one before soon.
        while done < flow.keys() {
            let before = self.sum();
            let more = until("more totals", async || {
                ensure!(program.is_running()?, "the program ended");
                self.read_on().await?;
                let beyond = self.highest.iter().find(|(_, highest)| **highest > rounds);
                ensure!(beyond.is_none(), "{beyond:?} is beyond the {rounds} commands that were sent");
                done = self.highest.values().filter(|highest| **highest == rounds).count();
                Ok((done == flow.keys() || self.sum() > before).then_some(()))
            })
            .await;
            more.with_context(|| format!("of {rounds} for each, there came out {}", self.sum()))?;
        }
        Ok(())
    }

    /// All totals that came out, repeats not counted.
    pub(crate) fn sum(&self) -> usize {
        self.highest.values().sum()
    }

    /// How often a total came again.
    pub(crate) fn repeats(&self) -> usize {
        self.repeats
    }
}

/// The memory of a process over time.
#[derive(Debug, Default)]
pub(crate) struct Curve(Vec<u64>);

impl Curve {
    /// Samples the memory of a program until then. It has to be there all the time.
    pub(crate) async fn follow(program: &mut Program, end: Instant) -> Result<Self> {
        let mut samples = Vec::new();
        let mut ticks = tokio::time::interval(SAMPLE);
        while Instant::now() < end {
            ticks.tick().await;
            ensure!(program.is_running()?, "the program ended");
            samples.push(program.memory()?);
        }
        Ok(Self(samples))
    }

    /// The highest bytes of the first and of the second half.
    fn halves(&self) -> (u64, u64) {
        let (first, second) = self.0.split_at(self.0.len() / 2);
        let highest = |half: &[u64]| half.iter().copied().max().unwrap_or(0);
        (highest(first), highest(second))
    }

    /// Twenty samples of it, in MiB.
    pub(crate) fn thinned(&self) -> Vec<u64> {
        self.0.iter().step_by((self.0.len() / 20).max(1)).map(|bytes| bytes >> 20).collect()
    }

    /// Whether the second half is no higher than the first one.
    pub(crate) fn is_flat(&self) -> Result<()> {
        let (first, second) = self.halves();
        let (factor, slack) = GROWTH;
        let most = (first as f64 * factor) as u64 + slack;
        ensure!(second <= most, "memory grows, from {first} bytes to {second}: MiB {:?}", self.thinned());
        Ok(())
    }
}
