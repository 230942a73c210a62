//! `statefun-kinesis state` on the store of a previous run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use statefun_kinesis::ExitCode;
use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::{
    BoxError, Context, Function, Message, Payload, Registry, StateSpec, StatefulFunctions, ValueSpec,
};
use statefun_kinesis_router::{Handler, Ingress, Router};
use statefun_kinesis_spec::{EgressSpec, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_store::{Commit, DiskSettings, DiskStore, ModuleRecord, Store, StreamRecord, Table};
use statefun_kinesis_types::{PutRecord, StreamArn};
use tokio_util::sync::CancellationToken;

#[path = "../../store/tests/format_1/mod.rs"]
mod format_1;

/// A state that is not text.
struct Blob;

impl Payload for Blob {
    const TYPENAME: &str = "example/blob";

    fn to_bytes(&self) -> bytes::Bytes {
        vec![255, 0].into()
    }

    fn from_bytes(_: &[u8]) -> Result<Self, BoxError> {
        Ok(Self)
    }
}

/// Counts, keeps states, and sends itself a delayed message. Fails for every message to the address `stuck`.
struct Counter {
    total: ValueSpec<i64>,
    name: ValueSpec<String>,
    blob: ValueSpec<Blob>,
}

#[async_trait]
impl Function for Counter {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.total).into(), (&self.name).into(), (&self.blob).into()]
    }

    async fn handle(&self, context: &mut Context, _: &Message) -> Result<(), BoxError> {
        let id = context.self_address().id.to_string();
        if id == "stuck" {
            return Err("never".into());
        }
        let total = context.get(&self.total)?.unwrap_or(0) + 1;
        context.set(&self.total, &total)?;
        context.set(&self.name, &format!("the \"{id}\""))?;
        context.set(&self.blob, &Blob)?;
        let me = context.self_address().clone();
        context.send_after_unless_cancelled(Duration::from_secs(86_400), me, &total, "tomorrow");
        Ok(())
    }
}

const ORDERS: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";

/// A folder for one test, with the store of a run with functions.
async fn store_of_a_run(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("state").join(test);
    let _ = fs::remove_dir_all(&folder);
    let store = Arc::new(DiskStore::open(&folder, DiskSettings::default()).await.unwrap());

    let kinesis = FakeKinesis::new();
    kinesis.create_stream(&"orders".parse().unwrap(), 1).await.unwrap();
    let orders: StreamArn = ORDERS.parse().unwrap();
    for key in ["anna", "anna", "-1 é", "stuck"] {
        let record = PutRecord::new(key.parse().unwrap(), "an order");
        kinesis.put_record(&orders.clone().into(), record).await.unwrap();
    }
    let spec = StreamRecord {
        value_type: "example/Order".parse().unwrap(),
        targets: vec!["example/counter".parse().unwrap()],
    };
    let mut record = ModuleRecord::default();
    record.ingresses.entry("example/orders".parse().unwrap()).or_default().insert(orders.clone(), spec.clone());
    record.egresses.insert("example/results".parse().unwrap(), None);
    let mut commit = Commit::new();
    record.put(&mut commit);
    store.commit(commit).await.unwrap();

    let counter =
        Counter { total: ValueSpec::new("total"), name: ValueSpec::new("name"), blob: ValueSpec::new("blob") };
    let registry = Registry::new().function(spec.targets[0].clone(), counter);
    let functions = StatefulFunctions::builder().in_process(registry).store(store.clone()).build().await.unwrap();
    let functions = Arc::new(functions);
    let route = StreamRoute::new(orders, spec.value_type, spec.targets);
    let mut ingress = IngressSpec::new("example/orders".parse().unwrap(), vec![route]);
    ingress.startup = StartupPosition::TrimHorizon;
    let client = Arc::new(kinesis.clone());
    let router = Router::builder(Handler::stateful(functions.clone()))
        .ingress(Ingress::new(ingress, client.clone()))
        .egress(EgressSpec::new("example/results".parse().unwrap(), "orders".parse().unwrap()), client)
        .clock(kinesis.clock())
        .drain(Duration::from_millis(100))
        .build()
        .await
        .unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(router.run(shutdown.clone()));
    // All messages are processed, except the one that always fails.
    while functions.usage().timers < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
    drop(functions);
    Arc::into_inner(store).expect("the run has given the store back").close().await.unwrap();
    folder
}

/// What a run of the command gave.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn state(arguments: &[&str], directory: &Path) -> Ran {
    let (command, rest) = arguments.split_first().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_statefun-kinesis"))
        .args(["state", command])
        .arg(directory)
        .args(rest)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    #[track_caller]
    fn ended(&self, code: ExitCode) -> &Self {
        assert_eq!(self.code, code as i32, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn said(&self, parts: &[&str]) -> &Self {
        for part in parts {
            let said = self.err.contains(part) || self.out.contains(part);
            assert!(said, "`{part}` is missing\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        }
        self
    }

    #[track_caller]
    fn json(&self) -> Json {
        self.ended(ExitCode::Done);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

#[tokio::test]
async fn inspect_shows_an_overview() {
    let directory = store_of_a_run("glance").await;
    let found = state(&["inspect", "--format", "json"], &directory).json();
    assert!(found["lastCommit"].as_u64().unwrap() >= 3, "{found:#}");
    assert_eq!(found["module"]["fingerprint"].as_str().unwrap().len(), 32);
    let route = json!({"streamArn": ORDERS, "valueType": "example/Order", "targets": ["example/counter"]});
    assert_eq!(found["module"]["ingresses"], json!([{"id": "example/orders", "streams": [route]}]));
    assert_eq!(found["module"]["egresses"], json!([{"id": "example/results", "stream": null}]));
    let stream = &found["positions"][0];
    assert_eq!(
        (&stream["ingress"], &stream["streamArn"], &stream["start"]),
        (&json!("example/orders"), &json!(ORDERS), &json!("trim-horizon"))
    );
    assert_eq!(stream["shards"][0]["shardId"], "shardId-000000000000");
    assert_eq!(stream["shards"][0]["position"].as_str().unwrap().len(), 56);
    let entries = |table: &str| {
        let tables = found["tables"].as_array().unwrap();
        tables.iter().find(|found| found["table"] == table).unwrap()["entries"].as_u64().unwrap()
    };
    assert_eq!(
        [entries("positions"), entries("state"), entries("mailboxes"), entries("timers"), entries("egress")],
        [2, 6, 1, 3, 0]
    );

    let position = stream["shards"][0]["position"].as_str().unwrap();
    state(&["inspect"], &directory).ended(ExitCode::Done).said(&[
        "last commit  ",
        found["module"]["fingerprint"].as_str().unwrap(),
        "example/Order to example/counter",
        "egress example/results: to the streams that the records name",
        &format!("shardId-000000000000  {position}\n"),
        "\nmailboxes      1 ",
    ]);
}

#[tokio::test]
async fn inspect_shows_the_states_of_an_address() {
    let directory = store_of_a_run("values").await;
    let values = |id: &str| {
        let arguments = ["inspect", "--function", "example/counter", "--id", id, "--format", "json"];
        state(&arguments, &directory).json()
    };
    let blob = json!({"name": "blob", "type": "example/blob", "payloadBase64": "/wA="});
    let of = |total: u64, name: &str| {
        json!([
            blob,
            {"name": "name", "type": "io.statefun.types/string", "value": name},
            {"name": "total", "type": "io.statefun.types/long", "value": total},
        ])
    };
    let anna = json!({"function": "example/counter", "id": "anna", "values": of(2, "the \"anna\"")});
    assert_eq!(values("anna"), anna);
    assert_eq!(values("-1 é")["values"], of(1, "the \"-1 é\""));
    assert_eq!(values("nobody")["values"], json!([]));
    state(&["inspect", "--function", "example/counter", "--id", "anna"], &directory).ended(ExitCode::Done).said(&[
        "total  2",
        "io.statefun.types/long",
        "base64 /wA=",
        r#""the \"anna\"""#,
    ]);
    state(&["inspect", "--function", "example/counter", "--id", "nobody"], &directory)
        .ended(ExitCode::Done)
        .said(&["no state is stored for this address"]);
}

#[tokio::test]
async fn export_prints_a_line_for_each_entry() {
    let directory = store_of_a_run("export").await;
    let ran = state(&["export"], &directory);
    ran.ended(ExitCode::Done);
    let lines: Vec<Json> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |table: &str| lines.iter().filter(|line| line["table"] == table).collect::<Vec<_>>();
    assert_eq!([of("positions").len(), of("state").len(), of("timers").len()], [2, 6, 3]);
    assert_eq!(of("positions")[0]["start"], "trim-horizon");
    assert_eq!(of("positions")[1]["shardId"], "shardId-000000000000");
    let total = of("state").into_iter().find(|line| line["id"] == "anna" && line["name"] == "total").unwrap();
    assert_eq!((&total["function"], &total["value"]), (&json!("example/counter"), &json!(2)));
    let [stuck] = of("mailboxes")[..] else { panic!("{}", ran.out) };
    assert_eq!(
        (&stuck["id"], &stuck["type"], &stuck["payload"], &stuck["caller"]),
        (&json!("stuck"), &json!("example/Order"), &json!("an order"), &Json::Null)
    );
    let timer = of("timers").into_iter().find(|line| line["id"] == "-1 é").unwrap();
    assert_eq!(
        (&timer["cancellationToken"], &timer["value"], &timer["caller"]["id"]),
        (&json!("tomorrow"), &json!(1), &json!("-1 é"))
    );
    assert!(timer["due"].as_str().unwrap().ends_with('Z'));
    assert!(of("meta").iter().any(|line| line["name"] == "module"), "{}", ran.out);
}

#[tokio::test]
async fn unknown_entries_are_exported_unchanged() {
    let directory = store_of_a_run("foreign").await;
    let store = DiskStore::open(&directory, DiskSettings::default()).await.unwrap();
    let mut commit = Commit::new();
    commit.put(Table::State, "?", "!");
    store.commit(commit).await.unwrap();
    store.close().await.unwrap();
    let ran = state(&["export"], &directory);
    ran.ended(ExitCode::Done).said(&[r#"{"table":"state","payloadBase64":"IQ==","keyBase64":"Pw=="}"#]);
}

#[tokio::test]
async fn reset_positions_keeps_everything_else() {
    let directory = store_of_a_run("positions").await;
    state(&["reset", "--positions"], &directory).ended(ExitCode::Usage).said(&["nothing was changed", "--yes"]);
    let before = state(&["inspect", "--format", "json"], &directory).json();
    assert_eq!(before["positions"].as_array().unwrap().len(), 1);

    state(&["reset", "--positions", "--yes"], &directory).ended(ExitCode::Done).said(&["deleted the positions"]);
    let after = state(&["inspect", "--format", "json"], &directory).json();
    assert_eq!(after["positions"], json!([]));
    assert_eq!((&after["module"], &after["tables"][2]["entries"]), (&before["module"], &json!(6)));
    state(&["inspect"], &directory).ended(ExitCode::Done).said(&["none: the next run reads from the startup"]);
}

#[tokio::test]
async fn reset_all_deletes_a_store_in_any_condition() {
    let directory = store_of_a_run("all").await;
    state(&["reset", "--all"], &directory).ended(ExitCode::Usage).said(&["nothing was changed", "are lost"]);
    state(&["inspect"], &directory).ended(ExitCode::Done);
    state(&["reset", "--all", "--yes"], &directory).ended(ExitCode::Done).said(&["deleted the store"]);
    state(&["inspect"], &directory).ended(ExitCode::Setup).said(&["there is no store in"]);
    state(&["reset", "--all", "--yes"], &directory).ended(ExitCode::Setup).said(&["there is no store in"]);

    let directory = store_of_a_run("newer").await;
    fs::write(directory.join("store/FORMAT"), "statefun-kinesis-store\nformat: 99\n").unwrap();
    for arguments in [&["inspect"][..], &["export"], &["reset", "--positions", "--yes"]] {
        state(arguments, &directory).ended(ExitCode::Setup).said(&["format 99", "or a newer one"]);
    }
    state(&["reset", "--all", "--yes"], &directory).ended(ExitCode::Done);

    let directory = store_of_a_run("damaged").await;
    fs::remove_file(directory.join("store/FORMAT")).unwrap();
    state(&["inspect"], &directory).ended(ExitCode::Setup).said(&["is damaged", "--all"]);
    state(&["reset", "--all", "--yes"], &directory).ended(ExitCode::Done);
    assert!(!DiskStore::is_in(&directory));
}

#[tokio::test]
async fn a_store_of_an_older_version_is_upgraded_once() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("state").join("older");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    format_1::unpack(&directory);
    for arguments in [&["inspect"][..], &["export"], &["reset", "--positions", "--yes"]] {
        state(arguments, &directory).ended(ExitCode::Setup).said(&["format 1", "state upgrade DIR"]);
    }
    state(&["upgrade"], &directory).ended(ExitCode::Done).said(&["from format 1 to format 2"]);
    state(&["upgrade"], &directory).ended(ExitCode::Done).said(&["already has format 2"]);
    let ran = state(&["export"], &directory);
    ran.ended(ExitCode::Done).said(&[
        r#""delayed":8,"function":"example/counter","messages":5"#,
        r#""nextDelayed":8,"nextMessage":9,"nextRecord":8"#,
    ]);
    let lines: Vec<Json> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |table: &str| lines.iter().filter(|line| line["table"] == table).collect::<Vec<_>>();
    assert_eq!([of("mailboxes").len(), of("timers").len(), of("egress").len(), of("due").len()], [5, 8, 8, 8]);
    for line in of("due") {
        let timer = of("timers").into_iter().find(|timer| timer["number"] == line["number"]).unwrap();
        assert_eq!(timer["due"], line["due"]);
        assert!(line["senderIdHash"].is_string() && line["payload"].is_null(), "{line}");
    }
    state(&["inspect"], &directory).ended(ExitCode::Done).said(&["\ndue            8 ", "\ncancellations  0 "]);

    fs::remove_dir_all(&directory).unwrap();
    state(&["upgrade"], &directory).ended(ExitCode::Setup).said(&["there is no store in"]);
    fs::create_dir_all(&directory).unwrap();
    format_1::unpack(&directory);
    state(&["reset", "--all", "--yes"], &directory).ended(ExitCode::Done).said(&["deleted the store"]);
}

#[tokio::test]
async fn a_store_in_use_and_a_foreign_directory_are_not_changed() {
    let directory = store_of_a_run("held").await;
    let store = DiskStore::open(&directory, DiskSettings::default()).await.unwrap();
    for arguments in [
        &["inspect"][..],
        &["export"],
        &["reset", "--positions", "--yes"],
        &["reset", "--all", "--yes"],
        &["reset", "--all"],
    ] {
        let process = format!("held by another process (process {})", std::process::id());
        state(arguments, &directory).ended(ExitCode::Setup).said(&[&process, "stop the run first"]);
    }
    let last = store.last_commit().await.unwrap().0;
    store.close().await.unwrap();
    assert_eq!(state(&["inspect", "--format", "json"], &directory).json()["lastCommit"], last);

    let strange = Path::new(env!("CARGO_TARGET_TMPDIR")).join("state").join("strange");
    fs::create_dir_all(&strange).unwrap();
    fs::write(strange.join("photo.jpg"), "").unwrap();
    for arguments in [&["inspect"][..], &["export"], &["upgrade"], &["reset", "--all", "--yes"]] {
        state(arguments, &strange)
            .ended(ExitCode::Setup)
            .said(&["is not a store: it holds `photo.jpg`", "the directory that `run` uses as --state"]);
        state(arguments, &strange.join("nowhere")).ended(ExitCode::Setup).said(&["there is no store in"]);
    }
    assert!(strange.join("photo.jpg").exists());
}

#[tokio::test]
async fn a_closed_stdout_is_an_error_without_a_panic() {
    let directory = store_of_a_run("pipe").await;
    for command in ["export", "inspect"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_statefun-kinesis"))
            .args(["state", command])
            .arg(&directory)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(ExitCode::Output as i32), "{err}");
        assert!(err.contains("cannot write to stdout"), "{err}");
    }
}

#[test]
fn a_wrong_command_line_is_rejected() {
    for arguments in [
        &["reset"][..],
        &["reset", "--all", "--positions"],
        &["inspect", "--id", "a"],
        &["inspect", "--function", "example/a"],
        &["inspect", "--function", "a", "--id", "a"],
        &["inspect", "--format", "xml"],
    ] {
        state(arguments, Path::new("x")).ended(ExitCode::Usage);
    }
}
