//! The command and the installation, beside the bare commands that they stand on.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use xshell::cmd;

use super::table::Row;
use super::{Bench, timed};
use crate::addon::Addon;
use crate::policy::Policy;
use crate::target::Target;
use crate::{digest, lock, say, tools, uv_pins};

const LARGE_WHEEL_BYTES: usize = 1 << 30;
const MEMORY_LIMIT: f64 = 120.0;

/// Measures the command and the installation.
pub(super) fn rows(bench: &Bench, policy: &Policy) -> Result<Vec<Row>> {
    let mut rows = starts(bench)?;
    rows.push(forced_install(bench)?);
    rows.push(large_wheel(bench)?);
    rows.push(memory(bench)?);
    rows.push(addon_size(policy)?);
    Ok(rows)
}

/// Status and a ready install, beside a Node that does nothing.
fn starts(bench: &Bench) -> Result<Vec<Row>> {
    say::step("Status and ready install");
    let [node, status, ready] = bench.medians([
        &|| timed(bench.node("0")),
        &|| timed(bench.ktx(&["runtime", "status", "--json"])),
        &|| timed(bench.ktx(&["runtime", "install", "--yes"])),
    ])?;
    let row = |what, ours| Row::of_durations([what, "`node -e 0`"], ours, node, Some(1.3));
    Ok(vec![
        row("`ktx runtime status --json`", status),
        row("`ktx runtime install`, ready", ready),
    ])
}

/// A forced install with a warm cache, beside the uv commands that it runs.
fn forced_install(bench: &Bench) -> Result<Row> {
    say::step("Forced install");
    let status: Value =
        serde_json::from_str(&bench.ktx(&["runtime", "status", "--json"]).quiet().read()?)?;
    let root = PathBuf::from(
        status["layout"]["runtimeRoot"]
            .as_str()
            .context("status names the runtime root")?,
    );
    let uv_path = root
        .join("uv")
        .join(uv_pins::load()?.version)
        .join(format!("uv{}", std::env::consts::EXE_SUFFIX));
    let asset_dir = status["layout"]["assetDir"]
        .as_str()
        .context("status names the asset")?;
    let wheel_path = ktx_asset::verify(Path::new(asset_dir))?.wheel_path();
    let requirements_path = bench.project.home_dir().join("requirements.txt");
    let digest = digest::of_file(&wheel_path)?.sha256;
    let requirements = format!(
        "{}{} --hash=sha256:{digest}\n",
        lock::core_requirements()?,
        wheel_path.display()
    );
    fs_err::write(&requirements_path, requirements)?;
    let venv_dir = bench.project.home_dir().join("bare");
    let python = tools::venv_python(&venv_dir);
    let uv = || {
        bench
            .clean(bench.sh.cmd(&uv_path))
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
    let [node, forced, bare] = bench.medians([
        &|| timed(bench.node("0")),
        &|| timed(bench.ktx(&["runtime", "install", "--yes", "--force"])),
        &bare,
    ])?;
    Ok(Row::of_durations(
        [
            "`ktx runtime install --force`, warm cache, beyond Node's start",
            "the bare uv commands",
        ],
        forced.saturating_sub(node),
        bare,
        Some(1.3),
    ))
}

/// The check of a wheel of 1 GiB.
fn large_wheel(bench: &Bench) -> Result<Row> {
    say::step("A wheel of 1 GiB");
    let asset_dir = bench.project.home_dir().join("large");
    fs_err::create_dir(&asset_dir)?;
    let wheel_path = asset_dir.join("kaelio_ktx-0.1.0-py3-none-any.whl");
    write_large_file(&wheel_path)?;
    let digested = digest::of_file(&wheel_path)?;
    let manifest = json!({
        "schemaVersion": 1, "distributionName": "kaelio-ktx", "normalizedName": "kaelio_ktx", "version": "0.1.0",
        "wheel": { "file": "kaelio_ktx-0.1.0-py3-none-any.whl", "sha256": digested.sha256, "bytes": digested.bytes },
    });
    fs_err::write(asset_dir.join("manifest.json"), manifest.to_string())?;
    let program = format!(
        "const {{ verifyRuntimeAsset }} = require('{}'); const begun = performance.now(); \
         verifyRuntimeAsset({{ assetDir: {} }}).then(() => console.log((performance.now() - begun) / 1000));",
        bench.package,
        json!(asset_dir)
    );
    let sh = &bench.sh;
    let [ours, openssl] = bench.medians([
        &|| {
            Ok(Duration::from_secs_f64(
                bench.node(&program).quiet().read()?.parse()?,
            ))
        },
        &|| timed(cmd!(sh, "openssl dgst -sha256 {wheel_path}")),
    ])?;
    fs_err::remove_dir_all(&asset_dir)?;
    Ok(Row::of_durations(
        ["check of a 1 GiB wheel", "`openssl dgst -sha256`"],
        ours,
        openssl,
        Some(1.1),
    ))
}

/// The largest resident set of the process that installs; uv and Python are others.
fn memory(bench: &Bench) -> Result<Row> {
    say::step("Memory of an install");
    let program = format!(
        "const ktx = require('{}'); \
         ktx.installManagedPythonRuntime({{ cliVersion: ktx.getKtxCliPackageInfo().version, features: ['core'], force: true }}) \
         .then(() => console.log(process.resourceUsage().maxRSS / 1024));",
        bench.package
    );
    let megabytes: f64 = bench.node(&program).quiet().read()?.parse()?;
    Ok(Row::of_megabytes(
        "peak memory of a forced install's own process",
        megabytes,
        MEMORY_LIMIT,
    ))
}

fn addon_size(policy: &Policy) -> Result<Row> {
    let bytes =
        u32::try_from(fs_err::metadata(Addon::at_output(&Target::host(policy)?).path)?.len())?;
    let limit = u32::try_from(policy.max_bytes.addon)?;
    Ok(Row::of_megabytes(
        "size of the addon",
        f64::from(bytes) / 1e6,
        f64::from(limit) / 1e6,
    ))
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
