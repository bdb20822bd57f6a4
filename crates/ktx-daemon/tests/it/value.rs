//! The value of a call, in both forms.

use serde_json::json;

use crate::support::{Environment, kind, message, send};

#[test]
fn prefers_result_to_the_last_expression() {
    let environment = Environment::new();
    assert_eq!(environment.execute("_result = [1]\n2")["value"], json!([1]));
    assert_eq!(environment.execute("x = 1")["value"], json!(null));
    assert_eq!(environment.execute("1; None")["value"], json!(null));
}

#[test]
fn says_which_type_has_no_json_form_and_where() {
    let environment = Environment::new();
    for (code, expected) in [
        (
            "[{'k': b'x'}]",
            "value[0]['k'] is of type bytes, which has no JSON form",
        ),
        (
            "{1: 2}",
            "value has a key of type int, and a key in JSON is a string",
        ),
        (
            "[0.0, float('nan')]",
            "value[1] is nan, which has no JSON form",
        ),
        (
            "a = []; a.append(a); a",
            "value[0] is a list that contains itself",
        ),
        (
            "import datetime; datetime.date.min",
            "value is of type datetime.date, which has no JSON form",
        ),
    ] {
        let outcome = environment.execute(code);
        assert_eq!(
            (kind(&outcome), message(&outcome)),
            ("unserializable", expected)
        );
        assert!(outcome["value"].is_null());
    }
    let deep = environment.execute("a = []\nfor _ in range(100_000): a = [a]\na");
    assert_eq!(kind(&deep), "unserializable");
    assert!(message(&deep).ends_with(" is nested more than 120 levels deep"));
}

#[test]
fn writes_long_integers_and_lone_surrogates_exactly() {
    let environment = Environment::new();
    let output = send(
        environment.command(),
        br#"{"code": "[10 ** 5000 + 1, '\\ud800\u00fc']"}"#,
    );
    let expected = format!(r#""value":[1{}1,"\ud800\u00fc"]"#, "0".repeat(4999));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(&expected)
    );
}

#[test]
fn gives_the_repr_of_anything() {
    let environment = Environment::new();
    let repr = |code: &str| environment.request(&json!({"code": code, "result": "repr"}));
    assert_eq!(
        repr("{1: b'x', 'n': float('nan')}")["value"],
        "{1: b'x', 'n': nan}"
    );
    assert_eq!(repr("'a'")["value"], "'a'");
    assert_eq!(repr("None")["value"], json!(null));
    let raised = repr("class A:\n    def __repr__(self): return 1 / 0\nA()");
    assert_eq!(kind(&raised), "exception");
    let traceback = raised["error"]["traceback"].as_str().unwrap();
    assert!(traceback.contains("line 2, in __repr__") && !traceback.contains("worker.py"));
}
