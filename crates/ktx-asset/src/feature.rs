//! Install levels of the wheel.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An install level of the wheel. The order is the one they are listed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// What every runtime has.
    Core,
    /// Embeddings computed on this machine: the wheel's extra of that name.
    LocalEmbeddings,
}

impl Feature {
    /// Every feature, in order.
    pub const ALL: [Self; 2] = [Self::Core, Self::LocalEmbeddings];

    /// The name that people and manifests use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::LocalEmbeddings => "local-embeddings",
        }
    }

    /// `features` in order, each once, with [`Feature::Core`] first.
    pub fn normalize(features: &[Self]) -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|feature| *feature == Self::Core || features.contains(feature))
            .collect()
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// There is no feature of that name.
#[derive(Debug, thiserror::Error)]
#[error("Unknown feature `{name}`: expected one of `core`, `local-embeddings`")]
pub struct UnknownFeature {
    /// The name.
    pub name: String,
}

impl FromStr for Feature {
    type Err = UnknownFeature;

    fn from_str(name: &str) -> Result<Self, UnknownFeature> {
        Self::ALL
            .into_iter()
            .find(|feature| feature.name() == name)
            .ok_or_else(|| UnknownFeature {
                name: name.to_owned(),
            })
    }
}
