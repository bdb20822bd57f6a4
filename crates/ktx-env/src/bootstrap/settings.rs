//! Where uv is fetched from and how to get there, read from the caller's
//! environment: index, proxies and certificates.

use std::collections::BTreeMap;
use std::path::Path;

use hyper_util::client::proxy::matcher::Matcher;
use ktx_os::variables;
use rustls::pki_types::CertificateDer;
use url::{ParseError, Url};

use super::error::{BootstrapError, Peer, host_of};

/// Environment variables by name.
pub type Environment = BTreeMap<String, String>;

/// The index that is asked when no variable names one.
pub const PUBLIC_INDEX: &str = "https://pypi.org/simple";

/// Schemes of proxies that the client speaks.
const PROXY_SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// The package index, with its user name and password kept in the address: the
/// client sends them as basic authentication and never as part of the address.
pub(super) fn index(env: &Environment) -> Result<Url, BootstrapError> {
    let Some((variable, value)) = first(env, &variables::INDEXES) else {
        return Ok(Url::parse(PUBLIC_INDEX).expect("the public index is an address"));
    };
    let invalid = |reason: &str| BootstrapError::Setting {
        variable,
        reason: reason.to_owned(),
    };
    let url = Url::parse(without_name(value)).map_err(|error| {
        invalid(match error {
            ParseError::IdnaError => "write the host in ASCII, as `xn--…`",
            _ => "uv is fetched from an `https://` or `http://` address only",
        })
    })?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(invalid(&format!(
            "the scheme `{scheme}` is not supported, uv is fetched over `https` and `http` only"
        ))),
    }
}

/// uv lets an index have a name: `internal=https://…`.
fn without_name(value: &str) -> &str {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    match value.split_once('=') {
        Some((name, url)) if is_name(name) => url,
        _ => value,
    }
}

/// Which proxy stands before which address.
#[derive(Debug, Clone)]
pub(super) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    bypass: Bypass,
}

#[derive(Debug, Clone)]
enum Bypass {
    Everything,
    Listed(String),
}

impl Proxies {
    /// The lower-case names win, as in curl; an empty value counts as unset.
    pub(super) fn from_env(env: &Environment) -> Result<Self, BootstrapError> {
        let https = [
            "https_proxy",
            variables::HTTPS_PROXY,
            "all_proxy",
            variables::ALL_PROXY,
        ];
        let http = [
            "http_proxy",
            variables::HTTP_PROXY,
            "all_proxy",
            variables::ALL_PROXY,
        ];
        let list = first(env, &["no_proxy", variables::NO_PROXY]).map_or("", |(_, list)| list);
        Ok(Self {
            http: proxy(env, &http)?,
            https: proxy(env, &https)?,
            bypass: Bypass::parse(list),
        })
    }

    /// The proxy for an address, with its user name and password.
    pub(super) fn proxy_for(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        }?;
        (!self.bypass.covers(url)).then_some(proxy)
    }

    /// The address's host and the proxy before it, as errors name them.
    pub(super) fn peer(&self, url: &Url) -> Peer {
        Peer {
            host: host_of(url),
            proxy: self.proxy_for(url).map(host_of),
        }
    }
}

impl Bypass {
    /// Domains with their subdomains, addresses, networks like `10.0.0.0/8` and
    /// `fd00::/8`, or `*`. Ports are not part of the list, as in curl and uv.
    fn parse(list: &str) -> Self {
        let entries: Vec<&str> = list
            .split([',', ' ', '\t'])
            // `*.domain` and `[::1]` are common spellings that the matcher,
            // which wants `.domain` and `::1`, does not know.
            .map(|entry| entry.strip_prefix("*.").unwrap_or(entry))
            .map(|entry| {
                let inner = entry.strip_prefix('[').and_then(|e| e.strip_suffix(']'));
                inner.unwrap_or(entry)
            })
            .filter(|entry| !entry.is_empty())
            .collect();
        // The matcher takes `*` for a domain, which leaves out numeric hosts.
        if entries.contains(&"*") {
            return Self::Everything;
        }
        Self::Listed(entries.join(","))
    }

    fn covers(&self, url: &Url) -> bool {
        match self {
            Self::Everything => true,
            Self::Listed(list) => {
                // With a proxy for everything, what is not intercepted is exempt.
                let matcher = Matcher::builder()
                    .all("http://proxy.invalid")
                    .no(list)
                    .build();
                let mut bare = url.clone();
                bare.set_path("/");
                bare.set_query(None);
                bare.as_str()
                    .parse()
                    .is_ok_and(|uri| matcher.intercept(&uri).is_none())
            }
        }
    }
}

fn proxy(env: &Environment, variables: &[&'static str]) -> Result<Option<Url>, BootstrapError> {
    let Some((variable, value)) = first(env, variables) else {
        return Ok(None);
    };
    let invalid = |reason: &str| BootstrapError::Setting {
        variable,
        reason: reason.to_owned(),
    };
    let url = if value.contains("://") {
        Url::parse(value)
    } else {
        Url::parse(&format!("http://{value}"))
    };
    let url = url.map_err(|_| invalid("a proxy looks like `http://HOST:PORT`"))?;
    if !PROXY_SCHEMES.contains(&url.scheme()) {
        return Err(invalid(&format!(
            "proxies of the scheme `{}` are not supported",
            url.scheme()
        )));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("a proxy looks like `http://HOST:PORT`"));
    }
    Ok(Some(url))
}

/// The certificates that the environment names.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`: these instead of the system's.
    pub(super) instead: Option<Vec<CertificateDer<'static>>>,
    /// Trusted besides.
    pub(super) extra: Vec<CertificateDer<'static>>,
}

impl Certificates {
    /// A file or directory of `SSL_CERT_FILE` and `SSL_CERT_DIR` that gives no
    /// certificate is an error, because nothing would be trusted; one of the
    /// others is passed over, as their own programs do.
    pub(super) fn from_env(env: &Environment) -> Result<Self, BootstrapError> {
        let mut certificates = Self::default();
        for variable in [variables::SSL_CERT_FILE, variables::SSL_CERT_DIR] {
            let Some(value) = set(env, variable) else {
                continue;
            };
            let mut found = Vec::new();
            let mut reasons = Vec::new();
            let paths: Vec<_> = match variable {
                variables::SSL_CERT_DIR => std::env::split_paths(value).collect(),
                _ => vec![value.into()],
            };
            for path in &paths {
                let loaded = load(path);
                found.extend(loaded.certs);
                reasons.extend(loaded.errors.iter().map(ToString::to_string));
            }
            if found.is_empty() {
                return Err(BootstrapError::Setting {
                    variable,
                    reason: reasons
                        .into_iter()
                        .next()
                        .unwrap_or_else(|| format!("no certificate in `{value}`")),
                });
            }
            certificates
                .instead
                .get_or_insert_default()
                .append(&mut found);
        }
        for variable in variables::EXTRA_CERTIFICATES {
            if let Some(value) = set(env, variable) {
                let loaded = load(Path::new(value));
                for error in &loaded.errors {
                    tracing::warn!(variable, %error, "certificates passed over");
                }
                certificates.extra.extend(loaded.certs);
            }
        }
        Ok(certificates)
    }
}

fn load(path: &Path) -> rustls_native_certs::CertificateResult {
    if path.is_dir() {
        rustls_native_certs::load_certs_from_paths(None, Some(path))
    } else {
        rustls_native_certs::load_certs_from_paths(Some(path), None)
    }
}

/// The first of the variables that has a value.
fn first<'a>(env: &'a Environment, variables: &[&'static str]) -> Option<(&'static str, &'a str)> {
    variables
        .iter()
        .find_map(|variable| set(env, variable).map(|value| (*variable, value)))
}

fn set<'a>(env: &'a Environment, variable: &str) -> Option<&'a str> {
    env.get(variable)
        .map(|value| value.trim())
        .filter(|value| !value.is_empty())
}
