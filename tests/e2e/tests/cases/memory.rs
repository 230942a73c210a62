//! What a process takes beside the memory that `--state-memory` gives to states: a factor of it and a constant, which
//! docs/state.md states.

use std::time::Duration;

use anyhow::{Result, ensure};
use statefun_kinesis_e2e::{
    Call, Canned, Case, Fault, FaultyProxy, LocalFunctions, Program, Suite, Text, number, until,
};

use super::admin::Admin;
use super::template::{place, place_at};

/// MiB for states, unless the variable says otherwise: little, as it takes a second to fill one.
const STATE_MEMORY: u64 = 32;
const VARIABLE: &str = "STATEFUN_KINESIS_STATE_MEMORY";
/// MiB of a process, for each MiB of `--state-memory`, and in addition: docs/state.md.
const FACTOR: f64 = 2.25;
const CONSTANT: u64 = 350;

/// Commands that are sent before the messages of earlier ones are handled.
const AT_ONCE: usize = 8;

/// What there is much of.
#[derive(Clone, Copy, Debug)]
enum Load {
    SmallStates,
    LargeStates,
    DelayedMessages,
    FailingMessages,
    EgressRecords,
}

impl Load {
    const ALL: [Self; 5] =
        [Self::SmallStates, Self::LargeStates, Self::DelayedMessages, Self::FailingMessages, Self::EgressRecords];

    /// The word for it in a command.
    fn word(self) -> &'static str {
        match self {
            Self::SmallStates => "small",
            Self::LargeStates => "large",
            Self::DelayedMessages => "delayed",
            Self::FailingMessages => "failing",
            Self::EgressRecords => "egress",
        }
    }

    /// What there is much of, for the name of a case.
    fn what(self) -> &'static str {
        match self {
            Self::SmallStates => "small_states",
            Self::LargeStates => "large_states",
            Self::DelayedMessages => "delayed_messages",
            Self::FailingMessages => "messages_that_fail",
            Self::EgressRecords => "records_that_wait_for_an_egress",
        }
    }

    /// How many come of one command, and the bytes of each.
    fn each(self) -> (usize, usize) {
        match self {
            Self::LargeStates => (10, 200_000),
            Self::SmallStates | Self::DelayedMessages | Self::FailingMessages | Self::EgressRecords => (500, 200),
        }
    }

    /// How many there are, with so many MiB for states: more than fits, or as much as is ever in memory.
    fn count(self, mebibytes: u64) -> usize {
        match self {
            // Each takes more than twice its bytes, with its address.
            Self::SmallStates => (mebibytes << 20) as usize / 450,
            Self::LargeStates => 3 * (mebibytes << 20) as usize / 200_000,
            Self::DelayedMessages | Self::FailingMessages => 200_000,
            Self::EgressRecords => 100_000,
        }
    }

    /// Whether messages or records wait, and are not to be handled.
    fn waits(self) -> bool {
        match self {
            Self::SmallStates | Self::LargeStates | Self::DelayedMessages => false,
            Self::FailingMessages | Self::EgressRecords => true,
        }
    }

    /// The metric that reaches what [`count`](Self::count) says, or so many times the bytes of each.
    fn metric(self) -> &'static str {
        match self {
            Self::SmallStates | Self::LargeStates => "statefun_checkpoint_written_bytes_total",
            Self::DelayedMessages => "statefun_delayed_messages",
            Self::FailingMessages => "statefun_mailbox_messages",
            Self::EgressRecords => "statefun_unacknowledged_records",
        }
    }
}

pub(crate) fn add(suite: &mut Suite) {
    let mebibytes = number(VARIABLE).unwrap_or(STATE_MEMORY);
    for load in Load::ALL {
        let name = format!("memory::{}_stay_within_a_factor_of_the_state_memory", load.what());
        if !cfg!(target_os = "linux") {
            suite.not_applicable(&name, "only Linux says how much memory a process has had".to_owned());
        } else if suite.environment().backend != "fake" {
            let reason = "for a server that keeps up with a process at full load: the fake";
            suite.not_applicable(&name, reason.to_owned());
        } else {
            // More memory takes longer to fill.
            let length = Duration::from_secs(4 * mebibytes);
            suite.long_heavy_program_case(length, &name, async move |case: &Case| {
                let peak = peak(case, load, mebibytes).await? >> 20;
                case.tell(&format!("{load:?} with --state-memory {mebibytes}: {peak} MiB"));
                let most = (mebibytes as f64 * FACTOR) as u64 + CONSTANT;
                ensure!(peak <= most, "the process has taken {peak} MiB, and {most} are allowed");
                Ok(())
            });
        }
    }
}

/// Bytes that cannot be compressed, and that are always the same for a name.
fn noise(name: &str, bytes: usize) -> Vec<u8> {
    let seed = name.bytes().fold(1_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect()
}

/// A command of some loads becomes many messages, which become states or fail; that of others becomes records, or messages
/// that are due in a day.
fn answer(call: &mut Call) {
    const DAY_MILLIS: i64 = 24 * 3_600_000;
    if call.function != "spread" {
        let (_, bytes) = Load::ALL.iter().find(|load| load.word() == call.function).expect("a load").each();
        call.state = Some(noise(&call.id, bytes).into());
        return;
    }
    for command in std::mem::take(&mut call.messages) {
        let command = String::from_utf8_lossy(&command).into_owned();
        let (word, number) = command.split_once(' ').expect("a word and a number");
        let load = Load::ALL.into_iter().find(|load| load.word() == word).expect("a load");
        let (count, bytes) = load.each();
        for index in 0..count {
            let id = format!("{number}-{index}");
            match load {
                Load::SmallStates | Load::LargeStates => call.send(word, &id, "fill", 0),
                Load::FailingMessages => call.send(word, &id, noise(&id, bytes), 0),
                Load::DelayedMessages => call.send(word, &id, noise(&id, bytes), DAY_MILLIS),
                Load::EgressRecords => call.emit("stalled", "", noise(&id, bytes)),
            }
        }
    }
}

/// The most bytes of memory that a process takes under a load.
async fn peak(case: &Case, load: Load, mebibytes: u64) -> Result<u64> {
    let (commands, results) = futures::try_join!(case.stream("commands", 4), case.stream("results", 1))?;
    let functions = LocalFunctions::serve(answer)?;
    let failing = FaultyProxy::start(&functions.url(), |_| None).await?;
    failing.fails(Fault::Answer(Canned::html(500)), 1);
    let egress = FaultyProxy::start(&case.environment().endpoint, |_| None).await?;
    let endpoint = |name: &str, url: &str| {
        format!(
            "kind: io.statefun.endpoints.v2/http\nspec:\n  functions: memory.e2e/{name}\n  urlPathTemplate: {url}\n---\n"
        )
    };
    let module = format!(
        "{}{}kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: memory.e2e/commands\n{}  startupPosition:\n    type: \
         trim-horizon\n  streams:\n    - streamArn: {commands}\n      valueType: memory.e2e/command\n      targets:\n        \
         - memory.e2e/spread\n---\nkind: io.statefun.kinesis.v1/egress\nspec:\n  id: memory.e2e/stalled\n{}  streamName: \
         {}\n",
        endpoint("*", &functions.url()),
        endpoint("failing", &failing.url()),
        place(case),
        place_at(&egress.url()),
        results.name(),
    );
    let state = case.path(load.word()).display().to_string();
    let memory = mebibytes.to_string();
    let mut program = case.run(&module, &["--state", &state, "--state-memory", &memory, "--admin", "127.0.0.1:0"])?;
    let admin = Admin::of(&mut program).await?;
    program.ready().await?;
    egress.fails(Fault::Stall, 1);

    let (of_command, bytes) = load.each();
    let count = load.count(mebibytes);
    let commanded: Vec<Text> = (0..count.div_ceil(of_command))
        .map(|number| Text::new(format!("key-{}", number % 50), format!("{} {number}", load.word())))
        .collect();
    for part in commanded.chunks(AT_ONCE) {
        case.put(&commands, part).await?;
        // Messages that wait have limits of their own, which are another load.
        until("most messages to be handled", async || {
            ensure!(program.is_running()?, "the program ended");
            let waiting = admin.sum("statefun_mailbox_messages").await?;
            let is_taken = admin.sum("statefun_records_taken_total").await? > 0.0;
            Ok((load.waits() || is_taken && waiting <= of_command as f64).then_some(()))
        })
        .await?;
    }
    let wanted = match load {
        Load::SmallStates | Load::LargeStates => count * bytes,
        Load::DelayedMessages | Load::FailingMessages | Load::EgressRecords => count,
    };
    for part in 1..=4 {
        reaches(&mut program, &admin, load.metric(), wanted * part / 4).await?;
    }
    let peak = program.peak_memory()?;
    program.stop("TERM").await?;
    Ok(peak)
}

/// Waits until a metric is as high as that, and everything that was changed is on disk.
async fn reaches(program: &mut Program, admin: &Admin, metric: &str, wanted: usize) -> Result<()> {
    until(&format!("{metric} of {wanted}"), async || {
        ensure!(program.is_running()?, "the program ended");
        let is_reached = admin.sum(metric).await? >= wanted as f64;
        Ok((is_reached && admin.sum("statefun_unsaved_states_bytes").await? == 0.0).then_some(()))
    })
    .await
}
