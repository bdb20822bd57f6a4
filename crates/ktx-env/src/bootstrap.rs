//! Fetches the pinned uv from a Python package index into a directory.
//!
//! A machine without uv still reaches a package index, if it can install
//! anything at all: the same mirror, proxy and certificates that serve `pip`
//! serve this. What is fetched is fixed beforehand: the pin names the file, its
//! size and its digest, and the index only says where the file is. Nothing that
//! differs from the pin is opened, let alone kept.
//!
//! The environment is a map that the caller passes; nothing here reads the
//! variables of the process. `netrc` files, the proxy settings of macOS and
//! Windows, indexes that are directories, and names of hosts that are not ASCII
//! (but for their `xn--` form) are not supported.

pub(crate) mod archive;
mod connection;
mod crypto;
mod error;
mod failure;
mod http;
pub(crate) mod index;
mod pins;
mod settings;
mod tls;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use url::Url;

pub use error::{BootstrapError, Cause, Peer, Tries};
pub use http::{
    ANSWER, ATTEMPTS, Bounds, CONNECT, INDEX_BYTES, PAUSE, PROGRESS_BYTES, REDIRECTS, SILENCE,
    STALL,
};
pub use pins::{Binary, Pin, Pins, Unverified, Verified, verify};
pub use settings::{Environment, PUBLIC_INDEX};

use error::{host_of, shown};
use http::{Head, Sink, Transport};

/// What to fetch, from where, and whereto.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The file, see [`Pins::pin_for`].
    pub pin: &'a Pin,
    /// The caller's environment: `UV_DEFAULT_INDEX`, `UV_INDEX_URL` or
    /// `PIP_INDEX_URL` (the first that is set, else [`PUBLIC_INDEX`]);
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` in either case;
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` (instead of the system's certificates);
    /// `NODE_EXTRA_CA_CERTS`, `PIP_CERT` and `REQUESTS_CA_BUNDLE` (besides them).
    pub env: &'a Environment,
    /// An existing directory that no one else writes to; `uv` or `uv.exe` is
    /// placed in it.
    pub directory: &'a Path,
    /// How long to wait for what.
    pub bounds: Bounds,
}

/// Told how many bytes of the wheel have come, and how many there are. A retry
/// starts again at zero.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Downloads the wheel, compares it with its pin, unpacks the pinned binary and
/// moves it into place, replacing what was there. Returns its path.
///
/// The wheel is compared before it is opened as an archive, and the binary once
/// more after unpacking. Dropping the future ends the download and removes its
/// temporary files; a process that is killed leaves files in the directory whose
/// names begin with `.uv-`.
pub async fn fetch(
    request: Request<'_>,
    progress: Progress<'_>,
) -> Result<PathBuf, BootstrapError> {
    let index = settings::index(request.env)?;
    let transport = Transport::new(request.env, request.bounds)?;

    let mut page = PageSink::new(request.bounds.index_bytes);
    let project = index::project_url(&index);
    transport
        .download(&project, index::ACCEPT, &mut page)
        .await?;
    let mut link = page.find(&project, &request.pin.file)?;
    http::share_credentials(&index, &mut link);

    let mut wheel = WheelSink::new(request.pin, request.directory, progress)?;
    transport.download(&link, "*/*", &mut wheel).await?;
    let wheel = wheel.finish()?;

    let pin = request.pin.clone();
    let directory = request.directory.to_owned();
    let unpacked =
        tokio::task::spawn_blocking(move || archive::unpack(wheel.as_file(), &pin, &directory))
            .await
            .map_err(|error| BootstrapError::Archive {
                file: request.pin.file.clone(),
                reason: error.to_string(),
            })??;
    place(unpacked, &request.directory.join(request.pin.binary_name()))
}

/// The host of the package index that `env` names, with its port if that is not
/// the scheme's own.
pub fn index_host(env: &Environment) -> Result<String, BootstrapError> {
    settings::index(env).map(|index| host_of(&index))
}

fn place(file: NamedTempFile, path: &Path) -> Result<PathBuf, BootstrapError> {
    file.persist(path)
        .map_err(|error| BootstrapError::io(path, error.error))?;
    // Without this, a power failure can take the name away again.
    #[cfg(unix)]
    if let Some(directory) = path.parent() {
        fs_err::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| BootstrapError::io(directory, source))?;
    }
    Ok(path.to_owned())
}

/// Collects the index page in memory.
struct PageSink {
    limit: u64,
    head: Option<Head>,
    bytes: Vec<u8>,
}

impl PageSink {
    fn new(limit: u64) -> Self {
        Self {
            limit,
            head: None,
            bytes: Vec::new(),
        }
    }

    fn find(&self, asked: &Url, file: &str) -> Result<Url, BootstrapError> {
        let (url, content_type) = match &self.head {
            Some(head) => (&head.url, head.content_type.as_str()),
            None => (asked, ""),
        };
        index::find_file(&self.bytes, content_type, url, file)
    }
}

impl Sink for PageSink {
    fn begin(&mut self, head: Head) -> Result<(), BootstrapError> {
        self.bytes.clear();
        self.head = Some(head);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BootstrapError> {
        self.bytes.extend_from_slice(bytes);
        match &self.head {
            Some(head) if self.bytes.len() as u64 > self.limit => Err(BootstrapError::TooLarge {
                url: shown(&head.url),
                limit: self.limit,
            }),
            _ => Ok(()),
        }
    }

    fn expected(&self) -> Option<u64> {
        None
    }
}

/// Writes the wheel to a temporary file and hashes it on the way.
struct WheelSink<'a> {
    pin: &'a Pin,
    directory: &'a Path,
    progress: Progress<'a>,
    file: NamedTempFile,
    hasher: Sha256,
    received: u64,
    url: String,
    is_page: bool,
}

impl<'a> WheelSink<'a> {
    fn new(
        pin: &'a Pin,
        directory: &'a Path,
        progress: Progress<'a>,
    ) -> Result<Self, BootstrapError> {
        Ok(Self {
            pin,
            directory,
            progress,
            file: archive::temporary_in(directory)?,
            hasher: Sha256::new(),
            received: 0,
            url: String::new(),
            is_page: false,
        })
    }

    fn finish(self) -> Result<NamedTempFile, BootstrapError> {
        let actual = pins::hex(self.hasher);
        if actual != self.pin.sha256 {
            return Err(BootstrapError::Checksum {
                file: self.pin.file.clone(),
                expected: self.pin.sha256.clone(),
                actual,
            });
        }
        Ok(self.file)
    }

    fn not_a_wheel(&self) -> BootstrapError {
        BootstrapError::NotAWheel {
            url: self.url.clone(),
            file: self.pin.file.clone(),
        }
    }

    fn wrong_size(&self, actual: u64) -> BootstrapError {
        BootstrapError::Size {
            file: self.pin.file.clone(),
            expected: self.pin.bytes,
            actual,
        }
    }
}

impl Sink for WheelSink<'_> {
    fn begin(&mut self, head: Head) -> Result<(), BootstrapError> {
        self.file = archive::temporary_in(self.directory)?;
        self.hasher = Sha256::new();
        self.received = 0;
        self.url = shown(&head.url);
        self.is_page = head.content_type.starts_with("text/html");
        match head.length {
            Some(length) if length == self.pin.bytes => Ok(()),
            Some(_) if self.is_page => Err(self.not_a_wheel()),
            Some(length) => Err(self.wrong_size(length)),
            None => Ok(()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BootstrapError> {
        // A login page may come under any type, and an index may call a wheel
        // anything: how the bytes begin decides.
        let begins_as_page = self.received == 0 && bytes.starts_with(b"<");
        if begins_as_page || (self.received == 0 && self.is_page && !bytes.starts_with(b"P")) {
            return Err(self.not_a_wheel());
        }
        self.received += bytes.len() as u64;
        if self.received > self.pin.bytes {
            return Err(self.wrong_size(self.received));
        }
        self.hasher.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(|source| BootstrapError::io(self.file.path(), source))?;
        (self.progress)(self.received, self.pin.bytes);
        Ok(())
    }

    fn expected(&self) -> Option<u64> {
        Some(self.pin.bytes)
    }
}
