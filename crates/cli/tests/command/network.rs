//! Connections to AWS by what the environment says.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use statefun_kinesis::ExitCode;

use crate::scene::{INGRESS, Ran, command, folder};

/// A server that rejects each request, and counts them.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        // It ends with the test's process.
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0; 4096];
                if stream.read(&mut request).unwrap_or(0) == 0 {
                    continue;
                }
                count.fetch_add(1, Ordering::Relaxed);
                let body = r#"{"__type": "AccessDeniedException", "message": "not for you"}"#;
                let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\nconnection: close", body.len());
                let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
            }
        });
        Self { url, requests }
    }

    /// The requests since the last time.
    fn taken(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }
}

fn check_live(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let module = folder.join("module.yaml");
    fs::write(&module, INGRESS).unwrap();
    let arguments = [&["check", module.to_str().unwrap(), "--live"], arguments].concat();
    let keys = [("AWS_ACCESS_KEY_ID", "AKIDENV"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_REGION", "us-east-1")];
    let output = command(&arguments).envs(keys).envs(variables.iter().copied()).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn no_proxy_for_all_hosts_is_for_ip_addresses_too() {
    let (server, proxy) = (Server::start(), Server::start());
    let folder = folder("no-proxy");
    let check = |no_proxy: &str| {
        let variables = [("HTTP_PROXY", proxy.url.as_str()), ("NO_PROXY", no_proxy)];
        check_live(&folder, &["--endpoint-url", &server.url], &variables).ended(ExitCode::Setup).said(&["not for you"]);
    };
    for direct in ["*", "localhost, *", "127.0.0.1"] {
        check(direct);
        assert!(server.taken() > 0 && proxy.taken() == 0, "NO_PROXY={direct}");
    }
    for proxied in ["", "localhost"] {
        check(proxied);
        assert!(server.taken() == 0 && proxy.taken() > 0, "NO_PROXY={proxied}");
    }
}

#[test]
fn a_ca_bundle_that_cannot_be_used_is_an_error_at_once() {
    let folder = folder("ca-bundle");
    let (missing, empty) = (folder.join("missing.pem"), folder.join("empty.pem"));
    fs::write(&empty, "").unwrap();
    for (file, why) in [(missing, "No such file"), (empty, "no certificate")] {
        let file = file.to_str().unwrap();
        let ran = check_live(&folder, &[], &[("AWS_CA_BUNDLE", file)]);
        ran.ended(ExitCode::Setup).said(&["correct AWS_CA_BUNDLE, or unset it", file, why]);
        let module = folder.join("module.yaml");
        let output = command(&["run", module.to_str().unwrap(), "--functions", "log"])
            .env("AWS_CA_BUNDLE", file)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(ExitCode::Setup as i32), "{err}");
        for says in ["correct AWS_CA_BUNDLE, or unset it", file, why] {
            assert!(err.contains(says), "{err}");
        }
        assert!(!err.contains("check `awsRegion`"), "{err}");
    }
}

/// The SDK's error is only that there is no such file.
#[test]
fn a_token_that_is_not_mounted_is_named_with_its_path() {
    let folder = folder("no-token");
    let module = folder.join("module.yaml");
    fs::write(&module, INGRESS).unwrap();
    let token = folder.join("token");
    let output = command(&["check", module.to_str().unwrap(), "--live", "--endpoint-url", "http://127.0.0.1:9"])
        .envs([("AWS_REGION", "us-east-1"), ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")])
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(output.status.code(), Some(ExitCode::Setup as i32), "{said}");
    for says in ["a token that the source of the AWS credentials needs cannot be read", token.to_str().unwrap()] {
        assert!(said.contains(says), "{says}: {said}");
    }
}
