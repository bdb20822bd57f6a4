//! JSON files as ktx reads its own: bounded, whole, and with each key once.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::files::{ReadError, read_bounded};

/// Largest JSON file that is read, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// Why a JSON file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It has no content.
    #[error("`{}` is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It begins with a byte order mark, which JSON must not (RFC 8259, 8.1).
    #[error("`{}` begins with a byte order mark", path.display())]
    ByteOrderMark {
        /// The file.
        path: PathBuf,
    },
    /// It is not JSON, ends too early, or has a key twice.
    #[error("`{}` is not valid JSON: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// It is written for another version of its format.
    #[error("`{}` has schema version {actual}, and this ktx reads {expected}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The version that is understood.
        expected: u64,
        /// The version found.
        actual: Value,
    },
    /// A key is missing or has a value that it cannot have.
    #[error("`{}` is not valid: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the key.
        source: serde_json::Error,
    },
}

/// Reads the JSON file at `path`, whose `schemaVersion` must be `schema`.
pub fn read<T: DeserializeOwned>(path: &Path, schema: u64) -> Result<T, JsonError> {
    let bytes = read_bounded(path, LIMIT)?;
    parse(path, &bytes, schema)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8], schema: u64) -> Result<T, JsonError> {
    let path = || path.to_owned();
    if bytes.trim_ascii().is_empty() {
        return Err(JsonError::Empty { path: path() });
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonError::ByteOrderMark { path: path() });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = UniqueKeys
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|source| JsonError::Syntax {
            path: path(),
            source,
        })?;
    match value.get("schemaVersion") {
        Some(version) if version.as_u64() == Some(schema) => {}
        Some(version) => {
            return Err(JsonError::Schema {
                path: path(),
                expected: schema,
                actual: version.clone(),
            });
        }
        None => {}
    }
    serde_json::from_value(value).map_err(|source| JsonError::Content {
        path: path(),
        source,
    })
}

/// Deserializes any JSON value and refuses an object that has a key twice:
/// readers disagree on which of the two counts.
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Self)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key `{key}`")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse::<Value>(Path::new("manifest.json"), text.as_bytes(), 1)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn tells_what_is_wrong_apart() {
        insta::assert_snapshot!(error(" \n"), @"`manifest.json` is empty");
        insta::assert_snapshot!(error("\u{feff}{}"), @"`manifest.json` begins with a byte order mark");
        insta::assert_snapshot!(error("{\"a\": 1"), @"`manifest.json` is not valid JSON: EOF while parsing an object at line 1 column 7");
        insta::assert_snapshot!(error("{} {}"), @"`manifest.json` is not valid JSON: trailing characters at line 1 column 4");
        insta::assert_snapshot!(error(r#"{"a": {"b": 1, "b": 2}}"#), @"`manifest.json` is not valid JSON: duplicate key `b` at line 1 column 22");
        insta::assert_snapshot!(error(r#"{"schemaVersion": 2}"#), @"`manifest.json` has schema version 2, and this ktx reads 1");
    }

    #[test]
    fn survives_deep_nesting() {
        assert!(error(&"[".repeat(100_000)).contains("recursion limit"));
    }
}
