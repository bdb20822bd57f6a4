//! The commands and programs that README.md and CONTRIBUTING.md show, found and run.
//!
//! The words after a fence's language say where its block runs: `sh` and `js` blocks run in a
//! user's project in which the packages are installed, `sh checkout` blocks in this checkout.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::policy::Policy;
use crate::project::Project;
use crate::steps::capture;
use crate::{npm, repo};

const DOCUMENTS: [&str; 2] = ["README.md", "CONTRIBUTING.md"];

/// Commands that are shown and not run, each with the reason.
const NOT_RUN: [(&str, &str); 4] = [
    (
        "npm install @scope/ktx",
        "the packages are not on a registry; the project has the packed ones",
    ),
    ("cargo xtask test", "it is what runs this"),
    (
        "cargo xtask test nextest",
        "`cargo xtask test` runs this step",
    ),
    (
        "cargo xtask bench",
        "a measurement needs a quiet machine and minutes",
    ),
];

/// A fenced block.
#[derive(Debug, Eq, PartialEq)]
struct Block {
    place: Place,
    text: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Checkout,
    Project,
    /// A program for Node.
    Script,
}

/// Runs everything that the documents show; gives how much that was.
pub(crate) fn run_commands(policy: &Policy, packs_dir: &Path) -> Result<String> {
    let blocks = blocks()?;
    let project = Project::with_packages(&npm::tarballs(policy, packs_dir)?)?;
    let mut seen = BTreeSet::new();
    for block in &blocks {
        match block.place {
            Place::Script => run_script(&project, &block.text)?,
            Place::Project | Place::Checkout => {
                for command in
                    commands(&block.text).filter(|command| reason_not_to_run(command).is_none())
                {
                    if seen.insert(command.clone()) {
                        run_command(&project, block.place, &command)?;
                    }
                }
            }
        }
    }
    let scripts = blocks
        .iter()
        .filter(|block| block.place == Place::Script)
        .count();
    Ok(format!(
        "{} commands and {scripts} programs ran",
        seen.len()
    ))
}

/// What is wrong with the documents themselves.
pub(crate) fn problems() -> Result<Vec<String>> {
    let shown: BTreeSet<String> = blocks()?
        .iter()
        .flat_map(|block| commands(&block.text).collect::<Vec<_>>())
        .collect();
    Ok(NOT_RUN
        .iter()
        .filter(|(command, _)| !shown.contains(*command))
        .map(|(command, _)| {
            format!("`{command}` is exempt from the documentation test and not shown anywhere")
        })
        .collect())
}

fn blocks() -> Result<Vec<Block>> {
    let mut all = Vec::new();
    for document in DOCUMENTS {
        let text = fs_err::read_to_string(repo::path(document))?;
        all.extend(parse(&text).with_context(|| format!("`{document}`"))?);
    }
    Ok(all)
}

fn parse(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .take_while(|line| line.trim() != "```")
            .collect();
        let place = match info.trim() {
            "sh checkout" => Place::Checkout,
            "sh" => Place::Project,
            "js" => Place::Script,
            "text" => continue,
            other => {
                bail!("A block is marked `{other}`; expected `sh`, `sh checkout`, `js` or `text`")
            }
        };
        blocks.push(Block {
            place,
            text: body.join("\n"),
        });
    }
    Ok(blocks)
}

fn commands(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines()
        .map(|line| line.split("  #").next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
}

fn reason_not_to_run(command: &str) -> Option<&'static str> {
    NOT_RUN
        .iter()
        .find(|(shown, _)| *shown == command)
        .map(|(_, reason)| *reason)
}

fn run_command(project: &Project, place: Place, command: &str) -> Result<()> {
    let sh = project.shell()?;
    let mut process = match place {
        Place::Checkout => {
            let mut process = Command::new("sh");
            process.args(["-c", command]).current_dir(repo::root());
            process
        }
        Place::Project | Place::Script => {
            Command::from(project.clean(sh.cmd("sh").args(["-c", command])))
        }
    };
    process.env("npm_config_offline", "true");
    if place == Place::Checkout {
        process.env_remove("npm_config_offline");
    }
    capture("docs", process).with_context(|| format!("The documented command `{command}`"))?;
    Ok(())
}

fn run_script(project: &Project, text: &str) -> Result<()> {
    let path: PathBuf = project.dir().join("documented.mjs");
    fs_err::write(&path, text)?;
    let sh = project.shell()?;
    let node = project.clean(sh.cmd("node").arg(&path));
    capture("docs", Command::from(node))
        .with_context(|| format!("The documented program\n{text}\n"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Block, Place, commands, parse};

    #[test]
    fn finds_blocks_and_where_they_run() {
        let text = "a\n```sh\nktx x\n```\n```sh checkout\ncargo y\n```\n```text\nout\n```\n";
        assert_eq!(
            parse(text).unwrap(),
            [
                Block {
                    place: Place::Project,
                    text: "ktx x".into()
                },
                Block {
                    place: Place::Checkout,
                    text: "cargo y".into()
                }
            ]
        );
    }

    #[test]
    fn refuses_a_block_that_does_not_say_what_it_is() {
        assert!(parse("```\nx\n```\n").is_err());
        assert!(parse("```bash\nx\n```\n").is_err());
    }

    #[test]
    fn takes_comments_from_commands() {
        let found: Vec<String> = commands("# first\nktx a   # why\n\nktx exec -c '#'\n").collect();
        assert_eq!(found, ["ktx a", "ktx exec -c '#'"]);
    }
}
