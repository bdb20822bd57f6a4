//! Wheels with one thing changed.

use zip::DateTime;

use super::compiled::compile;
use super::samples::{PLATFORM, SampleWheel, TAG};
use super::{assert_problem, replaced};
use crate::artifact::{Kind, Wheel, wheel};
use crate::policy::Policy;
use crate::repo;

fn check(name: &str, content: &[u8]) -> (Wheel, String) {
    let policy = Policy::load().unwrap();
    super::check(&policy, PLATFORM, |rules, problems| {
        wheel::check(rules, name, content, problems).unwrap()
    })
}

#[test]
fn takes_a_whole_wheel_and_says_what_is_in_it() {
    let sample = SampleWheel::new();
    let (wheel, problems) = check(&sample.name, &sample.bytes());
    assert_eq!(problems, "");
    assert_eq!(wheel.tags, [TAG]);
    assert_eq!(wheel.files, sample.entries.len());
    let daemon = wheel.daemon.unwrap();
    assert_eq!(daemon.libc_floor.as_deref(), Some("glibc 2.2.5"));
}

/// What is wrong, and how it comes about.
type Change = fn(&mut SampleWheel);

const FAULTS: [(&str, Change); 23] = [
    ("files: `ktx_daemon/worker.py` is missing", |wheel| {
        wheel
            .entries
            .retain(|entry| !entry.name.ends_with("/worker.py"));
    }),
    (
        "files: `ktx_daemon/worker.py` is not what `python/ktx_daemon/worker.py` holds",
        |wheel| {
            wheel.entry("/worker.py").content.push(b'\n');
        },
    ),
    (".data/scripts/ktx-daemon` is missing", |wheel| {
        wheel
            .entries
            .retain(|entry| !entry.name.ends_with("/ktx-daemon"));
    }),
    (
        "files: `ktx.pth` would run whenever Python starts",
        |wheel| {
            wheel.add("ktx.pth", 0o644, b"import ktx_daemon\n");
        },
    ),
    ("is what Python made of a source", |wheel| {
        wheel.add("ktx_daemon/__pycache__/worker.cpython-312.pyc", 0o644, b"");
    }),
    (
        "makes commands; `ktx-daemon` is a program of its own",
        |wheel| {
            wheel.add("kaelio_ktx-0.1.0.dist-info/entry_points.txt", 0o644, b"");
        },
    ),
    (
        "files: `kaelio_ktx-0.1.0.data/data/etc/x` does not belong in it",
        |wheel| {
            wheel.add("kaelio_ktx-0.1.0.data/data/etc/x", 0o644, b"");
        },
    ),
    ("files: `other/x.py` does not belong in it", |wheel| {
        wheel.add("other/x.py", 0o644, b"");
    }),
    (
        "modes: `ktx_daemon/worker.py` has 755; expected 644",
        |wheel| {
            wheel.entry("/worker.py").mode = 0o755;
        },
    ),
    (".data/scripts/ktx-daemon` has 644; expected 755", |wheel| {
        wheel.entry("/ktx-daemon").mode = 0o644;
    }),
    (
        "time: `ktx_daemon/worker.py` states when it was built",
        |wheel| {
            wheel.entry("/worker.py").time =
                DateTime::from_date_and_time(2026, 1, 1, 0, 0, 0).unwrap();
        },
    ),
    ("RECORD: does not name `ktx_daemon/worker.py`", |wheel| {
        let listed = wheel.listed();
        let line = listed
            .lines()
            .find(|line| line.contains("/worker.py"))
            .unwrap();
        wheel.record = Some(listed.replace(&format!("{line}\n"), ""));
    }),
    (
        "RECORD: names `ktx_daemon/gone.py`, which is not there",
        |wheel| {
            wheel.record = Some(wheel.listed() + "ktx_daemon/gone.py,sha256=x,1\n");
        },
    ),
    ("RECORD: names `ktx_daemon/__init__.py` twice", |wheel| {
        let listed = wheel.listed();
        let line = listed
            .lines()
            .find(|line| line.contains("__init__"))
            .unwrap();
        wheel.record = Some(format!("{listed}{line}\n"));
    }),
    ("RECORD: has `sha256=Q", |wheel| {
        wheel.record = Some(wheel.listed().replacen("sha256=", "sha256=Q", 1));
    }),
    ("RECORD: has the size `", |wheel| {
        let listed = wheel.listed();
        let first = listed.lines().next().unwrap();
        wheel.record = Some(listed.replacen(first, &format!("{first}0"), 1));
    }),
    ("is not a name, a digest and a size", |wheel| {
        wheel.record = Some(wheel.listed() + "ktx_daemon/gone.py\n");
    }),
    ("WHEEL: `Tag` is {\"py3-none-any\"}", |wheel| {
        wheel.replace("/WHEEL", &format!("py3-none-{TAG}"), "py3-none-any");
    }),
    (
        "WHEEL: `Root-Is-Purelib` is `true`; expected `false`",
        |wheel| {
            wheel.replace("/WHEEL", "false", "true");
        },
    ),
    (
        "METADATA: `Name` is `ktx`; expected `kaelio-ktx`",
        |wheel| {
            wheel.replace("/METADATA", "Name: kaelio-ktx", "Name: ktx");
        },
    ),
    ("METADATA: `Version` is `9.9.9`; expected `", |wheel| {
        wheel.replace("/METADATA", "\nVersion: ", "\nVersion: 9.9.9\nOld: ");
    }),
    (
        "METADATA: `Requires-Python` is `>=3.8`; expected `>=3.10`",
        |wheel| {
            wheel.replace("/METADATA", ">=3.10", ">=3.8");
        },
    ),
    (
        "METADATA: `Provides-Extra` is ``; expected `local-embeddings`",
        |wheel| {
            wheel.replace("/METADATA", "Provides-Extra", "Provides");
        },
    ),
];

#[test]
fn refuses_a_wheel_whose_content_breaks_a_rule() {
    let whole = SampleWheel::new();
    for (expected, change) in FAULTS {
        let mut sample = whole.clone();
        change(&mut sample);
        let (_, problems) = check(&sample.name, &sample.bytes());
        assert_problem(&problems, expected, expected);
    }
}

#[test]
fn refuses_names_that_unpack_elsewhere() {
    let mut sample = SampleWheel::new();
    // Its content is checked against a sum; it must not name what is renamed.
    sample.record = Some(sample.listed());
    sample.add("zz/evil.py", 0o644, b"");
    let bytes = sample.bytes();
    for (name, expected) in [
        (
            "../evil.py",
            "paths: `../evil.py` leads out of the directory",
        ),
        ("/z/evil.py", "paths: `/z/evil.py` is absolute"),
        ("C:/evil.py", "paths: `C:/evil.py` has a colon"),
        ("zz\\evil.py", "paths: `zz\\\\evil.py` has a backslash"),
    ] {
        let changed = replaced(&bytes, b"zz/evil.py", name.as_bytes());
        assert_problem(&check(&sample.name, &changed).1, expected, name);
    }
}

#[test]
fn refuses_links() {
    let sample = SampleWheel::new();
    // The two high bytes of a directory entry's attributes are the mode.
    let changed = replaced(&sample.bytes(), &[0, 0, 0xa4, 0x81], &[0, 0, 0xa4, 0xa1]);
    assert_problem(
        &check(&sample.name, &changed).1,
        "files: `ktx_daemon/worker.py` is no file (120644)",
        "a link",
    );
}

#[test]
fn refuses_two_files_of_one_name() {
    let mut sample = SampleWheel::new();
    sample.record = Some(sample.listed());
    sample.add("zzz_daemon/worker.py", 0o644, b"");
    let bytes = sample.bytes();
    let twice = replaced(&bytes, b"zzz_daemon/worker.py", b"ktx_daemon/worker.py");
    assert_problem(
        &check(&sample.name, &twice).1,
        "paths: `ktx_daemon/worker.py` is there twice",
        "a name twice",
    );
    let folded = replaced(&bytes, b"zzz_daemon/worker.py", b"ktx_daemon/WORKER.py");
    assert_problem(
        &check(&sample.name, &folded).1,
        "are one file where case does not count",
        "a name in capitals",
    );
}

#[test]
fn refuses_a_name_that_is_not_of_the_platform_or_the_version() {
    let sample = SampleWheel::new();
    let bytes = sample.bytes();
    for (from, to, expected) in [
        ("kaelio_ktx-", "kaelio_kty-", "name: is not `kaelio_ktx-"),
        ("py3-none", "cp312-cp312", "name: is not `kaelio_ktx-"),
        (
            "x86_64",
            "aarch64",
            "tag: `manylinux_2_28_aarch64` is not one of linux-x64-gnu",
        ),
        (
            "manylinux",
            "musllinux",
            "tag: `musllinux_2_28_x86_64` is not one of",
        ),
        (TAG, "win_amd64", "tag: `win_amd64` is not one of"),
        (
            TAG,
            "linux_x86_64",
            "tag: `linux_x86_64` names no oldest system",
        ),
        (
            "2_28",
            "2_34",
            "tag: `manylinux_2_34_x86_64` asks for 2.34; the policy promises 2.28",
        ),
        (
            "2_28",
            "2_1",
            "tag: `manylinux_2_1_x86_64` promises 2.1; the program needs 2.2.5",
        ),
    ] {
        let name = sample.name.replace(from, to);
        assert_problem(&check(&name, &bytes).1, expected, to);
    }
}

#[test]
fn refuses_an_archive_that_is_not_whole_or_not_alone() {
    let sample = SampleWheel::new();
    let bytes = sample.bytes();
    let middle = replaced(&bytes, b"Requires-Python", b"requires-python");
    for (case, content, expected) in [
        (
            "cut",
            bytes[..bytes.len() - 100].to_vec(),
            "archive: cannot be read",
        ),
        (
            "more",
            [&bytes[..], b"more"].concat(),
            "archive: has something after its end",
        ),
        ("changed", middle, "archive: cannot be read"),
        ("text", b"no archive".to_vec(), "archive: cannot be read"),
    ] {
        assert_problem(&check(&sample.name, &content).1, expected, case);
    }
}

#[test]
fn checks_the_daemon_as_any_program() {
    let foreign = SampleWheel::with_daemon(&compile("aarch64-linux-musl", Kind::Program, &[]));
    let (_, problems) = check(&foreign.name, &foreign.bytes());
    assert_problem(
        &problems,
        "ktx-daemon`: machine: is ELF arm64; expected ELF x64",
        "a daemon for another machine",
    );
}

#[test]
fn keeps_the_budget() {
    let text = fs_err::read_to_string(repo::path(crate::policy::PATH)).unwrap();
    let mut policy = Policy::parse(&text).unwrap();
    policy.max_bytes.wheel = 1000;
    let sample = SampleWheel::new();
    let (_, problems) = super::check(&policy, PLATFORM, |rules, problems| {
        wheel::check(rules, &sample.name, &sample.bytes(), problems).unwrap()
    });
    assert_problem(
        &problems,
        "bytes; `maxBytes.wheel` of the policy allows 1000",
        "size",
    );
}
