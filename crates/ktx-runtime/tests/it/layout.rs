//! Where things lie, on every platform, from any host.

use ktx_os::environment::Environment;
use ktx_runtime::{Layout, LayoutOptions, Platform};

fn layout(
    platform: Platform,
    variables: &[(&str, &str)],
    home: Option<&str>,
) -> Result<Layout, String> {
    let environment: Environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Layout::new(&LayoutOptions {
        cli_version: "0.2.0".to_owned(),
        platform,
        environment,
        home_dir: home.map(str::to_owned),
        runtime_root: None,
        asset_dir: None,
        default_asset_dir: Some("/package/python".to_owned()),
    })
    .map_err(|error| format!("{}: {error}", error.code().as_str()))
}

#[test]
fn follows_each_platform() {
    let layout = |platform, variables, home| {
        serde_json::to_string_pretty(&layout(platform, variables, home).unwrap()).unwrap()
    };
    insta::assert_snapshot!(layout(Platform::Darwin, &[], Some("/Users/alex")));
    insta::assert_snapshot!(layout(
        Platform::Linux,
        &[("XDG_DATA_HOME", "/var/xdg")],
        None
    ));
    insta::assert_snapshot!(layout(
        Platform::Windows,
        &[("LOCALAPPDATA", "C:\\Users\\Alex\\AppData\\Local")],
        None
    ));
}

#[test]
fn takes_the_root_from_the_environment_before_the_platform() {
    let layout = layout(
        Platform::Darwin,
        &[("KTX_RUNTIME_ROOT", "/tmp/ktx"), ("HOME", "/home/alex")],
        None,
    )
    .unwrap();
    assert_eq!(layout.version_dir, std::path::Path::new("/tmp/ktx/0.2.0"));
}

#[test]
fn ignores_a_relative_data_home() {
    let layout = layout(
        Platform::Linux,
        &[("XDG_DATA_HOME", "data"), ("HOME", "/home/alex")],
        None,
    )
    .unwrap();
    assert_eq!(
        layout.runtime_root,
        std::path::Path::new("/home/alex/.local/share/kaelio/ktx/runtime")
    );
}

#[test]
fn asks_for_a_home_if_nothing_else_says_where() {
    insta::assert_snapshot!(
        layout(Platform::Linux, &[("HOME", "")], None).unwrap_err(),
        @"KTX_HOME_UNSET: Cannot place the runtime: HOME is not set"
    );
}

#[test]
fn refuses_a_version_that_is_none() {
    for version in ["", "..", "1.2", "0.2.0/../..", "latest"] {
        let options = LayoutOptions {
            cli_version: version.to_owned(),
            platform: Platform::HOST,
            environment: Environment::default(),
            home_dir: Some("/home/alex".to_owned()),
            runtime_root: None,
            asset_dir: None,
            default_asset_dir: None,
        };
        assert!(Layout::new(&options).is_err(), "{version}");
    }
}
