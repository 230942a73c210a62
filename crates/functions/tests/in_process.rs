//! Functions in process, one request at a time.

use std::time::Duration;

use async_trait::async_trait;
use statefun_kinesis_functions::{
    Answer, BoxError, Context, Delayed, Effects, EgressMessage, Expiration, Function, GroupSettings, Invoke, Limits,
    Mailboxes, Message, Payload, Registry, Request, StateChange, StateSpec, Value, ValueSpec,
};
use statefun_kinesis_types::{Address, ErrorChain, PutRecord, Timestamp};

const NOW: Timestamp = Timestamp::EPOCH;
const LONG: Duration = Duration::from_secs(60);

fn address(address: &str) -> Address {
    let (function, id) = address.rsplit_once('/').unwrap();
    Address { function: function.parse().unwrap(), id: id.into() }
}

struct Everything {
    count: ValueSpec<i32>,
    name: ValueSpec<String>,
    undeclared: ValueSpec<bool>,
}

impl Everything {
    fn new() -> Self {
        Self {
            count: ValueSpec::new("count").expire_after_invoke(Duration::from_secs(5)),
            name: ValueSpec::new("name").expire_after_write(Duration::from_secs(7)),
            undeclared: ValueSpec::new("undeclared"),
        }
    }
}

#[async_trait]
impl Function for Everything {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.count).into(), (&self.name).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        let count = context.get(&self.count)?.unwrap_or(0) + 1;
        context.set(&self.count, &count)?;
        match message.read::<String>()?.as_str() {
            "undeclared" => context.set(&self.undeclared, &true)?,
            "type" => drop(context.get(&ValueSpec::<i64>::new("count"))?),
            "hang" => std::future::pending().await,
            "name" => context.set(&self.name, &"anna".to_owned())?,
            "forget" => context.clear(&self.name)?,
            _ => {
                let to = context.caller().cloned().unwrap_or_else(|| context.self_address().clone());
                context.send(to.clone(), &count);
                context.send_after(Duration::from_secs(1), to.clone(), &true);
                context.send_after_unless_cancelled(Duration::from_secs(2), to, &1.5_f64, "token");
                context.cancel("token");
                context.egress("t/out".parse()?, PutRecord::new("k".parse()?, "v"));
                context.egress_to("t/out".parse()?, "other".parse()?, PutRecord::new("k".parse()?, "w"));
            }
        }
        Ok(())
    }
}

/// A request with these messages and states, after the handshake that declares the states.
async fn request(registry: &Registry, states: Effects, messages: &[(Option<&str>, &str)]) -> Request {
    let mut mailboxes: Mailboxes = Mailboxes::new(Limits::default());
    let group = mailboxes.add_group(GroupSettings::default());
    mailboxes.serve_namespace("t", group);
    let to = address("t/everything/1");
    mailboxes
        .deliver([(to.clone(), Message { caller: None, value: Value::of(&String::new()), origin: None })])
        .unwrap();
    let first = mailboxes.next_request(NOW).unwrap();
    let missing = registry.invoke(&first, LONG).await.unwrap();
    let spec =
        |name: &str, typename: &str, expiration| StateSpec { name: name.into(), typename: typename.into(), expiration };
    let expect = vec![
        spec("count", "io.statefun.types/int", Expiration::AfterInvoke(Duration::from_secs(5))),
        spec("name", "io.statefun.types/string", Expiration::AfterWrite(Duration::from_secs(7))),
    ];
    assert_eq!(missing, Answer::StatesMissing(expect));
    mailboxes.answered(first.id, missing, NOW).unwrap();
    let first = mailboxes.next_request(NOW).unwrap();
    mailboxes.answered(first.id, Answer::Handled(states), NOW).unwrap();
    let message = |(caller, text): &(Option<&str>, &str)| {
        (to.clone(), Message { caller: caller.map(address), value: Value::of(&(*text).to_owned()), origin: None })
    };
    mailboxes.deliver(messages.iter().map(message)).unwrap();
    mailboxes.next_request(NOW).unwrap()
}

fn registry() -> Registry {
    Registry::new().function("t/everything".parse().unwrap(), Everything::new())
}

fn change<T: Payload>(name: &str, value: Option<T>) -> StateChange {
    StateChange { name: name.into(), value: value.map(|value| Value::of(&value)) }
}

#[tokio::test]
async fn a_batch_has_all_its_effects_in_order() {
    let registry = registry();
    let states = Effects { states: vec![change("count", Some(4_i32))], ..Effects::default() };
    let messages = [(None, "name"), (Some("t/caller/2"), "send"), (None, "send")];
    let request = request(&registry, states, &messages).await;
    let Answer::Handled(effects) = registry.invoke(&request, LONG).await.unwrap() else { panic!("nothing is missing") };
    let (caller, own) = (address("t/caller/2"), address("t/everything/1"));
    let delayed = |to: &Address| {
        let send = |seconds, value, token: Option<&str>| Delayed::Send {
            delay: Duration::from_secs(seconds),
            to: to.clone(),
            value,
            token: token.map(Into::into),
        };
        let cancel = Delayed::Cancel { token: "token".into() };
        [send(1, Value::of(&true), None), send(2, Value::of(&1.5_f64), Some("token")), cancel]
    };
    let out = |stream: Option<&str>, data: &'static str| EgressMessage::Record {
        egress: "t/out".parse().unwrap(),
        stream: stream.map(|stream| stream.parse().unwrap()),
        record: PutRecord::new("k".parse().unwrap(), data),
    };
    let expect = Effects {
        messages: vec![(caller.clone(), Value::of(&6_i32)), (own.clone(), Value::of(&7_i32))],
        delayed: delayed(&caller).into_iter().chain(delayed(&own)).collect(),
        egress: vec![out(None, "v"), out(Some("other"), "w"), out(None, "v"), out(Some("other"), "w")],
        states: vec![change("count", Some(7_i32)), change("name", Some("anna".to_owned()))],
    };
    assert_eq!(effects, expect);
}

#[tokio::test]
async fn a_state_that_is_cleared_is_not_set() {
    let registry = registry();
    let request = request(&registry, Effects::default(), &[(None, "name"), (None, "forget")]).await;
    let Answer::Handled(effects) = registry.invoke(&request, LONG).await.unwrap() else { panic!("nothing is missing") };
    assert_eq!(effects.states, [change("count", Some(2_i32)), change::<String>("name", None)]);
}

#[tokio::test(start_paused = true)]
async fn each_failure_is_reported() {
    let registry = registry();
    for (text, expect) in [
        ("undeclared", "`undeclared` is not among those that the function declares"),
        ("type", "`count` cannot be read: a value is of type io.statefun.types/int and not io.statefun.types/long"),
        ("hang", "did not finish within 60s"),
    ] {
        let request = request(&registry, Effects::default(), &[(None, text)]).await;
        let error = ErrorChain(&registry.invoke(&request, LONG).await.unwrap_err()).to_string();
        assert!(error.contains(expect), "{error}");
    }
    let request = request(&registry, Effects::default(), &[(None, "x")]).await;
    let error = Registry::new().invoke(&request, LONG).await.unwrap_err();
    assert!(error.to_string().contains("no such function"), "{error}");
}

#[test]
fn each_value_is_read_as_its_type() {
    assert_eq!(Value::of(&5_i64).read::<i64>().unwrap(), 5);
    assert!(Value::of(&5_i64).is::<i64>() && !Value::of(&5_i64).is::<i32>());
    let absent = Value { typename: i64::TYPENAME.into(), bytes: None };
    for (value, expect) in [
        (Value::of(&5_i32), "is of type io.statefun.types/int and not io.statefun.types/long"),
        (absent, "is absent"),
        (Value::new(i64::TYPENAME, "x"), "decode"),
    ] {
        let error = value.read::<i64>().unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
}
