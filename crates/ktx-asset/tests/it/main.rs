//! The asset through its public door: real files, planted faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use fs_err as fs;
use ktx_asset::{hash, verify};
use serde_json::{Value, json};

const WHEEL: &str = "kaelio_ktx-0.1.0-py3-none-any.whl";

/// Writes an asset with `wheel` as its wheel into `directory`.
fn write_asset(directory: &Path, wheel: &[u8]) -> Value {
    fs::write(directory.join(WHEEL), wheel).unwrap();
    let digest = hash(wheel, std::io::sink()).unwrap();
    let manifest = json!({
        "schemaVersion": 1,
        "distributionName": "kaelio-ktx",
        "normalizedName": "kaelio_ktx",
        "version": "0.1.0",
        "wheel": { "file": WHEEL, "sha256": digest.sha256, "bytes": digest.bytes },
        "builtBy": "a later version",
    });
    write_manifest(directory, &manifest);
    manifest
}

fn write_manifest(directory: &Path, manifest: &Value) {
    fs::write(directory.join("manifest.json"), manifest.to_string()).unwrap();
}

/// The error of [`verify`] with `directory` left out.
fn refusal(directory: &Path) -> String {
    let error = verify(directory).unwrap_err();
    format!("{}: {error}", error.code().as_str())
        .replace(&directory.display().to_string(), "[asset]")
}

#[test]
fn accepts_an_asset_and_keeps_unknown_keys() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = write_asset(
        directory.path(),
        b"any bytes: a wheel need not be a zip file",
    );
    let asset = verify(directory.path()).unwrap();
    assert_eq!(serde_json::to_value(&asset.manifest).unwrap(), manifest);
    assert_eq!(asset.wheel_path(), directory.path().join(WHEEL));
}

#[test]
fn refuses_a_wheel_that_is_flipped_truncated_or_longer() {
    let directory = tempfile::tempdir().unwrap();
    for wheel in [
        &b"wheel-bytez"[..],
        b"wheel-byte",
        b"wheel-bytes-and-more",
        b"",
    ] {
        write_asset(directory.path(), b"wheel-bytes");
        fs::write(directory.path().join(WHEEL), wheel).unwrap();
        assert_eq!(
            refusal(directory.path()),
            format!(
                "KTX_ASSET_CHECKSUM: Bundled Python runtime wheel checksum mismatch: [asset]/{WHEEL}"
            )
        );
    }
}

#[test]
fn refuses_names_that_lead_outside() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifest = write_asset(directory.path(), b"wheel");
    for name in [
        "../x.whl",
        "/x.whl",
        "C:\\x.whl",
        "a\\b.whl",
        "x\0.whl",
        "..",
        "",
    ] {
        manifest["wheel"]["file"] = name.into();
        write_manifest(directory.path(), &manifest);
        assert_eq!(
            refusal(directory.path()),
            format!("KTX_ASSET_UNSAFE: Unsafe runtime wheel filename in bundled manifest: {name}")
        );
    }
}

#[cfg(unix)]
#[test]
fn refuses_a_link_in_place_of_the_wheel() {
    let directory = tempfile::tempdir().unwrap();
    write_asset(directory.path(), b"wheel");
    let wheel = directory.path().join(WHEEL);
    fs::rename(&wheel, directory.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), &wheel).unwrap();
    assert!(refusal(directory.path()).starts_with("KTX_ASSET_UNSAFE"));
}

#[test]
fn tells_manifest_faults_apart() {
    let directory = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(refusal(directory.path()), @"KTX_ASSET_MISSING: Missing bundled Python runtime manifest: [asset]/manifest.json");
    let manifest = write_asset(directory.path(), b"wheel").to_string();
    let faults = [
        ("empty", String::new()),
        ("byte order mark", format!("\u{feff}{manifest}")),
        (
            "duplicate key",
            manifest.replacen('{', "{\"version\":\"9\",", 1),
        ),
        (
            "schema",
            manifest.replacen("\"schemaVersion\":1", "\"schemaVersion\":2", 1),
        ),
        ("no wheel", manifest.replacen("\"wheel\"", "\"whale\"", 1)),
        ("other name", manifest.replacen("kaelio-ktx", "evil", 1)),
        (
            "digest",
            manifest.replacen("\"sha256\":\"", "\"sha256\":\"X", 1),
        ),
    ];
    let mut messages = Vec::new();
    for (fault, text) in faults {
        fs::write(directory.path().join("manifest.json"), text).unwrap();
        let message = refusal(directory.path());
        assert!(
            message.starts_with("KTX_ASSET_MANIFEST"),
            "{fault}: {message}"
        );
        messages.push(message);
    }
    messages.dedup();
    assert_eq!(messages.len(), 7);
}

#[test]
fn refuses_a_manifest_truncated_at_any_byte_or_too_large() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = write_asset(directory.path(), b"wheel").to_string();
    let path = directory.path().join("manifest.json");
    for length in 0..manifest.len() {
        fs::write(&path, &manifest[..length]).unwrap();
        assert!(refusal(directory.path()).starts_with("KTX_ASSET_MANIFEST"));
    }
    fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
    assert!(refusal(directory.path()).contains("is larger than 1048576 bytes"));
}

#[test]
fn refuses_a_wheel_that_is_exchanged_between_check_and_copy() {
    let directory = tempfile::tempdir().unwrap();
    write_asset(directory.path(), b"wheel");
    let asset = verify(directory.path()).unwrap();
    fs::write(directory.path().join(WHEEL), b"whale").unwrap();
    let private = tempfile::tempdir().unwrap();
    assert!(asset.copy_to(private.path()).is_err());
    assert_eq!(fs::read_dir(private.path()).unwrap().count(), 0);
}
