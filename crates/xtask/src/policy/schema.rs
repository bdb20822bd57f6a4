//! `release/policy.schema.json`: the policy's keys for editors, made from the types that read it.

use anyhow::Result;
use schemars::{Schema, SchemaGenerator, json_schema, schema_for};

use super::Policy;
use crate::repo;
use crate::smoke::Manager;

pub(super) const PATH: &str = "release/policy.schema.json";

/// What the file has to hold.
pub(super) fn text() -> Result<String> {
    Ok(serde_json::to_string_pretty(&schema_for!(Policy))? + "\n")
}

/// Whether the file holds it.
pub(super) fn is_current() -> Result<bool> {
    let expected = text()?;
    Ok(fs_err::read_to_string(repo::path(PATH)).is_ok_and(|current| current == expected))
}

/// The names of the package managers that can be driven.
pub(super) fn package_managers(_generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "enum": Manager::ALL.map(Manager::name) },
        "uniqueItems": true
    })
}
