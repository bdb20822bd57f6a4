//! Binaries of every format, as they are linked and with one thing changed.

use object::elf;

use super::compiled::compile;
use super::{assert_problem, replaced};
use crate::artifact::{Binary, Kind, binary};
use crate::policy::Policy;

const GNU: &str = "linux-x64-gnu";
const MUSL: &str = "linux-arm64-musl";
const MAC: &str = "darwin-arm64";
const WINDOWS: &str = "win32-x64-msvc";

/// Checks content as a platform's binary.
fn check(platform: &str, kind: Kind, content: &[u8]) -> (Binary, String) {
    let policy = Policy::load().unwrap();
    super::check(&policy, platform, |rules, problems| {
        binary::check(rules, kind, content, problems).unwrap()
    })
}

/// Fails unless each of the contents has its problem.
#[track_caller]
fn assert_all(platform: &str, kind: Kind, cases: &[(&str, Vec<u8>, &str)]) {
    for (case, content, expected) in cases {
        let (_, problems) = check(platform, kind, content);
        assert_problem(&problems, expected, case);
    }
}

/// Changes the number that is 32 bits wide at a place.
fn with_number(content: &[u8], at: usize, change: impl Fn(u32) -> u32) -> Vec<u8> {
    let mut changed = content.to_vec();
    let number: &mut [u8] = &mut changed[at..at + 4];
    let value = change(u32::from_le_bytes((&*number).try_into().unwrap()));
    number.copy_from_slice(&value.to_le_bytes());
    changed
}

/// Where the header of an ELF segment of a kind is.
fn segment(content: &[u8], kind: elf::ProgramType) -> usize {
    let start = usize::from(u16::from_le_bytes([content[32], content[33]]));
    let count = usize::from(u16::from_le_bytes([content[56], content[57]]));
    (0..count)
        .map(|index| start + index * 56)
        .find(|&at| content[at..at + 4] == kind.0.to_le_bytes())
        .unwrap()
}

#[test]
fn takes_what_is_made_for_its_platform() {
    let addon = compile("x86_64-linux-gnu.2.28", Kind::Addon, &[]);
    let (binary, problems) = check(GNU, Kind::Addon, &addon);
    assert_eq!(problems, "");
    assert_eq!(binary.machine, "ELF x64");
    assert_eq!(binary.libc_floor.as_deref(), Some("glibc 2.2.5"));
    assert_eq!(binary.libraries, ["libc.so.6"]);
    assert_eq!(binary.interpreter, None);
    assert_eq!(binary.bytes, addon.len() as u64);

    let program = compile("x86_64-linux-gnu.2.28", Kind::Program, &[]);
    let (binary, problems) = check(GNU, Kind::Program, &program);
    assert_eq!(problems, "");
    assert_eq!(
        binary.interpreter.as_deref(),
        Some("/lib64/ld-linux-x86-64.so.2")
    );

    for kind in [Kind::Addon, Kind::Program] {
        let content = compile("aarch64-linux-musl", kind, &[]);
        let (binary, problems) = check(MUSL, kind, &content);
        assert_eq!(problems, "");
        assert_eq!(
            (binary.machine.as_str(), binary.libc_floor),
            ("ELF arm64", None)
        );

        let content = compile("aarch64-macos.11.0", kind, &[]);
        let (binary, problems) = check(MAC, kind, &content);
        assert_eq!(problems, "");
        assert_eq!(binary.machine, "Mach-O arm64");
        assert_eq!(binary.libc_floor.as_deref(), Some("macOS 11.0"));
        assert_eq!(binary.libraries, ["/usr/lib/libSystem.B.dylib"]);

        let content = compile("x86_64-windows-gnu", kind, &[]);
        let (binary, problems) = check(WINDOWS, kind, &content);
        assert_eq!(problems, "");
        assert_eq!(binary.machine, "PE x64");
        assert_eq!(binary.libraries, ["KERNEL32.dll"]);
    }
}

#[test]
fn refuses_what_other_platforms_load() {
    let addon = compile("x86_64-linux-gnu.2.28", Kind::Addon, &[]);
    for (platform, expected) in [
        ("linux-arm64-gnu", "machine: is ELF x64; expected ELF arm64"),
        (MAC, "machine: is ELF x64; expected Mach-O arm64"),
        (WINDOWS, "machine: is ELF x64; expected PE x64"),
        ("linux-x64-musl", "libraries: needs `libc.so.6`"),
        (
            "linux-x64-musl",
            "libc floor: needs glibc 2.2.5; the platform has musl",
        ),
    ] {
        let (_, problems) = check(platform, Kind::Addon, &addon);
        assert_problem(&problems, expected, platform);
    }
    let of_musl = replaced(&addon, b"libc.so.6\0", b"libc.so\0\0\0");
    let (_, problems) = check("linux-x64-musl", Kind::Addon, &of_musl);
    assert!(!problems.contains("libraries: "), "{problems}");
    let cases = [
        ("cut", addon[..addon.len() / 4].to_vec(), "format: "),
        ("text", b"#!/bin/sh\n".to_vec(), "format: is no binary"),
        ("nothing", Vec::new(), "format: is no binary"),
    ];
    assert_all(GNU, Kind::Addon, &cases);
}

#[test]
fn refuses_an_addon_for_linux_that_breaks_a_rule() {
    let target = "x86_64-linux-gnu.2.28";
    let addon = compile(target, Kind::Addon, &[]);
    let stack = segment(&addon, elf::PT_GNU_STACK);
    let code = segment(&addon, elf::PT_LOAD);
    let everything = |_| elf::PF_R.0 | elf::PF_W.0 | elf::PF_X.0;
    let leaks = [&addon[..], b"/home/runner/work/ktx/src/lib.rs\0"].concat();
    let cases = [
        (
            "an executable stack",
            with_number(&addon, stack + 4, everything),
            "stack: is executable",
        ),
        (
            "no word on the stack",
            with_number(&addon, stack, |_| elf::PT_NULL.0),
            "stack: is executable",
        ),
        (
            "code that can be written",
            with_number(&addon, code + 4, everything),
            "segments: has memory that is both writable and executable",
        ),
        (
            "a library of its own",
            replaced(&addon, b"libc.so.6\0", b"libq.so.6\0"),
            "libraries: needs `libq.so.6`",
        ),
        (
            "no version of glibc that is one",
            replaced(&addon, b"GLIBC_2.2.5", b"GLIBC_2.2.x"),
            "libc floor: needs `GLIBC_2.2.x`",
        ),
        (
            "no entry",
            replaced(
                &addon,
                b"napi_register_module_v1",
                b"napi_register_module_v0",
            ),
            "exports: has no `napi_register_module_v1`",
        ),
        (
            "a place to look for libraries",
            compile(target, Kind::Addon, &["-Wl,-rpath,/somewhere"]),
            "rpath: looks for libraries in `/somewhere`",
        ),
        (
            "symbols",
            compile(target, Kind::Addon, &["-g"]),
            "stripped: still has the section `.",
        ),
        (
            "a path",
            leaks,
            "paths: holds `/home/runner/work/ktx/src/lib.rs`",
        ),
        (
            "a program",
            compile(target, Kind::Program, &[]),
            "interpreter: is `/lib64/ld-linux-x86-64.so.2`; a library has none",
        ),
    ];
    assert_all(GNU, Kind::Addon, &cases);
}

#[test]
fn refuses_a_program_for_linux_that_breaks_a_rule() {
    let newer = compile("x86_64-linux-gnu.2.34", Kind::Program, &[]);
    let program = compile("x86_64-linux-gnu.2.28", Kind::Program, &[]);
    let interpreter = segment(&program, elf::PT_INTERP);
    let cases = [
        (
            "another loader",
            replaced(&program, b"/lib64/ld-linux", b"/lib99/ld-linux"),
            "interpreter: is `/lib99/ld-linux-x86-64.so.2`; expected `/lib64/",
        ),
        (
            "no loader",
            with_number(&program, interpreter, |_| elf::PT_NULL.0),
            "interpreter: has none, though it needs libraries",
        ),
        (
            "a newer glibc",
            newer.clone(),
            "libc floor: needs glibc 2.34; `glibc` of `linux-x64-gnu` in the policy is 2.28",
        ),
    ];
    assert_all(GNU, Kind::Program, &cases);
}

#[test]
fn refuses_what_macos_would_not_load() {
    let addon = compile("aarch64-macos.11.0", Kind::Addon, &[]);
    let signature = [0x1d, 0, 0, 0, 0x10, 0, 0, 0];
    let other_command = [0x26, 0, 0, 0, 0x10, 0, 0, 0];
    let version = addon
        .windows(4)
        .position(|window| window == [0x32, 0, 0, 0])
        .unwrap();
    let cases = [
        (
            "a newer system",
            compile("aarch64-macos.13.0", Kind::Addon, &[]),
            "libc floor: needs macOS 13.0; `macos` of `darwin-arm64` in the policy is 11.0",
        ),
        (
            "another of Apple's systems",
            with_number(&addon, version + 8, |_| 2),
            "machine: is for another system of Apple's",
        ),
        (
            "no signature",
            replaced(&addon, &signature, &other_command),
            "signature: is missing",
        ),
        (
            "changed after it was signed",
            replaced(&addon, b"addon\0", b"addin\0"),
            "signature: is that of other bytes",
        ),
        (
            "a library of its own",
            replaced(&addon, b"/usr/lib/libSystem", b"/opt/lib/libSystem"),
            "libraries: needs `/opt/lib/libSystem.B.dylib`",
        ),
        (
            "a place to look for libraries",
            compile(
                "aarch64-macos.11.0",
                Kind::Addon,
                &["-Wl,-rpath,/somewhere"],
            ),
            "rpath: looks for libraries in `/somewhere`",
        ),
        (
            "debug information",
            replaced(
                &addon,
                b"__cstring\0\0\0\0\0\0\0__TEXT\0\0",
                b"__cstring\0\0\0\0\0\0\0__DWARF\0",
            ),
            "stripped: still has the section `__cstring`",
        ),
        (
            "no entry",
            replaced(
                &addon,
                b"napi_register_module_v1",
                b"napi_register_module_v0",
            ),
            "signature: ",
        ),
        (
            "a program",
            compile("aarch64-macos.11.0", Kind::Program, &[]),
            "kind: is no library",
        ),
    ];
    assert_all(MAC, Kind::Addon, &cases);
    assert_all(
        MAC,
        Kind::Program,
        &[("a library", addon, "kind: is no program")],
    );
    let unsigned = compile("x86_64-macos.11.0", Kind::Program, &[]);
    assert_eq!(check("darwin-x64", Kind::Program, &unsigned).1, "");
}

#[test]
fn refuses_what_windows_would_not_load() {
    let addon = compile("x86_64-windows-gnu", Kind::Addon, &[]);
    let header = u32::from_le_bytes(addon[0x3c..0x40].try_into().unwrap()) as usize;
    let cases = [
        (
            "a library that is not Windows's",
            replaced(&addon, b"KERNEL32.dll", b"KERNEL99.dll"),
            "libraries: needs `KERNEL99.dll`",
        ),
        (
            "memory that can be executed",
            with_number(&addon, header + 24 + 70, |traits| traits & !0x100),
            "stack: is executable",
        ),
        (
            "symbols",
            with_number(&addon, header + 16, |_| 5),
            "stripped: still has 5 symbols",
        ),
        (
            "debug information",
            replaced(&addon, b".rdata\0\0", b".debug_x"),
            "stripped: still has the section `.debug_x`",
        ),
        (
            "no entry",
            replaced(
                &addon,
                b"napi_register_module_v1",
                b"napi_register_module_v0",
            ),
            "exports: has no `napi_register_module_v1`",
        ),
        (
            "a program",
            compile("x86_64-windows-gnu", Kind::Program, &[]),
            "kind: is no library",
        ),
    ];
    assert_all(WINDOWS, Kind::Addon, &cases);
    assert_all(
        WINDOWS,
        Kind::Program,
        &[("a library", addon, "kind: is no program")],
    );
}
