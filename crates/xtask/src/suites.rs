//! The suites of tests: what runs each of them, and what they report of every test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::tools::{self, PythonTools};
use crate::{lock, npm, repo, stage, uv};

/// A suite that vitest runs.
#[derive(Clone, Copy)]
pub(crate) enum Suite {
    /// The npm package's own tests.
    Package,
    /// Those on the packed packages.
    EndToEnd,
}

/// Runs the tests of the crates.
pub(crate) fn nextest(python_tools: &PythonTools) -> Result<Command> {
    let mut command = Command::new(tools::ensure_cargo_nextest()?);
    command
        .current_dir(repo::root())
        .args(["nextest", "run", "--workspace", "--locked"])
        .args(["--no-tests=fail", "--no-fail-fast"])
        .env("KTX_TEST_UV", python_tools.program("uv"));
    Ok(command)
}

/// Runs a suite of vitest's.
pub(crate) fn vitest(suite: Suite, python_tools: &PythonTools) -> Result<Command> {
    let (arguments, report) = match suite {
        Suite::Package => (["--root", "npm/ktx"], "package"),
        Suite::EndToEnd => (["--config", "tests/vitest.config.ts"], "e2e"),
    };
    let mut command = vitest_with(&arguments, python_tools)?;
    command
        .args(["--reporter=default", "--reporter=junit"])
        .arg(format!(
            "--outputFile.junit={}",
            report_path(report)?.display()
        ));
    Ok(command)
}

/// Runs vitest, with what tests of packed packages need.
pub(crate) fn vitest_with(arguments: &[&str], python_tools: &PythonTools) -> Result<Command> {
    let sh = tools::shell()?;
    let mut command = Command::from(
        sh.cmd(tools::node_program("vitest"))
            .arg("run")
            .args(arguments),
    );
    command
        .env("KTX_TEST_UV", python_tools.program("uv"))
        .env("KTX_TEST_PACKS", npm::packs_dir());
    Ok(command)
}

/// Runs the Python tests where users run the package: in an environment made from wheel and lock.
pub(crate) fn pytest(python_tools: &PythonTools) -> Result<Command> {
    let sh = tools::shell()?;
    let venv_dir = repo::output_dir().join("pytest-env");
    let wheel_path = staged_wheel()?;
    let python = tools::venv_python(&venv_dir);
    uv::read(
        uv::command(&sh, python_tools)
            .args(["venv", "--quiet", "--clear"])
            .arg(&venv_dir),
    )?;
    let core_path = repo::output_dir().join("core.txt");
    fs_err::write(&core_path, lock::core_requirements()?)?;
    let install = || {
        uv::command(&sh, python_tools)
            .args(["pip", "install", "--quiet", "--no-deps", "--python"])
            .arg(&python)
    };
    let locked = install()
        .args([
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--requirement",
        ])
        .arg(&core_path)
        .args(["--requirement", "release/python-tests.txt"]);
    uv::read(locked)?;
    uv::read(install().arg(&wheel_path))?;
    let mut command = Command::new(&python);
    command
        // The installed package is tested, not the sources beside the tests: `-m` lets Python look
        // in the working directory first.
        .current_dir(repo::path("python/tests"))
        .args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"])
        .args(["-o", "pythonpath=", "--junitxml"])
        .arg(report_path("pytest")?)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("PYTHONPATH");
    Ok(command)
}

fn staged_wheel() -> Result<PathBuf> {
    let asset_dir = stage::platform_dir()?.join("python");
    let asset = ktx_asset::verify(&asset_dir).context("Build first: `cargo xtask wheel`")?;
    let path: &Path = &asset.wheel_path();
    ensure!(path.exists(), "No wheel at `{}`", path.display());
    Ok(path.to_owned())
}

/// What became of a test.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Test {
    /// Its file or crate, and its name.
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// What the suites reported when each ran last.
pub(crate) fn results() -> Result<Vec<Test>> {
    let nextest = repo::cargo_target_dir().join("nextest/default/junit.xml");
    let others = ["package", "e2e", "pytest"].map(report_path);
    let mut tests = Vec::new();
    for path in std::iter::once(Ok(nextest)).chain(others) {
        let path = path?;
        let text = fs_err::read_to_string(&path).context("Run first: `cargo xtask test`")?;
        tests.extend(parse(&text).with_context(|| repo::shown(&path))?);
    }
    Ok(tests)
}

fn report_path(suite: &str) -> Result<PathBuf> {
    let dir = repo::output_dir().join("junit");
    fs_err::create_dir_all(&dir)?;
    Ok(dir.join(format!("{suite}.xml")))
}

/// Reads what all agree on that write reports as `JUnit` does.
fn parse(text: &str) -> Result<Vec<Test>> {
    let mut reader = Reader::from_str(text);
    let mut tests: Vec<Test> = Vec::new();
    loop {
        let event = reader.read_event()?;
        let (Event::Start(element) | Event::Empty(element)) = &event else {
            if event == Event::Eof {
                return Ok(tests);
            }
            continue;
        };
        let outcome = match element.name().as_ref() {
            "testcase" => {
                let parts = [
                    attribute(element, "classname")?,
                    attribute(element, "name")?,
                ];
                tests.push(Test {
                    name: parts.join(" "),
                    outcome: Outcome::Passed,
                });
                continue;
            }
            "failure" | "error" => Outcome::Failed,
            "skipped" => Outcome::Skipped,
            _ => continue,
        };
        if let Some(test) = tests.last_mut() {
            test.outcome = outcome;
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<String> {
    let attribute = element
        .try_get_attribute(name)?
        .with_context(|| format!("A test without `{name}`"))?;
    Ok(attribute
        .normalized_value(XmlVersion::Implicit1_0)?
        .into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Outcome, parse};

    #[test]
    fn tells_what_became_of_each_test() {
        let text = r#"<?xml version="1.0"?><testsuites><testsuite name="s">
            <testcase classname="a.test.ts" name="x &gt; y" time="0.1"/>
            <testcase name="n" classname="c"><failure message="m">text</failure></testcase>
            <testcase name="o" classname="c"><skipped/></testcase>
            </testsuite></testsuites>"#;
        let tests = parse(text).unwrap();
        let told: Vec<_> = tests.iter().map(|t| (t.name.as_str(), t.outcome)).collect();
        assert_eq!(
            told,
            [
                ("a.test.ts x > y", Outcome::Passed),
                ("c n", Outcome::Failed),
                ("c o", Outcome::Skipped),
            ]
        );
    }
}
