//! A home, a root and an asset for one test, and an executor that records
//! what it is asked to run.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fs_err as fs;
use ktx_asset::{Feature, hash};
use ktx_os::command::{Command, CommandError, Executor, Lines, Output};
use ktx_os::environment::Environment;
use ktx_runtime::{
    Install, Installed, Layout, LayoutOptions, Platform, RuntimeError, Status, install, status,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// One test's world, gone when it is dropped.
pub(crate) struct World {
    directory: TempDir,
    pub(crate) executor: Arc<Recorder>,
}

impl World {
    /// A world whose asset is a minimal one: a wheel that is no zip file, no
    /// lock, no probe.
    pub(crate) fn new() -> Self {
        let world = Self {
            directory: tempfile::tempdir().unwrap(),
            executor: Arc::default(),
        };
        fs::create_dir(world.path("asset")).unwrap();
        fs::write(
            world.path("asset/kaelio_ktx-0.1.0-py3-none-any.whl"),
            b"wheel-bytes",
        )
        .unwrap();
        let digest = hash(&b"wheel-bytes"[..], std::io::sink()).unwrap();
        let manifest = serde_json::json!({
            "schemaVersion": 1,
            "distributionName": "kaelio-ktx",
            "normalizedName": "kaelio_ktx",
            "version": "0.1.0",
            "wheel": {
                "file": "kaelio_ktx-0.1.0-py3-none-any.whl",
                "sha256": digest.sha256,
                "bytes": digest.bytes,
            },
        });
        fs::write(world.path("asset/manifest.json"), manifest.to_string()).unwrap();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn layout(&self) -> Layout {
        let options = LayoutOptions {
            cli_version: "0.2.0".to_owned(),
            platform: Platform::HOST,
            environment: Environment::default(),
            home_dir: None,
            runtime_root: Some(self.path("runtime").display().to_string()),
            asset_dir: Some(self.path("asset").display().to_string()),
            default_asset_dir: None,
        };
        Layout::new(&options).unwrap()
    }

    pub(crate) fn installation(&self) -> Install {
        Install {
            layout: self.layout(),
            environment: Environment::default(),
            features: vec![Feature::Core],
            force: false,
            executor: Arc::clone(&self.executor) as _,
            listener: Arc::new(|_| {}),
            cancellation: CancellationToken::new(),
        }
    }

    pub(crate) async fn install(&self) -> Result<Installed, RuntimeError> {
        install(self.installation()).await
    }

    pub(crate) async fn status(&self) -> Status {
        let (environment, cancellation) = (Environment::default(), CancellationToken::new());
        status(
            &self.layout(),
            &environment,
            self.executor.as_ref(),
            &cancellation,
        )
        .await
        .unwrap()
    }

    /// `text` without what differs from run to run.
    pub(crate) fn filtered(&self, text: &str) -> String {
        text.replace(&self.directory.path().display().to_string(), "[world]")
    }

    /// The names in the version directory, in order.
    pub(crate) fn version_dir_names(&self) -> Vec<String> {
        names(self.layout().version_dir)
    }
}

/// Puts the files where an installation would have put them.
pub(crate) fn plant_executables(layout: &Layout) {
    fs::create_dir_all(layout.python_path.parent().unwrap()).unwrap();
    fs::write(&layout.python_path, "").unwrap();
    fs::write(&layout.daemon_path, "").unwrap();
}

/// The names in a directory, in order.
pub(crate) fn names(directory: PathBuf) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Records commands and lets them succeed, save the one that is to fail.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) commands: Mutex<Vec<String>>,
    pub(crate) fails: Mutex<Option<&'static str>>,
}

#[async_trait]
impl Executor for Recorder {
    async fn run(
        &self,
        command: &Command,
        _: &CancellationToken,
        _: &Lines<'_>,
    ) -> Result<Output, CommandError> {
        let line = command.to_string();
        self.commands.lock().unwrap().push(line.clone());
        if self
            .fails
            .lock()
            .unwrap()
            .is_some_and(|prefix| line.starts_with(prefix))
        {
            return Err(CommandError::Failed {
                program: command.program.clone(),
                reason: "exit status: 2".to_owned(),
                output: Output {
                    stdout: "creating\n".to_owned(),
                    stderr: "bad python\n".to_owned(),
                },
            });
        }
        let stdout = if command.arguments == ["--version"] {
            "uv 0.9.5\n"
        } else {
            ""
        };
        Ok(Output {
            stdout: stdout.to_owned(),
            stderr: String::new(),
        })
    }
}
