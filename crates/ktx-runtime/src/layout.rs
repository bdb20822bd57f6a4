//! Where everything lies. Nothing else in ktx knows a path name.
//!
//! ```text
//! <root>.lock                       the install and prune lock
//! <root>/
//!   <version>/
//!     manifest.json                 the runtime manifest
//!     install.log                   every command run, with its output
//!     .venv/                        the first environment
//!     .venv-<id>/                   a rebuilt one
//!       .ktx-lease                  locked by whoever uses the environment
//!     .attempt-<id>/                what an installation in progress needs
//!   uv/<version>/                   the kept uv
//!   python/                         interpreters that uv had to install
//!   cache/                          uv's cache
//!   daemons/
//!     <key>.lock                    held by whoever starts or ends the daemon
//!     <key>/                        what a daemon leaves for others to find
//!       daemon.json                 where it is, for as long as it runs
//!       daemon.log                  its log, and .1 and .2 before that
//!       version                     the version that it belongs to
//! ```
//!
//! The layout is a pure function of its options and can be computed for a
//! platform that is not the host's. Separators are slashes everywhere:
//! Windows takes them, and so the result does not depend on the host.

use std::path::{Path, PathBuf};

use ktx_asset::MANIFEST_FILE;
use ktx_env::HOST_PLATFORM;
use ktx_env::bootstrap::Pins;
use ktx_os::environment::Environment;
use ktx_os::variables::{
    HOME, KTX_ASSET_DIR, KTX_RUNTIME_ROOT, LOCALAPPDATA, USERPROFILE, XDG_DATA_HOME,
};
use serde::Serialize;

use crate::error::RuntimeError;

/// What platform conventions decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// macOS.
    Darwin,
    /// Linux, and every other Unix that follows the XDG conventions.
    Linux,
    /// Windows.
    Windows,
}

impl Platform {
    /// The platform that this code runs on.
    pub const HOST: Self = if cfg!(windows) {
        Self::Windows
    } else if cfg!(target_os = "macos") {
        Self::Darwin
    } else {
        Self::Linux
    };

    /// The platform of a name as in Node's `process.platform`.
    pub fn from_node(name: &str) -> Self {
        match name {
            "darwin" => Self::Darwin,
            "win32" => Self::Windows,
            _ => Self::Linux,
        }
    }
}

/// What the layout is computed from.
#[derive(Clone, Debug)]
pub struct LayoutOptions {
    /// The version of ktx (Semantic Versioning).
    pub cli_version: String,
    /// The platform whose conventions apply; the host's by default.
    pub platform: Platform,
    /// Environment variables.
    pub environment: Environment,
    /// The home directory; `HOME`, or `USERPROFILE` on Windows, by default.
    pub home_dir: Option<String>,
    /// The runtime root; else `KTX_RUNTIME_ROOT`, else the platform's place.
    pub runtime_root: Option<String>,
    /// The asset directory; else `KTX_ASSET_DIR`.
    pub asset_dir: Option<String>,
    /// The asset directory if nothing else names one.
    pub default_asset_dir: Option<String>,
}

/// The paths of one version's runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// The version of ktx.
    pub cli_version: String,
    /// The directory that holds every runtime.
    pub runtime_root: PathBuf,
    /// The directory of this version's runtime.
    pub version_dir: PathBuf,
    /// The environment.
    pub venv_dir: PathBuf,
    /// The runtime manifest.
    pub manifest_path: PathBuf,
    /// The install log.
    pub install_log_path: PathBuf,
    /// The asset.
    pub asset_dir: PathBuf,
    /// The asset manifest.
    pub asset_manifest_path: PathBuf,
    /// The environment's interpreter.
    pub python_path: PathBuf,
    /// The environment's `ktx-daemon`.
    pub daemon_path: PathBuf,
    /// The home directory, if the root lies in it by convention.
    #[serde(skip)]
    home: Option<PathBuf>,
    #[serde(skip)]
    platform: Platform,
}

/// The name that the first environment has.
const FIRST_ENVIRONMENT: &str = ".venv";

impl Layout {
    /// Computes the layout.
    ///
    /// # Errors
    ///
    /// If the version is none, or no home directory is known and the root is
    /// not given.
    pub fn new(options: &LayoutOptions) -> Result<Self, RuntimeError> {
        let LayoutOptions {
            cli_version,
            platform,
            environment,
            ..
        } = options;
        if !is_version(cli_version) {
            return Err(RuntimeError::Version {
                version: cli_version.clone(),
            });
        }
        let given = options
            .runtime_root
            .as_deref()
            .filter(|root| !root.is_empty());
        let (root, home) = match given.or_else(|| environment.var(KTX_RUNTIME_ROOT)) {
            Some(root) => (absolute(root, *platform)?, None),
            None => default_root(options)?,
        };
        let asset_dir = options
            .asset_dir
            .as_deref()
            .or_else(|| environment.var(KTX_ASSET_DIR))
            .or(options.default_asset_dir.as_deref())
            .unwrap_or_default();
        let version_dir = join(&root, cli_version);
        let mut layout = Self {
            cli_version: cli_version.clone(),
            manifest_path: join(&version_dir, "manifest.json").into(),
            install_log_path: join(&version_dir, "install.log").into(),
            asset_manifest_path: join(asset_dir, MANIFEST_FILE).into(),
            asset_dir: asset_dir.into(),
            runtime_root: root.into(),
            version_dir: version_dir.into(),
            venv_dir: PathBuf::new(),
            python_path: PathBuf::new(),
            daemon_path: PathBuf::new(),
            home,
            platform: *platform,
        };
        layout.enter_environment(FIRST_ENVIRONMENT);
        Ok(layout)
    }

    /// Makes the environment `name` the one that the paths lead to.
    fn enter_environment(&mut self, name: &str) {
        let directory = join(&self.version_dir.to_string_lossy(), name);
        let (python, daemon) = match self.platform {
            Platform::Windows => ("Scripts/python.exe", "Scripts/ktx-daemon.exe"),
            Platform::Darwin | Platform::Linux => ("bin/python", "bin/ktx-daemon"),
        };
        self.python_path = join(&directory, python).into();
        self.daemon_path = join(&directory, daemon).into();
        self.venv_dir = directory.into();
    }

    /// The layout with a place for an environment that nothing uses yet:
    /// the first environment's if that is free, else one of its own.
    pub(crate) fn with_new_environment(&self, id: &str) -> Self {
        let mut layout = self.clone();
        layout.enter_environment(FIRST_ENVIRONMENT);
        if fs_err::symlink_metadata(&layout.venv_dir).is_ok() {
            layout.enter_environment(&format!("{FIRST_ENVIRONMENT}-{id}"));
        }
        layout
    }

    /// The layout with the environment that the interpreter `python` is in,
    /// if it is one of this version.
    pub(crate) fn with_environment_of(&self, python: &Path) -> Self {
        let mut layout = self.clone();
        let name = python
            .parent()
            .and_then(Path::parent)
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| is_environment(name)) {
            layout.enter_environment(name);
        }
        layout
    }

    /// A private directory for one installation.
    pub(crate) fn attempt_dir(&self, id: &str) -> PathBuf {
        self.version_dir.join(format!("{ATTEMPT}{id}"))
    }

    /// Where uv is kept.
    pub(crate) fn kept_uv_dir(&self) -> PathBuf {
        self.runtime_root.join("uv").join(&Pins::embedded().version)
    }

    /// Where interpreters are kept that uv had to install.
    pub(crate) fn kept_python_dir(&self) -> PathBuf {
        self.runtime_root.join("python")
    }

    /// uv's cache.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.runtime_root.join("cache")
    }

    /// Where the daemons of all versions lie.
    pub fn daemons_dir(&self) -> PathBuf {
        daemons_dir(&self.runtime_root)
    }

    /// The home directory, if the root lies in it by convention.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Whether an environment of this layout can run here.
    pub(crate) fn is_for_host(&self) -> bool {
        self.platform == Platform::HOST && HOST_PLATFORM != "unsupported"
    }
}

/// The files of one daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonPaths {
    /// The directory that is the daemon's own.
    pub directory: PathBuf,
    /// Where it is, for as long as it runs.
    pub state_path: PathBuf,
    /// Its log.
    pub log_path: PathBuf,
    /// The version that it belongs to, as text.
    pub version_path: PathBuf,
    /// Held by whoever starts or ends it. It is beside the directory, so that
    /// it outlives everything in it.
    pub lock_path: PathBuf,
}

impl DaemonPaths {
    /// The files of the daemon `key` among those in `daemons_dir`.
    pub fn new(daemons_dir: &Path, key: &str) -> Self {
        let directory = daemons_dir.join(key);
        Self {
            state_path: directory.join("daemon.json"),
            log_path: directory.join("daemon.log"),
            version_path: directory.join("version"),
            lock_path: daemons_dir.join(format!("{key}.lock")),
            directory,
        }
    }
}

/// Where the daemons of a runtime root lie.
pub(crate) fn daemons_dir(runtime_root: &Path) -> PathBuf {
    runtime_root.join("daemons")
}

/// The prefix of the directories that installations work in.
const ATTEMPT: &str = ".attempt-";

/// The file in an environment that is locked by whoever uses it.
pub(crate) fn lease_path(environment: &Path) -> PathBuf {
    environment.join(".ktx-lease")
}

/// The lock that installations and prunes take: beside the root, so that it
/// outlives everything in it. Every path to an existing root leads to the same
/// lock: two that are held side by side would keep nobody out.
pub(crate) fn lock_path(runtime_root: &Path) -> Result<PathBuf, RuntimeError> {
    let root = fs_err::canonicalize(runtime_root).map_err(|source| RuntimeError::Io {
        path: runtime_root.to_owned(),
        source,
    })?;
    let mut path = root.into_os_string();
    path.push(".lock");
    Ok(path.into())
}

/// The manifest in a version directory.
pub(crate) fn manifest_path(version_dir: &Path) -> PathBuf {
    version_dir.join("manifest.json")
}

/// Whether a directory of this name under the root is a runtime.
pub(crate) fn is_version(name: &str) -> bool {
    semver::Version::parse(name).is_ok()
}

/// Whether a directory of this name in a version directory is an environment.
pub(crate) fn is_environment(name: &str) -> bool {
    name.strip_prefix(FIRST_ENVIRONMENT)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether a directory of this name in a version directory was left behind by
/// an installation.
pub(crate) fn is_attempt(name: &str) -> bool {
    name.starts_with(ATTEMPT)
}

fn default_root(options: &LayoutOptions) -> Result<(String, Option<PathBuf>), RuntimeError> {
    let environment = &options.environment;
    let variable = if options.platform == Platform::Windows {
        USERPROFILE
    } else {
        HOME
    };
    let home = || {
        options
            .home_dir
            .as_deref()
            .filter(|home| !home.is_empty())
            .or_else(|| environment.var(variable))
            .ok_or(RuntimeError::HomeUnset { variable })
    };
    let in_home = |path: &str| home().map(|home| (join(home, path), Some(PathBuf::from(home))));
    match options.platform {
        Platform::Darwin => in_home("Library/Application Support/kaelio/ktx/runtime"),
        Platform::Windows => match environment.var(LOCALAPPDATA) {
            Some(data) => Ok((join(data, "Kaelio/KTX/runtime"), None)),
            None => in_home("AppData/Local/Kaelio/KTX/runtime"),
        },
        // The XDG specification has relative paths ignored.
        Platform::Linux => match environment
            .var(XDG_DATA_HOME)
            .filter(|path| path.starts_with('/'))
        {
            Some(data) => Ok((join(data, "kaelio/ktx/runtime"), None)),
            None => in_home(".local/share/kaelio/ktx/runtime"),
        },
    }
}

fn join(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}

/// `path` from the working directory if it is relative; a path for another
/// platform stays as it is.
fn absolute(path: &str, platform: Platform) -> Result<String, RuntimeError> {
    let path = if path.len() > 1 {
        path.trim_end_matches('/')
    } else {
        path
    };
    if platform != Platform::HOST {
        return Ok(path.to_owned());
    }
    std::path::absolute(path)
        .map(|absolute| absolute.to_string_lossy().into_owned())
        .map_err(|source| RuntimeError::Io {
            path: path.into(),
            source,
        })
}
