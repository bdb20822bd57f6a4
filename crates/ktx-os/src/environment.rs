//! Environment variables as a value: what a caller hands in, and the
//! allow-listed part of it that a child may see.

use std::collections::BTreeMap;

use crate::variables;

/// Variables that a child needs to find programs, the user's files, its
/// language and the network, and that cannot redirect what it installs or
/// imports. Names are matched without regard to case, as Windows does.
const PASSED: &[&str] = &[
    // Programs and directories.
    "PATH",
    variables::HOME,
    "USER",
    "LOGNAME",
    variables::TMPDIR,
    "TMP",
    "TEMP",
    variables::XDG_DATA_HOME,
    // Windows processes do not start, or do not find their profile, without these.
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "WINDIR",
    "COMSPEC",
    "PATHEXT",
    variables::USERPROFILE,
    "APPDATA",
    variables::LOCALAPPDATA,
    "PROGRAMDATA",
    "PROGRAMFILES",
    "NUMBER_OF_PROCESSORS",
    "PROCESSOR_ARCHITECTURE",
    // Locale and time zone.
    "LANG",
    "LANGUAGE",
    "TZ",
    // Network.
    variables::HTTP_PROXY,
    variables::HTTPS_PROXY,
    variables::ALL_PROXY,
    variables::NO_PROXY,
    variables::SSL_CERT_FILE,
    variables::SSL_CERT_DIR,
    "SSL_CLIENT_CERT",
];

/// Environment variables, by name.
///
/// Lookups follow the platform: on Windows `Path` and `PATH` are one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The value of `name`; an empty value counts as unset.
    pub fn var(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).or_else(|| {
            cfg!(windows)
                .then(|| {
                    self.0
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                })
                .flatten()
                .map(|(_, value)| value)
        })?;
        (!value.is_empty()).then_some(value)
    }

    /// Sets `name`, replacing what it was.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// The variables that a child may see: search path, home, temporary
    /// directory, locale, proxies and certificates. Nothing that begins with
    /// `UV_`, `PIP_`, `PYTHON`, `CONDA_` or `LD_` is among them.
    #[must_use]
    pub fn for_child(&self) -> Self {
        self.iter()
            .filter(|(name, _)| {
                let name = name.to_ascii_uppercase();
                PASSED.contains(&name.as_str()) || name.starts_with("LC_")
            })
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Every variable, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        // Collecting sorts first, and the code of a sort is as large as all
        // that is done with the environment.
        let mut environment = BTreeMap::new();
        environment.extend(variables);
        Self(environment)
    }
}

#[cfg(test)]
mod tests {
    use super::Environment;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn passes_only_what_cannot_redirect_a_child() {
        let hostile = environment(&[
            ("PATH", "/bin"),
            ("https_proxy", "http://proxy:3128"),
            ("LC_ALL", "C.UTF-8"),
            ("UV_INDEX", "http://evil"),
            ("UV_NO_CONFIG", "0"),
            ("PIP_INDEX_URL", "http://evil"),
            ("PYTHONEXECUTABLE", "/evil"),
            ("VIRTUAL_ENV", "/evil"),
            ("CONDA_PREFIX", "/evil"),
            ("LD_PRELOAD", "/evil.so"),
        ]);
        assert_eq!(
            hostile.for_child(),
            environment(&[
                ("PATH", "/bin"),
                ("https_proxy", "http://proxy:3128"),
                ("LC_ALL", "C.UTF-8"),
            ])
        );
    }

    #[test]
    fn takes_an_empty_value_for_unset() {
        assert_eq!(environment(&[("HOME", "")]).var("HOME"), None);
    }
}
