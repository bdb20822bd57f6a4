//! What an environment's own records say is installed, and whether it is.
//!
//! Every installed distribution has a directory `*.dist-info` with `METADATA`
//! and `RECORD`, which lists its files with their sizes (Recording installed
//! projects, PEP 376 and PEP 627). An installation that was cut short can
//! leave records without files, so each file is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
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
    /// A file is in no record.
    #[error("{} belongs to no package", path.display())]
    Unrecorded {
        /// The file.
        path: PathBuf,
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

impl Fault {
    /// Whether the files are others than they should be, and not merely out of
    /// reach.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Unreadable { source, .. } => is_of_content(source),
            _ => true,
        }
    }
}

/// Whether a file cannot be read for what it is or is called, whatever the
/// state of the system.
fn is_of_content(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::NotFound
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::InvalidFilename
            | Kind::InvalidInput
            | Kind::InvalidData
    )
}

/// The names of files below a package directory, as a `RECORD` writes them,
/// with nothing beside them: the code of another kind of map is as large as
/// all that is done with it.
pub(crate) type Names = Installed;

/// Reads what is installed in the environment at `directory`, and looks at
/// each recorded file. With `own`, the files that no package brought, each
/// byte is compared, and no other file may be there.
pub(crate) fn read(directory: &Path, own: Option<&Names>) -> Result<Installed, Fault> {
    let none = || Fault::None {
        path: directory.to_owned(),
    };
    let site_packages = site_packages(directory)?.ok_or_else(none)?;
    let mut unrecorded = match own {
        Some(_) => files(directory)?,
        None => Names::new(),
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
        for line in text.lines().filter_map(Line::parse) {
            line.look(&site_packages, &package, own.is_some())?;
            unrecorded.remove(&line.name);
        }
        installed.insert(package, version.to_owned());
    }
    let stranger = unrecorded
        .into_keys()
        .find(|name| own.is_some_and(|own| !own.contains_key(name)));
    match stranger {
        Some(name) => Err(Fault::Unrecorded {
            path: site_packages.join(name),
        }),
        None if installed.is_empty() => Err(none()),
        None => Ok(installed),
    }
}

/// The files in the package directory of the environment at `directory`.
pub(crate) fn files(directory: &Path) -> Result<Names, Fault> {
    let mut found = Names::new();
    let Some(site_packages) = site_packages(directory)? else {
        return Ok(found);
    };
    let mut pending = vec![String::new()];
    while let Some(parent) = pending.pop() {
        let path = site_packages.join(&parent);
        for entry in fs::read_dir(&path).map_err(unreadable(&path))? {
            let entry = entry.map_err(unreadable(&path))?;
            let name = format!("{parent}{}", entry.file_name().to_string_lossy());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(format!("{name}/"));
            } else {
                found.insert(name, String::new());
            }
        }
    }
    Ok(found)
}

/// A line of a `RECORD`: `path,hash,size`, where a path with a comma stands in
/// quotes and hash and size may be absent.
struct Line<'a> {
    name: String,
    hash: &'a str,
    size: Option<u64>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, rest) = match line.strip_prefix('"') {
            Some(quoted) => quoted.split_once("\",").unwrap_or((quoted, "")),
            None => line.split_once(',').unwrap_or((line, "")),
        };
        let (hash, size) = rest.split_once(',').unwrap_or((rest, ""));
        (!name.is_empty()).then(|| Self {
            name: name.replace("\"\"", "\""),
            hash,
            size: size.parse().ok(),
        })
    }

    fn look(&self, site_packages: &Path, package: &str, hashes: bool) -> Result<(), Fault> {
        let path = site_packages.join(&self.name);
        let problem = match fs::metadata(&path) {
            Err(error) if is_of_content(&error) => "missing",
            Err(error) => return Err(unreadable(&path)(error)),
            Ok(metadata) if self.size.is_some_and(|size| size != metadata.len()) => "changed",
            // Nothing that has no end, such as a device, is hashed.
            Ok(metadata) if hashes && !metadata.is_file() => "changed",
            // The one file that cannot hold its own digest.
            Ok(_) if !hashes || self.name.ends_with("/RECORD") => return Ok(()),
            Ok(_) => match self.has_digest_of(&path) {
                Ok(true) => return Ok(()),
                Ok(false) => "changed",
                Err(source) => return Err(unreadable(&path)(source)),
            },
        };
        Err(Fault::File {
            package: package.to_owned(),
            path,
            problem,
        })
    }

    /// No digest, or one of an unknown kind, is that of no file.
    fn has_digest_of(&self, path: &Path) -> io::Result<bool> {
        let actual = ktx_asset::hash(fs::File::open(path)?, io::sink())?.sha256;
        let digits = actual.as_bytes().chunks_exact(2);
        let bytes: Vec<u8> = digits
            .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let encoded = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Ok(self.hash.strip_prefix("sha256=") == Some(&encoded))
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Fault {
    let path = path.to_owned();
    move |source| Fault::Unreadable { path, source }
}

/// `lib/python3.X/site-packages`, or `Lib/site-packages` on Windows.
fn site_packages(environment: &Path) -> Result<Option<PathBuf>, Fault> {
    let windows = environment.join("Lib").join("site-packages");
    if cfg!(windows) {
        return Ok(windows.is_dir().then_some(windows));
    }
    let lib = environment.join("lib");
    let entries = match fs::read_dir(&lib) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(unreadable(&lib))?,
    };
    for entry in entries {
        let path = entry
            .map_err(unreadable(&lib))?
            .path()
            .join("site-packages");
        if path.is_dir() {
            return Ok(Some(path));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An environment with one package, whose record names `file` and `hash`.
    fn environment(file: &str, hash: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let lib = if cfg!(windows) {
            "Lib"
        } else {
            "lib/python3.12"
        };
        let site_packages = directory.path().join(lib).join("site-packages");
        let info = site_packages.join("a-1.dist-info");
        fs::create_dir_all(&info).unwrap();
        fs::write(site_packages.join("a.py"), "pass").unwrap();
        let record = format!("{file},{hash},4\na-1.dist-info/RECORD,,\n");
        fs::write(info.join("RECORD"), record).unwrap();
        directory
    }

    const PASS: &str = "sha256=10_w7o2juYBrGMh32_KbveULW9jk2tejpyUAD-uC6PE";

    #[test]
    fn compares_each_byte_only_where_what_was_there_before_is_known() {
        let own = Some(&Names::new());
        let good = environment("a.py", PASS);
        assert!(read(good.path(), own).is_ok());
        for hash in [
            "",
            "md5=x",
            "sha256=",
            "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
        ] {
            let other = environment("a.py", hash);
            assert!(read(other.path(), None).is_ok());
            let fault = read(other.path(), own).unwrap_err();
            assert!(
                fault.to_string().ends_with("a.py is changed"),
                "{hash}: {fault}"
            );
        }
    }

    #[test]
    fn allows_files_of_packages_and_those_that_were_there_before() {
        let directory = environment("a.py", PASS);
        let own = files(directory.path()).unwrap();
        let site_packages = site_packages(directory.path()).unwrap().unwrap();
        fs::create_dir(site_packages.join("deep")).unwrap();
        fs::write(site_packages.join("deep/evil.pth"), "").unwrap();
        assert!(read(directory.path(), None).is_ok());
        let fault = read(directory.path(), Some(&own)).unwrap_err();
        assert!(
            fault
                .to_string()
                .ends_with("evil.pth belongs to no package")
        );
        let own = files(directory.path()).unwrap();
        assert!(read(directory.path(), Some(&own)).is_ok());
    }

    #[test]
    fn takes_nothing_that_is_out_of_reach_for_damage() {
        let named = environment(&"x".repeat(300), PASS);
        let fault = read(named.path(), None).unwrap_err();
        assert!(fault.to_string().ends_with("is missing"), "{fault}");
        let unreadable = |kind: io::ErrorKind| unreadable(Path::new("a"))(kind.into());
        assert!(unreadable(io::ErrorKind::NotFound).is_damage());
        assert!(!unreadable(io::ErrorKind::PermissionDenied).is_damage());
        assert!(!unreadable(io::ErrorKind::StorageFull).is_damage());
    }
}
