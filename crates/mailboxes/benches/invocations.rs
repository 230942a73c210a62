//! What an invocation of a stateful function costs, by the number of addresses, on one core.
//!
//! Items are messages that are handled by the state machine alone; each changes a state of its address. The floor finds
//! the address of each message and calls a function that does nothing. `run` measures the whole way.

use std::{collections::HashMap, hint::black_box, sync::Arc};

use divan::{Bencher, counter::ItemsCount};
use fastrand::Rng;
use statefun_kinesis_mailboxes::{
    Answer, Effects, Expiration, GroupSettings, Limits, Mailboxes, Message, Request, StateChange, StateSpec,
    StoredState, Value,
};
use statefun_kinesis_types::{Address, FunctionType, Timestamp};

fn main() {
    divan::main();
}

const ADDRESSES: [usize; 3] = [1, 1_000, 1_000_000];
const MESSAGES: usize = 20_000;
/// Messages of a delivery, as many as a call to a shard gives when little waits.
const DELIVERY: usize = 100;

fn addresses(count: usize) -> Vec<Address> {
    let function: FunctionType = "bench/counter".parse().expect("it is a name");
    (0..count).map(|id| Address { function: function.clone(), id: format!("customer-{id:07}").into() }).collect()
}

/// Messages to random addresses.
fn messages(addresses: &[Address], rng: &mut Rng) -> Vec<(Address, Message)> {
    let value = Value::new("bench/number", vec![1; 8]);
    let message = |_| {
        // As they come from a stream: an id of its own for each message.
        let Address { function, id } = &addresses[rng.usize(0..addresses.len())];
        (
            Address { function: function.clone(), id: (**id).into() },
            Message { caller: None, value: value.clone(), origin: None },
        )
    };
    (0..MESSAGES).map(message).collect()
}

/// Adds the number of messages to a total.
fn count(request: &Request, typename: &Arc<str>) -> Answer {
    let Some((name, total)) = request.states.first() else {
        let (name, typename) = ("total".into(), typename.clone());
        return Answer::StatesMissing(vec![StateSpec { name, typename, expiration: Expiration::Never }]);
    };
    let total = total.as_ref().and_then(|value| value.bytes.as_ref());
    let total = total.map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().expect("a number has eight bytes")));
    let total = total + request.messages.len() as u64;
    let value = Value::new(typename.clone(), total.to_be_bytes().to_vec());
    let states = vec![StateChange { name: name.clone(), value: Some(value) }];
    Answer::Handled(Effects { states, ..Effects::default() })
}

mod mailboxes {
    use super::*;

    /// Mailboxes, and what is taken for a store.
    struct Machine {
        mailboxes: Mailboxes,
        typename: Arc<str>,
    }

    impl Machine {
        /// Mailboxes in which each of the addresses has a state.
        fn new(mailboxes: Mailboxes, addresses: &[Address]) -> Self {
            let mut machine = Self { mailboxes, typename: "bench/number".into() };
            let group = machine.mailboxes.add_group(GroupSettings::default());
            machine.mailboxes.serve_namespace("bench", group);
            let value = Value::new("bench/number", vec![1; 8]);
            for addresses in addresses.chunks(MESSAGES) {
                let messages = addresses
                    .iter()
                    .map(|to| (to.clone(), Message { caller: None, value: value.clone(), origin: None }))
                    .collect();
                machine.handle(messages);
                machine.commit();
            }
            machine
        }

        fn handle(&mut self, messages: Vec<(Address, Message)>) {
            let mut messages = messages.into_iter().peekable();
            while messages.peek().is_some() {
                self.mailboxes.deliver(messages.by_ref().take(DELIVERY)).expect("all addresses are served");
                while let Some(request) = self.next_request() {
                    let answer = count(&request, &self.typename);
                    let answered = self.mailboxes.answered(request.id, answer, Timestamp::EPOCH);
                    answered.expect("the answer is right");
                }
                black_box(self.mailboxes.take_done());
            }
        }

        fn next_request(&mut self) -> Option<Request> {
            loop {
                if let Some(request) = self.mailboxes.next_request(Timestamp::EPOCH) {
                    return Some(request);
                }
                let loads = self.mailboxes.take_loads();
                if loads.is_empty() {
                    return None;
                }
                // The store is as fast as can be: all addresses have the same there.
                for address in loads {
                    let value = Some(Value::new(self.typename.clone(), vec![0; 8]));
                    let (address, name) = (address.clone(), "total".into());
                    let state = StoredState { address, name, value, expires: None };
                    let address = state.address.clone();
                    self.mailboxes.loaded(&address, vec![state], Timestamp::EPOCH);
                }
            }
        }

        fn commit(&mut self) {
            let cut = self.mailboxes.cut();
            self.mailboxes.durable(cut.number);
        }
    }

    fn bench(bencher: Bencher<'_, '_>, mailboxes: Mailboxes, count: usize) {
        let addresses = addresses(count);
        let mut machine = Machine::new(mailboxes, &addresses);
        let mut rng = Rng::with_seed(1);
        bencher.counter(ItemsCount::new(MESSAGES)).with_inputs(|| messages(&addresses, &mut rng)).bench_local_values(
            |messages| {
                machine.handle(messages);
                machine.commit();
            },
        );
    }

    #[divan::bench(args = ADDRESSES, sample_size = 1)]
    fn floor_find_and_call(bencher: Bencher<'_, '_>, count: usize) {
        let addresses = addresses(count);
        let function: Box<dyn Fn(&Message) -> usize> = Box::new(|message| message.value.payload_len());
        let mut totals: HashMap<Address, usize> = addresses.iter().map(|address| (address.clone(), 0)).collect();
        let mut rng = Rng::with_seed(1);
        bencher.counter(ItemsCount::new(MESSAGES)).with_inputs(|| messages(&addresses, &mut rng)).bench_local_values(
            |messages| {
                for (to, message) in messages {
                    *totals.get_mut(&to).expect("all addresses are there") += black_box(&function)(&message);
                }
            },
        );
    }

    /// With a cut, which is dropped, after every twenty thousand messages.
    #[divan::bench(args = ADDRESSES, sample_size = 1)]
    fn in_memory(bencher: Bencher<'_, '_>, count: usize) {
        bench(bencher, Mailboxes::new(Limits { state_bytes: usize::MAX, ..Limits::default() }), count);
    }

    /// The same with room for a tenth of a million addresses in memory, and a store that takes no time.
    #[divan::bench(args = ADDRESSES, sample_size = 1)]
    fn states_in_the_store(bencher: Bencher<'_, '_>, count: usize) {
        let limits = Limits { state_bytes: 32 << 20, ..Limits::default() };
        bench(bencher, Mailboxes::new(limits), count);
    }
}
