//! `cargo xtask policy`: brings the checkout in line with `release/policy.json`.

use anyhow::{Result, bail};
use clap::Args;

use super::{PATH, Policy, drift, names, schema};
use crate::tidy::Files;
use crate::{repo, say};

#[derive(Args)]
pub(crate) struct Options {
    /// Say what is not in line with the policy and fail if anything is; write nothing
    #[arg(long)]
    check: bool,
}

/// Writes the schema and the package's name wherever they are not what the policy says.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    let files = Files::list()?;
    if options.check {
        let problems = problems(&policy, &files)?;
        if !problems.is_empty() {
            bail!("{} problems\n  {}", problems.len(), problems.join("\n  "));
        }
        say::result(&format!("The checkout is in line with `{PATH}`"));
        return Ok(());
    }
    let mut outdated = names::outdated(&policy, &files)?;
    if !schema::is_current()? {
        outdated.insert(0, (schema::PATH.to_owned(), schema::text()?));
    }
    for (name, text) in &outdated {
        fs_err::write(repo::path(name), text)?;
        say::result(name);
    }
    if outdated.is_empty() {
        say::result(&format!(
            "The schema and the names are in line with `{PATH}`"
        ));
    }
    Ok(())
}

/// What in the checkout is not in line with the policy.
pub(crate) fn problems(policy: &Policy, files: &Files) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let outdated = names::outdated(policy, files)?;
    if !outdated.is_empty() {
        let places: Vec<&str> = outdated.iter().map(|(name, _)| name.as_str()).collect();
        problems.push(format!(
            "{}: another name than `{}`; write it with `cargo xtask policy`",
            places.join(", "),
            policy.root_package()
        ));
    }
    if !schema::is_current()? {
        problems.push(format!(
            "{}: is not what the types of the policy are; write it with `cargo xtask policy`",
            schema::PATH
        ));
    }
    problems.extend(names::fixed(policy, files)?);
    problems.extend(drift::problems(policy)?);
    Ok(problems)
}
