//! What is refused before anything runs.

use crate::support::{Environment, send};

#[test]
fn refuses_an_invalid_request_with_status_2() {
    let environment = Environment::new();
    let marker = environment.root().join("ran");
    let runs = format!(r#"open({:?}, "w")"#, marker.to_str().unwrap());
    let runs = serde_json::to_string(&runs).unwrap();
    for (request, reason) in [
        (String::new(), "EOF while parsing"),
        (r#"{"code": ""}"#.to_owned(), "`code` is empty"),
        (
            format!(r#"{{"code": {runs}, "session": "s"}}"#),
            "unknown field `session`",
        ),
        (
            format!(r#"{{"code": {runs}, "cwd": "/no/such/dir"}}"#),
            "`cwd` is not a directory: `/no/such/dir`",
        ),
        (
            format!(r#"{{"code": {runs}, "timeout_ms": "5"}}"#),
            "expected u64",
        ),
        (
            format!(r#"{{"code": {runs}, "result": "xml"}}"#),
            "unknown variant `xml`",
        ),
        (
            format!(r#"{{"code": "{}"}}"#, "x".repeat(65 * 1024 * 1024)),
            "larger than",
        ),
    ] {
        let output = send(environment.command(), request.as_bytes());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.starts_with("error: Invalid request: ") && stderr.contains(reason),
            "{stderr}"
        );
        assert!(output.stdout.is_empty());
    }
    assert!(!marker.exists());
}

#[test]
fn runs_a_request_of_many_megabytes() {
    let environment = Environment::new();
    let text = "x".repeat(8 * 1024 * 1024);
    let outcome = environment.request(&serde_json::json!({
        "code": format!("'{text}'; len(upstream)"),
        "upstream": text,
    }));
    assert_eq!(outcome["value"], 8 * 1024 * 1024);
}
