//! What a policy is refused for, each with the key that is to blame.

use serde_json::{Value, json};

use super::Policy;

fn text() -> String {
    fs_err::read_to_string(crate::repo::path(super::PATH)).unwrap()
}

/// Why the policy of this checkout is refused after one change.
fn refusal(from: &str, to: &str) -> String {
    let wrong = text().replacen(from, to, 1);
    assert_ne!(wrong, text(), "`{from}` is not in the policy");
    format!("{:#}", Policy::parse(&wrong).unwrap_err())
}

#[test]
fn names_packages_after_scope_and_package() {
    let mut policy = Policy::parse(&text()).unwrap();
    policy.scope = "@acme".to_owned();
    policy.package = "tool".to_owned();
    assert_eq!(policy.root_package(), "@acme/tool");
    assert_eq!(
        policy.platform_package(policy.platform("win32-x64-msvc").unwrap()),
        "@acme/tool-win32-x64-msvc"
    );
}

#[test]
fn names_the_path_of_a_key_that_does_not_fit() {
    for (from, to, expected) in [
        (
            "\"scope\"",
            "\"scop\"",
            "`scop`: unknown field `scop`, expected one of",
        ),
        (
            "\"required\": true",
            "\"needed\": true",
            "`platforms[0].needed`: unknown field",
        ),
        (
            "\"required\": true",
            "\"required\": 1",
            "`platforms[0].required`: invalid type",
        ),
        (
            "[\n        \"plain\"\n",
            "[\n        \"plan\"\n",
            "`tags.latest.versions[0]`: unknown variant `plan`",
        ),
        (
            "\"availabilitySeconds\"",
            "\"patience\"",
            "`smoke.patience`: unknown field",
        ),
        (
            "\"wheel\": ",
            "\"whel\": ",
            "`maxBytes.whel`: unknown field",
        ),
        (
            "pinned-wheel",
            "guess",
            "`uv.strategy`: unknown variant `guess`",
        ),
    ] {
        let message = refusal(from, to);
        assert!(message.starts_with(expected), "{message}");
        assert!(message.contains(" at line "), "{message}");
    }
    let missing = refusal("\"access\": \"public\",", "");
    assert!(
        missing.starts_with("missing field `access` at "),
        "{missing}"
    );
}

/// Why the policy of this checkout is refused with another value at a JSON pointer.
fn refusal_at(pointer: &str, value: Value) -> String {
    let mut wrong: Value = serde_json::from_str(&text()).unwrap();
    let place = wrong.pointer_mut(pointer);
    *place.unwrap_or_else(|| panic!("the policy has no `{pointer}`")) = value;
    format!("{:#}", Policy::parse(&wrong.to_string()).unwrap_err())
}

fn expect_refusals<const N: usize>(cases: [(&str, Value, &str); N]) {
    for (pointer, value, expected) in cases {
        let message = refusal_at(pointer, value);
        assert!(message.starts_with(&format!("{expected}: ")), "{message}");
    }
}

#[test]
fn names_what_is_wrong_with_names_addresses_and_tags() {
    expect_refusals([
        ("/$schema", json!("./other.json"), "`$schema`"),
        ("/scope", json!("scope"), "`scope`"),
        ("/scope", json!("@Scope"), "`scope`"),
        ("/package", json!("k/x"), "`package`"),
        ("/registry", json!("http://example.com/"), "`registry`"),
        (
            "/registry",
            json!("http://localhost.example.com/"),
            "`registry`",
        ),
        ("/registry", json!("https://u:p@example.com/"), "`registry`"),
        (
            "/repository",
            json!("ftp://example.com/ktx.git"),
            "`repository`",
        ),
        ("/tags", json!({}), "`tags`"),
        (
            "/tags",
            json!({ "1.0": { "versions": ["plain"] } }),
            "`tags.1.0`",
        ),
        ("/tags/next/versions", json!([]), "`tags.next.versions`"),
        (
            "/tags/next/versions",
            json!(["plain", "plain"]),
            "`tags.next.versions[1]`",
        ),
        (
            "/tags/latest/versions/0",
            json!("release-candidate"),
            "`tags.latest.versions[0]`",
        ),
    ]);
}

#[test]
fn names_what_is_wrong_with_a_platform() {
    expect_refusals([
        ("/platforms", json!([]), "`platforms`"),
        (
            "/platforms/1/id",
            json!("linux-x64-gnu"),
            "`platforms[1].id`",
        ),
        (
            "/platforms/1/id",
            json!("linux-x64-other"),
            "`platforms[1].id`",
        ),
        ("/platforms/1/os", json!("plan9"), "`platforms[1].os`"),
        ("/platforms/1/libc", json!(null), "`platforms[1].libc`"),
        (
            "/platforms/1/rustTarget",
            json!("x86_64-unknown-linux-gnu"),
            "`platforms[1].rustTarget`",
        ),
        ("/platforms/0/glibc", json!(null), "`platforms[0].glibc`"),
        ("/platforms/0/glibc", json!("new"), "`platforms[0].glibc`"),
        (
            "/platforms/0/glibc",
            json!("2.17"),
            "`platforms[0].pythonTarget`",
        ),
        ("/platforms/4/macos", json!(null), "`platforms[4].macos`"),
    ]);
}

#[test]
fn names_what_is_wrong_with_tools_tests_and_limits() {
    expect_refusals([
        ("/uv/version", json!("v1.0"), "`uv.version`"),
        ("/python/versions", json!([]), "`python.versions`"),
        ("/python/versions/1", json!("3.9"), "`python.versions[1]`"),
        (
            "/python/unavailable/0/feature",
            json!("tea"),
            "`python.unavailable[0].feature`",
        ),
        (
            "/python/unavailable/0/platform",
            json!("linux-mips"),
            "`python.unavailable[0].platform`",
        ),
        (
            "/python/unavailable/0/versions/0",
            json!("2.7"),
            "`python.unavailable[0].versions[0]`",
        ),
        (
            "/python/unavailable/0/reason",
            json!(""),
            "`python.unavailable[0].reason`",
        ),
        (
            "/smoke/packageManagers/1",
            json!("pip"),
            "`smoke.packageManagers[1]`",
        ),
        (
            "/smoke/packageManagers/1",
            json!("npm"),
            "`smoke.packageManagers[1]`",
        ),
        (
            "/smoke/packageManagers",
            json!(["bun"]),
            "`smoke.packageManagers`",
        ),
        (
            "/smoke/availabilitySeconds",
            json!(0),
            "`smoke.availabilitySeconds`",
        ),
        (
            "/smoke/availabilitySeconds",
            json!(10_000),
            "`smoke.availabilitySeconds`",
        ),
        ("/maxBytes/addon", json!(0), "`maxBytes.addon`"),
    ]);
}
