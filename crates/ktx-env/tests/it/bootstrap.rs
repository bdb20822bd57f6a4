//! uv from a package index: servers on loopback that behave in every way that a
//! network does, and the real index.

mod faults;
mod network;
mod server;
mod socks;

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ktx_env::bootstrap::{
    Binary, BootstrapError, Bounds, Environment, Pin, Pins, Request, Unverified, fetch, verify,
};
use tempfile::TempDir;

use server::{Reply, Server};

const FILE: &str = "uv-9.9.9-py3-none-any.whl";
const BINARY: &str = "uv-9.9.9.data/scripts/uv";

/// Where no server has a part in the message.
const NOBODY: &str = "127.0.0.1:0";

/// Long enough for loopback, short enough for tests.
const BOUNDS: Bounds = Bounds {
    connect: Duration::from_millis(800),
    answer: Duration::from_millis(1200),
    stall: Duration::from_millis(800),
    silence: Duration::from_secs(2),
    attempts: 3,
    pause: Duration::from_millis(10),
    redirects: 5,
    index_bytes: 100_000,
};

/// A wheel with a script in place of uv, its pin, and a directory to fetch into.
struct Fixture {
    wheel: Vec<u8>,
    pin: Pin,
    directory: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::packed(zip::CompressionMethod::Stored)
    }

    /// With a binary that is packed in this way.
    fn packed(method: zip::CompressionMethod) -> Self {
        let mut binary = b"#!/bin/sh\necho uv 9.9.9\nexit\n".to_vec();
        binary.resize(60_000, b'#');
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        zip.start_file("uv/__init__.py", options).unwrap();
        zip.start_file(BINARY, options).unwrap();
        zip.write_all(&binary).unwrap();
        let wheel = zip.finish().unwrap().into_inner();
        let digest = |bytes: &[u8]| ktx_asset::hash(bytes, std::io::sink()).unwrap().sha256;
        let pin = Pin {
            file: FILE.to_owned(),
            sha256: digest(&wheel),
            bytes: wheel.len() as u64,
            binary: Binary {
                path: BINARY.to_owned(),
                sha256: digest(&binary),
                bytes: binary.len() as u64,
            },
        };
        Self {
            wheel,
            pin,
            directory: TempDir::new().unwrap(),
        }
    }

    async fn fetch(&self, env: &Environment) -> Result<PathBuf, BootstrapError> {
        fetch(self.request(env), &|_, _| ()).await
    }

    fn request<'a>(&'a self, env: &'a Environment) -> Request<'a> {
        Request {
            pin: &self.pin,
            env,
            directory: self.directory.path(),
            bounds: BOUNDS,
        }
    }

    /// A server whose index is as it should be and whose wheel is the reply.
    async fn serving(&self, reply: Reply) -> Server {
        Server::start(move |target, _| match target {
            "/simple/uv/" => healthy_page(),
            _ => reply.clone(),
        })
        .await
    }

    /// Everything as it should be.
    fn healthy(&self) -> impl Fn(&str, usize) -> Reply + Send + Sync + 'static {
        let wheel = self.wheel.clone();
        move |target, _| {
            if target.ends_with("/simple/uv/") {
                healthy_page()
            } else if target.ends_with(FILE) {
                Reply::bytes(&wheel)
            } else {
                Reply::status(404)
            }
        }
    }

    fn left_behind(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.directory.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Fails to fetch, leaves nothing behind, and describes the error: code,
    /// message and first hint, with ports and times left out.
    async fn failure(&self, server: &Server) -> String {
        let started = Instant::now();
        let error = self
            .fetch(&env(&[("UV_DEFAULT_INDEX", &server.index())]))
            .await
            .unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(6));
        assert_eq!(self.left_behind(), Vec::<String>::new());
        describe(&error, &server.address.to_string())
    }
}

fn healthy_page() -> Reply {
    Reply::html(format!(
        "<!DOCTYPE html><html><body><a href=\"../../files/uv-1.0.tar.gz\">uv</a>\
         <a href=\"../../files/{FILE}#sha256=00\">{FILE}</a></body></html>"
    ))
}

fn describe(error: &BootstrapError, address: &str) -> String {
    let message = error.to_string().replace(address, "HOST");
    let message = match message.split_once(" in ") {
        Some((start, end)) if start.contains(" attempt") => {
            let rest = end.split_once(" s").unwrap().1;
            format!("{start} in TIME{rest}")
        }
        _ => message,
    };
    let hint = error.hints().first().cloned().unwrap_or_default();
    let hint = hint.replace(address, "HOST");
    format!("{}: {message}\n{hint}", error.code().as_str())
}

fn env(pairs: &[(&str, &str)]) -> Environment {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn index_of(server: &Server) -> Environment {
    env(&[("UV_DEFAULT_INDEX", &server.index())])
}

#[tokio::test]
async fn places_the_binary_and_reports_every_byte() {
    let fixture = Fixture::new();
    let server = Server::start(fixture.healthy()).await;
    let last = AtomicU64::new(0);
    let env = index_of(&server);
    let path = fetch(fixture.request(&env), &|bytes, total| {
        assert_eq!(total, fixture.pin.bytes);
        last.store(bytes, Ordering::Relaxed);
    })
    .await
    .unwrap();

    assert_eq!(path, fixture.directory.path().join("uv"));
    assert_eq!(fixture.left_behind(), ["uv"]);
    assert_eq!(last.into_inner(), fixture.pin.bytes);
    #[cfg(unix)]
    assert_eq!(
        fs_err::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o755
    );
    assert_eq!(verify(&path, &fixture.pin).unwrap().path, path);
    let seen = server.seen();
    assert_eq!(seen[0].target, "/simple/uv/");
    assert_eq!(seen[1].target, format!("/files/{FILE}"));
}

#[tokio::test]
async fn unpacks_a_compressed_binary() {
    let fixture = Fixture::packed(zip::CompressionMethod::Deflated);
    assert!(fixture.pin.bytes < fixture.pin.binary.bytes);
    let server = Server::start(fixture.healthy()).await;
    let path = fixture.fetch(&index_of(&server)).await.unwrap();
    verify(&path, &fixture.pin).unwrap();
}

#[tokio::test]
async fn replaces_what_was_there() {
    let fixture = Fixture::new();
    let server = Server::start(fixture.healthy()).await;
    fs_err::write(fixture.directory.path().join("uv"), "old").unwrap();
    let path = fixture.fetch(&index_of(&server)).await.unwrap();
    verify(&path, &fixture.pin).unwrap();
}

#[tokio::test]
async fn reads_every_form_of_an_index_page() {
    let json = |url: &str| {
        Reply::json(format!(
            r#"{{"meta":{{"api-version":"1.1"}},"name":"uv","files":[{{"filename":"{FILE}","url":"{url}","hashes":{{}}}}]}}"#
        ))
    };
    let escaped = FILE.replace('-', "%2D");
    let pages = [
        json(&format!("../../files/{FILE}")),
        json(&format!("/files/{FILE}?a=1")),
        Reply::html(format!("<A HREF='/files/{FILE}'>")),
        Reply::html(format!("<a href=/files/{escaped}>")),
        Reply::html(format!("<base href='/files/'><a href='{FILE}'>")),
        Reply::html(format!("<a href='/files/{FILE}?a=1&amp;b=2#sha256=0'>")),
        Reply::html(format!("<a href='/files/{FILE}?a=1&b=2'>")),
        Reply::html(format!(
            "<a href='file:///files/{FILE}'><a href='/files/{FILE}'>"
        )),
    ];
    for page in pages {
        let fixture = Fixture::new();
        let wheel = fixture.wheel.clone();
        let server = Server::start(move |target, _| match target {
            "/simple/uv/" => page.clone(),
            "/files/uv-9.9.9-py3-none-any.whl"
            | "/files/uv-9.9.9-py3-none-any.whl?a=1"
            | "/files/uv-9.9.9-py3-none-any.whl?a=1&b=2"
            | "/files/uv%2D9.9.9%2Dpy3%2Dnone%2Dany.whl" => Reply::bytes(&wheel),
            _ => Reply::status(404),
        })
        .await;
        fixture.fetch(&index_of(&server)).await.unwrap();
    }
}

#[tokio::test]
async fn resolves_links_against_the_address_after_redirects() {
    let fixture = Fixture::new();
    let wheel = fixture.wheel.clone();
    let server = Server::start(move |target, _| match target {
        "/simple/uv/" => Reply::redirect("/moved/simple/uv/"),
        "/moved/simple/uv/" => healthy_page(),
        "/moved/files/uv-9.9.9-py3-none-any.whl" => Reply::bytes(&wheel),
        _ => Reply::status(404),
    })
    .await;
    fixture.fetch(&index_of(&server)).await.unwrap();
}

#[cfg(unix)]
#[test]
fn tells_kept_copies_apart() {
    let fixture = Fixture::new();
    let pin = &fixture.pin;
    let directory = fixture.directory.path();
    let path = directory.join("uv");
    assert!(matches!(
        verify(&path, pin),
        Err(Unverified::Missing { .. })
    ));

    let mut archive = zip::ZipArchive::new(Cursor::new(&fixture.wheel)).unwrap();
    let mut binary = Vec::new();
    std::io::copy(&mut archive.by_name(BINARY).unwrap(), &mut binary).unwrap();
    fs_err::write(&path, &binary).unwrap();
    let mode = |mode| fs_err::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o644);
    assert!(matches!(
        verify(&path, pin),
        Err(Unverified::NotExecutable { .. })
    ));
    mode(0o755);
    assert_eq!(verify(&path, pin).unwrap().bytes, pin.binary.bytes);

    let link = directory.join("link");
    fs_err::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(
        verify(&link, pin),
        Err(Unverified::NotARegularFile { .. })
    ));
    assert!(matches!(
        verify(directory, pin),
        Err(Unverified::NotARegularFile { .. })
    ));

    *binary.last_mut().unwrap() ^= 1;
    fs_err::write(&path, &binary).unwrap();
    assert!(matches!(
        verify(&path, pin),
        Err(Unverified::Checksum { .. })
    ));
    for size in [0, 1000] {
        fs_err::write(&path, &binary[..size]).unwrap();
        assert!(
            matches!(verify(&path, pin), Err(Unverified::Size { actual, .. }) if actual == size as u64)
        );
    }
}

/// Callers spawn it, on a runtime with several threads.
#[test]
fn can_be_moved_between_threads() {
    let is_send = |_: &dyn Send| ();
    let fixture = Fixture::new();
    let env = Environment::new();
    is_send(&fetch(fixture.request(&env), &|_, _| ()));
}

#[test]
fn pins_uv_for_every_supported_platform() {
    let pins = Pins::embedded();
    for platform in [
        "linux-x64-gnu",
        "linux-x64-musl",
        "linux-arm64-gnu",
        "linux-arm64-musl",
        "darwin-arm64",
        "darwin-x64",
        "win32-x64-msvc",
    ] {
        let pin = pins.pin_for(platform).unwrap();
        assert!(pin.file.starts_with(&format!("uv-{}-", pins.version)));
        assert!(matches!(pin.binary_name(), "uv" | "uv.exe"));
    }
    let error = pins.pin_for("aix-ppc64").unwrap_err();
    assert_eq!(error.code().as_str(), "KTX_UV_MISSING");
    assert_eq!(error.hints().len(), 1);
}

/// The one test that needs the network: the real index, with the settings of
/// whoever runs the tests.
#[tokio::test]
async fn fetches_the_real_uv_which_runs() {
    let directory = TempDir::new().unwrap();
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let libc = if cfg!(target_env = "musl") {
        "musl"
    } else {
        "gnu"
    };
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => format!("linux-x64-{libc}"),
        ("linux", "aarch64") => format!("linux-arm64-{libc}"),
        ("macos", "aarch64") => "darwin-arm64".to_owned(),
        ("macos", _) => "darwin-x64".to_owned(),
        _ => "win32-x64-msvc".to_owned(),
    };
    let request = Request {
        pin: Pins::embedded().pin_for(&platform).unwrap(),
        env: &environment,
        directory: directory.path(),
        bounds: Bounds::default(),
    };
    let path = fetch(request, &|_, _| ()).await.unwrap();
    let output = std::process::Command::new(&path)
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert!(
        version.starts_with(&format!("uv {}", Pins::embedded().version)),
        "{version}"
    );
}
