//! TLS of HTTPS checks: whom to trust.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use crate::{config::HttpCheck, engine::check::Failure};

/// A file of authorities is some hundred kilobytes.
const CA_FILE_BYTES_MAX: u64 = 4 << 20;

const HTTP: &[u8] = b"http/1.1";

/// What a check trusts.
pub(super) async fn config(check: &HttpCheck) -> Result<Arc<ClientConfig>, Failure> {
    static USUAL: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if !check.verify {
        return Ok(Arc::new(unverified()));
    }
    let Some(file) = check.ca_file.clone() else {
        let usual = || {
            let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
            Arc::new(trusting(roots.collect()))
        };
        return Ok(Arc::clone(USUAL.get_or_init(usual)));
    };
    let failed = |error: String| Failure::local(format!("cannot read {}", file.display()), error);
    let path: PathBuf = file.clone();
    // A file may be on a disk that has gone: no other check waits for it.
    let read = tokio::task::spawn_blocking(move || roots_of(&path));
    let roots = read
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(failed)?;
    Ok(Arc::new(trusting(roots)))
}

fn roots_of(path: &Path) -> Result<RootCertStore, String> {
    let mut text = Vec::new();
    // A pipe would never end.
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(CA_FILE_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(roots)
}

fn trusting(roots: RootCertStore) -> ClientConfig {
    finish(
        builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

fn unverified() -> ClientConfig {
    let anybody = Arc::new(Anybody(Arc::new(ring::default_provider())));
    finish(
        builder()
            .dangerous()
            .with_custom_certificate_verifier(anybody)
            .with_no_client_auth(),
    )
}

fn builder()
-> tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need")
}

fn finish(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![HTTP.to_vec()];
    // Each run looks at the certificate anew.
    config.resumption = Resumption::disabled();
    config
}

/// Takes every certificate (`verify = false`).
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
