//! What stands in for Apple's SDK when linking elsewhere: zig brings the system library, and
//! frameworks need no more than the names that are linked with.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::target::Target;
use crate::tools;

/// A framework and what of it our dependencies call; the linker names what is missing here.
struct Framework {
    name: &'static str,
    symbols: &'static [&'static str],
}

const FRAMEWORKS: [Framework; 2] = [
    Framework {
        name: "CoreFoundation",
        symbols: &[
            "_CFArrayCreate",
            "_CFArrayGetCount",
            "_CFArrayGetValueAtIndex",
            "_CFDataCreate",
            "_CFDataGetBytePtr",
            "_CFDataGetLength",
            "_CFDateCreate",
            "_CFDictionaryGetValueIfPresent",
            "_CFEqual",
            "_CFErrorCopyDescription",
            "_CFErrorGetCode",
            "_CFErrorGetDomain",
            "_CFGetTypeID",
            "_CFNumberGetValue",
            "_CFRelease",
            "_CFRetain",
            "_CFStringCreateWithBytes",
            "_CFStringCreateWithBytesNoCopy",
            "_CFStringGetBytes",
            "_CFStringGetCStringPtr",
            "_CFStringGetLength",
            "_CFTimeZoneCopySystem",
            "_CFTimeZoneGetName",
            "_CFTimeZoneResetSystem",
            "_kCFAllocatorDefault",
            "_kCFAllocatorNull",
            "_kCFTypeArrayCallBacks",
        ],
    },
    Framework {
        name: "Security",
        symbols: &[
            "_SecCertificateCopyData",
            "_SecCertificateCreateWithData",
            "_SecCopyErrorMessageString",
            "_SecPolicyCreateRevocation",
            "_SecPolicyCreateSSL",
            "_SecTrustCreateWithCertificates",
            "_SecTrustEvaluateWithError",
            "_SecTrustSetAnchorCertificates",
            "_SecTrustSetAnchorCertificatesOnly",
            "_SecTrustSetOCSPResponse",
            "_SecTrustSetPolicies",
            "_SecTrustSetVerifyDate",
            "_SecTrustSettingsCopyCertificates",
            "_SecTrustSettingsCopyTrustSettings",
        ],
    },
];

/// Writes the stand-in and gives its directory.
pub(crate) fn sdk(target: &Target) -> Result<PathBuf> {
    let architecture = if target.triple.starts_with("aarch64") {
        "arm64"
    } else {
        "x86_64"
    };
    let dir = tools::dir().join(format!("apple-{architecture}"));
    for framework in &FRAMEWORKS {
        framework.write(&dir, architecture)?;
    }
    for place in ["usr/include", "usr/lib"] {
        fs_err::create_dir_all(dir.join(place))?;
    }
    Ok(dir)
}

impl Framework {
    /// Writes the description that linkers read instead of the library.
    fn write(&self, sdk_dir: &Path, architecture: &str) -> Result<()> {
        let Self { name, symbols } = self;
        let place = format!("System/Library/Frameworks/{name}.framework");
        let dir = sdk_dir.join(&place);
        fs_err::create_dir_all(&dir)?;
        let text = format!(
            "--- !tapi-tbd\n\
             tbd-version: 4\n\
             targets: [ {architecture}-macos ]\n\
             install-name: '/{place}/Versions/A/{name}'\n\
             exports:\n\
             \x20 - targets: [ {architecture}-macos ]\n\
             \x20   symbols: [ {} ]\n\
             ...\n",
            symbols.join(", ")
        );
        let path = dir.join(format!("{name}.tbd"));
        if fs_err::read_to_string(&path).is_ok_and(|current| current == text) {
            return Ok(());
        }
        Ok(fs_err::write(path, text)?)
    }
}
