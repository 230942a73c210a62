//! The endpoint over a connection in memory. A strict parser checks its text.

mod credentials;
mod grammar;
mod page;
mod scene;

use std::{sync::Arc, time::Duration};

use statefun_kinesis_client::ErrorKind;
use statefun_kinesis_consumer::InvalidKind;
use statefun_kinesis_store::MemoryDisk;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    catalogue::{Kind, Section, families},
    health::MonitoredRun,
    server::serve_connection,
};

use grammar::Exposition;
use scene::Scene;

/// A parsed answer.
struct Response {
    status: u16,
    head: String,
    body: String,
}

fn connect(monitored: &Arc<MonitoredRun>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1024);
    tokio::spawn(serve_connection(theirs, Arc::clone(monitored)));
    ours
}

/// Sends a raw request, and reads until the server closes the connection.
async fn send(monitored: &Arc<MonitoredRun>, request: &str) -> Response {
    let mut connection = connect(monitored);
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

async fn get(monitored: &Arc<MonitoredRun>, path: &str) -> Response {
    send(monitored, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await
}

fn starting() -> (Arc<MonitoredRun>, CancellationToken) {
    let shutdown = CancellationToken::new();
    (Arc::new(MonitoredRun::new(shutdown.clone())), shutdown)
}

#[tokio::test(start_paused = true)]
async fn each_path_and_method_has_its_answer() {
    let (monitored, _) = starting();
    for (method, path, status, said) in [
        ("GET", "/healthz", 200, "alive\n"),
        ("GET", "/healthz?verbose", 200, "alive\n"),
        ("HEAD", "/healthz", 200, ""),
        ("GET", "/readyz", 503, "starting"),
        ("GET", "/metrics", 200, "statefun_ready 0\n"),
        ("GET", "/", 200, "/metrics\n"),
        ("GET", "/metrics/", 404, "/metrics"),
        ("GET", "/favicon.ico", 404, "/readyz"),
        ("POST", "/nothing", 404, "/readyz"),
        ("POST", "/metrics", 405, "GET"),
        ("DELETE", "/healthz", 405, "GET"),
        ("OPTIONS", "/readyz", 405, "GET"),
    ] {
        let answered =
            send(&monitored, &format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(answered.status, status, "{method} {path}: {}", answered.body);
        assert!(answered.body.contains(said), "{method} {path}: {}", answered.body);
        assert!(method != "HEAD" || answered.body.is_empty());
        let metrics = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        let expect = if said.contains("statefun") { metrics } else { "content-type: text/plain; charset=utf-8" };
        assert!(answered.head.contains(expect), "{method} {path}: {}", answered.head);
        assert_eq!(answered.head.contains("allow: get, head"), status == 405, "{}", answered.head);
        assert!(answered.head.contains("connection: close"), "{}", answered.head);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_clients_are_disconnected() {
    let (monitored, _) = starting();
    let started = Instant::now();
    let mut silent = connect(&monitored);
    silent.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.unwrap();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 5);

    let started = Instant::now();
    let mut greedy = connect(&monitored);
    greedy.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // The client can still read what was in the pipe, but not the end of the answer.
    let mut text = String::new();
    greedy.read_to_string(&mut text).await.unwrap();
    assert!(started.elapsed().as_secs() == 60 && !text.contains("# EOF"), "{text}");

    let huge = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(64 << 10));
    let mut client = connect(&monitored);
    let mut answer = Vec::new();
    // The server does not read all of it.
    let _ = client.write_all(huge.as_bytes()).await;
    let _ = client.read_to_end(&mut answer).await;
    assert!(String::from_utf8_lossy(&answer).contains(" 431 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_ready_while_it_reads() {
    let mut scene = Scene::start(None).await;
    let (monitored, shutdown) = starting();
    assert_eq!(get(&monitored, "/readyz").await.status, 503);
    monitored.reading(scene.sources());
    let ready = get(&monitored, "/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    shutdown.cancel();
    let stopping = get(&monitored, "/readyz").await;
    assert!(stopping.status == 503 && stopping.body.starts_with("stopping"), "{}", stopping.body);
    assert_eq!(get(&monitored, "/healthz").await.status, 200);
    scene.stop().await;
    assert!(!get(&monitored, "/metrics").await.body.contains("statefun_checkpoint_age_seconds 0"));
    // The metrics stay available after the end of the run.
    Exposition::read(&get(&monitored, "/metrics").await.body);
}

#[tokio::test(start_paused = true)]
async fn metrics_have_the_numbers_of_the_run() {
    let mut scene = Scene::start(None).await;
    let (monitored, _) = starting();
    monitored.reading(scene.sources());
    scene.put(&["a", "b", "fail", "a"]).await;
    scene.until_done(4).await;

    let text = get(&monitored, "/metrics").await.body;
    let metrics = Exposition::read(&text);
    let orders = r#"ingress="example/orders",stream="arn:aws:kinesis:us-east-1:000000000000:stream/orders""#;
    let results = r#"egress="example/results",stream="arn:aws:kinesis:us-east-1:000000000000:stream/results""#;
    let counter = r#"function="example/counter""#;
    for (sample, value) in [
        ("statefun_ready".to_owned(), 1.0),
        (format!("statefun_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
        (format!("statefun_ingress_reading_info{{{orders},mode=\"polling\"}}"), 1.0),
        (format!("statefun_ingress_records_total{{{orders}}}"), 4.0),
        (format!("statefun_ingress_shards{{{orders}}}"), 1.0),
        (format!("statefun_ingress_behind_latest_seconds{{{orders},shard=\"shardId-000000000000\"}}"), 0.0),
        (format!("statefun_ingress_shard_records_total{{{orders},shard=\"shardId-000000000000\"}}"), 4.0),
        (format!("statefun_ingress_dead_letters_total{{{orders}}}"), 0.0),
        ("statefun_records_taken_total".to_owned(), 4.0),
        ("statefun_messages_routed_total".to_owned(), 8.0),
        ("statefun_records_done_total".to_owned(), 4.0),
        ("statefun_record_latency_seconds_count".to_owned(), 4.0),
        // The counter gets each order from the stream, and a message from each audit.
        (format!("statefun_function_in_total{{{counter}}}"), 8.0),
        ("statefun_function_in_total{function=\"example/audit\"}".to_owned(), 4.0),
        ("statefun_function_out_local_total{function=\"example/audit\"}".to_owned(), 4.0),
        (format!("statefun_function_out_egress_total{{{counter}}}"), 8.0),
        (format!("statefun_function_num_backlog{{{counter}}}"), 0.0),
        (format!("statefun_function_inflight_async_ops{{{counter}}}"), 0.0),
        (format!("statefun_function_remote_invocation_failures_total{{{counter}}}"), 1.0),
        ("statefun_mailbox_messages".to_owned(), 0.0),
        ("statefun_delayed_messages".to_owned(), 0.0),
        ("statefun_unacknowledged_records".to_owned(), 0.0),
        (format!("statefun_egress_records_total{{{results}}}"), 8.0),
        (format!("statefun_egress_given_up_records_total{{{results},handling=\"failed\"}}"), 0.0),
        (format!("statefun_egress_outstanding_records{{{results}}}"), 0.0),
    ] {
        assert_eq!(metrics.value(&sample), value, "{sample}\n{text}");
    }
    // All attempts are counted, also failed ones. Their number depends on the batches of messages.
    let requests = metrics.value(&format!("statefun_function_remote_invocation_latency_seconds_count{{{counter}}}"));
    assert!((3.0..=9.0).contains(&requests), "{requests}");
    assert!(metrics.value(&format!("statefun_ingress_calls_total{{{orders},operation=\"GetRecords\"}}")) >= 1.0);
    assert!(metrics.value(&format!("statefun_egress_requests_total{{{results}}}")) >= 1.0);
    assert!(metrics.value(&format!("statefun_egress_stored_bytes_total{{{results}}}")) >= 8.0);
    scene.stop().await;
}

/// A query such as `increase()` misses the first event of a series that begins with it.
#[tokio::test(start_paused = true)]
async fn every_documented_series_exists_at_the_first_scrape() {
    /// These have no value yet, as their documentation says: nothing was read, and no checkpoint was made.
    const LATER: [&str; 3] = [
        "statefun_ingress_behind_latest_seconds",
        "statefun_ingress_shard_records_total",
        "statefun_checkpoint_age_seconds",
    ];
    /// The keys of this run do not expire.
    const NEVER: &str = "statefun_credentials_expire_in_seconds";
    let disk = MemoryDisk::new();
    let mut scene = Scene::start(Some(&disk)).await;
    let (monitored, _) = starting();
    monitored.reading(scene.sources());
    let first = Exposition::read(&get(&monitored, "/metrics").await.body);
    for family in families() {
        let name = match family.kind {
            Kind::Histogram => format!("{}_count", family.full_name()),
            Kind::Counter(_) | Kind::Gauge(_) | Kind::Info => family.full_name(),
        };
        let is_process = family.section == Section::Process;
        let samples = first.samples(&name);
        let is_missing = LATER.contains(&name.as_str()) || name == NEVER;
        assert!(!samples.is_empty() || is_process || is_missing, "{name} has no sample");
        for (sample, value) in samples {
            assert!(!matches!(family.kind, Kind::Counter(_)) || is_process || value < 5.0, "{sample} is {value}");
        }
    }
    let stream = r#"ingress="example/orders",stream="arn:aws:kinesis:us-east-1:000000000000:stream/orders""#;
    for error in ErrorKind::ALL {
        let name = error.to_string().replace(' ', "_");
        assert_eq!(first.value(&format!("statefun_ingress_retries_total{{{stream},error=\"{name}\"}}")), 0.0);
    }
    for reason in InvalidKind::ALL {
        let reason = reason.as_str();
        assert_eq!(
            first.value(&format!("statefun_ingress_invalid_records_total{{{stream},reason=\"{reason}\"}}")),
            0.0
        );
    }
    for function in ["example/counter", "example/audit"] {
        for name in ["in_total", "out_local_total", "num_backlog", "remote_invocation_failures_total"] {
            assert_eq!(first.value(&format!("statefun_function_{name}{{function=\"{function}\"}}")), 0.0);
        }
        let latency = "statefun_function_remote_invocation_latency_seconds_count";
        assert_eq!(first.value(&format!("{latency}{{function=\"{function}\"}}")), 0.0);
    }

    // What had no value has one soon.
    scene.put(&["a"]).await;
    scene.until_done(1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = Exposition::read(&get(&monitored, "/metrics").await.body);
    for name in LATER {
        assert!(!later.samples(name).is_empty(), "{name} has no sample");
    }
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_checkpoint_is_old_is_not_ready() {
    let disk = MemoryDisk::new();
    let mut scene = Scene::start(Some(&disk)).await;
    let (monitored, shutdown) = starting();
    monitored.reading(scene.sources());
    let first = get(&monitored, "/readyz").await;
    assert!(first.status == 503 && first.body.contains("first checkpoint"), "{}", first.body);
    scene.put(&["a", "b"]).await;
    scene.until_done(2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let metrics = Exposition::read(&get(&monitored, "/metrics").await.body);
    assert!(metrics.value("statefun_checkpoints_total") >= 1.0);
    assert!(metrics.value("statefun_checkpoint_age_seconds") <= 1.0);
    assert!(
        metrics.value("statefun_checkpoint_written_bytes_total") >= metrics.value("statefun_checkpoint_last_bytes")
    );
    assert!(metrics.value("statefun_checkpoint_last_entries") >= 1.0);

    // A run without changes is not stale.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(get(&monitored, "/readyz").await.body, "ready\n");

    disk.set_full(true);
    scene.put(&["a"]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(get(&monitored, "/readyz").await.status, 200);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let stale = get(&monitored, "/readyz").await;
    assert!(
        stale.status == 503 && stale.body.contains("the limit is 13 s; writing checkpoints fails"),
        "{}",
        stale.body
    );
    let metrics = Exposition::read(&get(&monitored, "/metrics").await.body);
    assert_eq!(metrics.value("statefun_ready"), 0.0);
    assert!(metrics.value("statefun_checkpoint_age_seconds") > 13.0);
    assert!(metrics.value("statefun_checkpoint_failures_total") >= 3.0);

    disk.set_full(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(get(&monitored, "/readyz").await.body, "ready\n");
    shutdown.cancel();
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_metric_contains_an_address() {
    let mut scene = Scene::start(None).await;
    let (monitored, _) = starting();
    monitored.reading(scene.sources());
    scene.put(&["a-customer", "another-customer"]).await;
    scene.until_done(2).await;
    let text = get(&monitored, "/metrics").await.body;
    assert!(!text.contains("customer"), "{text}");
    scene.stop().await;
}
