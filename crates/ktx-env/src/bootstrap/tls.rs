//! The TLS side of the client: which certificates are trusted, with the
//! cryptography passed along, so that nothing is installed for the whole process.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::crypto;
use super::settings::Certificates;

/// The client's half of every TLS connection.
pub(super) fn client_config(certificates: Certificates) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(crypto::provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let verifier = match certificates.instead {
        Some(mut roots) => {
            roots.extend(certificates.extra);
            listed(roots, provider)?
        }
        None => system(certificates.extra, provider)?,
    };
    // Each verifier checks chain, name and time: `dangerous` is only the door
    // through which a verifier that was chosen at run time comes in.
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

fn listed(
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|error| rustls::Error::General(error.to_string()))
}

#[cfg(any(target_os = "macos", windows))]
fn system(
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider)?;
    Ok(Arc::new(verifier))
}

// The ready-made ways to the system's certificates read the variables of this
// process, but the caller's environment is what counts.
#[cfg(not(any(target_os = "macos", windows)))]
fn system(
    mut roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    /// Where distributions keep all certificates in one file: Debian, Ubuntu,
    /// Arch and Gentoo; Fedora and its kin, new and old; SUSE; Alpine.
    const BUNDLES: [&str; 5] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let bundle = BUNDLES
        .iter()
        .map(std::path::Path::new)
        .find(|path| path.exists());
    if let Some(path) = bundle {
        roots.extend(rustls_native_certs::load_certs_from_paths(Some(path), None).certs);
    }
    if roots.is_empty() {
        return Err(rustls::Error::General(
            "this system has no certificate authorities".to_owned(),
        ));
    }
    listed(roots, provider)
}
