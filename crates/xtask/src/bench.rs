//! `cargo xtask bench`: ktx beside the bare commands it stands on, as ratios of medians.
//!
//! The commands of a comparison take turns in one run, so that what else the machine does falls
//! on all of them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use xshell::{Cmd, Shell, cmd};

use crate::addon::Addon;
use crate::policy::Policy;
use crate::project::Project;
use crate::{lock, npm, repo, say, tools, uv};

const README: &str = "README.md";
const BEGIN: &str = "<!-- bench -->\n";
const END: &str = "<!-- /bench -->";
const LARGE_WHEEL_BYTES: usize = 1 << 30;
const MEMORY_LIMIT: f64 = 120.0;

#[derive(Args)]
pub(crate) struct Options {
    /// Put the table into the README
    #[arg(long)]
    write: bool,
    /// How often each command runs
    #[arg(long, default_value_t = 15)]
    runs: usize,
}

/// A line of the table.
struct Row {
    what: &'static str,
    compared_with: &'static str,
    ours: String,
    theirs: String,
    ratio: f64,
    limit: f64,
}

/// Measures, prints the table and fails if a limit is exceeded.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.runs > 0, "`--runs` must be at least 1");
    let policy = Policy::load()?;
    let tarballs = npm::pack(&policy, &repo::output_dir().join("packs"))?;
    let project = Project::with_packages(&tarballs)?;
    let bench = Bench {
        runs: options.runs,
        sh: project.shell()?,
        project,
    };
    bench
        .ktx(&["runtime", "install", "--yes"])
        .ignore_stdout()
        .quiet()
        .run()?;

    let mut rows = bench.starts()?;
    rows.push(bench.forced_install()?);
    rows.push(bench.large_wheel()?);
    rows.push(bench.memory()?);
    rows.push(addon_size(&policy)?);

    let table = render(&rows)?;
    say::result(&table);
    if options.write {
        let path = repo::path(README);
        fs_err::write(&path, with_table(&fs_err::read_to_string(&path)?, &table)?)?;
    }
    let exceeded: Vec<&str> = rows
        .iter()
        .filter(|row| row.ratio > row.limit)
        .map(|row| row.what)
        .collect();
    ensure!(
        exceeded.is_empty(),
        "Over the limit: {}",
        exceeded.join(", ")
    );
    Ok(())
}

struct Bench {
    runs: usize,
    sh: Shell,
    project: Project,
}

impl Bench {
    fn ktx(&self, arguments: &[&str]) -> Cmd<'_> {
        let cli_path = self.project.dir().join("node_modules/.bin/ktx");
        self.project.clean(self.sh.cmd(cli_path)).args(arguments)
    }

    fn node(&self, program: &str) -> Cmd<'_> {
        self.project
            .clean(self.sh.cmd("node"))
            .args(["-e", program])
    }

    /// Status and a ready install, beside a Node that does nothing.
    fn starts(&self) -> Result<Vec<Row>> {
        say::step("Status and ready install");
        let [node, status, ready] = self.medians([
            &|| timed(self.node("0")),
            &|| timed(self.ktx(&["runtime", "status", "--json"])),
            &|| timed(self.ktx(&["runtime", "install", "--yes"])),
        ])?;
        let row = |what, ours| Row {
            what,
            compared_with: "`node -e 0`",
            ours: milliseconds(ours),
            theirs: milliseconds(node),
            ratio: ours.as_secs_f64() / node.as_secs_f64(),
            limit: 1.3,
        };
        Ok(vec![
            row("`ktx runtime status --json`", status),
            row("`ktx runtime install`, ready", ready),
        ])
    }

    /// A forced install with a warm cache, beside the uv commands that it runs.
    fn forced_install(&self) -> Result<Row> {
        say::step("Forced install");
        let status: Value =
            serde_json::from_str(&self.ktx(&["runtime", "status", "--json"]).quiet().read()?)?;
        let root = PathBuf::from(
            status["layout"]["runtimeRoot"]
                .as_str()
                .context("status names the runtime root")?,
        );
        let uv_path = root
            .join("uv")
            .join(uv_version()?)
            .join(format!("uv{}", std::env::consts::EXE_SUFFIX));
        let asset_dir = status["layout"]["assetDir"]
            .as_str()
            .context("status names the asset")?;
        let wheel_path = ktx_asset::verify(Path::new(asset_dir))?.wheel_path();
        let requirements_path = self.project.home_dir().join("requirements.txt");
        let digest = crate::digest::of_file(&wheel_path)?.sha256;
        let requirements = format!(
            "{}{} --hash=sha256:{digest}\n",
            lock::core_requirements()?,
            wheel_path.display()
        );
        fs_err::write(&requirements_path, requirements)?;
        let venv_dir = self.project.home_dir().join("bare");
        let python = tools::venv_python(&venv_dir);
        let uv = || {
            self.project
                .clean(self.sh.cmd(&uv_path))
                .env("UV_NO_CONFIG", "1")
                .env("UV_LINK_MODE", "copy")
                .env("UV_NO_PROGRESS", "1")
                .env("UV_CACHE_DIR", root.join("cache"))
        };
        let bare = || -> Result<Duration> {
            if venv_dir.exists() {
                fs_err::remove_dir_all(&venv_dir)?;
            }
            let venv = timed(uv().args(["venv", "--no-project"]).arg(&venv_dir))?;
            let install = uv()
                .args(["pip", "install", "--python"])
                .arg(&python)
                .args([
                    "--require-hashes",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                    "--offline",
                    "-r",
                ])
                .arg(&requirements_path);
            Ok(venv + timed(install)?)
        };
        let [node, forced, bare] = self.medians([
            &|| timed(self.node("0")),
            &|| timed(self.ktx(&["runtime", "install", "--yes", "--force"])),
            &bare,
        ])?;
        let ours = forced.saturating_sub(node);
        Ok(Row {
            what: "`ktx runtime install --force`, warm cache, beyond Node's start",
            compared_with: "the bare uv commands",
            ours: milliseconds(ours),
            theirs: milliseconds(bare),
            ratio: ours.as_secs_f64() / bare.as_secs_f64(),
            limit: 1.3,
        })
    }

    /// The check of a wheel of 1 GiB.
    fn large_wheel(&self) -> Result<Row> {
        say::step("A wheel of 1 GiB");
        let asset_dir = self.project.home_dir().join("large");
        fs_err::create_dir(&asset_dir)?;
        let wheel_path = asset_dir.join("kaelio_ktx-0.1.0-py3-none-any.whl");
        write_large_file(&wheel_path)?;
        let digested = crate::digest::of_file(&wheel_path)?;
        let manifest = json!({
            "schemaVersion": 1, "distributionName": "kaelio-ktx", "normalizedName": "kaelio_ktx", "version": "0.1.0",
            "wheel": { "file": "kaelio_ktx-0.1.0-py3-none-any.whl", "sha256": digested.sha256, "bytes": digested.bytes },
        });
        fs_err::write(asset_dir.join("manifest.json"), manifest.to_string())?;
        let program = format!(
            "const {{ verifyRuntimeAsset }} = require('@scope/ktx'); const begun = performance.now(); \
             verifyRuntimeAsset({{ assetDir: {} }}).then(() => console.log((performance.now() - begun) / 1000));",
            json!(asset_dir)
        );
        let sh = &self.sh;
        let [ours, openssl] = self.medians([
            &|| {
                Ok(Duration::from_secs_f64(
                    self.node(&program).quiet().read()?.parse()?,
                ))
            },
            &|| timed(cmd!(sh, "openssl dgst -sha256 {wheel_path}")),
        ])?;
        fs_err::remove_dir_all(&asset_dir)?;
        Ok(Row {
            what: "check of a 1 GiB wheel",
            compared_with: "`openssl dgst -sha256`",
            ours: milliseconds(ours),
            theirs: milliseconds(openssl),
            ratio: ours.as_secs_f64() / openssl.as_secs_f64(),
            limit: 1.1,
        })
    }

    /// The largest resident set of the process that installs; uv and Python are others.
    fn memory(&self) -> Result<Row> {
        say::step("Memory of an install");
        let program = "const ktx = require('@scope/ktx'); \
             ktx.installManagedPythonRuntime({ cliVersion: ktx.getKtxCliPackageInfo().version, features: ['core'], force: true }) \
             .then(() => console.log(process.resourceUsage().maxRSS / 1024));";
        let megabytes: f64 = self.node(program).quiet().read()?.parse()?;
        Ok(Row {
            what: "peak memory of a forced install's own process",
            compared_with: "limit",
            ours: format!("{megabytes:.0} MB"),
            theirs: format!("{MEMORY_LIMIT:.0} MB"),
            ratio: megabytes / MEMORY_LIMIT,
            limit: 1.0,
        })
    }

    fn medians<const N: usize>(
        &self,
        measures: [&dyn Fn() -> Result<Duration>; N],
    ) -> Result<[Duration; N]> {
        let mut durations: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::new());
        // The first round fills caches and does not count.
        for round in 0..=self.runs {
            for (measure, durations) in measures.iter().zip(&mut durations) {
                let duration = measure()?;
                if round > 0 {
                    durations.push(duration);
                }
            }
        }
        Ok(durations.map(median))
    }
}

fn addon_size(policy: &Policy) -> Result<Row> {
    let bytes = u32::try_from(fs_err::metadata(Addon::at_output().path)?.len())?;
    let limit = u32::try_from(policy.max_bytes.addon)?;
    let megabytes = |bytes: u32| format!("{:.2} MB", f64::from(bytes) / 1e6);
    Ok(Row {
        what: "size of the addon",
        compared_with: "limit",
        ours: megabytes(bytes),
        theirs: megabytes(limit),
        ratio: f64::from(bytes) / f64::from(limit),
        limit: 1.0,
    })
}

fn timed(command: Cmd<'_>) -> Result<Duration> {
    let begun = Instant::now();
    uv::read(command)?;
    Ok(begun.elapsed())
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1000.0)
}

fn uv_version() -> Result<String> {
    Ok(crate::uv_pins::load()?.version)
}

/// Bytes that do not repeat within a block of any hash.
fn write_large_file(path: &Path) -> Result<()> {
    let block: Vec<u8> = (0..1_u32 << 18)
        .flat_map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let mut file = fs_err::File::create(path)?;
    for _ in 0..LARGE_WHEEL_BYTES / block.len() {
        file.write_all(&block)?;
    }
    Ok(())
}

fn render(rows: &[Row]) -> Result<String> {
    let mut table = String::from(
        "| ktx | beside | ktx | beside it | ratio | limit |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        writeln!(
            table,
            "| {} | {} | {} | {} | {:.2} | {:.1} |",
            row.what, row.compared_with, row.ours, row.theirs, row.ratio, row.limit
        )?;
    }
    let sh = Shell::new()?;
    let node = cmd!(sh, "node --version").quiet().read()?;
    let processors = std::thread::available_parallelism()?;
    writeln!(
        table,
        "\nMeasured on {}, {processors} processors, Node {node}.",
        machine()
    )?;
    Ok(table)
}

fn machine() -> String {
    let model = fs_err::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(": ")?.1.to_owned())
        });
    model.unwrap_or_else(|| format!("{} {}", std::env::consts::OS, std::env::consts::ARCH))
}

fn with_table(readme: &str, table: &str) -> Result<String> {
    let (before, rest) = readme
        .split_once(BEGIN)
        .context("The README has no place for the table")?;
    let (_, after) = rest
        .split_once(END)
        .context("The README's place for the table has no end")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{median, with_table};

    #[test]
    fn replaces_the_table_and_nothing_else() {
        let readme = "a\n<!-- bench -->\nold\n<!-- /bench -->\nb\n";
        assert_eq!(
            with_table(readme, "new\n").unwrap(),
            "a\n<!-- bench -->\nnew\n<!-- /bench -->\nb\n"
        );
        assert!(with_table("a\n", "new\n").is_err());
    }

    #[test]
    fn takes_the_middle() {
        let durations = [3, 1, 2].map(Duration::from_secs).to_vec();
        assert_eq!(median(durations), Duration::from_secs(2));
    }
}
