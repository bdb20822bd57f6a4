//! The rows that the suites of tests hold: which tests those are is in `tests/faults/suites.json`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::row::{Outcome, Row, Told};
use crate::repo;
use crate::suites::{self, Test};

const PATH: &str = "tests/faults/suites.json";

#[derive(Deserialize)]
struct Proof {
    #[serde(flatten)]
    told: Told,
    /// How the names of the tests begin, their file or crate first.
    tests: Vec<String>,
}

/// Whether `only` names a row of these, or none at all.
pub(super) fn are_wanted(only: &[String]) -> Result<bool> {
    let proofs = proofs()?;
    Ok(only.is_empty() || only.iter().any(|name| proofs.contains_key(name)))
}

fn proofs() -> Result<BTreeMap<String, Proof>> {
    serde_json::from_str(&fs_err::read_to_string(repo::path(PATH))?).context(PATH)
}

/// The rows, each with what came of its tests when the suites ran last.
pub(super) fn rows() -> Result<Vec<Row>> {
    let tests = suites::results()?;
    Ok(proofs()?
        .into_iter()
        .map(|(name, proof)| Row {
            name,
            outcome: outcome(&proof.tests, &tests),
            told: proof.told,
        })
        .collect())
}

fn outcome(names: &[String], tests: &[Test]) -> Outcome {
    let mut passed = 0;
    let mut problems = Vec::new();
    for name in names {
        let mut found = tests
            .iter()
            .filter(|test| test.name.starts_with(name))
            .peekable();
        if found.peek().is_none() {
            problems.push(format!("no test is called `{name}`"));
        }
        for test in found {
            match test.outcome {
                suites::Outcome::Passed => passed += 1,
                suites::Outcome::Failed => problems.push(format!("`{}` failed", test.name)),
                // Its reason is in the suite's own report.
                suites::Outcome::Skipped => {}
            }
        }
    }
    if !problems.is_empty() {
        return Outcome::Failed(problems.join("\n"));
    }
    if passed == 0 {
        return Outcome::NotDone("its tests cannot run here".to_owned());
    }
    Outcome::Held {
        times: passed,
        seen: match passed {
            1 => "its test passes".to_owned(),
            _ => format!("{passed} tests pass"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::outcome;
    use crate::faults::row::Outcome;
    use crate::suites::{self, Test};

    #[test]
    fn a_row_holds_if_each_of_its_names_has_tests_and_none_failed() {
        let test = |name: &str, outcome| Test {
            name: name.to_owned(),
            outcome,
        };
        let tests = [
            test("a.test.ts x", suites::Outcome::Passed),
            test("a.test.ts y", suites::Outcome::Skipped),
            test("b z", suites::Outcome::Failed),
        ];
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            outcome(&names, &tests)
        };
        assert!(matches!(
            of(&["a.test.ts "]),
            Outcome::Held { times: 1, .. }
        ));
        assert!(matches!(of(&["a.test.ts y"]), Outcome::NotDone(_)));
        assert!(matches!(of(&["a.test.ts ", "b"]), Outcome::Failed(_)));
        assert!(matches!(of(&["a.test.ts ", "c"]), Outcome::Failed(_)));
    }
}
