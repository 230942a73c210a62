//! Reads the certificates and keys of connections.

use std::{path::Path, sync::Arc};

use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument, der::Decode};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use statefun_kinesis_types::Secret;

use crate::endpoint::EndpointError;

/// The files of certificates and keys that an endpoint names.
#[derive(Debug)]
pub(crate) struct TlsFiles {
    /// The trusted certificate authorities; without a file, those of the machine.
    pub(crate) trust_ca_certs: Option<String>,
    /// The client certificate, which the server checks.
    pub(crate) client_cert: Option<String>,
    pub(crate) client_key: Option<String>,
    pub(crate) client_key_password: Option<Secret>,
}

fn client_config() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, EndpointError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.map_err(|error| EndpointError::new("cannot set up TLS").because(error))
}

/// The configuration of an endpoint without TLS. Reads no certificates.
pub(crate) fn config_without_certificates() -> Result<ClientConfig, EndpointError> {
    Ok(client_config()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The configuration of an endpoint with TLS.
pub(crate) fn config_with_certificates(files: &TlsFiles) -> Result<ClientConfig, EndpointError> {
    let TlsFiles { trust_ca_certs, client_cert, client_key, client_key_password } = files;
    let builder = client_config()?.with_root_certificates(roots(trust_ca_certs.as_deref())?);
    let (Some(certificate), Some(key)) = (client_cert, client_key) else {
        if client_cert.is_some() || client_key.is_some() {
            return Err(EndpointError::new(
                "`client_cert` and `client_key` have to be set together, but one of them is missing",
            ));
        }
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(Path::new(certificate))?;
    let key = private_key(key, client_key_password.as_ref())?;
    let configured = builder.with_client_auth_cert(chain, key);
    configured.map_err(|error| EndpointError::new("the client certificate and its key cannot be used").because(error))
}

/// Reads the key of a file, which may be encrypted. `password` is the password or, as in StateFun, the path of a file
/// that has it.
fn private_key(file: &str, password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, EndpointError> {
    let pem = std::fs::read(file).map_err(|error| cannot_read(file, error))?;
    let text = String::from_utf8_lossy(&pem);
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(EndpointError::new(format!(
            "the client key {file} uses the old OpenSSL encryption, which is not supported; convert it with \
             `openssl pkcs8 -topk8`"
        )));
    }
    if !text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return PrivateKeyDer::from_pem_slice(&pem).map_err(|error| cannot_read(file, error));
    }
    let Some(password) = password else {
        return Err(EndpointError::new(format!("the client key {file} is encrypted; set `client_key_password`")));
    };
    let password = match std::fs::read_to_string(password.expose()) {
        Ok(read) => Secret::new(read.trim_end_matches(['\r', '\n'])),
        // There is no such file, so this is the password itself.
        Err(_) => password.clone(),
    };
    let (_, document) = SecretDocument::from_pem(&text).map_err(|error| cannot_read(file, error))?;
    let encrypted =
        EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|error| cannot_read(file, error))?;
    let decrypted = encrypted.decrypt(password.expose()).map_err(|error| {
        EndpointError::new(format!("the client key {file} cannot be decrypted; is `client_key_password` right?"))
            .because(error)
    })?;
    Ok(PrivatePkcs8KeyDer::from(decrypted.as_bytes().to_vec()).into())
}

/// Reads the certificates of a file, or those of the machine without a file.
fn roots(file: Option<&str>) -> Result<RootCertStore, EndpointError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        for certificate in certificates(Path::new(file))? {
            roots.add(certificate).map_err(|error| cannot_read(file, error))?;
        }
        return Ok(roots);
    }
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        let mut error =
            EndpointError::new("this machine has no trusted certificates; name a file with `trust_cacerts`");
        if let Some(first) = native.errors.into_iter().next() {
            error = error.because(first);
        }
        return Err(error);
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, EndpointError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| cannot_read(&file.display(), error))?;
    if certificates.is_empty() {
        return Err(EndpointError::new(format!("{} has no certificates", file.display())));
    }
    Ok(certificates)
}

fn cannot_read(
    file: &(impl std::fmt::Display + ?Sized),
    error: impl std::error::Error + Send + Sync + 'static,
) -> EndpointError {
    EndpointError::new(format!("cannot read {file}")).because(error)
}
