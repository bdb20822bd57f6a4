//! A registry to publish small packages to, for tests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::publish::{Outcome, Publisher};
use super::report::{Report, Row};
use crate::npm::Packed;
use crate::policy::{Access, Policy};
use crate::registry::faulty::Faulty;
use crate::registry::verdaccio::Verdaccio;
use crate::registry::{Patience, Registry};
use crate::tools;

/// The version of packages that need no other.
pub(crate) const VERSION: &str = "1.2.3";

/// The scope whose packages the registry has for itself.
pub(crate) fn scope() -> String {
    Policy::load().unwrap().scope
}

/// The registry and where its packages are made.
pub(crate) struct Lab {
    dir: TempDir,
    verdaccio: Verdaccio,
}

impl Lab {
    /// Starts an empty registry.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy = Policy::load().unwrap();
        let verdaccio = Verdaccio::start_in(&policy, &dir.path().join("registry")).unwrap();
        Self { dir, verdaccio }
    }

    /// The registry itself, with npm logged in.
    pub(crate) fn registry(&self) -> &Registry {
        self.verdaccio.registry()
    }

    /// Packs, for each of the names, two platform packages and a root.
    pub(crate) fn pack(&self, names: &[&str], content: &str) -> Vec<Vec<Packed>> {
        let mut manifests = Vec::new();
        for name in names {
            for suffix in ["-a", "-b", ""] {
                manifests.push(json!({
                    "name": format!("{}/{name}{suffix}", scope()),
                    "version": VERSION,
                    "platform": suffix.strip_prefix('-'),
                }));
            }
        }
        let packed = self.pack_all(&manifests, content);
        packed.chunks(3).map(<[Packed]>::to_vec).collect()
    }

    /// Packs a release of the policy's packages.
    pub(crate) fn pack_release(&self, policy: &Policy, version: &str) -> Vec<Packed> {
        self.pack_release_with(policy, version, "1")
    }

    /// The same with this in every package.
    pub(crate) fn pack_release_with(
        &self,
        policy: &Policy,
        version: &str,
        content: &str,
    ) -> Vec<Packed> {
        let mut root = json!({
            "name": policy.root_package(),
            "version": version,
            "optionalDependencies": {},
        });
        let mut manifests = Vec::new();
        for platform in &policy.platforms {
            let name = policy.platform_package(platform);
            root["optionalDependencies"][&name] = version.into();
            manifests.push(json!({ "name": name, "version": version, "platform": platform.id }));
        }
        manifests.push(root);
        self.pack_all(&manifests, content)
    }

    fn pack_all(&self, manifests: &[Value], content: &str) -> Vec<Packed> {
        let work_dir = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        let mut dirs = Vec::new();
        for (index, manifest) in manifests.iter().enumerate() {
            let dir = work_dir.join(index.to_string());
            fs_err::create_dir(&dir).unwrap();
            fs_err::write(dir.join("package.json"), manifest.to_string()).unwrap();
            fs_err::write(dir.join("index.js"), content).unwrap();
            dirs.push(dir);
        }
        let sh = tools::shell().unwrap();
        let told = tools::npm(&sh)
            .args(["pack", "--json", "--ignore-scripts", "--pack-destination"])
            .arg(&work_dir)
            .args(dirs)
            .quiet()
            .ignore_stderr()
            .read()
            .unwrap();
        let told: Vec<Value> = serde_json::from_str(&told).unwrap();
        assert_eq!(told.len(), manifests.len());
        let described = told.iter().zip(manifests);
        described
            .map(|(told, manifest)| packed(told, manifest["platform"].as_str(), &work_dir))
            .collect()
    }

    /// Publishes all of them.
    pub(crate) fn publish(&self, packages: &[Packed]) {
        release(self.registry(), packages, "next").unwrap();
    }

    /// A proxy in front of the registry, and the registry seen through it.
    pub(crate) fn faulty(&self, name: &str, answer_within: Duration) -> (Faulty, Registry) {
        let own_dir = self.dir.path().join(format!("npm-{name}"));
        fs_err::create_dir(&own_dir).unwrap();
        let faulty = Faulty::before(self.registry());
        let registry = faulty
            .registry(self.registry(), &own_dir)
            .with_patience(patience(answer_within));
        (faulty, registry)
    }

    /// A new folder that lives as long as the lab.
    pub(crate) fn dir(&self) -> PathBuf {
        tempfile::tempdir_in(self.dir.path()).unwrap().keep()
    }
}

/// What npm says that it packed.
pub(crate) fn packed(told: &Value, platform: Option<&str>, dir: &Path) -> Packed {
    let text = |key: &str| told[key].as_str().unwrap().to_owned();
    Packed {
        name: text("name"),
        version: text("version"),
        path: dir.join(text("filename")),
        integrity: text("integrity"),
        sha256: String::new(),
        bytes: told["size"].as_u64().unwrap(),
        platform: platform.map(str::to_owned),
    }
}

/// Bounds that let tests end soon.
pub(crate) fn patience(answer_within: Duration) -> Patience {
    Patience {
        attempts: 2,
        pause: Duration::from_millis(20),
        answer_within,
    }
}

/// What a release does once its packages are verified.
pub(crate) fn release(
    registry: &Registry,
    packages: &[Packed],
    tag: &str,
) -> anyhow::Result<Vec<Outcome>> {
    let publisher = Publisher {
        registry,
        tag,
        access: Access::Public,
        has_provenance: false,
    };
    let found = publisher.compare(packages)?;
    let compared: Vec<_> = packages.iter().zip(found).collect();
    let mut report = Report::new("", VERSION, tag);
    report.packages = packages.iter().map(Row::from).collect();
    super::publish(&publisher, &compared, Duration::from_secs(5), &mut report)?;
    Ok(report
        .packages
        .iter()
        .filter_map(|row| row.outcome)
        .collect())
}
