//! What a release did, for people (`dist/report.md`) and for programs (`dist/report.json`).

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::Result;
use serde::Serialize;

use super::plan::STEPS;
use super::publish::Outcome;
use crate::artifact::{Binary, Wheel};
use crate::npm::Packed;
use crate::policy::Policy;
use crate::smoke::Smoked;
use crate::{repo, say};

/// Begins as what is to be done and fills up as it is done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    schema_version: u32,
    generated_at: String,
    source_revision: String,
    version: String,
    tag: String,
    registry: String,
    /// What the changelog says of the version.
    pub(crate) changes: String,
    pub(crate) packages: Vec<Row>,
    artifacts: Vec<Artifact>,
    /// Platforms that were published and not run on this machine.
    not_run: Vec<String>,
    /// Platforms of the policy that were not published.
    left_out: Vec<String>,
    /// What was tried with the registry's bytes.
    pub(crate) smoke: Option<Smoked>,
    steps: Vec<Step>,
    error: Option<String>,
}

/// One package.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    name: String,
    version: String,
    file: String,
    bytes: u64,
    sha256: String,
    integrity: String,
    platform: Option<String>,
    /// None until it is on the registry.
    pub(crate) outcome: Option<Outcome>,
}

/// One file that a package carries.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    platform: String,
    file: String,
    /// Format and processor, of a binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    bytes: u64,
    sha256: String,
    /// The oldest C library or system that it runs with; none where it brings all it needs.
    libc_floor: Option<String>,
}

#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    seconds: f64,
    ok: bool,
}

impl From<&Packed> for Row {
    fn from(package: &Packed) -> Self {
        Self {
            name: package.name.clone(),
            version: package.version.clone(),
            file: repo::shown(&package.path),
            bytes: package.bytes,
            sha256: package.sha256.clone(),
            integrity: package.integrity.clone(),
            platform: package.platform.clone(),
            outcome: None,
        }
    }
}

impl Report {
    /// A report of nothing done yet.
    pub(crate) fn new(revision: &str, version: &str, tag: &str) -> Self {
        Self {
            schema_version: 1,
            generated_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            source_revision: revision.to_owned(),
            version: version.to_owned(),
            tag: tag.to_owned(),
            registry: String::new(),
            changes: String::new(),
            packages: Vec::new(),
            artifacts: Vec::new(),
            not_run: Vec::new(),
            left_out: Vec::new(),
            smoke: None,
            steps: Vec::new(),
            error: None,
        }
    }

    /// Notes what is published, what of it this machine cannot run, and what is left out.
    pub(crate) fn list(&mut self, policy: &Policy, packages: &[Packed]) -> Result<()> {
        self.packages = packages.iter().map(Row::from).collect();
        let host = policy.host()?;
        for platform in &policy.platforms {
            let id = &platform.id;
            if !packages
                .iter()
                .any(|package| package.platform.as_ref() == Some(id))
            {
                self.left_out.push(id.clone());
            } else if *id != host.id {
                self.not_run.push(id.clone());
            }
        }
        Ok(())
    }

    /// Notes a binary that a package carries.
    pub(crate) fn carries(&mut self, platform: &str, file: &str, binary: &Binary) {
        self.artifacts.push(Artifact {
            platform: platform.to_owned(),
            file: file.to_owned(),
            machine: Some(binary.machine.clone()),
            bytes: binary.bytes,
            sha256: binary.sha256.clone(),
            libc_floor: binary.libc_floor.clone(),
        });
    }

    /// Notes a wheel that a package carries, and the daemon in it.
    pub(crate) fn carries_wheel(&mut self, platform: &str, wheel: &Wheel) {
        let daemon = wheel.daemon.as_ref();
        self.artifacts.push(Artifact {
            platform: platform.to_owned(),
            file: format!("wheel {} {}", wheel.name, wheel.tags.join(" ")),
            machine: None,
            bytes: wheel.bytes,
            sha256: wheel.sha256.clone(),
            libc_floor: daemon.and_then(|daemon| daemon.libc_floor.clone()),
        });
        if let Some(daemon) = daemon {
            self.carries(platform, "ktx-daemon, in the wheel", daemon);
        }
    }

    /// Whether there is anything to report.
    pub(crate) fn has_packages(&self) -> bool {
        !self.packages.is_empty()
    }

    /// Where it is published.
    pub(crate) fn note_registry(&mut self, shown: String) {
        self.registry = shown;
    }

    /// Says which step begins, takes it, and notes how long it took and whether it went well.
    pub(crate) fn step<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let number = STEPS
            .iter()
            .position(|(step, _)| *step == name)
            .expect("every step is in the plan");
        say::step(&format!("[{}/{}] {name}", number + 1, STEPS.len()));
        let begun = Instant::now();
        let outcome = work(self);
        let seconds = begun.elapsed().as_secs_f64();
        self.steps.push(Step {
            name,
            seconds: (seconds * 10.0).round() / 10.0,
            ok: outcome.is_ok(),
        });
        if outcome.is_ok() {
            say::detail(&format!("{seconds:.1} s"));
        }
        outcome
    }

    /// Notes how a package came to be on the registry.
    pub(crate) fn note(&mut self, package: &Packed, outcome: Outcome) {
        for row in &mut self.packages {
            if row.name == package.name {
                row.outcome = Some(outcome);
            }
        }
    }

    /// Notes what ended the release.
    pub(crate) fn fail(&mut self, error: &anyhow::Error) {
        self.error = Some(format!("{error:#}"));
    }

    /// Writes both forms into `dir`.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        fs_err::write(
            dir.join("report.json"),
            serde_json::to_string_pretty(self)? + "\n",
        )?;
        fs_err::write(dir.join("report.md"), self.markdown())?;
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut text = format!(
            "# {} {} under `{}`\n\n{}, from commit {}, to {}\n",
            self.packages
                .last()
                .map_or("Release", |root| root.name.as_str()),
            self.version,
            self.tag,
            self.generated_at,
            self.source_revision,
            self.registry,
        );
        if let Some(error) = &self.error {
            let _ = write!(text, "\n**It did not finish:** {error}\n");
        }
        if !self.changes.is_empty() {
            let _ = write!(text, "\n## Changes\n\n{}\n", self.changes);
        }
        text +=
            "\n## Packages\n\n| package | bytes | sha256 | on the registry |\n|---|---:|---|---|\n";
        for row in &self.packages {
            let outcome = row.outcome.map_or("no", Outcome::words);
            let _ = writeln!(
                text,
                "| {} | {} | `{}` | {outcome} |",
                row.name, row.bytes, row.sha256
            );
        }
        text += "\n## What they carry\n\n| platform | file | bytes | sha256 | oldest C library or system |\n|---|---|---:|---|---|\n";
        for artifact in &self.artifacts {
            let _ = writeln!(
                text,
                "| {} | {} | {} | `{}` | {} |",
                artifact.platform,
                artifact.file,
                artifact.bytes,
                artifact.sha256,
                artifact.libc_floor.as_deref().unwrap_or("any"),
            );
        }
        if let Some(smoked) = &self.smoke {
            let table = smoked.table();
            let _ = write!(
                text,
                "\n## Tried with the registry's bytes\n\n```\n{table}\n```\n"
            );
        }
        for (names, heading) in [
            (&self.not_run, "Inspected, not run"),
            (&self.left_out, "Left out"),
        ] {
            if !names.is_empty() {
                let _ = write!(text, "\n{heading}: {}\n", names.join(", "));
            }
        }
        text += "\n## Steps\n\n| step | seconds | |\n|---|---:|---|\n";
        for step in &self.steps {
            let mark = if step.ok { "" } else { "failed" };
            let _ = writeln!(text, "| {} | {:.1} | {mark} |", step.name, step.seconds);
        }
        text
    }
}
