//! `cargo xtask lock`: every Python dependency by version and digest, for all supported machines.
//!
//! The lock is a universal pip requirements file in sections, one per feature; a section lists
//! only what the sections before it do not.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use xshell::{Shell, TempDir};

use crate::policy::{Platform, Policy};
use crate::tools::{self, PythonTools};
use crate::{digest, repo, say, uv};

/// The lock in the checkout.
pub(crate) const PATH: &str = "release/requirements.lock";
/// The lock in an asset.
pub(crate) const FILE_NAME: &str = "requirements.lock";
const HEADER: &str = "# ktx-lock: 1";
const SECTION: &str = "# feature: ";
const CORE: &str = "core";
const FEATURES: [&str; 2] = [CORE, "local-embeddings"];
const PROJECT: &str = "python/pyproject.toml";
/// The environments that checks and measurements run in: what they ask for, and their pins.
pub(crate) const ENVIRONMENTS: [(&str, &str); 6] = [
    ("release/python-tools.in", "release/python-tools.txt"),
    ("release/python-cross.in", "release/python-cross.txt"),
    ("release/python-nodes.in", "release/python-nodes.txt"),
    ("release/python-tests.in", "release/python-tests.txt"),
    ("release/python-grpc.in", "release/python-grpc.txt"),
    ("release/python-bench.in", "release/python-bench.txt"),
];

#[derive(Args)]
pub(crate) struct Options {
    /// Resolve again with the committed versions and fail if anything differs; write nothing
    #[arg(long)]
    check: bool,
    /// Take the newest versions instead of keeping the committed ones
    #[arg(long, conflicts_with = "check")]
    upgrade: bool,
}

impl Options {
    /// What `cargo xtask lock --check` is called with.
    pub(crate) fn check() -> Self {
        Self {
            check: true,
            upgrade: false,
        }
    }
}

/// What the wheel needs without any extra, as a requirements file.
pub(crate) fn core_requirements() -> Result<String> {
    requirements_up_to(&fs_err::read_to_string(repo::path(PATH))?, CORE)
}

struct Resolver<'a> {
    sh: &'a Shell,
    tools: &'a PythonTools,
    policy: &'a Policy,
    dir: TempDir,
}

/// Writes or checks the lock and the pins of the tools.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    let tools = PythonTools::ensure()?;
    let sh = tools::shell()?;
    let resolver = Resolver {
        sh: &sh,
        tools: &tools,
        policy: &policy,
        dir: sh.create_temp_dir()?,
    };

    say::step("Resolving the Python dependencies");
    let committed = match fs_err::read_to_string(repo::path(PATH)) {
        Ok(text) if !options.upgrade => Some(text),
        _ => None,
    };
    let lock = resolver.lock(committed.as_deref())?;
    ktx_asset::Lock::parse(lock.as_bytes()).context("The new lock is not one that ktx reads")?;
    let mut files = vec![(PATH, lock)];
    for (input, output) in ENVIRONMENTS {
        files.push((output, resolver.pins(input, output, options.upgrade)?));
    }
    resolver.check_wheels(&files[0].1)?;

    for (path, text) in &files {
        if options.check {
            let current = fs_err::read_to_string(repo::path(path))?;
            ensure!(
                current == *text,
                "`{path}` is not what the project resolves to; write it with `cargo xtask lock`"
            );
        } else {
            fs_err::write(repo::path(path), text)?;
        }
        say::result(path);
    }
    Ok(())
}

impl Resolver<'_> {
    /// The lock's text; the versions of `committed` are kept where they still satisfy the project.
    fn lock(&self, committed: Option<&str>) -> Result<String> {
        let mut closures: Vec<Vec<Requirement>> = Vec::new();
        for (index, feature) in FEATURES.iter().enumerate() {
            let preferred = committed
                .map(|text| requirements_up_to(text, feature))
                .transpose()?;
            let output_path = self.dir.path().join(format!("{feature}.txt"));
            fs_err::write(&output_path, preferred.unwrap_or_default())?;
            let mut arguments = vec![PROJECT.to_owned()];
            if index > 0 {
                arguments.push(format!("--extra={feature}"));
                let smaller = self.dir.path().join(format!("{}.txt", FEATURES[index - 1]));
                arguments.push(format!("--constraint={}", smaller.display()));
            }
            self.compile(&arguments, &output_path)?;
            closures.push(parse_requirements(&fs_err::read_to_string(&output_path)?)?);
        }
        render(&closures)
    }

    fn pins(&self, input: &str, output: &str, upgrade: bool) -> Result<String> {
        let path = self.dir.path().join("pins.txt");
        let preferred = if upgrade {
            String::new()
        } else {
            fs_err::read_to_string(repo::path(output)).unwrap_or_default()
        };
        fs_err::write(&path, preferred)?;
        self.compile(&[input.to_owned()], &path)?;
        Ok(fs_err::read_to_string(&path)?)
    }

    fn compile(&self, arguments: &[String], output_path: &Path) -> Result<()> {
        let oldest = &self.policy.python.versions[0];
        let command = uv::command(self.sh, self.tools)
            .args([
                "pip",
                "compile",
                "--quiet",
                "--universal",
                "--generate-hashes",
            ])
            .args(["--only-binary", ":all:", "--no-header", "--no-annotate"])
            .args(["--python-version", oldest, "--output-file"])
            .arg(output_path)
            .args(arguments);
        uv::read(command)?;
        Ok(())
    }

    /// Fails where a locked version has no wheel, unless the policy says so and why.
    fn check_wheels(&self, lock: &str) -> Result<()> {
        let lock_path = self.dir.path().join("lock.txt");
        fs_err::write(&lock_path, lock)?;
        let policy = fs_err::read_to_string(repo::path("release/policy.json"))?;
        let key = digest::of_reader(format!("{lock}{policy}").as_bytes())?.sha256;
        let stamp_path = repo::output_dir().join("lock-has-wheels");
        // What the index once served for a version it goes on serving.
        if fs_err::read_to_string(&stamp_path).is_ok_and(|stamp| stamp == key) {
            return Ok(());
        }
        say::step("Looking for wheels for every supported Python and platform");
        for platform in &self.policy.platforms {
            for version in &self.policy.python.versions {
                // A larger feature holds the smaller ones.
                for feature in FEATURES.iter().rev() {
                    if self.check_wheels_of(feature, platform, version, &lock_path)? {
                        break;
                    }
                }
            }
        }
        fs_err::create_dir_all(repo::output_dir())?;
        fs_err::write(stamp_path, key)?;
        Ok(())
    }

    /// Whether the feature can be installed there; fails if the policy says otherwise.
    fn check_wheels_of(
        &self,
        feature: &str,
        platform: &Platform,
        version: &str,
        lock_path: &Path,
    ) -> Result<bool> {
        let expected = self.policy.python.unavailable.iter().find(|entry| {
            entry.feature == feature
                && entry.platform == platform.id
                && entry.versions.iter().any(|listed| listed == version)
        });
        let extra = (feature != CORE).then(|| format!("--extra={feature}"));
        let command = uv::command(self.sh, self.tools)
            .args([
                "pip",
                "compile",
                "--quiet",
                PROJECT,
                "--only-binary",
                ":all:",
                "--constraint",
            ])
            .arg(lock_path)
            .args([
                "--python-version",
                version,
                "--python-platform",
                &platform.python_target,
            ])
            // The oldest macOS for which onnxruntime has wheels.
            .env("MACOSX_DEPLOYMENT_TARGET", "14.0")
            .args(extra);
        match (uv::read(command), expected) {
            (Ok(_), None) => Ok(true),
            (Err(_), Some(entry)) => {
                say::detail(&format!(
                    "{feature} is not available on {} with Python {version}: {}",
                    platform.id, entry.reason
                ));
                Ok(false)
            }
            (Ok(_), Some(_)) => bail!(
                "{feature} has wheels for {} with Python {version}; take it out of `python.unavailable` in `release/policy.json`",
                platform.id
            ),
            (Err(error), None) => Err(error).with_context(|| {
                format!(
                    "{feature} has no wheels for {} with Python {version}",
                    platform.id
                )
            }),
        }
    }
}

/// One entry of a requirements file with its digests.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Requirement {
    /// `name==version ; marker`
    head: String,
    /// The entry as it stands in the file.
    text: String,
}

fn parse_requirements(text: &str) -> Result<Vec<Requirement>> {
    let mut requirements: Vec<Requirement> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if line.starts_with(char::is_whitespace) {
            let last = requirements
                .last_mut()
                .context("A requirements file cannot begin with a digest")?;
            ensure!(
                line.trim_start().starts_with("--hash=sha256:"),
                "`{line}` is not a sha256 digest"
            );
            last.text.push_str(line);
            last.text.push('\n');
        } else {
            let head = line.trim_end_matches('\\').trim_end().to_owned();
            ensure!(
                head.contains("==") && !head.contains("://"),
                "`{head}` is not a version on the index"
            );
            requirements.push(Requirement {
                head,
                text: format!("{line}\n"),
            });
        }
    }
    for requirement in &requirements {
        ensure!(
            requirement.text.contains("--hash="),
            "`{}` has no digest",
            requirement.head
        );
    }
    Ok(requirements)
}

/// The requirements of a lock's sections up to and including that of `feature`.
fn requirements_up_to(lock: &str, feature: &str) -> Result<String> {
    let mut text = String::new();
    let mut is_found = false;
    for line in lock.lines() {
        if let Some(name) = line.strip_prefix(SECTION) {
            if is_found {
                break;
            }
            is_found = name == feature;
        } else if !line.starts_with('#') {
            writeln!(text, "{line}")?;
        }
    }
    ensure!(
        is_found,
        "`{PATH}` has no section for `{feature}`; delete it and write it again"
    );
    Ok(text)
}

/// Writes each closure as a section without what the closure before it holds.
fn render(closures: &[Vec<Requirement>]) -> Result<String> {
    let mut text = format!("{HEADER}\n");
    let mut written: &[Requirement] = &[];
    for (feature, closure) in FEATURES.iter().zip(closures) {
        for earlier in written {
            ensure!(
                closure.contains(earlier),
                "`{}` is resolved differently for `{feature}`",
                earlier.head
            );
        }
        writeln!(text, "{SECTION}{feature}")?;
        for requirement in closure
            .iter()
            .filter(|requirement| !written.contains(requirement))
        {
            text.push_str(&requirement.text);
        }
        written = closure;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{parse_requirements, render, requirements_up_to};

    const CORE: &str = "msgpack==1.2.4 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n";
    const ALL: &str = "msgpack==1.2.4 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n\
        numpy==2.2.6 ; python_full_version < '3.11' \\\n    --hash=sha256:cc\n\
        numpy==2.5.5 ; python_full_version >= '3.11' \\\n    --hash=sha256:dd\n";

    #[test]
    fn lists_in_a_section_only_what_earlier_ones_do_not() {
        let closures = [
            parse_requirements(CORE).unwrap(),
            parse_requirements(ALL).unwrap(),
        ];
        let lock = render(&closures).unwrap();
        assert_eq!(
            lock,
            format!(
                "# ktx-lock: 1\n# feature: core\n{CORE}# feature: local-embeddings\n{}",
                &ALL[CORE.len()..]
            )
        );
        assert_eq!(requirements_up_to(&lock, "core").unwrap(), CORE);
        assert_eq!(requirements_up_to(&lock, "local-embeddings").unwrap(), ALL);
    }

    #[test]
    fn refuses_a_dependency_that_changes_between_features() {
        let changed = ALL.replace("msgpack==1.2.4", "msgpack==1.2.3");
        let closures = [
            parse_requirements(CORE).unwrap(),
            parse_requirements(&changed).unwrap(),
        ];
        assert!(
            render(&closures)
                .unwrap_err()
                .to_string()
                .contains("msgpack==1.2.4")
        );
    }

    #[test]
    fn refuses_a_requirement_without_digest_or_from_a_url() {
        assert!(parse_requirements("msgpack==1.2.4\n").is_err());
        assert!(
            parse_requirements("msgpack @ https://example.org/m.whl \\\n    --hash=sha256:aa\n")
                .is_err()
        );
        assert!(parse_requirements("    --hash=sha256:aa\n").is_err());
    }

    #[test]
    fn refuses_a_lock_without_the_section() {
        assert!(requirements_up_to("# ktx-lock: 1\n# feature: core\n", "gpu").is_err());
    }
}
