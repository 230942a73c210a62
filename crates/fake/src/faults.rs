use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use statefun_kinesis_client::{Error, ErrorKind, Operation, PutFailure};
use statefun_kinesis_types::PutRecord;

use crate::{
    fake::{State, lock},
    refusal::code_of,
};

/// Faults of a fake: scripted, or drawn from a seed that the caller names. Without any, the fake never fails by
/// itself.
///
/// Faults come in this order: a delay, then what was scripted for the next calls, then what is drawn. A call that
/// fails by a fault had no effect, unless [`store_then_fail`](Self::store_then_fail) says otherwise.
#[derive(Clone)]
pub struct Faults {
    pub(crate) state: Arc<Mutex<State>>,
}

impl Faults {
    /// The next call of this operation fails.
    pub fn fail_next(&self, operation: Operation, kind: ErrorKind) {
        self.fail_next_n(operation, kind, 1);
    }

    /// The next `calls` calls of this operation fail, behind those that were scripted before.
    pub fn fail_next_n(&self, operation: Operation, kind: ErrorKind, calls: usize) {
        let script = Script { calls, what: Fault::Fail(kind) };
        lock(&self.state).faults.scripts.entry(operation).or_default().push_back(script);
    }

    /// The next call of this operation is carried out, and its caller sees a [`Timeout`](ErrorKind::Timeout).
    ///
    /// For PutRecords: the records are stored, and a retry stores them twice.
    pub fn store_then_fail(&self, operation: Operation) {
        let script = Script { calls: 1, what: Fault::LoseAnswer };
        lock(&self.state).faults.scripts.entry(operation).or_default().push_back(script);
    }

    /// Of every PutRecords call, the entries for which `fails` says so are throttled and not stored.
    ///
    /// The closure sees the entry's index in its request. It runs under the fake's lock: it must not use the fake.
    pub fn fail_entries(&self, mut fails: impl FnMut(usize, &PutRecord) -> bool + Send + 'static) {
        self.fail_entries_with(move |index, record| fails(index, record).then(throttled_entry));
    }

    /// Of the next PutRecords call, the entries for which `fails` says so are throttled and not stored.
    pub fn fail_next_entries(&self, mut fails: impl FnMut(usize, &PutRecord) -> bool + Send + 'static) {
        let fails = move |index: usize, record: &PutRecord| fails(index, record).then(throttled_entry);
        lock(&self.state).faults.next_entries.push_back(Box::new(fails));
    }

    /// Of every PutRecords call, the entries for which `fails` gives a failure end in it and are not stored.
    pub fn fail_entries_with(&self, fails: impl FnMut(usize, &PutRecord) -> Option<PutFailure> + Send + 'static) {
        lock(&self.state).faults.entries = Some(Box::new(fails));
    }

    /// Every call of this operation takes so long, on Tokio's clock, before anything else happens. Zero ends it.
    pub fn delay(&self, operation: Operation, delay: Duration) {
        lock(&self.state).faults.delays.insert(operation, delay);
    }

    /// Every iterator that was given out so far has expired.
    pub fn expire_iterators(&self) {
        lock(&self.state).store.expire_iterators();
    }

    /// Calls of these operations fail with a probability of `ratio`, each with one of these kinds.
    ///
    /// All draws come from `seed`, one after the other in the order of the calls; error messages name it. A drawn
    /// [`Timeout`](ErrorKind::Timeout) is carried out every second time.
    pub fn randomly(&self, seed: u64, ratio: f64, operations: &[Operation], kinds: &[ErrorKind]) {
        lock(&self.state).faults.random = Some(RandomCalls {
            draws: Draws::new(seed, ratio),
            operations: operations.to_vec(),
            kinds: kinds.to_vec(),
        });
    }

    /// Entries of PutRecords calls fail with a probability of `ratio`, throttled or by an internal failure.
    pub fn randomly_entries(&self, seed: u64, ratio: f64) {
        let mut draws = Draws::new(seed, ratio);
        self.fail_entries_with(move |_, _| {
            let draw = draws.hit()?;
            let kind = if draws.random.bool() { ErrorKind::Throttled } else { ErrorKind::Unavailable };
            Some(PutFailure::new(kind, code_of(kind).unwrap_or_default(), format!("{draw} fails this entry")))
        });
    }

    /// The next subscription that comes about meets this fault behind so many events, in place of the event that would
    /// follow. One fault for each subscription, in the order of the calls.
    pub fn fault_next_subscription(&self, after_events: usize, fault: SubscriptionFault) {
        lock(&self.state).faults.subscriptions.push_back((after_events, fault));
    }

    /// All subscriptions that run now meet this fault, in place of their next event.
    pub fn fault_subscriptions(&self, fault: SubscriptionFault) {
        let mut state = lock(&self.state);
        state.faults.all_subscriptions.push(fault);
        state.store.wake();
    }

    /// Each event of each subscription takes so long before it comes. Zero ends it.
    pub fn delay_events(&self, delay: Duration) {
        lock(&self.state).faults.event_delay = delay;
    }

    /// In place of an event one of these faults comes, with a probability of `ratio`.
    ///
    /// All draws come from `seed`, one after the other in the order of the events of all subscriptions.
    pub fn randomly_subscriptions(&self, seed: u64, ratio: f64, faults: &[SubscriptionFault]) {
        lock(&self.state).faults.random_events = Some((Draws::new(seed, ratio), faults.to_vec()));
    }

    /// Ends all faults. Iterators that were declared expired stay so.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        // Kept, because subscriptions count in it what was before them.
        let all_subscriptions = std::mem::take(&mut state.faults.all_subscriptions);
        state.faults = FaultPlan { all_subscriptions, ..FaultPlan::default() };
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

fn throttled_entry() -> PutFailure {
    let code = code_of(ErrorKind::Throttled).unwrap_or_default();
    PutFailure::new(ErrorKind::Throttled, code, "a scripted fault throttles this entry")
}

/// What can happen to a subscription that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionFault {
    /// It ends without an error, as it does after five minutes.
    Close,
    /// The connection breaks: the last item is [`Unavailable`](ErrorKind::Unavailable), without a code.
    Drop,
    /// The service ends it: the last item is an error of this kind, with the service's code.
    Fail(ErrorKind),
    /// Nothing comes any more, not even its end, as over a connection of which the other side is gone.
    Stall,
}

/// Decides for an entry of PutRecords whether it fails.
type EntryFault = Box<dyn FnMut(usize, &PutRecord) -> Option<PutFailure> + Send>;

/// What is to go wrong.
#[derive(Default)]
pub(crate) struct FaultPlan {
    scripts: HashMap<Operation, VecDeque<Script>>,
    delays: HashMap<Operation, Duration>,
    entries: Option<EntryFault>,
    next_entries: VecDeque<EntryFault>,
    random: Option<RandomCalls>,
    subscriptions: VecDeque<(usize, SubscriptionFault)>,
    /// What all subscriptions of a time have met; each knows how much of it was before its own.
    all_subscriptions: Vec<SubscriptionFault>,
    event_delay: Duration,
    random_events: Option<(Draws, Vec<SubscriptionFault>)>,
}

/// What one subscription is to meet.
#[derive(Debug, Default)]
pub(crate) struct SubscriptionScript {
    after_events: Option<(usize, SubscriptionFault)>,
    /// How many faults of all subscriptions came before this one.
    seen: usize,
}

/// What the next calls of an operation meet.
struct Script {
    calls: usize,
    what: Fault,
}

/// What one call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Fail(ErrorKind),
    LoseAnswer,
}

/// Faults of whole calls, drawn from a seed.
struct RandomCalls {
    draws: Draws,
    operations: Vec<Operation>,
    kinds: Vec<ErrorKind>,
}

/// Draws from a seed, which can say where they come from.
struct Draws {
    seed: u64,
    ratio: f64,
    drawn: u64,
    random: fastrand::Rng,
}

impl Draws {
    fn new(seed: u64, ratio: f64) -> Self {
        Self { seed, ratio, drawn: 0, random: fastrand::Rng::with_seed(seed) }
    }

    /// Draws once; a hit is named.
    fn hit(&mut self) -> Option<String> {
        self.drawn += 1;
        (self.random.f64() < self.ratio).then(|| format!("draw {} of seed {}", self.drawn, self.seed))
    }
}

/// A call that goes wrong.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Whether the call is carried out all the same.
    pub(crate) carried_out: bool,
    pub(crate) error: Error,
}

impl FaultPlan {
    /// How long this call is held up.
    pub(crate) fn delay(&self, operation: Operation) -> Duration {
        self.delays.get(&operation).copied().unwrap_or_default()
    }

    /// What goes wrong with this call, if anything.
    pub(crate) fn next(&mut self, operation: Operation) -> Option<Failure> {
        let (fault, why) = match self.scripted(operation) {
            Some(fault) => (fault, "a scripted fault".to_owned()),
            None => self.drawn(operation)?,
        };
        let (kind, carried_out) = match fault {
            Fault::Fail(kind) => (kind, false),
            Fault::LoseAnswer => (ErrorKind::Timeout, true),
        };
        let error = Error::new(operation, kind, format!("{why} fails this call"));
        let error = match code_of(kind) {
            Some(code) => error.with_code(code),
            None => error,
        };
        Some(Failure { carried_out, error })
    }

    fn scripted(&mut self, operation: Operation) -> Option<Fault> {
        let scripts = self.scripts.get_mut(&operation)?;
        while scripts.front().is_some_and(|script| script.calls == 0) {
            scripts.pop_front();
        }
        let script = scripts.front_mut()?;
        script.calls -= 1;
        Some(script.what)
    }

    fn drawn(&mut self, operation: Operation) -> Option<(Fault, String)> {
        let random = self.random.as_mut().filter(|random| random.operations.contains(&operation))?;
        let why = random.draws.hit()?;
        let kind = *random.draws.random.choice(&random.kinds)?;
        let lost = kind == ErrorKind::Timeout && random.draws.random.bool();
        Some((if lost { Fault::LoseAnswer } else { Fault::Fail(kind) }, why))
    }

    /// What a subscription that comes about now is to meet.
    pub(crate) fn subscription(&mut self) -> SubscriptionScript {
        SubscriptionScript { after_events: self.subscriptions.pop_front(), seen: self.all_subscriptions.len() }
    }

    /// What a subscription meets after so many events, before anything else is looked at.
    pub(crate) fn due(&self, script: &SubscriptionScript, events: usize) -> Option<SubscriptionFault> {
        let of_all = self.all_subscriptions.get(script.seen).copied();
        of_all.or_else(|| script.after_events.filter(|(after, _)| *after <= events).map(|(_, fault)| fault))
    }

    /// How long each event is held up.
    pub(crate) fn event_delay(&self) -> Duration {
        self.event_delay
    }

    /// What comes in place of an event.
    pub(crate) fn drawn_for_event(&mut self) -> Option<SubscriptionFault> {
        let (draws, faults) = self.random_events.as_mut()?;
        draws.hit()?;
        draws.random.choice(faults.iter()).copied()
    }

    /// What goes wrong with the entries of this PutRecords call.
    pub(crate) fn entries(&mut self) -> impl FnMut(usize, &PutRecord) -> Option<PutFailure> {
        let mut next = self.next_entries.pop_front();
        let always = &mut self.entries;
        move |index, record| {
            let scripted = next.as_mut().and_then(|fails| fails(index, record));
            scripted.or_else(|| always.as_mut().and_then(|fails| fails(index, record)))
        }
    }
}
