//! Each rule, with an artifact that keeps it and one that does not.

mod binaries;
mod compiled;
mod samples;
mod tarballs;
mod wheels;

use super::{Problems, Rules};
use crate::policy::Policy;

/// Runs a check with the rules of a platform and gives what it found, with all problems as text.
fn check<T>(
    policy: &Policy,
    platform: &str,
    check: impl FnOnce(Rules<'_>, &mut Problems) -> T,
) -> (T, String) {
    let rules = Rules {
        policy,
        platform: policy.platform(platform).unwrap(),
    };
    let mut problems = Problems::of("x");
    let checked = check(rules, &mut problems);
    let text = problems
        .into_result()
        .map_or_else(|error| error.to_string(), |()| String::new());
    (checked, text)
}

/// Fails unless the text names the problem, and nothing else if it is the only one.
#[track_caller]
fn assert_problem(text: &str, expected: &str, case: &str) {
    assert!(
        text.contains(expected),
        "{case}: expected `{expected}` in:\n{text}"
    );
}

/// The content with a run of bytes replaced by another of the same length, wherever it is.
#[track_caller]
fn replaced(content: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut changed = content.to_vec();
    let mut found = false;
    for start in 0..content.len() - from.len() {
        if content[start..].starts_with(from) {
            changed[start..start + to.len()].copy_from_slice(to);
            found = true;
        }
    }
    assert!(found, "`{}` is not in it", String::from_utf8_lossy(from));
    changed
}
