//! The commands and programs that the documents show, found and run.
//!
//! The words after a fence's language say where its block runs: `sh`, `js` and `py` blocks run in
//! a user's project in which the packages are installed, `sh checkout` blocks in this checkout.
//! The blocks of a document run in order; `ts` blocks are compiled and not run.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::policy::{Names, Policy};
use crate::project::Project;
use crate::release::Checkout;
use crate::steps::capture;
use crate::tools::{self, PythonTools};
use crate::{debian, npm, repo, stage};

const DOCUMENTS: [&str; 2] = ["README.md", "CONTRIBUTING.md"];
const DOCUMENTS_DIR: &str = "docs";
const PROTO_DIR: &str = "crates/ktx-protocol/proto";

/// The package's name in what follows.
const PACKAGE: &str = "PACKAGE";
/// Commands that are shown and not run, each with the reason.
const NOT_RUN: [(&str, &str); 6] = [
    (
        "npm install PACKAGE",
        "the packages are not on a registry; the project has the packed ones",
    ),
    ("cargo xtask test", "it is what runs this"),
    (
        "cargo xtask test nextest",
        "`cargo xtask test` runs this step",
    ),
    ("cargo xtask faults", "`cargo xtask test` runs this step"),
    (
        "cargo xtask faults --full",
        "it does each fault at each place, which takes over half an hour",
    ),
    (
        "cargo xtask bench",
        "a measurement needs a quiet machine and minutes",
    ),
];

/// How the commands begin that look at the last commit, and need a checkout that is as committed.
const RELEASES: [&str; 2] = ["cargo xtask release ", "cargo xtask promote "];
const CROSS: [&str; 2] = ["cargo xtask cross ", "--target "];
const NO_CROSS: &str = "what is built for other platforms is run where Debian's packages are";
const HAS_CHANGES: &str = "releases are made of what is committed, and this checkout has changes";

/// Languages whose programs are shown and not run, each with the reason.
const LANGUAGES_NOT_RUN: [(&str, &str); 1] = [("go", "a Go toolchain is none of the tools")];
/// Languages in which nothing can be run.
const DATA: [&str; 3] = ["json", "proto", "text"];

struct Document {
    name: String,
    blocks: Vec<Block>,
}

/// A fenced block.
#[derive(Debug, Eq, PartialEq)]
struct Block {
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Commands that run in the checkout.
    Checkout,
    /// Commands that run in the project.
    Project,
    /// A program for Node.
    Node,
    /// A program for Python, which has the generated gRPC code beside it.
    Python,
    /// A program that the TypeScript compiler checks.
    Types,
    /// A program that is not run, and why.
    NotRun(&'static str),
}

/// Runs everything that the documents show; gives how much that was.
pub(crate) fn run_commands(policy: &Policy, packs_dir: &Path) -> Result<String> {
    let documents = documents(policy)?;
    let project = Project::with_packages(&npm::tarballs(policy, packs_dir)?)?;
    let mut runner = Runner {
        project: &project,
        shown_only: shown_only(policy),
        grpc: OnceCell::new(),
        seen: BTreeSet::new(),
        commands: 0,
        programs: 0,
        not_run: BTreeSet::new(),
    };
    let (outcome, built) = thread::scope(|scope| {
        // Nothing else takes part in what is built for other platforms, and it takes minutes.
        let built = scope.spawn(|| run_cross(&documents));
        let outcome = documents.iter().try_for_each(|document| {
            document.blocks.iter().try_for_each(|block| {
                runner
                    .run(block)
                    .with_context(|| format!("`{}`", document.name))
            })
        });
        let built = built.join().expect("running commands does not panic");
        (outcome, built)
    });
    // Some of the programs leave a daemon behind, and those that fail do.
    let stopped = project.stop_daemons();
    outcome.and(stopped)?;
    match built? {
        Some(commands) => runner.commands += commands,
        None => {
            runner.not_run.insert(NO_CROSS);
        }
    }
    let mut lines: Vec<String> = runner
        .not_run
        .iter()
        .map(|reason| format!("Something was not run: {reason}"))
        .collect();
    lines.push(format!(
        "{} commands and {} programs ran",
        runner.commands, runner.programs
    ));
    Ok(lines.join("\n"))
}

/// Runs the commands that build for other platforms, and gives how many those are, if they can be
/// run.
fn run_cross(documents: &[Document]) -> Result<Option<usize>> {
    if !debian::is_reachable() {
        return Ok(None);
    }
    let mut ran = 0;
    for document in documents {
        let blocks = document.blocks.iter();
        for command in blocks
            .filter(|block| block.kind == Kind::Checkout)
            .flat_map(|block| commands(&block.text))
            .filter(|command| is_cross(command))
        {
            run_in_checkout("docs-cross", &command)
                .with_context(|| format!("`{}`", document.name))?;
            ran += 1;
        }
    }
    Ok(Some(ran))
}

fn is_cross(command: &str) -> bool {
    CROSS.iter().any(|part| command.contains(part))
}

/// What is wrong with the documents themselves.
pub(crate) fn problems(policy: &Policy) -> Result<Vec<String>> {
    let documents = documents(policy)?;
    let blocks = || documents.iter().flat_map(|document| &document.blocks);
    let shown: BTreeSet<String> = blocks()
        .flat_map(|block| commands(&block.text).collect::<Vec<_>>())
        .collect();
    let unknown_commands = shown_only(policy)
        .into_iter()
        .filter(|command| !shown.contains(command));
    let unknown_languages = LANGUAGES_NOT_RUN
        .iter()
        .filter(|(_, reason)| !blocks().any(|block| block.kind == Kind::NotRun(reason)))
        .map(|(language, _)| (*language).to_owned());
    Ok(unknown_commands
        .chain(unknown_languages)
        .map(|exempt| {
            format!("`{exempt}` is exempt from the documentation test and not shown anywhere")
        })
        .collect())
}

/// The documents, with the package's name as the policy has it.
fn documents(policy: &Policy) -> Result<Vec<Document>> {
    let package = Names::of(policy)?;
    let mut names: Vec<String> = DOCUMENTS.map(str::to_owned).to_vec();
    let mut guides = Vec::new();
    for entry in fs_err::read_dir(repo::path(DOCUMENTS_DIR))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|ext| ext == "md") {
            guides.push(format!("{DOCUMENTS_DIR}/{name}"));
        }
    }
    guides.sort_unstable();
    names.extend(guides);
    names
        .into_iter()
        .map(|name| {
            let text = fs_err::read_to_string(repo::path(&name))?;
            let blocks = parse(&package.in_text(&text)).with_context(|| format!("`{name}`"))?;
            Ok(Document { name, blocks })
        })
        .collect()
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
        let info = info.trim();
        let kind = match info {
            "sh checkout" => Kind::Checkout,
            "sh" => Kind::Project,
            "js" => Kind::Node,
            "py" => Kind::Python,
            "ts" => Kind::Types,
            _ if DATA.contains(&info) => continue,
            _ => match LANGUAGES_NOT_RUN.iter().find(|(name, _)| *name == info) {
                Some((_, reason)) => Kind::NotRun(reason),
                None => bail!(
                    "A block is marked `{info}`; expected `sh`, `sh checkout`, `js`, `py`, `ts` or one of `{}`",
                    DATA.join("`, `")
                ),
            },
        };
        blocks.push(Block {
            kind,
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

fn shown_only(policy: &Policy) -> BTreeSet<String> {
    let package = policy.root_package();
    let commands = NOT_RUN
        .iter()
        .map(|(command, _)| command.replace(PACKAGE, &package));
    commands.collect()
}

struct Runner<'a> {
    project: &'a Project,
    shown_only: BTreeSet<String>,
    /// Made when a block is the first to need it.
    grpc: OnceCell<PythonTools>,
    /// Commands of the checkout: they build, and need not do so twice.
    seen: BTreeSet<String>,
    commands: usize,
    programs: usize,
    not_run: BTreeSet<&'static str>,
}

impl Runner<'_> {
    fn to_run(&self, block: &Block) -> Vec<String> {
        commands(&block.text)
            .filter(|command| !self.shown_only.contains(command))
            .collect()
    }

    fn run(&mut self, block: &Block) -> Result<()> {
        match block.kind {
            Kind::Checkout => {
                for command in self.to_run(block) {
                    if is_cross(&command) {
                        continue;
                    }
                    let is_release = RELEASES.iter().any(|start| command.starts_with(start));
                    if is_release && !Checkout::read(repo::root())?.changes.is_empty() {
                        self.not_run.insert(HAS_CHANGES);
                    } else if self.seen.insert(command.clone()) {
                        run_in_checkout("docs", &command)?;
                        self.commands += 1;
                    }
                }
            }
            Kind::Project => {
                for command in self.to_run(block) {
                    self.run_in_project(&command)?;
                    self.commands += 1;
                }
            }
            Kind::Node => self.run_program("node".as_ref(), "mjs", block)?,
            Kind::Python => {
                let python = self.grpc()?.program("python");
                self.run_program(&python, "py", block)?;
            }
            Kind::Types => self.compile(block)?,
            Kind::NotRun(reason) => {
                self.not_run.insert(reason);
            }
        }
        Ok(())
    }

    fn run_in_project(&self, command: &str) -> Result<()> {
        let sh = self.project.shell()?;
        let mut process = self.project.clean(sh.cmd("sh").args(["-c", command]));
        // Only here: ktx is to look for an interpreter where a user's machine has one.
        if command.starts_with("python ") {
            process = process.env("PATH", self.project.path_after(self.grpc()?.bin_dir())?);
        }
        let mut process = Command::from(process);
        process.env("npm_config_offline", "true");
        capture("docs", process).with_context(|| format!("The documented command `{command}`"))?;
        Ok(())
    }

    /// Python with gRPC; the descriptions of the services are then in the project.
    fn grpc(&self) -> Result<&PythonTools> {
        if let Some(tools) = self.grpc.get() {
            return Ok(tools);
        }
        stage::copy_tree(&repo::path(PROTO_DIR), &self.project.dir().join("proto"))?;
        let tools = PythonTools::grpc()?;
        Ok(self.grpc.get_or_init(|| tools))
    }

    fn run_program(&mut self, program: &Path, extension: &str, block: &Block) -> Result<()> {
        let path = self.write(extension, block)?;
        let sh = self.project.shell()?;
        let process = self.project.clean(sh.cmd(program).arg(path));
        self.capture_program(Command::from(process), block)
    }

    fn compile(&mut self, block: &Block) -> Result<()> {
        let path = self.write("mts", block)?;
        let sh = self.project.shell()?;
        let process = sh
            .cmd(tools::node_program("tsc"))
            .args(["--noEmit", "--strict", "--module", "nodenext"])
            .args(["--target", "es2022", "--types", "node", "--typeRoots"])
            .arg(repo::path("node_modules/@types"))
            .arg(path);
        self.capture_program(Command::from(process), block)
    }

    fn write(&self, extension: &str, block: &Block) -> Result<String> {
        let name = format!("documented.{extension}");
        fs_err::write(self.project.dir().join(&name), &block.text)?;
        Ok(name)
    }

    fn capture_program(&mut self, process: Command, block: &Block) -> Result<()> {
        capture("docs", process)
            .with_context(|| format!("The documented program\n{}\n", block.text))?;
        self.programs += 1;
        Ok(())
    }
}

fn run_in_checkout(log: &str, command: &str) -> Result<()> {
    let mut process = Command::new("sh");
    process.args(["-c", command]).current_dir(repo::root());
    capture(log, process).with_context(|| format!("The documented command `{command}`"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Block, Kind, commands, parse};

    fn block(kind: Kind, text: &str) -> Block {
        Block {
            kind,
            text: text.into(),
        }
    }

    #[test]
    fn finds_blocks_and_where_they_run() {
        let text = "a\n```sh\nktx x\n```\n```sh checkout\ncargo y\n```\n```text\nout\n```\n```py\nz\n```\n";
        assert_eq!(
            parse(text).unwrap(),
            [
                block(Kind::Project, "ktx x"),
                block(Kind::Checkout, "cargo y"),
                block(Kind::Python, "z"),
            ]
        );
    }

    #[test]
    fn has_a_reason_for_a_program_that_is_not_run() {
        let blocks = parse("```go\nx\n```\n").unwrap();
        assert!(matches!(blocks[0].kind, Kind::NotRun(reason) if !reason.is_empty()));
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
