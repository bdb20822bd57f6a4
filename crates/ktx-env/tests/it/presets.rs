//! The orchestrator's order, and what it believes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use ktx_env::{
    ApplyReport, CheckReport, Context, EnvError, Orchestrator, Packages, PresetId, PresetProvider,
    PresetStatus, Registry, Specification, UvPreset,
};
use ktx_os::command::System;
use ktx_os::environment::Environment;
use tokio_util::sync::CancellationToken;

/// A preset that holds after `applies_needed` applies.
struct Step {
    id: PresetId,
    requires: &'static [PresetId],
    applied: Arc<AtomicU32>,
    applies_needed: u32,
}

fn step(id: PresetId, requires: &'static [PresetId]) -> Step {
    Step {
        id,
        requires,
        applied: Arc::default(),
        applies_needed: 1,
    }
}

#[async_trait]
impl PresetProvider for Step {
    fn id(&self) -> PresetId {
        self.id
    }

    fn requires(&self) -> &'static [PresetId] {
        self.requires
    }

    async fn check(&self, _: &Context<'_>) -> Result<CheckReport, EnvError> {
        let holds = self.applied.load(Ordering::Relaxed) >= self.applies_needed;
        Ok(if holds {
            CheckReport::healthy("there")
        } else {
            CheckReport::new(PresetStatus::Missing, "not there")
        })
    }

    async fn apply(&self, _: &Context<'_>) -> Result<ApplyReport, EnvError> {
        self.applied.fetch_add(1, Ordering::Relaxed);
        Ok(ApplyReport {
            detail: "made".to_owned(),
        })
    }
}

fn order(registry: &Registry, ids: &[&str]) -> Result<Vec<PresetId>, String> {
    Orchestrator::new(registry)
        .order(ids)
        .map_err(|error| error.to_string())
}

#[test]
fn orders_by_requirement_and_ties_by_name() {
    let registry = Registry::default()
        .with(step("zebra", &[]))
        .with(step("apple", &[]))
        .with(step("middle", &["zebra"]))
        .with(step("last", &["middle", "apple"]))
        .with(step("not-asked", &[]));
    assert_eq!(
        order(&registry, &["last"]).unwrap(),
        ["apple", "zebra", "middle", "last"]
    );
}

#[test]
fn names_only_the_members_of_a_cycle() {
    let registry = Registry::default()
        .with(step("a", &["b"]))
        .with(step("b", &["c"]))
        .with(step("c", &["d"]))
        .with(step("d", &["b"]))
        .with(step("free", &[]));
    insta::assert_snapshot!(
        order(&registry, &["a", "free"]).unwrap_err(),
        @"Presets require each other in a circle: b → c → d → b"
    );
}

#[test]
fn names_who_requires_an_unknown_preset() {
    let registry = Registry::default().with(step("a", &["ghost"]));
    insta::assert_snapshot!(order(&registry, &["a"]).unwrap_err(), @"Unknown preset `ghost`, required by `a`");
    insta::assert_snapshot!(order(&registry, &["spirit"]).unwrap_err(), @"Unknown preset `spirit`");
}

/// An environment of which nothing is looked at in these tests.
fn specification() -> Specification {
    Specification {
        directory: "/nowhere".into(),
        python: "/nowhere/bin/python".into(),
        executables: Vec::new(),
        workspace: "/nowhere".into(),
        cache: "/nowhere".into(),
        kept_uv: "/nowhere".into(),
        kept_python: "/nowhere".into(),
        requires_python: None,
        precedent: None,
        packages: Packages::Resolved {
            requirement: String::new(),
        },
        imports: Vec::new(),
        evidence: None,
    }
}

#[tokio::test]
async fn applies_what_does_not_hold_once_and_reports_both() {
    let (specification, environment, cancellation) = (
        specification(),
        Environment::default(),
        CancellationToken::new(),
    );
    let context = Context::new(&specification, &environment, &System, &cancellation);
    let registry = Registry::default()
        .with(step("a", &[]))
        .with(step("b", &["a"]));
    let orchestrator = Orchestrator::new(&registry);
    let first = orchestrator.ensure(&context, &["b"]).await.unwrap();
    assert!(first.iter().all(|report| report.applied.is_some()));
    let second = orchestrator.ensure(&context, &["b"]).await.unwrap();
    assert!(
        second
            .iter()
            .all(|report| report.applied.is_none() && report.check.is_healthy())
    );
}

#[tokio::test]
async fn does_not_believe_an_apply_that_changed_nothing() {
    let (specification, environment, cancellation) = (
        specification(),
        Environment::default(),
        CancellationToken::new(),
    );
    let context = Context::new(&specification, &environment, &System, &cancellation);
    let registry = Registry::default().with(Step {
        applies_needed: 2,
        ..step("stubborn", &[])
    });
    let error = Orchestrator::new(&registry)
        .ensure(&context, &["stubborn"])
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @"`stubborn` was applied and still does not hold: not there");
}

#[tokio::test]
async fn looks_without_applying_and_stops_at_the_first_fault() {
    let (specification, environment, cancellation) = (
        specification(),
        Environment::default(),
        CancellationToken::new(),
    );
    let context = Context::new(&specification, &environment, &System, &cancellation);
    let registry = Registry::default()
        .with(step("a", &[]))
        .with(step("b", &["a"]));
    let reports = Orchestrator::new(&registry)
        .check(&context, &["a", "b"])
        .await
        .unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].check.status, PresetStatus::Missing);
}

#[tokio::test]
async fn says_how_to_get_uv_where_it_may_not_be_fetched() {
    let fix = async |variables: &[(&str, &str)]| {
        let (specification, cancellation) = (specification(), CancellationToken::new());
        let mut environment = Environment::default();
        environment.set("PATH", "/nowhere");
        for (name, value) in variables {
            environment.set(name, *value);
        }
        let context = Context::new(&specification, &environment, &System, &cancellation);
        UvPreset.check(&context).await.unwrap().fix
    };
    assert_eq!(fix(&[]).await, None);
    insta::assert_snapshot!(
        fix(&[("KTX_UV_BOOTSTRAP", "never")]).await.unwrap(),
        @"Install uv, make sure it is on PATH, and run: ktx runtime install --yes"
    );
}
