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
    verifier(store, provider)
}

fn verifier(
    store: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
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
    if let Some(path) = crate::certificates::system_bundle() {
        roots.extend(rustls_native_certs::load_certs_from_paths(Some(path), None).certs);
        return listed(roots, provider);
    }
    // Slim container images have no store. uv falls back to Mozilla's list too.
    let mut store: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    store.add_parsable_certificates(roots);
    verifier(store, provider)
}
