//! The stable codes of ktx's errors: what a program matches on.

/// A stable error code. Its name never changes; messages may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// An option has a value that it cannot have.
    Usage,
    /// The runtime root cannot be computed: there is no home directory.
    HomeUnset,
    /// Another user could change what is written to the runtime root.
    RootUnsafe,
    /// The runtime root cannot be written.
    RootReadOnly,
    /// The system refused a file operation.
    Io,
    /// No space, quota or inodes left.
    DiskFull,
    /// A lock was held for too long.
    LockTimeout,
    /// The file system has no locks.
    LockUnsupported,
    /// The asset is not there.
    AssetMissing,
    /// The asset's manifest is not valid.
    AssetManifest,
    /// The asset's manifest names a file outside the asset.
    AssetUnsafe,
    /// A file of the asset is not the one that its manifest names.
    AssetChecksum,
    /// There is no usable uv and none may be fetched.
    UvMissing,
    /// uv could not be fetched over the network.
    UvNetwork,
    /// What was fetched as uv has another digest than the pinned one.
    UvChecksum,
    /// What answered is not a package index, or not this file.
    UvResponse,
    /// The uv that was found does not work.
    UvBroken,
    /// There is no usable Python interpreter.
    PythonMissing,
    /// uv failed to build the environment.
    InstallFailed,
    /// The environment was built and does not run.
    ProbeFailed,
    /// There is no runtime, or it cannot be used.
    RuntimeMissing,
    /// The runtime was written by a newer ktx.
    RuntimeNewer,
    /// A daemon could not be started.
    DaemonStart,
    /// A daemon could not be ended.
    DaemonStop,
    /// A daemon listens and does not answer.
    DaemonUnreachable,
    /// The caller gave up.
    Aborted,
}

impl Code {
    /// The code as programs see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "KTX_USAGE",
            Self::HomeUnset => "KTX_HOME_UNSET",
            Self::RootUnsafe => "KTX_ROOT_UNSAFE",
            Self::RootReadOnly => "KTX_ROOT_READ_ONLY",
            Self::Io => "KTX_IO",
            Self::DiskFull => "KTX_DISK_FULL",
            Self::LockTimeout => "KTX_LOCK_TIMEOUT",
            Self::LockUnsupported => "KTX_LOCK_UNSUPPORTED",
            Self::AssetMissing => "KTX_ASSET_MISSING",
            Self::AssetManifest => "KTX_ASSET_MANIFEST",
            Self::AssetUnsafe => "KTX_ASSET_UNSAFE",
            Self::AssetChecksum => "KTX_ASSET_CHECKSUM",
            Self::UvMissing => "KTX_UV_MISSING",
            Self::UvNetwork => "KTX_UV_NETWORK",
            Self::UvChecksum => "KTX_UV_CHECKSUM",
            Self::UvResponse => "KTX_UV_RESPONSE",
            Self::UvBroken => "KTX_UV_BROKEN",
            Self::PythonMissing => "KTX_PYTHON_MISSING",
            Self::InstallFailed => "KTX_INSTALL_FAILED",
            Self::ProbeFailed => "KTX_PROBE_FAILED",
            Self::RuntimeMissing => "KTX_RUNTIME_MISSING",
            Self::RuntimeNewer => "KTX_RUNTIME_NEWER",
            Self::DaemonStart => "KTX_DAEMON_START",
            Self::DaemonStop => "KTX_DAEMON_STOP",
            Self::DaemonUnreachable => "KTX_DAEMON_UNREACHABLE",
            Self::Aborted => "KTX_ABORTED",
        }
    }
}
