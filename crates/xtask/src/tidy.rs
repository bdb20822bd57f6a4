//! `cargo xtask tidy`: what compilers and linters do not see.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use xshell::cmd;

use crate::policy::{self, Policy};
use crate::{docs, lock, repo, say, tools, uv_pins, version};

const MOST_LINES: usize = 500;
/// How the paths of files that a tool writes begin.
const GENERATED: [&str; 2] = ["npm/ktx/native.d.ts", "npm/ktx/src/generated/"];
/// Scripts that npm runs when a package is installed.
const INSTALL_SCRIPTS: [&str; 6] = [
    "preinstall",
    "install",
    "postinstall",
    "preprepare",
    "prepare",
    "postprepare",
];
/// Where the libraries' sources are.
const LIBRARIES: [&str; 7] = [
    "crates/ktx-os/src/",
    "crates/ktx-asset/src/",
    "crates/ktx-env/src/",
    "crates/ktx-protocol/src/",
    "crates/ktx-runtime/src/",
    "crates/ktx-service/src/",
    "crates/ktx-node/src/",
];
/// The registry of environment variables.
const VARIABLES: &str = "crates/ktx-os/src/variables.rs";
/// What only one file of the libraries holds.
const OWNERS: [(&str, &[&str]); 4] = [
    (
        "crates/ktx-runtime/src/layout.rs",
        &[
            "\".venv",
            "\"install.log\"",
            "\"kaelio\"",
            "\"daemon.json\"",
            "\"daemons\"",
        ],
    ),
    (
        "crates/ktx-env/src/uv.rs",
        &["\"pip\"", "\"--require-hashes\"", "\"--only-binary\""],
    ),
    (
        "crates/ktx-protocol/src/endpoint.rs",
        &["\"unix:", "\"@localhost\"", "sun_path"],
    ),
    (VARIABLES, &["var(\"", "var_os(\""]),
];
/// Words that mean unfinished work; spelled so that this file does not hold them.
const UNFINISHED: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("dbg", "!("),
    concat!("todo", "!("),
];

#[derive(Args)]
pub(crate) struct Options {}

/// Prints what is wrong and fails if anything is.
pub(crate) fn run(_options: &Options) -> Result<()> {
    say::result(&report()?);
    Ok(())
}

/// Says that all is well, or fails with everything that is not.
pub(crate) fn report() -> Result<String> {
    let files = Files::list()?;
    let policy = Policy::load()?;
    let mut problems = Vec::new();
    problems.extend(version::problems(repo::root())?);
    problems.extend(policy::problems(&policy, &files)?);
    problems.extend(sources(&files)?);
    problems.extend(install_scripts(&files)?);
    problems.extend(one_place(&files)?);
    problems.extend(pins(&policy)?);
    problems.extend(workflows(&files)?);
    problems.extend(invariants()?);
    problems.extend(docs::problems(&policy)?);
    if !problems.is_empty() {
        bail!("{} problems\n  {}", problems.len(), problems.join("\n  "));
    }
    Ok(format!("{} files are tidy", files.0.len()))
}

/// The files of the project, as git knows them.
pub(crate) struct Files(Vec<String>);

impl Files {
    pub(crate) fn list() -> Result<Self> {
        let sh = tools::shell()?;
        let listed = cmd!(sh, "git ls-files --cached --others --exclude-standard")
            .quiet()
            .read()?;
        // A file that is deleted and not yet committed is still listed.
        Ok(Self(
            listed
                .lines()
                .filter(|name| repo::path(name).is_file())
                .map(str::to_owned)
                .collect(),
        ))
    }

    /// Their names, from the checkout's top directory.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Those with one of the extensions, which comes second.
    pub(crate) fn with_extension<'a>(
        &'a self,
        extensions: &'a [&str],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(|name| {
            let extension = Path::new(name).extension()?.to_str()?;
            extensions
                .contains(&extension)
                .then_some((name.as_str(), extension))
        })
    }
}

fn sources(files: &Files) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (name, extension) in
        files.with_extension(&["rs", "ts", "mts", "cts", "mjs", "js", "py", "proto", "sh"])
    {
        let text = fs_err::read_to_string(repo::path(name))?;
        if !has_purpose(&text, extension) {
            problems.push(format!(
                "{name}: the first lines do not say why the file exists"
            ));
        }
        for word in UNFINISHED.iter().filter(|word| text.contains(*word)) {
            problems.push(format!("{name}: holds `{word}`"));
        }
        let is_generated = GENERATED.iter().any(|start| name.starts_with(start));
        if !is_generated && text.lines().count() > MOST_LINES {
            problems.push(format!("{name}: has more than {MOST_LINES} lines"));
        }
    }
    Ok(problems)
}

fn has_purpose(text: &str, extension: &str) -> bool {
    let start = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") && !first.starts_with("#![") => rest,
        _ => text,
    };
    let marks: &[&str] = match extension {
        "rs" => &["//!"],
        "py" => &["\"\"\"", "# "],
        "sh" => &["# "],
        _ => &["//", "/*"],
    };
    marks.iter().any(|mark| start.starts_with(mark))
}

/// Nothing may run when a package is installed.
fn install_scripts(files: &Files) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in files.0.iter().filter(|name| name.ends_with("package.json")) {
        let manifest = read_json(name)?;
        for script in INSTALL_SCRIPTS
            .iter()
            .filter(|script| !manifest["scripts"][script].is_null())
        {
            problems.push(format!(
                "{name}: has the script `{script}`, which runs when it is installed"
            ));
        }
    }
    Ok(problems)
}

/// What one file of the libraries knows must not stand in another.
fn one_place(files: &Files) -> Result<Vec<String>> {
    let registry = fs_err::read_to_string(repo::path(VARIABLES))?;
    let variables: Vec<String> = registry
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1))
        .map(|name| format!("\"{name}\""))
        .collect();
    let mut places: Vec<(&str, Vec<String>)> = OWNERS
        .iter()
        .map(|(owner, marks)| (*owner, marks.iter().map(|&mark| mark.to_owned()).collect()))
        .collect();
    places.push((VARIABLES, variables));
    let mut problems = Vec::new();
    for (name, _) in files
        .with_extension(&["rs"])
        .filter(|(name, _)| LIBRARIES.iter().any(|library| name.starts_with(library)))
    {
        let text = fs_err::read_to_string(repo::path(name))?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (owner, marks) in places.iter().filter(|(owner, _)| name != *owner) {
            for mark in marks.iter().filter(|mark| code.contains(*mark)) {
                problems.push(format!(
                    "{name}: holds `{mark}`, which only `{owner}` knows"
                ));
            }
        }
    }
    Ok(problems)
}

fn pins(policy: &Policy) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let pins = uv_pins::load()?;
    if pins.version != policy.uv.version {
        problems.push(format!(
            "release/uv-pins.json: pins uv {}, the policy asks for {}",
            pins.version, policy.uv.version
        ));
    }
    let pinned: BTreeSet<&str> = pins.platforms.keys().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = policy
        .platforms
        .iter()
        .map(|platform| platform.id.as_str())
        .collect();
    if pinned != wanted {
        problems.push(format!(
            "release/uv-pins.json: has {pinned:?}, the policy has {wanted:?}"
        ));
    }
    let tools_input = fs_err::read_to_string(repo::path("release/python-tools.in"))?;
    if !tools_input
        .lines()
        .any(|line| line == format!("uv=={}", policy.uv.version))
    {
        problems.push(format!(
            "release/python-tools.in: does not ask for uv {}",
            policy.uv.version
        ));
    }
    let locks = lock::ENVIRONMENTS.iter().map(|(_, pins)| *pins);
    for name in locks.chain([lock::PATH]) {
        if fs_err::read_to_string(repo::path(name))?.contains("://") {
            problems.push(format!("{name}: names an address"));
        }
    }
    if let Err(error) = ktx_asset::Lock::parse(&fs_err::read(repo::path(lock::PATH))?) {
        problems.push(format!("{}: {error}", lock::PATH));
    }
    Ok(problems)
}

/// A tag can be moved to other code; a commit cannot.
fn workflows(files: &Files) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in files
        .0
        .iter()
        .filter(|name| name.starts_with(".github/workflows/"))
    {
        let text = fs_err::read_to_string(repo::path(name))?;
        if !text.contains("\npermissions:") {
            problems.push(format!("{name}: does not limit its permissions"));
        }
        for action in text
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "))
        {
            let reference = action
                .split('#')
                .next()
                .unwrap_or_default()
                .trim()
                .rsplit('@')
                .next()
                .unwrap_or_default();
            if reference.len() != 40 || !reference.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                problems.push(format!("{name}: `{action}` is not pinned by commit"));
            }
        }
    }
    Ok(problems)
}

/// Each invariant names, as `path` or `path::name`, the check that holds it.
fn invariants() -> Result<Vec<String>> {
    let architecture = fs_err::read_to_string(repo::path("ARCHITECTURE.md"))?;
    let section = architecture
        .split("\n## ")
        .find(|section| section.starts_with("Invariants"))
        .context("ARCHITECTURE.md has no section `Invariants`")?;
    let mut problems = Vec::new();
    let mut items: Vec<String> = Vec::new();
    for line in section.lines() {
        if line
            .split_once(". ")
            .is_some_and(|(number, _)| number.parse::<u8>().is_ok())
        {
            items.push(line.to_owned());
        } else if let Some(item) = items.last_mut() {
            item.push('\n');
            item.push_str(line);
        }
    }
    if items.is_empty() {
        problems.push("ARCHITECTURE.md: the invariants are not a numbered list".to_owned());
    }
    for item in &items {
        let number = item.split('.').next().unwrap_or_default();
        let mut held_by = 0;
        for quoted in item.split('`').skip(1).step_by(2) {
            let (path, test) = quoted.split_once("::").unwrap_or((quoted, ""));
            if !(quoted.contains("::") || path.contains('/')) || path.contains(' ') {
                continue;
            }
            match fs_err::read_to_string(repo::path(path)) {
                Ok(content) if content.contains(test) => held_by += 1,
                Ok(_) => problems.push(format!("ARCHITECTURE.md: invariant {number} names `{test}`, which `{path}` does not have")),
                Err(_) if repo::path(path).is_dir() => {}
                Err(_) => problems.push(format!("ARCHITECTURE.md: invariant {number} names `{path}`, which is not a file")),
            }
        }
        if held_by == 0 {
            problems.push(format!(
                "ARCHITECTURE.md: invariant {number} names no test that holds it"
            ));
        }
    }
    Ok(problems)
}

fn read_json(name: &str) -> Result<Value> {
    let text = fs_err::read_to_string(repo::path(name))?;
    serde_json::from_str(&text).with_context(|| format!("`{name}` is not valid"))
}

#[cfg(test)]
mod tests {
    use super::has_purpose;

    #[test]
    fn this_checkout_is_tidy() {
        super::report().unwrap();
    }

    #[test]
    fn looks_for_the_purpose_after_the_interpreter_line() {
        assert!(has_purpose("//! Why.\n", "rs"));
        assert!(!has_purpose("use std::fs;\n", "rs"));
        assert!(has_purpose("#!/usr/bin/env node\n// Why.\n", "mjs"));
        assert!(!has_purpose("#!/usr/bin/env node\nimport 'x';\n", "mjs"));
        assert!(has_purpose("\"\"\"Why.\"\"\"\n", "py"));
    }
}
