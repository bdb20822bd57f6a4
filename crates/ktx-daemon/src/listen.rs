//! Where callers come in, and which of them are let in.

use std::io;

use ktx_protocol::endpoint::Endpoint;
use tokio::net::TcpListener;

use crate::error::Error;

/// Where callers come in.
#[derive(Debug)]
pub enum Listener {
    /// Processes of this user.
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
    /// Whoever reaches the port.
    Tcp(TcpListener),
}

impl Listener {
    /// Listens at `endpoint`; returns where that is, with the port that the
    /// system chose.
    pub async fn bind(endpoint: &Endpoint) -> Result<(Self, Endpoint), Error> {
        let failed = |source| Error::Listen {
            endpoint: endpoint.to_string(),
            source,
        };
        match endpoint {
            Endpoint::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                Ok((Self::Tcp(listener), Endpoint::Tcp(bound)))
            }
            #[cfg(unix)]
            Endpoint::Unix(path) => {
                let listener = bind_private(path).map_err(failed)?;
                Ok((Self::Unix(listener), endpoint.clone()))
            }
            #[cfg(windows)]
            Endpoint::Unix(_) => Err(failed(io::Error::from(io::ErrorKind::Unsupported))),
        }
    }
}

/// A socket that nobody else can reach: its directory is this user's alone.
#[cfg(unix)]
fn bind_private(path: &std::path::Path) -> io::Result<tokio::net::UnixListener> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let directory = path.parent().unwrap_or(path);
    let metadata = fs_err::symlink_metadata(directory)?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || !is_own || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "`{}` is not a directory that only its owner, this user, may enter",
                directory.display()
            ),
        ));
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// The connections of this user's own processes; others are turned away.
#[cfg(unix)]
pub fn own_clients(
    listener: tokio::net::UnixListener,
) -> impl tokio_stream::Stream<Item = io::Result<tokio::net::UnixStream>> {
    use tokio_stream::StreamExt;
    use tokio_stream::wrappers::UnixListenerStream;

    let own = rustix::process::geteuid().as_raw();
    let mut has_refused = false;
    UnixListenerStream::new(listener).filter(move |connection| {
        let Ok(connection) = connection else {
            return true;
        };
        let is_own = connection.peer_cred().is_ok_and(|peer| peer.uid() == own);
        if !is_own && !has_refused {
            has_refused = true;
            tracing::warn!("turned another user away; later ones are not logged");
        }
        is_own
    })
}
