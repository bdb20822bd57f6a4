//! Presets: one thing each that must hold for an environment, and the
//! orchestrator that makes them hold in order.
//!
//! Install, status, doctor and repair are views of this one mechanism: they
//! differ in which presets they ask for and whether they only look.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::context::Context;
use crate::error::EnvError;
use crate::progress::{Event, State};

/// A preset's name.
pub type PresetId = &'static str;

/// Whether what a preset stands for holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresetStatus {
    /// It holds.
    Healthy,
    /// There is nothing yet.
    Missing,
    /// There is something else than what is asked for.
    Drifted,
    /// There is something that does not work.
    Broken,
}

/// What a check saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// Whether it holds.
    pub status: PresetStatus,
    /// What was seen, in one line.
    pub detail: String,
    /// What mends it, if it does not hold: a sentence with a command.
    pub fix: Option<String>,
}

impl CheckReport {
    /// It holds.
    pub fn healthy(detail: impl Into<String>) -> Self {
        Self::new(PresetStatus::Healthy, detail)
    }

    /// It does not hold, or not yet.
    pub fn new(status: PresetStatus, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            fix: None,
        }
    }

    /// Adds what mends it.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Whether it holds.
    pub fn is_healthy(&self) -> bool {
        self.status == PresetStatus::Healthy
    }
}

/// What an apply did, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyReport {
    /// What was done.
    pub detail: String,
}

/// Makes one thing hold.
#[async_trait]
pub trait PresetProvider: Send + Sync {
    /// The preset's name.
    fn id(&self) -> PresetId;

    /// The presets that must hold before this one is looked at.
    fn requires(&self) -> &'static [PresetId];

    /// Looks whether it holds, and changes nothing that lasts.
    ///
    /// # Errors
    ///
    /// Only if it cannot be looked at; that it does not hold is a report.
    async fn check(&self, context: &Context<'_>) -> Result<CheckReport, EnvError>;

    /// Makes it hold. Whether it does is for the next check to say.
    async fn apply(&self, context: &Context<'_>) -> Result<ApplyReport, EnvError>;
}

/// Presets by name.
#[derive(Default)]
pub struct Registry {
    providers: BTreeMap<PresetId, Box<dyn PresetProvider>>,
}

impl Registry {
    /// Adds a preset; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, provider: impl PresetProvider + 'static) -> Self {
        self.providers.insert(provider.id(), Box::new(provider));
        self
    }

    fn provider(
        &self,
        id: &str,
        required_by: Option<PresetId>,
    ) -> Result<&dyn PresetProvider, EnvError> {
        self.providers
            .get(id)
            .map(AsRef::as_ref)
            .ok_or_else(|| EnvError::UnknownPreset {
                id: id.to_owned(),
                required_by: required_by.map(str::to_owned),
            })
    }
}

/// What became of one preset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresetReport {
    /// The preset.
    pub id: PresetId,
    /// What its last check saw.
    pub check: CheckReport,
    /// What was applied, if its first check did not find it healthy.
    pub applied: Option<ApplyReport>,
}

/// Checks and applies presets in the order of their requirements.
pub struct Orchestrator<'a> {
    registry: &'a Registry,
}

impl<'a> Orchestrator<'a> {
    /// Works on the presets of `registry`.
    pub fn new(registry: &'a Registry) -> Self {
        Self { registry }
    }

    /// `ids` and all that they require, each after its own requirements;
    /// among those that are free to go, in alphabetical order.
    ///
    /// # Errors
    ///
    /// Names the unknown preset and who requires it, or the members of a
    /// cycle in the order in which they require each other.
    pub fn order(&self, ids: &[&str]) -> Result<Vec<PresetId>, EnvError> {
        let mut waiting = BTreeMap::new();
        let mut pending: Vec<(&str, Option<PresetId>)> = ids.iter().map(|id| (*id, None)).collect();
        while let Some((id, required_by)) = pending.pop() {
            let provider = self.registry.provider(id, required_by)?;
            if waiting.insert(provider.id(), provider.requires()).is_none() {
                let requires = provider.requires().iter();
                pending.extend(requires.map(|required| (*required, Some(provider.id()))));
            }
        }
        sort(waiting)
    }

    /// Looks at `ids` alone, in order, and stops at the first that does not
    /// hold. What they require was needed to apply them, not to look at them.
    pub async fn check(
        &self,
        context: &Context<'_>,
        ids: &[&str],
    ) -> Result<Vec<PresetReport>, EnvError> {
        let asked = ids
            .iter()
            .map(|id| self.registry.provider(id, None))
            .map(|provider| provider.map(|provider| (provider.id(), provider.requires())))
            .collect::<Result<_, _>>()?;
        let mut reports = Vec::new();
        for id in sort(asked)? {
            let check = self.registry.provider(id, None)?.check(context).await?;
            let healthy = check.is_healthy();
            reports.push(PresetReport {
                id,
                check,
                applied: None,
            });
            if !healthy {
                break;
            }
        }
        Ok(reports)
    }

    /// Makes `ids` and what they require hold: checks each, applies it if
    /// needed, and believes only the check after that.
    pub async fn ensure(
        &self,
        context: &Context<'_>,
        ids: &[&str],
    ) -> Result<Vec<PresetReport>, EnvError> {
        let mut reports = Vec::new();
        for id in self.order(ids)? {
            let provider = self.registry.provider(id, None)?;
            context.progress(Event::new(id, State::Started));
            let before = provider.check(context).await?;
            let report = if before.is_healthy() {
                PresetReport {
                    id,
                    check: before,
                    applied: None,
                }
            } else {
                let applied = provider.apply(context).await?;
                let after = provider.check(context).await?;
                if !after.is_healthy() {
                    return Err(EnvError::NotApplied {
                        id: id.to_owned(),
                        detail: after.detail,
                    });
                }
                PresetReport {
                    id,
                    check: after,
                    applied: Some(applied),
                }
            };
            context.progress(Event::new(id, State::Finished).detail(&report.check.detail));
            reports.push(report);
        }
        Ok(reports)
    }
}

/// Orders presets by those of their requirements that are among them.
fn sort(mut waiting: BTreeMap<PresetId, &'static [PresetId]>) -> Result<Vec<PresetId>, EnvError> {
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let free = |requires: &[PresetId]| !requires.iter().any(|id| waiting.contains_key(id));
        let Some(next) = waiting
            .iter()
            .find(|(_, requires)| free(requires))
            .map(|(id, _)| *id)
        else {
            return Err(EnvError::PresetCycle {
                path: cycle(&waiting),
            });
        };
        waiting.remove(next);
        ordered.push(next);
    }
    Ok(ordered)
}

/// The presets that require each other in a circle, beginning and ending with
/// the same one. What merely requires a member of the circle is left out.
fn cycle(waiting: &BTreeMap<PresetId, &'static [PresetId]>) -> Vec<String> {
    let mut path: Vec<PresetId> = Vec::new();
    let mut current = waiting.keys().next().copied();
    while let Some(id) = current {
        if let Some(start) = path.iter().position(|seen| *seen == id) {
            path.drain(..start);
            path.push(id);
            break;
        }
        path.push(id);
        // Every waiting preset requires another one, or it would be free.
        current = waiting[id]
            .iter()
            .copied()
            .find(|required| waiting.contains_key(required));
    }
    path.into_iter().map(str::to_owned).collect()
}
