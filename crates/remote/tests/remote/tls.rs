//! TLS with files of certificates and keys.

use std::sync::Arc;

use http::Version;
use pkcs8::{
    EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
    der::{Decode, pem::PemLabel},
    pkcs5::pbes2,
};
use statefun_kinesis_mailboxes::Invoke;
use statefun_kinesis_module::EndpointSpec;
use statefun_kinesis_protocol::reqreply::InvocationResponse;
use statefun_kinesis_remote::{EndpointError, RemoteEndpoint};
use statefun_kinesis_types::Secret;

use crate::scene::*;

/// An authority, and what it has signed, in files of a folder.
struct Certificates {
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Certificates {
    fn new(folder: &Folder) -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path("ca.pem"), authority.pem()).unwrap();
        let certificates = Self { authority };
        let (certificate, key) = certificates.sign("client");
        std::fs::write(folder.path("client.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path("client.key"), key.serialize_pem()).unwrap();
        certificates
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (parameters.signed_by(&key, &self.authority).unwrap(), key)
    }

    /// A server that wants to see a certificate of its clients.
    fn server(&self, protocols: &[&[u8]]) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = self.sign("localhost");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

#[tokio::test]
async fn tls_with_its_own_authority_and_a_client_certificate() {
    for (protocols, version) in [(&[&b"h2"[..], b"http/1.1"][..], Version::HTTP_2), (&[b"http/1.1"], Version::HTTP_11)]
    {
        let folder = Folder::new();
        let tls = Certificates::new(&folder).server(protocols);
        let server = Server::start_with(folder, Some(tls), move |request| {
            assert_eq!(request.version(), version);
            answer(result(InvocationResponse::default()))
        });
        let mut spec = server.spec();
        spec.transport.trust_ca_certs = Some(server.folder.path("ca.pem"));
        let without = RemoteEndpoint::new(&spec).unwrap();
        says(without.invoke(&request(), LONG).await, &["the connection failed"]);

        spec.transport.client_cert = Some(server.folder.path("client.pem"));
        spec.transport.client_key = Some(server.folder.path("client.key"));
        let endpoint = RemoteEndpoint::new(&spec).unwrap();
        let request = request();
        let (one, two) = tokio::join!(endpoint.invoke(&request, LONG), endpoint.invoke(&request, LONG));
        assert_eq!((one.unwrap(), two.unwrap()), (no_effects(), no_effects()));

        // Another authority is not trusted.
        let other = Folder::new();
        let _ = Certificates::new(&other);
        spec.transport.trust_ca_certs = Some(other.path("ca.pem"));
        let endpoint = RemoteEndpoint::new(&spec).unwrap();
        says(endpoint.invoke(&request, LONG).await, &["the connection failed", "invalid peer certificate"]);
    }
}

#[test]
fn unusable_files_are_reported_at_once() {
    let folder = Folder::new();
    let _ = Certificates::new(&folder);
    std::fs::write(folder.path("empty.pem"), "").unwrap();
    std::fs::write(folder.path("locked.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
    let spec = EndpointSpec::new("t/*".parse().unwrap(), "https://localhost".parse().unwrap());
    let check = |ca: &str, cert: Option<&str>, key: Option<&str>, expect: &str| {
        let mut spec = spec.clone();
        spec.transport.trust_ca_certs = Some(folder.path(ca));
        spec.transport.client_cert = cert.map(|file| folder.path(file));
        spec.transport.client_key = key.map(|file| folder.path(file));
        let error: EndpointError = RemoteEndpoint::new(&spec).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    check("none.pem", None, None, "none.pem");
    check("empty.pem", None, None, "has no certificates");
    check("ca.pem", Some("client.pem"), None, "have to be set together");
    check("ca.pem", Some("none.pem"), Some("client.key"), "none.pem");
    check("ca.pem", Some("client.pem"), Some("none.key"), "none.key");
    check("ca.pem", Some("client.pem"), Some("locked.key"), "set `client_key_password`");
    check("ca.pem", Some("client.pem"), Some("ca.pem"), "cannot read");
}

#[tokio::test]
async fn a_client_key_may_be_encrypted() {
    let folder = Folder::new();
    let tls = Certificates::new(&folder).server(&[b"h2"]);
    let key = std::fs::read_to_string(folder.path("client.key")).unwrap();
    let (_, key) = SecretDocument::from_pem(&key).unwrap();
    let key = PrivateKeyInfoRef::from_der(key.as_bytes()).unwrap();
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(2_048, b"salt and pepper", [7; 16]).unwrap();
    let encrypted = key.encrypt_with_params(parameters, "open sesame").unwrap();
    let pem = encrypted.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).unwrap();
    std::fs::write(folder.path("client.key"), pem.as_bytes()).unwrap();
    std::fs::write(folder.path("password"), "open sesame\n").unwrap();
    let server = Server::start_with(folder, Some(tls), |_| answer(result(InvocationResponse::default())));
    let mut spec = server.spec();
    let file = |name| Some(server.folder.path(name));
    spec.transport.trust_ca_certs = file("ca.pem");
    spec.transport.client_cert = file("client.pem");
    spec.transport.client_key = file("client.key");
    for password in ["open sesame".to_owned(), server.folder.path("password")] {
        spec.transport.client_key_password = Some(Secret::new(password));
        let endpoint = RemoteEndpoint::new(&spec).unwrap();
        assert_eq!(endpoint.invoke(&request(), LONG).await.unwrap(), no_effects());
    }
    spec.transport.client_key_password = Some(Secret::new("open barley"));
    let error = RemoteEndpoint::new(&spec).unwrap_err().to_string();
    assert!(error.contains("is `client_key_password` right?") && !error.contains("barley"), "{error}");
}
