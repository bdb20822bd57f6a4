//! What a daemon runs, and for whom: daemons that agree in all of it are one.

use std::io;
use std::path::{Path, PathBuf};

use ktx_protocol::PROTOCOL_VERSION;
use sha2::{Digest, Sha256};

use crate::error::ServiceError;

/// The runtime that a daemon belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The version of ktx.
    pub version: String,
    /// The SHA-256 of the wheel that is installed, in hexadecimal.
    pub wheel_sha256: String,
    /// What is installed.
    pub features: Vec<String>,
    /// The environment's directory.
    pub environment: PathBuf,
    /// The environment's `ktx-daemon`.
    pub executable: PathBuf,
}

/// Who shares a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything that the user does.
    User,
    /// What is done for the project in this directory.
    Project(PathBuf),
}

impl Scope {
    /// The scope of the project in `directory`, or the user's if there is
    /// none. Every path to a directory means the same project.
    ///
    /// # Errors
    ///
    /// If the system cannot say what a relative path is relative to.
    pub fn of(directory: Option<&Path>) -> Result<Self, ServiceError> {
        let Some(directory) = directory else {
            return Ok(Self::User);
        };
        // A project that is gone still has a daemon to be ended.
        resolved(directory)
            .map(Self::Project)
            .map_err(ServiceError::io(directory))
    }

    /// The project's directory, if there is one.
    pub fn project_dir(&self) -> Option<&Path> {
        match self {
            Self::User => None,
            Self::Project(directory) => Some(directory),
        }
    }
}

/// The one path to `directory` that has no links in it, as far as it exists.
fn resolved(directory: &Path) -> io::Result<PathBuf> {
    fs_err::canonicalize(directory).or_else(|_| std::path::absolute(directory))
}

/// How many hexadecimal digits a key has.
const KEY_DIGITS: usize = 16;

impl Installation {
    /// The key under which the daemon of this installation and `scope` is
    /// known. Every path to the environment means the same daemon.
    pub(crate) fn key(&self, scope: &Scope) -> String {
        let features = self.features.join(",");
        let protocol = PROTOCOL_VERSION.to_string();
        let environment = resolved(&self.environment).unwrap_or_else(|_| self.environment.clone());
        let environment = environment.to_string_lossy();
        let project = scope.project_dir().map(Path::to_string_lossy);
        let mut hasher = Sha256::new();
        for part in [
            Some(self.version.as_str()),
            Some(self.wheel_sha256.as_str()),
            Some(features.as_str()),
            Some(protocol.as_str()),
            Some(environment.as_ref()),
            project.as_deref(),
        ]
        .into_iter()
        .flatten()
        {
            // No part can run into the next one.
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let digits = hasher.finalize();
        let digits = digits.iter().map(|byte| format!("{byte:02x}"));
        digits.take(KEY_DIGITS / 2).collect()
    }
}

/// Whether a directory of this name is a daemon's.
pub(crate) fn is_key(name: &str) -> bool {
    name.len() == KEY_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_differs_makes_another_key() {
        let installation = Installation {
            version: "0.1.0".to_owned(),
            wheel_sha256: "ab".repeat(32),
            features: vec!["core".to_owned()],
            environment: "/root/0.1.0/.venv".into(),
            executable: "/root/0.1.0/.venv/bin/ktx-daemon".into(),
        };
        let change = |change: fn(&mut Installation)| {
            let mut changed = installation.clone();
            change(&mut changed);
            changed.key(&Scope::User)
        };
        let keys = [
            installation.key(&Scope::User),
            installation.key(&Scope::Project("/project".into())),
            installation.key(&Scope::Project("/other".into())),
            change(|it| it.version = "0.1.1".to_owned()),
            change(|it| it.wheel_sha256 = "cd".repeat(32)),
            change(|it| it.features.push("local-embeddings".to_owned())),
            change(|it| it.environment = "/root/0.1.0/.venv-1".into()),
        ];
        assert!(keys.iter().all(|key| is_key(key)));
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(keys[0], installation.key(&Scope::User));
    }

    #[cfg(unix)]
    #[test]
    fn every_path_to_an_environment_makes_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let [root, link] = ["root", "link"].map(|name| directory.path().join(name));
        fs_err::create_dir_all(root.join(".venv")).unwrap();
        std::os::unix::fs::symlink(&root, &link).unwrap();
        let [key, linked] = [root, link].map(|root| {
            let installation = Installation {
                version: "0.1.0".to_owned(),
                wheel_sha256: "ab".repeat(32),
                features: vec!["core".to_owned()],
                environment: root.join(".venv"),
                executable: root.join(".venv/bin/ktx-daemon"),
            };
            installation.key(&Scope::User)
        });
        assert_eq!(key, linked);
    }
}
