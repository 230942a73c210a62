//! Connections to real servers: over TLS, and past a proxy.

use std::{fs, process::Command, sync::Arc};

use statefun_kinesis_client::{Error, ErrorKind, KinesisClient};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, ErrorChain, Secret};

use super::*;
use crate::{
    AwsKinesis, AwsKinesisBuilder,
    loopback::{Answer, Loopback},
};

/// An authority and its certificate in a file.
struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A server whose certificate is of this authority.
    fn server(&self) -> Arc<rustls::ServerConfig> {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        Arc::new(config)
    }
}

/// A client of this server, whose answers all are errors of the service.
fn client(url: &str) -> AwsKinesisBuilder {
    let keys = AwsCredentials::Basic {
        access_key_id: Secret::new("AKIDBASIC"),
        secret_access_key: Secret::new("hunter2"),
        session_token: None,
    };
    let region = AwsRegion::CustomEndpoint { endpoint: url.to_owned(), id: "us-east-1".to_owned() };
    AwsKinesis::builder().region(region).credentials(keys)
}

fn busy() -> Answer {
    Answer::status(400, r#"{"__type": "ResourceInUseException", "message": "reached"}"#)
}

async fn call(builder: AwsKinesisBuilder) -> Error {
    let client = builder.build().await.unwrap();
    client.describe_stream_summary(&"orders".parse().unwrap()).await.unwrap_err()
}

#[track_caller]
fn check_reached(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::InUse, "{}", ErrorChain(error));
}

#[tokio::test]
async fn certificates_of_a_bundle_are_trusted_and_no_others() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let server = Loopback::start_with(Some(own.server()), |_| busy()).await;
    let both = own.folder.path().join("both.pem");
    let text = |authority: &Authority| fs::read_to_string(authority.file()).unwrap();
    fs::write(&both, format!("# a comment\n{}\n{}", text(&other), text(&own))).unwrap();
    for bundle in [own.file(), both] {
        check_reached(&call(client(&server.url()).ca_bundle(bundle.clone())).await);
        // The two ways to make a client have the same certificates.
        check_reached(&call(client(&server.url()).ca_bundle(bundle).max_connections(NonZeroU32::MIN)).await);
    }
    for builder in [client(&server.url()), client(&server.url()).ca_bundle(other.file())] {
        let error = call(builder).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", ErrorChain(&error));
        for says in ["the certificate of the server is not trusted", "AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
            assert!(error.to_string().contains(says), "{error}");
        }
        assert!(ErrorChain(&error).to_string().contains("UnknownIssuer"), "{}", ErrorChain(&error));
    }
}

/// The services that give credentials are asked over the same connections.
#[tokio::test]
async fn certificates_of_a_bundle_are_trusted_for_sts_too() {
    let authority = Authority::new("own");
    let sts = Loopback::start_with(Some(authority.server()), |request| {
        assert!(String::from_utf8_lossy(&request.body).contains("Action=AssumeRole"));
        let error = "<Error><Code>AccessDenied</Code><Message>reached</Message></Error>";
        Answer::status(403, format!("<ErrorResponse>{error}</ErrorResponse>"))
    })
    .await;
    let file = authority.folder.path().join("config");
    let profile = format!(
        "[profile p]\nrole_arn = arn:aws:iam::123456789012:role/reader\nsource_profile = base\nendpoint_url = {}\n\
         [profile base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = hunter2\n",
        sts.url()
    );
    fs::write(&file, profile).unwrap();
    let credentials = AwsCredentials::Profile { name: "p".to_owned(), path: Some(file) };
    let builder = client("http://127.0.0.1:9").credentials(credentials).ca_bundle(authority.file());
    let error = call(builder).await;
    assert!(error.to_string().contains("STS did not give the role: reached"), "{}", ErrorChain(&error));
}

#[tokio::test]
async fn a_bundle_that_cannot_be_used_is_named_with_its_variable() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAP8=\n-----END CERTIFICATE-----\n";
    for (file, says) in [
        (folder.path().join("missing.pem"), "No such file"),
        (folder.path().to_owned(), "directory"),
        (write("empty.pem", ""), "no certificate"),
        (write("key.pem", &key), "no certificate"),
        (write("text.pem", "not a certificate"), "no certificate"),
        (write("broken.pem", broken), "invalid peer certificate"),
        (write("torn.pem", &broken[..40]), "missing section end"),
    ] {
        let error = client("https://127.0.0.1:9").ca_bundle(file.clone()).build().await.unwrap_err();
        let chain = ErrorChain(&error).to_string();
        for says in [file.to_str().unwrap(), "AWS_CA_BUNDLE", "unset it", says] {
            assert!(chain.contains(says), "{}: `{says}`: {chain}", file.display());
        }
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_trusted_do_not_spoil_the_others() {
    let authority = Authority::new("own");
    let server = Loopback::start_with(Some(authority.server()), |_| busy()).await;
    let text = fs::read_to_string(authority.file()).unwrap();
    fs::write(authority.file(), format!("-----BEGIN CERTIFICATE-----\nAP8=\n-----END CERTIFICATE-----\n{text}"))
        .unwrap();
    check_reached(&call(client(&server.url()).ca_bundle(authority.file())).await);
}

const URL: &str = "STATEFUN_KINESIS_AWS_TEST_URL";
const PROXIES: &str = "STATEFUN_KINESIS_AWS_TEST_PROXIES";

/// A proxy is a matter of the environment, so each case is a process: this test again, which says what it reached by the
/// kind of its error.
#[tokio::test]
async fn proxies_are_used_unless_there_are_to_be_none() {
    if let Ok(url) = std::env::var(URL) {
        let error = call(client(&url).use_proxies(std::env::var(PROXIES).unwrap() == "true")).await;
        return check_reached(&error);
    }
    let server = Loopback::start(|_| busy()).await;
    let proxied = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&proxied);
    let proxy = Loopback::start(move |request| {
        assert!(request.target.starts_with("http://"), "{}", request.target);
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        busy()
    })
    .await;
    // An IP address is the one kind of host that `NO_PROXY=*` does not cover in the HTTP client.
    for (no_proxy, use_proxies, through_proxy) in [
        ("", true, true),
        ("127.0.0.1", true, false),
        ("127.0.0.0/8", true, false),
        ("*", false, false),
        ("", false, false),
    ] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "connections::tests::proxies_are_used_unless_there_are_to_be_none"])
            .env_clear()
            .env(URL, server.url())
            .env(PROXIES, use_proxies.to_string())
            .env("HTTP_PROXY", proxy.url())
            .env("NO_PROXY", no_proxy);
        let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let count = proxied.swap(0, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(count, usize::from(through_proxy), "NO_PROXY={no_proxy}, use_proxies: {use_proxies}");
    }
}
