//! Which certificates are trusted: by ktx's own download and by uv alike.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` stand in place of the system's store;
//! the variables of Node, pip and Requests add to either.

use std::io;
use std::path::Path;

use fs_err as fs;
use ktx_os::environment::Environment;
use ktx_os::variables;

/// Where distributions keep all certificates in one file: Debian, Ubuntu,
/// Arch and Gentoo; Fedora and its kin, new and old; SUSE; Alpine.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The system's certificates, where they are one file.
pub(crate) fn system_bundle() -> Option<&'static Path> {
    BUNDLES
        .iter()
        .map(Path::new)
        .find(|path| fs::metadata(path).is_ok_and(|bundle| bundle.len() > 0))
}

/// The variables that make uv trust what ktx trusts. Certificates that come
/// from several places are put together into a file in `workspace`.
pub(crate) fn for_uv(
    environment: &Environment,
    workspace: &Path,
) -> io::Result<Vec<(&'static str, String)>> {
    let named = environment.var(variables::SSL_CERT_FILE);
    let is_replaced = named.is_some() || environment.var(variables::SSL_CERT_DIR).is_some();
    if cfg!(any(target_os = "macos", windows)) {
        // The system's store is no file that others could be added to.
        let native = (variables::UV_NATIVE_TLS, "1".to_owned());
        return Ok(if is_replaced {
            Vec::new()
        } else {
            vec![native]
        });
    }
    let base = named
        .map(Path::new)
        .or_else(|| system_bundle().filter(|_| !is_replaced));
    let extra: Vec<_> = variables::EXTRA_CERTIFICATES
        .iter()
        .filter_map(|name| environment.var(name).map(Path::new))
        .filter(|path| path.is_file())
        .collect();
    let bundle = if extra.is_empty() {
        base.map(Path::to_owned)
    } else {
        let mut together = Vec::new();
        for path in base.into_iter().chain(extra) {
            together.extend(fs::read(path)?);
            together.push(b'\n');
        }
        let path = workspace.join("certificates.pem");
        fs::write(&path, together)?;
        Some(path)
    };
    Ok(bundle
        .map(|path| {
            (
                variables::SSL_CERT_FILE,
                path.to_string_lossy().into_owned(),
            )
        })
        .into_iter()
        .collect())
}
