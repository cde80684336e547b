//! What `ofa search` prints and draws.

use crate::cli::Failure;
use crate::cli::output::{short_count, table};
use crate::limits::{Bounds, Unfound};
use crate::prediction::Shown;
use crate::report::{ChosenNet, DrawnBlock, SearchSection, search_page};
use ofa_search::Candidate;
use ofa_search::{Outcome, pareto};
use ofa_space::{ArchJson, SearchSpace};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
pub(super) struct SearchReport {
    pub(super) strategy: String,
    pub(super) evaluations: usize,
    pub(super) seconds: f64,
    /// Resolutions searched: those that space, predictor and device all support.
    pub(super) resolutions: Vec<u32>,
    /// With several devices, what each supports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) devices: Vec<DeviceReport>,
    /// Present where the search was stopped before its budget was used up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) interrupted: bool,
    pub(super) results: Vec<CaseReport>,
}

#[derive(Serialize)]
pub(super) struct DeviceReport {
    pub(super) device: String,
    pub(super) resolutions: Vec<u32>,
}

#[derive(Serialize)]
pub(super) struct CaseReport {
    /// With several devices, which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    pub(super) constraint: serde_json::Map<String, serde_json::Value>,
    pub(super) arch: Option<ArchJson>,
    pub(super) accuracy: Option<f64>,
    /// Whether the prediction was outside 0 to 1.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) extrapolated: bool,
    pub(super) latency_ms: Option<f64>,
    pub(super) macs: Option<u64>,
    pub(super) params: Option<u64>,
    /// Present where the strategy has proven that nothing feasible is better.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) optimal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) closest: Option<serde_json::Map<String, serde_json::Value>>,
    /// Present where no subnet was found: whether there can be one.
    #[serde(flatten)]
    pub(super) unfound: Option<Unfound>,
}

/// Limits or values by the names of what they limit; an infinite one is no limit.
pub(super) fn limits(names: &[String], limits: &[f64]) -> serde_json::Map<String, serde_json::Value> {
    let finite = names.iter().zip(limits).filter(|(_, limit)| limit.is_finite());
    finite.map(|(name, limit)| (name.clone(), serde_json::json!(limit))).collect()
}

impl CaseReport {
    /// A case without a net, and the closest that there was.
    pub(super) fn unfound(device: Option<String>, names: &[String], bounds: &[Bounds], outcome: &Outcome) -> Self {
        Self {
            device,
            constraint: limits(names, &outcome.limits),
            arch: None,
            accuracy: None,
            extrapolated: false,
            latency_ms: None,
            macs: None,
            params: None,
            optimal: false,
            closest: outcome.closest.as_ref().map(|closest| limits(names, &closest.values)),
            unfound: Some(Unfound::of(bounds, &outcome.limits, outcome.evaluations)),
        }
    }
}

/// The report for a person.
pub(super) fn text(report: &SearchReport) -> String {
    let several = !report.devices.is_empty();
    let rows: Vec<Vec<String>> = report
        .results
        .iter()
        .map(|case| {
            let limit: Vec<String> = case.constraint.iter().map(|(name, value)| format!("{name} ≤ {value}")).collect();
            let arch = match (&case.arch, &case.unfound) {
                (Some(arch), _) => arch.to_string(),
                (None, unfound) => {
                    let limits =
                        case.constraint.iter().filter_map(|(name, limit)| Some((name.clone(), limit.as_f64()?)));
                    let verdict = unfound.clone().unwrap_or_default().in_words(&limits.collect());
                    match &case.closest {
                        Some(closest) => format!("{verdict}; closest {}", serde_json::json!(closest)),
                        None => verdict,
                    }
                }
            };
            let mut row: Vec<String> = if several { case.device.iter().cloned().collect() } else { Vec::new() };
            row.extend([
                limit.join(", "),
                case.accuracy.map_or_else(String::new, |accuracy| {
                    Shown { accuracy, extrapolated: case.extrapolated }.percent(3)
                }),
                case.latency_ms.map_or_else(String::new, |ms| format!("{ms:.3} ms")),
                case.macs.map_or_else(String::new, short_count),
                case.params.map_or_else(String::new, short_count),
                arch,
            ]);
            row
        })
        .collect();
    let header = ["device", "limit", "accuracy", "latency", "MACs", "params", "arch"];
    format!(
        "{}\n{} evaluations by {} in {:.2} s{}",
        table(if several { &header } else { &header[1..] }, &rows),
        report.evaluations,
        report.strategy,
        report.seconds,
        if report.interrupted { ", interrupted" } else { "" }
    )
}

/// What was found for one device, over the first limited quantity.
pub(super) fn section(
    title: String,
    names: &[String],
    outcomes: &[Outcome],
    space: &dyn SearchSpace,
) -> Result<SearchSection, Failure> {
    let point = |candidate: &Candidate| Some((*candidate.values.first()?, Shown::of(candidate.score).accuracy));
    let all: Vec<Candidate> = outcomes.iter().flat_map(|outcome| outcome.front.clone()).collect();
    let limits = outcomes.iter().filter_map(|outcome| outcome.limits.first().copied());
    let quantity = match names.first().map(String::as_str) {
        Some("latency_ms") => "latency (ms)",
        Some(other) => other,
        None => "",
    };
    let mut nets = Vec::new();
    for outcome in outcomes {
        let Some(best) = &outcome.best else { continue };
        let amounts: Vec<String> = names
            .iter()
            .zip(best.values.iter().zip(&outcome.limits))
            .map(|(name, (value, limit))| match limit.is_finite() {
                true => format!("{name} {value:.5} ≤ {limit}"),
                false => format!("{name} {value:.5}"),
            })
            .collect();
        let size = best.arch.resolution().map_or_else(String::new, |pixels| format!(" · {pixels} px"));
        nets.push(ChosenNet {
            label: format!("{} · {}{size}", amounts.join(" · "), Shown::of(best.score).percent(2)),
            blocks: DrawnBlock::of(&space.resolve(&best.arch)?),
        });
    }
    Ok(SearchSection {
        title,
        quantity: quantity.to_owned(),
        front: pareto::front(&all).iter().filter_map(point).collect(),
        chosen: outcomes.iter().filter_map(|outcome| point(outcome.best.as_ref()?)).collect(),
        limits: limits.filter(|limit| limit.is_finite()).collect(),
        nets,
    })
}

/// Draws what was found into an SVG file.
pub(super) fn plot(path: &Path, sections: &[SearchSection], space: &dyn SearchSpace) -> Result<(), Failure> {
    let places = DrawnBlock::of(&space.resolve(&space.max_arch())?);
    let text = search_page(sections, &places)
        .ok_or_else(|| Failure::Running(format!("nothing was found to draw into {}", path.display())))?;
    let written = ofa_space::atomic_file::write(path, text.as_bytes());
    written.map_err(|e| Failure::Running(format!("cannot write {}: {e}", path.display())))
}
