//! What an environment's own records say is installed, and whether it is.
//!
//! Every installed distribution has a directory `*.dist-info` with `METADATA`
//! and `RECORD`, which lists its files with their sizes (Recording installed
//! projects, PEP 376 and PEP 627). An installation that was cut short can
//! leave records without files, so each file is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use ktx_asset::{LockedPackage, normalize_name};

/// Installed versions by normalised name.
pub type Installed = BTreeMap<String, String>;

/// How an environment differs from its records, or its records from what is
/// expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// There is no package directory, or nothing in it.
    #[error("No packages in {}", path.display())]
    None {
        /// The environment.
        path: PathBuf,
    },
    /// A file of a package is gone, or has another size than recorded.
    #[error("Damaged package {package}: {} is {problem}", path.display())]
    File {
        /// The package.
        package: String,
        /// The file.
        path: PathBuf,
        /// `missing` or `changed`.
        problem: &'static str,
    },
    /// A package is gone.
    #[error("Missing package: {package} {version}")]
    Package {
        /// The package.
        package: String,
        /// Its version when it was verified.
        version: String,
    },
    /// A package has another version than expected.
    #[error("Package {package} has version {actual}, expected {expected}")]
    Version {
        /// The package.
        package: String,
        /// Its version when it was verified.
        expected: String,
        /// Its version now.
        actual: String,
    },
    /// A package is not one that the lock allows.
    #[error("Package {package} {version} is not in the dependency lock")]
    NotAllowed {
        /// The package.
        package: String,
        /// Its version.
        version: String,
    },
    /// Records cannot be read.
    #[error("Cannot read the records of {}: {source}", path.display())]
    Unreadable {
        /// The record.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads what is installed in the environment at `directory`, and looks at
/// each recorded file.
pub(crate) fn read(directory: &Path) -> Result<Installed, Fault> {
    let none = || Fault::None {
        path: directory.to_owned(),
    };
    let site_packages = site_packages(directory).ok_or_else(none)?;
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| Fault::Unreadable { path, source }
    };
    let mut installed = Installed::new();
    for entry in fs::read_dir(&site_packages).map_err(unreadable(&site_packages))? {
        let entry = entry.map_err(unreadable(&site_packages))?;
        let name = entry.file_name();
        let Some((package, version)) = name
            .to_str()
            .and_then(|name| name.strip_suffix(".dist-info"))
            .and_then(|stem| stem.split_once('-'))
        else {
            continue;
        };
        let package = normalize_name(package);
        let record = entry.path().join("RECORD");
        let text = fs::read_to_string(&record).map_err(unreadable(&record))?;
        for line in text.lines() {
            look(&site_packages, &package, line)?;
        }
        installed.insert(package, version.to_owned());
    }
    if installed.is_empty() {
        Err(none())
    } else {
        Ok(installed)
    }
}

/// Looks at the file of one line of a `RECORD`: `path,hash,size`, where a path
/// with a comma stands in quotes and hash and size may be absent.
fn look(site_packages: &Path, package: &str, line: &str) -> Result<(), Fault> {
    let (path, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\",").unwrap_or((quoted, "")),
        None => line.split_once(',').unwrap_or((line, "")),
    };
    if path.is_empty() {
        return Ok(());
    }
    let path = site_packages.join(path.replace("\"\"", "\""));
    let recorded: Option<u64> = rest.rsplit(',').next().and_then(|size| size.parse().ok());
    let damaged = |problem| Fault::File {
        package: package.to_owned(),
        path: path.clone(),
        problem,
    };
    let metadata = fs::metadata(&path).map_err(|_| damaged("missing"))?;
    if recorded.is_some_and(|size| size != metadata.len()) {
        return Err(damaged("changed"));
    }
    Ok(())
}

/// `lib/python3.X/site-packages`, or `Lib/site-packages` on Windows.
fn site_packages(environment: &Path) -> Option<PathBuf> {
    let windows = environment.join("Lib").join("site-packages");
    if cfg!(windows) {
        return windows.is_dir().then_some(windows);
    }
    fs::read_dir(environment.join("lib"))
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("site-packages"))
        .find(|path| path.is_dir())
}

/// Whether everything in `expected` is installed in that version.
pub(crate) fn compare(installed: &Installed, expected: &Installed) -> Result<(), Fault> {
    for (package, version) in expected {
        match installed.get(package) {
            Some(actual) if actual == version => {}
            Some(actual) => {
                return Err(Fault::Version {
                    package: package.clone(),
                    expected: version.clone(),
                    actual: actual.clone(),
                });
            }
            None => {
                return Err(Fault::Package {
                    package: package.clone(),
                    version: version.clone(),
                });
            }
        }
    }
    Ok(())
}

/// Whether nothing is installed but what is in `allowed`.
pub(crate) fn allow(installed: &Installed, allowed: &BTreeSet<LockedPackage>) -> Result<(), Fault> {
    for (name, version) in installed {
        let package = LockedPackage {
            name: name.clone(),
            version: version.clone(),
        };
        if !allowed.contains(&package) {
            return Err(Fault::NotAllowed {
                package: name.clone(),
                version: version.clone(),
            });
        }
    }
    Ok(())
}
