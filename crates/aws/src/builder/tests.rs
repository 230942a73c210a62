use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use statefun_kinesis_client::{ErrorKind, KinesisClient};
use statefun_kinesis_types::{ErrorChain, Secret};

use super::*;
use crate::replay::{Asked, Replay, Reply};

fn basic() -> AwsCredentials {
    AwsCredentials::Basic {
        access_key_id: Secret::new("AKIDBASIC"),
        secret_access_key: Secret::new("hunter2"),
        session_token: None,
    }
}

fn specific(id: &str) -> AwsRegion {
    AwsRegion::Specific { id: id.to_owned() }
}

fn custom(endpoint: &str) -> AwsRegion {
    AwsRegion::CustomEndpoint { endpoint: endpoint.to_owned(), id: "us-east-1".to_owned() }
}

/// Where a client sends its requests, and as whom, or why there is none.
async fn report(builder: AwsKinesisBuilder, replies: Vec<Reply>) -> String {
    let replay = Replay::new(replies);
    let mut builder = builder;
    builder.http_client = Some(replay.http_client());
    let client = match builder.build().await {
        Ok(client) => client,
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            return format!("{error}\n{source}");
        }
    };
    let at_build = replay.asked().len();
    let mut report = format!("{at_build} requests at build\n");
    let error = client.describe_stream_summary(&"orders".parse().unwrap()).await.unwrap_err();
    assert!(replay.asked().len() <= at_build + 1, "one call is one request, at most");
    match replay.asked().get(at_build) {
        Some(asked) => {
            let scope = asked.headers["authorization"].split("Credential=").nth(1).unwrap_or_default();
            let scope: Vec<&str> = scope.split(',').next().unwrap_or_default().split('/').collect();
            // The date stands between the key and the region.
            let _ = writeln!(report, "{} as {} in {}", asked.uri, scope[0], scope[2]);
        }
        None => {
            let _ = writeln!(report, "{error}");
        }
    }
    assert!(!format!("{client:?}{error:?}").contains("hunter2"), "secrets are never printed");
    report
}

fn end() -> Vec<Reply> {
    vec![Reply::error(500, "InternalFailure")]
}

#[tokio::test]
async fn a_custom_endpoint_is_where_requests_go() {
    for (builder, expect) in [
        (
            AwsKinesis::builder().region(custom("http://localstack.svc:4566")).credentials(basic()),
            "http://localstack.svc:4566/ as AKIDBASIC in us-east-1",
        ),
        (
            AwsKinesis::builder().region(custom("https://kinesis.test")).credentials(basic()),
            "https://kinesis.test/ as AKIDBASIC in us-east-1",
        ),
        (
            AwsKinesis::builder()
                .region(custom("http://localstack.svc:4566"))
                .endpoint_url("http://127.0.0.1:4567")
                .credentials(basic()),
            "http://127.0.0.1:4567/ as AKIDBASIC in us-east-1",
        ),
        (
            AwsKinesis::builder().region(specific("eu-west-3")).endpoint_url("http://[::1]:4567").credentials(basic()),
            "http://[::1]:4567/ as AKIDBASIC in eu-west-3",
        ),
    ] {
        let report = report(builder, end()).await;
        assert!(report.starts_with("0 requests at build"), "{report}");
        assert!(report.contains(expect), "{report}");
    }
}

#[tokio::test]
async fn two_clients_of_one_process_are_strangers() {
    let (one, other) = (Replay::new(end()), Replay::new(end()));
    let mut builders = [
        AwsKinesis::builder().region(specific("eu-west-1")).credentials(basic()),
        AwsKinesis::builder().region(specific("us-west-2")).credentials(AwsCredentials::Basic {
            access_key_id: Secret::new("AKIDOTHER"),
            secret_access_key: Secret::new("s"),
            session_token: None,
        }),
    ];
    builders[0].http_client = Some(one.http_client());
    builders[1].http_client = Some(other.http_client());
    let [first, second] = builders;
    let (first, second) = (first.build().await.unwrap(), second.build().await.unwrap());
    let stream = "orders".parse().unwrap();
    let _ = tokio::join!(first.describe_stream_summary(&stream), second.describe_stream_summary(&stream));
    for (replay, key, region) in [(one, "AKIDBASIC", "eu-west-1"), (other, "AKIDOTHER", "us-west-2")] {
        let asked = replay.asked();
        assert_eq!(asked.len(), 1);
        let authorization = &asked[0].headers["authorization"];
        assert!(authorization.contains(&format!("Credential={key}/")), "{authorization}");
        assert!(authorization.contains(&format!("/{region}/kinesis/")), "{authorization}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_when_its_time_is_up() {
    for (timeout, seconds) in [(None, 60), (Some(Duration::from_secs(5)), 5)] {
        let replay = Replay::new([Reply::Never]);
        let mut builder = AwsKinesis::builder().region(custom("http://localhost:4566")).credentials(basic());
        builder.http_client = Some(replay.http_client());
        if let Some(timeout) = timeout {
            builder = builder.operation_timeout(timeout);
        }
        let client = builder.build().await.unwrap();
        let started = tokio::time::Instant::now();
        let error = client.describe_stream_summary(&"orders".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert_eq!((started.elapsed().as_secs(), replay.asked().len()), (seconds, 1));
    }
}

#[tokio::test]
async fn a_wrong_endpoint_or_region_is_refused_at_once() {
    for (region, says) in [
        (custom("localhost:4566"), "must start with http://"),
        (custom("ftp://localhost"), "must start with http://"),
        (custom(""), "must start with http://"),
        (custom("http://"), "names no host"),
        (custom("http://:4566"), "names no host"),
        (custom("http://user:pass@host"), "no place"),
        (custom("http://host:0"), "port"),
        (custom("http://host:66000"), "port"),
        (custom("http://host:http"), "port"),
        (custom("http://a host"), "characters"),
        (custom("http://host/?a=b"), "characters"),
        (specific(""), "not the id of an AWS region"),
        (specific("US East (N. Virginia)"), "not the id of an AWS region"),
        (AwsRegion::CustomEndpoint { endpoint: "http://h".into(), id: "a b".into() }, "not the id"),
    ] {
        let shown = format!("{region:?}");
        let report = report(AwsKinesis::builder().region(region).credentials(basic()), end()).await;
        assert!(report.contains(says), "{shown}: {report}");
    }
    let report = report(AwsKinesis::builder().region(specific("a-1")).endpoint_url("localhost"), end()).await;
    assert!(report.contains("`localhost` is not an endpoint"), "{report}");
}

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

/// STS gives a role.
fn role_given(operation: &str) -> Reply {
    let body = format!(
        "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{operation}Result><Credentials>\
         <AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey>\
         <SessionToken>token-of-the-role</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
         </{operation}Result></{operation}Response>"
    );
    Reply::Http(200, vec![], body)
}

/// STS refuses a role.
fn role_refused(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>r</RequestId></ErrorResponse>"
    );
    Reply::Http(status, vec![], body)
}

/// A file with a token, which is removed with it.
struct TokenFile(PathBuf);

impl TokenFile {
    fn new(token: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("statefun-kinesis-token-{}-{number}", std::process::id()));
        fs::write(&file, token).unwrap();
        Self(file)
    }

    fn credentials(&self, session_name: Option<&str>) -> AwsCredentials {
        AwsCredentials::WebIdentity {
            role_arn: ROLE.to_owned(),
            token_file: self.0.clone(),
            session_name: session_name.map(str::to_owned),
        }
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes one call with these credentials, at an endpoint that is Kinesis' own; gives all requests and the error.
async fn describe(credentials: AwsCredentials, replies: Vec<Reply>) -> (Vec<Asked>, statefun_kinesis_client::Error) {
    let replay = Replay::new(replies);
    let mut builder = AwsKinesis::builder().region(custom("http://kinesis.vpc.test")).credentials(credentials);
    builder.http_client = Some(replay.http_client());
    let client = builder.build().await.unwrap();
    assert!(replay.asked().is_empty(), "building a client uses no network");
    let error = client.describe_stream_summary(&"orders".parse().unwrap()).await.unwrap_err();
    (replay.asked(), error)
}

#[tokio::test]
async fn a_session_token_goes_with_its_keys() {
    let credentials = AwsCredentials::Basic {
        access_key_id: Secret::new("ASIATEMPORARY"),
        secret_access_key: Secret::new("hunter2"),
        session_token: Some(Secret::new("token-of-the-session")),
    };
    let (asked, _) = describe(credentials, end()).await;
    assert_eq!(asked[0].headers["x-amz-security-token"], "token-of-the-session");
    assert!(asked[0].headers["authorization"].contains("Credential=ASIATEMPORARY/"));
}

#[tokio::test]
async fn a_web_identity_is_exchanged_for_a_role() {
    for (session_name, sent) in [(Some("nightly"), "nightly"), (None, "statefun-kinesis")] {
        let file = TokenFile::new("jwt-from-the-file");
        let replies = vec![role_given("AssumeRoleWithWebIdentity"), Reply::error(500, "InternalFailure")];
        let (asked, _) = describe(file.credentials(session_name), replies).await;
        assert_eq!(asked[0].uri, "https://sts.us-east-1.amazonaws.com/", "the endpoint is not one of STS");
        for part in [
            "Action=AssumeRoleWithWebIdentity",
            "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Freader",
            "WebIdentityToken=jwt-from-the-file",
            &format!("RoleSessionName={sent}"),
        ] {
            assert!(asked[0].text.contains(part), "{part}: {}", asked[0].text);
        }
        assert_eq!(asked[1].uri, "http://kinesis.vpc.test/");
        assert!(asked[1].headers["authorization"].contains("Credential=AKIDROLE/"));
        assert_eq!(asked[1].headers["x-amz-security-token"], "token-of-the-role");
    }
}

#[tokio::test]
async fn a_role_that_is_not_given_says_what_to_do() {
    /// What STS answers, and what the error is and says.
    type Case = (fn() -> Vec<Reply>, ErrorKind, &'static [&'static str]);
    let cases: [Case; 6] = [
        (
            || vec![role_refused(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")],
            ErrorKind::AccessDenied,
            &["Not authorized to perform sts:AssumeRoleWithWebIdentity", "trust policy", "(AccessDenied)"],
        ),
        (
            || vec![role_refused(400, "ExpiredTokenException", "Token expired at 7")],
            ErrorKind::AccessDenied,
            &["Token expired at 7", "see that its file is renewed"],
        ),
        (
            || vec![role_refused(400, "InvalidIdentityToken", "No OpenIDConnect provider found")],
            ErrorKind::AccessDenied,
            &["No OpenIDConnect provider found", "identity provider"],
        ),
        (
            || (0..5).map(|_| role_refused(500, "InternalFailure", "later")).collect(),
            ErrorKind::Unavailable,
            &["later"],
        ),
        (|| (0..5).map(|_| role_refused(400, "Throttling", "slowly")).collect(), ErrorKind::Throttled, &["slowly"]),
        (Vec::new, ErrorKind::Unavailable, &["STS could not be asked for the role"]),
    ];
    for (replies, kind, says) in cases {
        let file = TokenFile::new("jwt-from-the-file");
        let (asked, error) = describe(file.credentials(None), replies()).await;
        assert!(asked.iter().all(|asked| asked.uri.starts_with("https://sts.")), "{asked:?}");
        let chain = ErrorChain(&error).to_string();
        assert_eq!(error.kind(), kind, "{chain}");
        for says in says {
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
        let file = file.0.display();
        let role = format!("the role {ROLE} could not be taken on with the web identity token in `{file}`");
        assert!(chain.contains(&role), "{chain}");
        assert!(!chain.contains("jwt-from-the-file"), "the token is a secret: {chain}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_there_is_missed_at_once_and_later() {
    let file = TokenFile::new(" \n");
    let report = report(AwsKinesis::builder().region(specific("a-1")).credentials(file.credentials(None)), end());
    let report = report.await;
    assert!(report.contains("cannot be read from") && report.contains("the file is empty"), "{report}");

    let file = TokenFile::new("jwt");
    let mut builder = AwsKinesis::builder().region(specific("a-1")).credentials(file.credentials(None));
    builder.http_client = Some(Replay::new(end()).http_client());
    let client = builder.clone().build().await.unwrap();
    drop(file);
    let error = client.describe_stream_summary(&"orders".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{}", ErrorChain(&error));
    assert!(error.to_string().contains("mount it where `tokenFile` or AWS_WEB_IDENTITY_TOKEN_FILE says"), "{error}");
    let error = builder.build().await.unwrap_err();
    assert!(error.to_string().contains("statefun-kinesis-token-"), "{error}");
    assert!(error.to_string().contains("mount it there"), "{error}");
}

#[tokio::test]
async fn connections_can_be_bounded() {
    let builder = AwsKinesis::builder().region(custom("http://127.0.0.1:9")).credentials(basic());
    let client = builder.max_connections(NonZeroU32::MIN).build().await.unwrap();
    let error = client.describe_stream_summary(&"orders".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "nobody listens at the discard port: {}", ErrorChain(&error));
}

/// Names the file to which a process that this test started writes its report, and the client that it builds.
const REPORT: &str = "STATEFUN_KINESIS_AWS_TEST_REPORT";
const CLIENT: &str = "STATEFUN_KINESIS_AWS_TEST_CLIENT";

/// The report of a process whose environment holds nothing but these variables, and whose home holds these files.
fn in_environment(client: &str, variables: &[(&str, &str)], files: &[(&str, &str)]) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let unique = format!("statefun-kinesis-aws-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let home = std::env::temp_dir().join(unique);
    for (name, content) in files {
        let file = home.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    fs::create_dir_all(&home).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "builder::tests::the_environment_fills_in_what_is_left_open"])
        .env_clear()
        .env("HOME", &home)
        .env("USERPROFILE", &home)
        .env(REPORT, home.join("report"))
        .env(CLIENT, client)
        .envs(variables.iter().copied())
        .current_dir(&home)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let report = fs::read_to_string(home.join("report")).unwrap();
    fs::remove_dir_all(home).unwrap();
    report
}

async fn write_report(path: &Path) {
    let builder = AwsKinesis::builder();
    let profile =
        |name: &str, path: Option<&str>| AwsCredentials::Profile { name: name.to_owned(), path: path.map(Into::into) };
    let builder = match std::env::var(CLIENT).unwrap().as_str() {
        "default" => builder,
        "instance" => builder.ask_instance_for_region(true),
        "specific" => builder.region(specific("eu-west-1")),
        "china" => builder.region(specific("cn-north-1")).credentials(basic()),
        "custom" => builder.region(custom("http://localhost:4566")),
        "profile" => builder.credentials(profile("team", None)),
        "profile with region" => builder.region(specific("eu-west-1")).credentials(profile("team", None)),
        "profile in file" => builder.credentials(profile("team", Some("elsewhere"))),
        "role" | "role without session" => return write_role_report(path).await,
        other => panic!("{other}"),
    };
    let mut replies = Vec::new();
    if std::env::var(CLIENT).unwrap() == "instance" {
        let ttl = vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600")];
        replies.push(Reply::Http(200, ttl, "token".to_owned()));
        replies.push(Reply::Http(200, vec![], "eu-north-1".to_owned()));
    }
    replies.extend(end());
    fs::write(path, report(builder, replies).await).unwrap();
}

/// What went to STS and to Kinesis, or why nothing did.
async fn write_role_report(path: &Path) {
    let named = std::env::var(CLIENT).unwrap() == "role";
    let credentials = AwsCredentials::AssumeRole {
        role_arn: ROLE.to_owned(),
        session_name: named.then(|| "nightly".to_owned()),
        external_id: named.then(|| Secret::new("id-of-the-owner")),
    };
    let replies = vec![role_given("AssumeRole"), Reply::error(500, "InternalFailure")];
    let (asked, error) = describe(credentials, replies).await;
    let mut report = String::new();
    for asked in asked {
        let key = asked.headers["authorization"].split("Credential=").nth(1).unwrap().split('/').next().unwrap();
        let _ = writeln!(report, "{} as {key}: {}", asked.uri, asked.text);
    }
    let _ = writeln!(report, "{:?}: {}", error.kind(), ErrorChain(&error));
    fs::write(path, report).unwrap();
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
const NO_INSTANCE: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

/// Environment variables belong to a process, so each case is one: this test again, with a report to write.
#[tokio::test]
async fn the_environment_fills_in_what_is_left_open() {
    if let Some(path) = std::env::var_os(REPORT) {
        return write_report(Path::new(&path)).await;
    }
    #[track_caller]
    fn check(client: &str, variables: &[(&str, &str)], files: &[(&str, &str)], expect: &str) {
        let report = in_environment(client, variables, files);
        assert!(report.contains(expect), "{client} with {variables:?} and {files:?} gave {report}");
        let no_network = report.starts_with("0 requests at build") || !report.contains("at build");
        assert!(no_network || client == "instance", "{report}");
    }
    #[track_caller]
    fn check_role(client: &str, variables: &[(&str, &str)], expect: &str) {
        let report = in_environment(client, variables, &[]);
        assert!(report.contains(expect), "{client} with {variables:?} gave {report}");
    }
    let region = ("AWS_REGION", "sa-east-1");
    let credentials_file = (
        ".aws/credentials",
        "[default]\naws_access_key_id = AKIDFILE\naws_secret_access_key = s\n\
         [team]\naws_access_key_id = AKIDTEAM\naws_secret_access_key = s\n",
    );
    let config_file = (".aws/config", "[default]\nregion = eu-south-1\n[profile team]\nregion = eu-south-2\n");

    // The default chain: environment before files.
    check("default", &[region, KEYS[0], KEYS[1]], &[], "https://kinesis.sa-east-1.amazonaws.com/ as AKIDENV");
    check("default", &[], &[credentials_file, config_file], "kinesis.eu-south-1.amazonaws.com/ as AKIDFILE");
    check("default", &[region], &[credentials_file, config_file], "sa-east-1.amazonaws.com/ as AKIDFILE");
    let profile = ("AWS_PROFILE", "team");
    check("default", &[profile], &[credentials_file, config_file], "eu-south-2.amazonaws.com/ as AKIDTEAM");
    // What the module file says wins.
    check("specific", &[region, KEYS[0], KEYS[1]], &[config_file], "kinesis.eu-west-1.amazonaws.com/ as AKIDENV");
    check("china", &KEYS, &[], "https://kinesis.cn-north-1.amazonaws.com.cn/ as AKIDBASIC in cn-north-1");
    let endpoint = ("AWS_ENDPOINT_URL", "http://proxy.test:1");
    check("specific", &[endpoint, KEYS[0], KEYS[1]], &[], "http://proxy.test:1/ as AKIDENV in eu-west-1");
    let fips = ("AWS_USE_FIPS_ENDPOINT", "true");
    check("custom", &[endpoint, fips, KEYS[0], KEYS[1]], &[], "http://localhost:4566/ as AKIDENV in us-east-1");
    // A profile: neither keys nor another profile of the environment come before it.
    let all = [credentials_file, config_file];
    check("profile", &[KEYS[0], KEYS[1]], &all, "kinesis.eu-south-2.amazonaws.com/ as AKIDTEAM");
    check("profile", &[region], &all, "kinesis.sa-east-1.amazonaws.com/ as AKIDTEAM");
    check("profile with region", &[region], &all, "kinesis.eu-west-1.amazonaws.com/ as AKIDTEAM");
    for content in [
        "[team]\nregion = eu-north-1\naws_access_key_id = AKIDELSE\naws_secret_access_key = s\n",
        "[profile team]\nregion = eu-north-1\naws_access_key_id = AKIDELSE\naws_secret_access_key = s\n",
    ] {
        check(
            "profile in file",
            &[],
            &[credentials_file, ("elsewhere", content)],
            "eu-north-1.amazonaws.com/ as AKIDELSE",
        );
    }
    let local = "[profile team]\nregion = us-east-2\nendpoint_url = http://localhost:4566\n";
    check(
        "profile",
        &[],
        &[credentials_file, (".aws/config", local)],
        "http://localhost:4566/ as AKIDTEAM in us-east-2",
    );
    // The instance is asked only where it may be, and last.
    check("instance", &[KEYS[0], KEYS[1]], &[], "kinesis.eu-north-1.amazonaws.com/ as AKIDENV");
    check("instance", &[region, KEYS[0], KEYS[1]], &[], "0 requests at build");
    // A role is asked for with what the default chain finds, at STS and not at the endpoint of Kinesis.
    for expect in [
        "https://sts.us-east-1.amazonaws.com/ as AKIDENV: Action=AssumeRole&",
        "&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Freader&RoleSessionName=nightly",
        "&ExternalId=id-of-the-owner",
        "http://kinesis.vpc.test/ as AKIDROLE: ",
    ] {
        check_role("role", &KEYS, expect);
    }
    check_role("role without session", &KEYS, "&RoleSessionName=statefun-kinesis");
    let local = [KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL_STS", "http://localhost:4566")];
    check_role("role", &local, "http://localhost:4566/ as AKIDENV");
    check_role("role", &[NO_INSTANCE], "AccessDenied: DescribeStreamSummary failed: access denied");
    check_role("role", &[NO_INSTANCE], "no AWS credentials were found to assume the role; set");
    check_role("role", &[NO_INSTANCE], ROLE);
    // What is missing is said.
    check("default", &[KEYS[0], KEYS[1]], &[], "no AWS region was found; set AWS_REGION");
    check("instance", &[NO_INSTANCE], &[], "no AWS region was found; set AWS_REGION");
    check("default", &[region, NO_INSTANCE], &[], "no AWS credentials were found; set AWS_ACCESS_KEY_ID");
    check("profile", &[], &[], "there is no profile `team` in ~/.aws/config and ~/.aws/credentials");
    check("profile", &[], &[], "there are none at all; `aws configure` makes one");
    check("profile", &[], &[(".aws/config", "[profile other]\nregion = a-1\n")], "; found there: other");
    check("profile in file", &[], &[], "the profiles in `elsewhere` cannot be read");
    check("profile in file", &[], &[("elsewhere", "team = [")], "the profiles in `elsewhere` cannot be read");
    check("profile in file", &[], &[("elsewhere", "[other]\nregion = a-1\n")], "no profile `team` in `elsewhere`");
    check("profile", &[], &[credentials_file], "no AWS region was found");
}
