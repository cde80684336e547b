//! What a finished run prints: every network, and for each device the one to ship.

use super::{short_count, table};
use crate::cli::{Context, Failure};
use crate::pipeline::Finished;
use crate::report::{self, Case, Infeasible, RunResults, Timings};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Serialize)]
struct RunReport {
    out: PathBuf,
    report: PathBuf,
    model: PathBuf,
    results: Vec<CaseReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<CaseReport>,
    infeasible: Vec<Infeasible>,
    /// Share of the largest class among the test images.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct CaseReport {
    device: Option<String>,
    constraint: serde_json::Value,
    arch: ofa_space::ArchJson,
    accuracy: f64,
    /// Of the f32 file, where the device runs another.
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy_f32: Option<f64>,
    /// 95 % interval of `accuracy`.
    interval: Option<[f64; 2]>,
    /// Whether it is the network to ship for the device.
    recommended: bool,
    supernet_accuracy: f64,
    /// Mean recall over the classes.
    balanced_accuracy: Option<f64>,
    predicted_accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_deviation: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    extrapolated: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prediction_missed: bool,
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    latency_is_estimate: bool,
    macs: u64,
    params: u64,
    onnx: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    onnx_f32: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers_in_f32: Vec<String>,
}

impl CaseReport {
    fn of(case: &Case, out: &Path) -> Self {
        Self {
            device: case.device.clone(),
            constraint: case.constraint.clone(),
            arch: case.arch.clone(),
            accuracy: case.accuracy,
            accuracy_f32: case.accuracy_f32,
            interval: case.interval,
            recommended: case.recommended,
            supernet_accuracy: case.as_cut(),
            balanced_accuracy: case.balanced_accuracy,
            predicted_accuracy: case.predicted_accuracy,
            predicted_deviation: case.predicted_deviation,
            extrapolated: case.extrapolated,
            prediction_missed: case.prediction_missed,
            latency_ms: case.latency_ms,
            latency_is_estimate: case.latency_is_estimate,
            macs: case.macs,
            params: case.params,
            onnx: out.join(&case.onnx),
            onnx_f32: case.onnx_f32.as_ref().map(|file| out.join(file)),
            layers_in_f32: case.layers_in_f32.clone(),
        }
    }
}

/// Prints the results of the run in the folder `out`.
pub fn show(finished: &Finished, out: &Path, started: Instant, context: &Context) -> Result<(), Failure> {
    let results = &finished.results;
    let report = RunReport {
        out: out.to_owned(),
        report: finished.report.clone(),
        model: finished.model.clone(),
        results: results.cases.iter().map(|case| CaseReport::of(case, out)).collect(),
        reference: results.reference.as_ref().map(|case| CaseReport::of(case, out)),
        infeasible: results.infeasible.clone(),
        baseline: results.baseline,
        warnings: results.warnings.clone(),
    };
    context.output.result(&report, || {
        format!(
            "{}{}\n{}report: {}\nsupernet: {}\nnetworks: {}\n{:.0} s",
            networks(results),
            notes(results, &finished.timings),
            ship_this(results, out),
            finished.report.display(),
            finished.model.display(),
            out.join("nets").display(),
            started.elapsed().as_secs_f64()
        )
    })
}

fn networks(results: &RunResults) -> String {
    let row = |case: &Case| {
        vec![
            if case.recommended { "→".to_owned() } else { String::new() },
            case.device().to_owned(),
            case.limits(),
            case.latency(),
            results.top1(case),
            results.on_test_images(case.as_cut()).percent(),
            case.predicted(results.images[2]),
            short_count(case.macs),
            short_count(case.params),
            case.name().to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = results.cases.iter().chain(&results.reference).map(row).collect();
    let header = ["", "device", "limit", "latency", "test top-1", "as cut", "predicted", "MACs", "params", "network"];
    table(&header, &rows)
}

/// What the table leaves open.
fn notes(results: &RunResults, timings: &Timings) -> String {
    let mut lines = String::new();
    let mut line = |text: &str| {
        let _ = write!(lines, "\n{text}");
    };
    for note in report::notes(results, timings) {
        line(&note);
    }
    for case in &results.infeasible {
        line(&format!("{}: {}: {}", case.device(), report::limits(&case.constraint), case.verdict()));
    }
    lines
}

/// For every device the network to ship, and what to do next.
fn ship_this(results: &RunResults, out: &Path) -> String {
    let mut text = String::new();
    for case in results.cases.iter().filter(|case| case.recommended) {
        let on = case.device.as_ref().map_or_else(String::new, |device| format!(" on {device}"));
        let _ = write!(text, "\nship this{on}: {}", out.join(&case.onnx).display());
        let _ = writeln!(text, "\n  {}", report::in_short(case, results));
    }
    if !text.is_empty() {
        text.push_str("\nnext\n");
        for (command, about) in report::next_commands(results, &out.display().to_string()) {
            let _ = writeln!(text, "  {command}   # {about}");
        }
        text.push('\n');
    }
    text
}
