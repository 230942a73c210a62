//! The world around a client in a process of its own: its home, its environment, and one server for Kinesis and for all
//! that gives credentials.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws_smithy_types::date_time::{DateTime, Format};
use serde_json::{Value, json};
use statefun_kinesis_client::{Clock, ErrorKind, KinesisClient};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, ErrorChain, Secret, Timestamp};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::sources::{Source, Trouble};
use crate::{
    AwsKinesis,
    loopback::{Answer, Loopback, Request},
};

/// How long keys are good.
pub(super) const LIFETIME: Duration = Duration::from_secs(3_600);

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";
const SECRET: &str = "hunter2";

/// Tells a process that this test started what to do.
pub(super) const CONTROL: &str = "STATEFUN_KINESIS_AWS_TEST_CONTROL";
const SOURCE: &str = "STATEFUN_KINESIS_AWS_TEST_SOURCE";

/// What the server and the test know.
#[derive(Default)]
struct Shared {
    source: Option<Source>,
    trouble: Option<Trouble>,
    /// The number of the keys that the source gives.
    number: u32,
    /// How far the clock of the client is ahead.
    ahead: Duration,
    /// Keys that Kinesis rejects.
    rejected: Option<String>,
    /// The keys that signed the last call.
    signed: Option<String>,
}

impl Shared {
    fn key(&self) -> String {
        format!("AKIDNUMBER{}", self.number)
    }

    /// When keys that are given now expire.
    fn expires(&self) -> DateTime {
        DateTime::from(SystemTime::now() + self.ahead + LIFETIME)
    }

    fn expires_text(&self) -> String {
        self.expires().fmt(Format::DateTime).unwrap()
    }

    /// Keys as a container, an instance and a program give them.
    fn json(&self) -> String {
        json!({
            "Version": 1, "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": self.key(), "SecretAccessKey": SECRET,
            "Token": "t", "SessionToken": "t", "Expiration": self.expires_text(), "LastUpdated": "2026-01-01T00:00:00Z",
        })
        .to_string()
    }

    fn kinesis(&mut self, request: &Request) -> Answer {
        let key = request.key().to_owned();
        let is_rejected = self.rejected.as_ref() == Some(&key);
        self.signed = Some(key);
        if is_rejected {
            return Answer::status(400, json!({"__type": "ExpiredTokenException", "message": "expired"}).to_string());
        }
        let summary = json!({
            "StreamName": "orders", "StreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/orders",
            "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1_776_902_400,
            "EnhancedMonitoring": [], "OpenShardCount": 1,
        });
        Answer::ok(json!({ "StreamDescriptionSummary": summary }).to_string())
    }

    /// The answer of what gives credentials.
    fn source(&self, request: &Request) -> Answer {
        match self.trouble {
            Some(Trouble::Unreachable) => return Answer::Close,
            Some(Trouble::Fails) => return fails(request),
            Some(Trouble::Refuses) => return refuses(request),
            // IAM Identity Center knows of old sessions; newer ones have the time in their file.
            Some(Trouble::Expired) if request.target == "/" => {
                return sts_error(400, "ExpiredTokenException", "Token expired");
            }
            Some(Trouble::Expired) if self.source == Some(Source::SsoStartUrl) => return refuses(request),
            Some(Trouble::FileGone | Trouble::Expired) | None => {}
        }
        let body = String::from_utf8_lossy(&request.body);
        match request.target.as_str() {
            "/container" => Answer::ok(self.json()),
            "/latest/api/token" => {
                let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned());
                Answer::Http(200, vec![lifetime], b"token".to_vec())
            }
            "/latest/meta-data/iam/security-credentials/" => Answer::ok("reader"),
            "/latest/meta-data/iam/security-credentials/reader" => Answer::ok(self.json()),
            target if target.starts_with("/federation/credentials?") => {
                let expires = self.expires().to_millis().unwrap();
                let keys = json!({"accessKeyId": self.key(), "secretAccessKey": SECRET, "sessionToken": "t", "expiration": expires});
                Answer::ok(json!({ "roleCredentials": keys }).to_string())
            }
            "/" if body.contains("Action=AssumeRoleWithWebIdentity") => self.role("AssumeRoleWithWebIdentity"),
            "/" if body.contains("Action=AssumeRole") => self.role("AssumeRole"),
            other => panic!("no source of credentials is at {other}: {body}"),
        }
    }

    /// A role of STS.
    fn role(&self, operation: &str) -> Answer {
        let (key, expires) = (self.key(), self.expires_text());
        Answer::ok(format!(
            "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{operation}Result><Credentials>\
             <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>{expires}</Expiration></Credentials></{operation}Result></{operation}Response>"
        ))
    }
}

/// The error of a service, as STS and IAM Identity Center write one.
fn fails(request: &Request) -> Answer {
    match request.target.as_str() {
        "/" => sts_error(500, "InternalFailure", "the vault is sealed"),
        _ => Answer::status(500, json!({"message": "the vault is sealed"}).to_string()),
    }
}

/// The same for a role that is not given.
fn refuses(request: &Request) -> Answer {
    if request.target == "/" {
        return sts_error(403, "AccessDenied", "not your role");
    }
    let code = ("x-amzn-errortype", "UnauthorizedException".to_owned());
    Answer::Http(401, vec![code], json!({"message": "the session has ended"}).to_string().into_bytes())
}

fn sts_error(status: u16, code: &str, message: &str) -> Answer {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer::status(status, format!("<ErrorResponse>{error}</ErrorResponse>"))
}

/// What came of a call in the other process.
#[derive(Debug)]
pub(super) struct Called {
    /// The keys that signed the call, or why there was none.
    pub(super) outcome: Result<String, (ErrorKind, String)>,
    /// Failed loads so far.
    pub(super) failures: u64,
    pub(super) is_failing: bool,
}

/// A client in a process of its own, and its source of credentials.
pub(super) struct Stage {
    source: Source,
    home: TempDir,
    shared: Arc<Mutex<Shared>>,
    process: Child,
    control: BufReader<TcpStream>,
    _server: Loopback,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Stage {
    /// Starts the process with a source in this state, by repeating the test with this name.
    pub(super) async fn new(source: Source, test: &str, trouble: Option<Trouble>) -> Self {
        let shared = Arc::new(Mutex::new(Shared { source: Some(source), number: 1, ..Shared::default() }));
        let state = Arc::clone(&shared);
        let server = Loopback::start(move |request| {
            let mut state = state.lock().unwrap();
            if request.operation().is_empty() { state.source(request) } else { state.kinesis(request) }
        })
        .await;
        let home = tempfile::tempdir().unwrap();
        write_home(home.path(), source);
        write_keys(home.path(), source, &shared.lock().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env(CONTROL, listener.local_addr().unwrap().to_string())
            .env(SOURCE, format!("{source:?}"))
            .envs(environment(source, home.path(), &server))
            .stdout(Stdio::null())
            .current_dir(home.path())
            .spawn()
            .unwrap();
        let accepted = tokio::time::timeout(Duration::from_secs(60), listener.accept()).await;
        let (stream, _) = accepted.expect("the process has to start").unwrap();
        let mut stage = Self { source, home, shared, process, control: BufReader::new(stream), _server: server };
        if let Some(trouble) = trouble {
            stage.trouble(trouble);
        }
        // The client is built before the trouble, as one is that was started in time.
        stage.command("start").await;
        stage
    }

    /// From now on the source fails like this.
    pub(super) fn trouble(&mut self, trouble: Trouble) {
        self.shared.lock().unwrap().trouble = Some(trouble);
        let file = |name: &str| self.home.path().join(name);
        match trouble {
            Trouble::Unreachable | Trouble::Refuses => {}
            Trouble::Fails => {
                if self.source == Source::Process {
                    fs::remove_file(file("keys.json")).unwrap();
                }
            }
            Trouble::Expired => {
                if self.source == Source::SsoSession {
                    fs::write(file(self.source.file().unwrap()), sso_token("2020-01-01T00:00:00Z")).unwrap();
                }
            }
            Trouble::FileGone => fs::remove_file(file(self.source.file().unwrap())).unwrap(),
        }
    }

    /// From now on the source gives new keys, whose name is returned.
    pub(super) fn give_new_keys(&mut self) -> String {
        let mut shared = self.shared.lock().unwrap();
        shared.trouble = None;
        shared.number += 1;
        write_keys(self.home.path(), self.source, &shared);
        shared.key()
    }

    /// Kinesis rejects these keys from now on.
    pub(super) fn reject(&mut self, key: &str) {
        self.shared.lock().unwrap().rejected = Some(key.to_owned());
    }

    pub(super) fn accept_all(&mut self) {
        self.shared.lock().unwrap().rejected = None;
    }

    /// Moves the clock of the client forward.
    pub(super) async fn advance(&mut self, time: Duration) {
        self.shared.lock().unwrap().ahead += time;
        self.command(&format!("advance {}", time.as_secs())).await;
    }

    /// Makes a call of Kinesis.
    pub(super) async fn call(&mut self) -> Called {
        self.shared.lock().unwrap().signed = None;
        let told = self.command("call").await;
        let outcome = match told["kind"].as_str() {
            None => Ok(self.shared.lock().unwrap().signed.clone().unwrap()),
            Some(name) => {
                let kind = ErrorKind::ALL.into_iter().find(|kind| format!("{kind:?}") == name).unwrap();
                Err((kind, told["chain"].as_str().unwrap().to_owned()))
            }
        };
        Called { outcome, failures: told["failures"].as_u64().unwrap(), is_failing: told["failing"] == true }
    }

    async fn command(&mut self, command: &str) -> Value {
        self.control.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(90), self.control.read_line(&mut line)).await;
        read.unwrap_or_else(|_| panic!("{:?}: no answer to {command}", self.source)).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{:?}: the process ended at {command}", self.source))
    }
}

/// The files of a source that do not change.
fn write_home(home: &Path, source: Source) {
    let script = home.join("keys.sh");
    let profile = match source {
        Source::Process => format!("[profile p]\ncredential_process = sh {}\n", script.display()),
        Source::SsoSession => "[profile p]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = reader\n\
                               [sso-session s]\nsso_region = us-east-1\nsso_start_url = https://sso.test/start\n"
            .to_owned(),
        Source::SsoStartUrl => "[profile p]\nsso_account_id = 123456789012\nsso_role_name = reader\n\
                                sso_region = us-east-1\nsso_start_url = https://sso.test/start\n"
            .to_owned(),
        Source::ProfileRole => format!(
            "[profile p]\nrole_arn = {ROLE}\nsource_profile = base\n\
             [profile base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = {SECRET}\n"
        ),
        Source::Basic
        | Source::Environment
        | Source::ProfileKeys
        | Source::WebIdentity
        | Source::ChainWebIdentity
        | Source::AssumeRole
        | Source::Container
        | Source::Instance => String::new(),
    };
    fs::create_dir_all(home.join(".aws/sso/cache")).unwrap();
    fs::write(home.join(".aws/config"), profile).unwrap();
    fs::write(script, "cat keys.json 2> no-keys || { echo 'the vault is sealed' >&2; exit 1; }\n").unwrap();
}

/// The files of a source that give its keys.
fn write_keys(home: &Path, source: Source, shared: &Shared) {
    let content = match source {
        Source::ProfileKeys => {
            format!("[p]\naws_access_key_id = {}\naws_secret_access_key = {SECRET}\n", shared.key())
        }
        Source::Process => shared.json(),
        Source::SsoSession | Source::SsoStartUrl => sso_token("2099-01-01T00:00:00Z"),
        Source::WebIdentity | Source::ChainWebIdentity => "jwt".to_owned(),
        Source::Basic
        | Source::Environment
        | Source::AssumeRole
        | Source::ProfileRole
        | Source::Container
        | Source::Instance => return,
    };
    let file = if source == Source::Process { "keys.json" } else { source.file().unwrap() };
    fs::write(home.join(file), content).unwrap();
}

/// What `aws sso login` writes.
fn sso_token(expires: &str) -> String {
    let url = "https://sso.test/start";
    json!({"accessToken": "sso-token", "expiresAt": expires, "region": "us-east-1", "startUrl": url}).to_string()
}

/// The variables of a source.
fn environment(source: Source, home: &Path, server: &Loopback) -> Vec<(&'static str, String)> {
    let mut variables = vec![("AWS_ENDPOINT_URL_STS", server.url()), ("AWS_ENDPOINT_URL_SSO", server.url())];
    variables.push(("STATEFUN_KINESIS_AWS_TEST_ENDPOINT", server.url()));
    match source {
        Source::Environment | Source::AssumeRole => variables
            .extend([("AWS_ACCESS_KEY_ID", "AKIDNUMBER1".to_owned()), ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned())]),
        Source::ChainWebIdentity => variables.extend([
            ("AWS_ROLE_ARN", ROLE.to_owned()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", home.join("token").display().to_string()),
        ]),
        Source::Container => {
            variables.push(("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/container", server.url())))
        }
        Source::Instance => variables.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url())),
        Source::Basic
        | Source::ProfileKeys
        | Source::Process
        | Source::SsoSession
        | Source::SsoStartUrl
        | Source::WebIdentity
        | Source::ProfileRole => {}
    }
    if source != Source::Instance {
        variables.push(("AWS_EC2_METADATA_DISABLED", "true".to_owned()));
    }
    variables
}

/// What a module file says for a source.
pub(super) fn configured(source: Source, home: &Path) -> AwsCredentials {
    let profile = || AwsCredentials::Profile { name: "p".to_owned(), path: None };
    match source {
        Source::Basic => AwsCredentials::Basic {
            access_key_id: Secret::new("AKIDNUMBER1"),
            secret_access_key: Secret::new(SECRET),
            session_token: None,
        },
        Source::ProfileKeys | Source::Process | Source::SsoSession | Source::SsoStartUrl | Source::ProfileRole => {
            profile()
        }
        Source::WebIdentity => AwsCredentials::WebIdentity {
            role_arn: ROLE.to_owned(),
            token_file: home.join("token"),
            session_name: None,
        },
        Source::AssumeRole => {
            AwsCredentials::AssumeRole { role_arn: ROLE.to_owned(), session_name: None, external_id: None }
        }
        Source::Environment | Source::ChainWebIdentity | Source::Container | Source::Instance => {
            AwsCredentials::Default
        }
    }
}

/// A clock that is ahead of this machine's.
#[derive(Debug, Default)]
struct Ahead(Mutex<Duration>);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp::now().after(*self.0.lock().unwrap())
    }
}

/// The other process: it does what it is told over a connection, until that ends.
pub(super) async fn obey(control: &str) {
    let home = std::env::current_dir().unwrap();
    let name = std::env::var(SOURCE).unwrap();
    let source = *Source::ALL.iter().find(|source| format!("{source:?}") == name).unwrap();
    let endpoint = std::env::var("STATEFUN_KINESIS_AWS_TEST_ENDPOINT").unwrap();
    let clock = Arc::new(Ahead::default());
    let region = AwsRegion::CustomEndpoint { endpoint, id: "us-east-1".to_owned() };
    let mut builder = AwsKinesis::builder().region(region).credentials(configured(source, &home));
    builder.clock = Arc::clone(&clock) as Arc<_>;
    let client = builder.build().await.unwrap();
    let stream = "orders".parse().unwrap();

    let mut control = BufReader::new(TcpStream::connect(control).await.unwrap());
    let mut line = String::new();
    while control.read_line(&mut line).await.is_ok_and(|length| length > 0) {
        let mut told = json!({});
        if let Some(seconds) = line.trim().strip_prefix("advance ") {
            *clock.0.lock().unwrap() += Duration::from_secs(seconds.parse().unwrap());
        } else if line.trim() == "call"
            && let Err(error) = client.describe_stream_summary(&stream).await
        {
            told = json!({"kind": format!("{:?}", error.kind()), "chain": ErrorChain(&error).to_string()});
        }
        let status = client.credentials().unwrap();
        told["failures"] = status.failures.into();
        told["failing"] = status.failing_since.is_some().into();
        if control.write_all(format!("{told}\n").as_bytes()).await.is_err() {
            return;
        }
        line.clear();
    }
}
