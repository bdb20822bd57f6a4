//! What the code does beside what the policy says: platforms, tags, addresses and system floors
//! that other files have to repeat.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;
use toml_edit::DocumentMut;

use super::{Platform, Policy};
use crate::repo;

const LOADER: &str = "npm/ktx/src/addon.ts";
const HOST: &str = "crates/ktx-env/src/platform.rs";
const TESTS: &str = ".github/workflows/ci.yml";
const RELEASE: &str = ".github/workflows/release.yml";
const LICENCES: &str = "deny.toml";
const PROJECT: &str = "python/pyproject.toml";
const MANIFEST: &str = "npm/ktx/package.json";
const WORKSPACE: &str = "Cargo.toml";

/// Where code and policy say different things.
pub(super) fn problems(policy: &Policy) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut compare = |place: &str, what: &str, has: BTreeSet<String>, says: BTreeSet<String>| {
        if has != says {
            problems.push(format!(
                "{place}: the {what} are {}, the policy's are {}",
                listed(&has),
                listed(&says)
            ));
        }
    };
    let ids = || of(policy, |platform| platform.id.clone());
    let loader = read(LOADER)?;
    compare(LOADER, "platforms", listed_platforms(&loader)?, ids());
    compare(
        LOADER,
        "required platforms",
        required_platforms(&loader),
        ids(),
    );
    compare(HOST, "platforms", quoted_platforms(&read(HOST)?), ids());
    let (tests, release) = (read(TESTS)?, read(RELEASE)?);
    compare(TESTS, "platforms", matrix(&tests, "platform"), ids());
    compare(RELEASE, "platforms", matrix(&release, "platform"), ids());
    compare(
        RELEASE,
        "tags",
        options(&release)?,
        policy.tags.keys().cloned().collect(),
    );
    compare(
        TESTS,
        "glibc versions",
        matrix(&tests, "image")
            .iter()
            .filter_map(|image| glibc_of(image))
            .collect(),
        policy
            .platforms
            .iter()
            .filter_map(|platform| platform.glibc.clone())
            .collect(),
    );
    let licences: DocumentMut = read(LICENCES)?.parse()?;
    let targets = licences["graph"]["targets"]
        .as_array()
        .with_context(|| format!("`{LICENCES}` has no `graph.targets`"))?;
    compare(
        LICENCES,
        "targets",
        targets
            .iter()
            .filter_map(|target| target.as_str())
            .map(str::to_owned)
            .collect(),
        of(policy, |platform| platform.rust_target.clone()),
    );
    let project: DocumentMut = read(PROJECT)?.parse()?;
    compare(
        PROJECT,
        "oldest versions of Python",
        project["project"]["requires-python"]
            .as_str()
            .map(str::to_owned)
            .into_iter()
            .collect(),
        policy
            .python
            .versions
            .first()
            .map(|oldest| format!(">={oldest}"))
            .into_iter()
            .collect(),
    );
    let manifest: Value = serde_json::from_str(&read(MANIFEST)?)?;
    compare(
        MANIFEST,
        "repositories",
        manifest["repository"]["url"]
            .as_str()
            .map(str::to_owned)
            .into_iter()
            .collect(),
        [format!("git+{}", policy.repository)].into(),
    );
    let workspace: DocumentMut = read(WORKSPACE)?.parse()?;
    compare(
        WORKSPACE,
        "repositories",
        workspace["workspace"]["package"]["repository"]
            .as_str()
            .map(|address| format!("{address}.git"))
            .into_iter()
            .collect(),
        [policy.repository.clone()].into(),
    );
    Ok(problems)
}

fn read(name: &str) -> Result<String> {
    Ok(fs_err::read_to_string(repo::path(name))?)
}

fn of(policy: &Policy, part: impl Fn(&Platform) -> String) -> BTreeSet<String> {
    policy.platforms.iter().map(part).collect()
}

fn listed(names: &BTreeSet<String>) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// What `PLATFORMS` lists.
fn listed_platforms(loader: &str) -> Result<BTreeSet<String>> {
    let list = loader
        .split_once("export const PLATFORMS = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .with_context(|| format!("`{LOADER}` has no `PLATFORMS`"))?;
    Ok(list
        .0
        .split('\'')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect())
}

/// The platforms whose packages the loader requires.
fn required_platforms(loader: &str) -> BTreeSet<String> {
    loader
        .split("require(KTX_PACKAGE_NAME + '-")
        .skip(1)
        .filter_map(|rest| rest.split('\'').next())
        .map(str::to_owned)
        .collect()
}

fn quoted_platforms(source: &str) -> BTreeSet<String> {
    source
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix('"'))
        .filter(|name| *name != "unsupported")
        .map(str::to_owned)
        .collect()
}

/// The values of a key in the matrices of a workflow, whose entries are a line each.
fn matrix(workflow: &str, key: &str) -> BTreeSet<String> {
    workflow
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- {")?.strip_suffix('}'))
        .flat_map(|entry| entry.split(','))
        .filter_map(|part| part.trim().split_once(": "))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value.trim_matches([' ', '"']).to_owned())
        .collect()
}

/// What a person who starts the workflow can choose from.
fn options(workflow: &str) -> Result<BTreeSet<String>> {
    let list = workflow
        .lines()
        .find_map(|line| line.trim().strip_prefix("options: [")?.strip_suffix(']'))
        .with_context(|| format!("`{RELEASE}` has no `options` on one line"))?;
    Ok(list.split(", ").map(str::to_owned).collect())
}

/// The glibc of an image that is named after it.
fn glibc_of(image: &str) -> Option<String> {
    let (_, rest) = image.split_once("manylinux_")?;
    let mut parts = rest.split('_');
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::problems;
    use crate::policy::Policy;

    #[test]
    fn code_and_policy_agree() {
        assert_eq!(
            problems(&Policy::load().unwrap()).unwrap(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_difference_is_said_with_its_file() {
        let places = |change: &dyn Fn(&mut Policy)| -> Vec<String> {
            let mut policy = Policy::load().unwrap();
            change(&mut policy);
            let problems = problems(&policy).unwrap();
            problems
                .iter()
                .filter_map(|problem| problem.split(':').next())
                .map(str::to_owned)
                .collect()
        };
        let (ci, release) = (super::TESTS, super::RELEASE);
        assert_eq!(
            places(&|policy| policy.platforms.truncate(6)),
            [
                super::LOADER,
                super::LOADER,
                super::HOST,
                ci,
                release,
                super::LICENCES
            ]
        );
        assert_eq!(
            places(&|policy| {
                policy.tags.remove("next");
            }),
            [release]
        );
        assert_eq!(
            places(&|policy| policy.platforms[0].glibc = Some("2.17".to_owned())),
            [ci]
        );
        assert_eq!(
            places(&|policy| {
                policy.python.versions.remove(0);
            }),
            [super::PROJECT]
        );
        assert_eq!(
            places(&|policy| policy.repository = "https://example.com/x.git".to_owned()),
            [super::MANIFEST, super::WORKSPACE]
        );
    }
}
