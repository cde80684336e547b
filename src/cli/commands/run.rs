//! `ofa run`: the whole job.

use crate::cli::args::corrupt_choice::CorruptChoice;
use crate::cli::output::pipeline_display::Display;
use crate::cli::output::{short_count, table};
use crate::cli::{Context, Failure};
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::{self, Existing, PLAN, RunOptions, plan};
use crate::report::Infeasible;
use clap::Args;
use ofa_train::data::Dataset;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `ofa run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Pipeline configuration (TOML). Left out: the bundled quickstart, or with --resume what the folder was started
    /// with.
    config: Option<PathBuf>,
    /// Your own labelled images, instead of the configuration's data; alone: a plan is made for them.
    #[arg(long)]
    data: Option<String>,
    /// Folder for everything that the run makes.
    #[arg(long, default_value = "ofa-run")]
    out: PathBuf,
    /// Go on with the run in the output folder: finished steps are not redone.
    #[arg(long)]
    resume: bool,
    /// What to do with an image that cannot be decoded.
    #[arg(long, value_enum, default_value = "error")]
    on_corrupt: CorruptChoice,
}

#[derive(Serialize)]
struct RunReport {
    out: PathBuf,
    report: PathBuf,
    model: PathBuf,
    results: Vec<CaseReport>,
    infeasible: Vec<Infeasible>,
}

#[derive(Serialize)]
struct CaseReport {
    device: String,
    constraint: serde_json::Value,
    arch: ofa_space::ArchJson,
    accuracy: f64,
    predicted_accuracy: f64,
    latency_ms: f64,
    macs: u64,
    params: u64,
    onnx: PathBuf,
}

pub fn run(args: &RunArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let (config, dataset) = configuration(args, context)?;
    let options = RunOptions {
        out: &args.out,
        existing: if args.resume { Existing::Resume } else { Existing::Refuse },
        backend: &context.common.backend,
        on_corrupt: args.on_corrupt.into(),
        dataset,
        stop: &context.stop,
    };
    let mut display = Display::new(context.output);
    let finished = pipeline::run(&config, &options, &mut display)?;
    let results = &finished.results;
    let report = RunReport {
        out: args.out.clone(),
        report: finished.report.clone(),
        model: finished.model.clone(),
        results: results
            .cases
            .iter()
            .map(|case| CaseReport {
                device: case.device.clone(),
                constraint: case.constraint.clone(),
                arch: case.arch.clone(),
                accuracy: case.accuracy,
                predicted_accuracy: case.predicted_accuracy,
                latency_ms: case.latency_ms,
                macs: case.macs,
                params: case.params,
                onnx: args.out.join(&case.onnx),
            })
            .collect(),
        infeasible: results.infeasible.clone(),
    };
    context.output.result(&report, || {
        let rows: Vec<Vec<String>> = results
            .cases
            .iter()
            .map(|case| {
                vec![
                    case.device.clone(),
                    format!("{} ms", case.constraint["latency_ms"]),
                    format!("{:.4} ms", case.latency_ms),
                    format!("{:.2} %", 100.0 * case.accuracy),
                    format!("{:.2} %", 100.0 * case.predicted_accuracy),
                    short_count(case.macs),
                    short_count(case.params),
                    case.onnx.clone(),
                ]
            })
            .collect();
        let header = ["device", "limit", "latency", "test top-1", "predicted", "MACs", "params", "ONNX"];
        let scale: Vec<String> = results
            .extremes
            .iter()
            .map(|e| format!("{} subnet {:.2} % at {} MACs", e.label, 100.0 * e.test_top1, short_count(e.macs)))
            .collect();
        let infeasible: String = results
            .infeasible
            .iter()
            .map(|case| {
                let (limit, closest) = (&case.constraint["latency_ms"], &case.closest["latency_ms"]);
                format!("{}: no subnet runs in {limit} ms; the fastest found takes {closest} ms\n", case.device)
            })
            .collect();
        format!(
            "{}\n{infeasible}\n{}\nreport: {}\nsupernet: {}\nnetworks: {}\n{:.0} s",
            table(&header, &rows),
            scale.join(", "),
            report.report.display(),
            report.model.display(),
            args.out.join("nets").display(),
            started.elapsed().as_secs_f64()
        )
    })
}

/// The configuration of a file, of the folder to resume, or a plan made for the data, which are then read already.
fn configuration(args: &RunArgs, context: &Context) -> Result<(PipelineConfig, Option<Dataset>), Failure> {
    let started_with = args.out.join(PLAN);
    let file = match (&args.config, &args.data) {
        (Some(path), _) => Some(path),
        (None, None) if args.resume && started_with.is_file() => Some(&started_with),
        _ => None,
    };
    let Some(path) = file else {
        let data = args.data.as_deref().unwrap_or("bundled");
        let plan = plan::for_data(data, context.common.seed, args.on_corrupt.into())?;
        context.output.note("plan");
        for reason in &plan.reasons {
            context.output.note(&format!("  {reason}"));
        }
        context.output.note(&format!("  written to {}: edit it and run it to change anything", started_with.display()));
        return Ok((plan.config, plan.dataset));
    };
    let mut config = PipelineConfig::load(path)?;
    config.train = config.train.changed(|train| {
        if let Some(data) = &args.data {
            train.data.clone_from(data);
        }
        if let Some(seed) = context.explicit_seed {
            train.seed = seed;
        }
    })?;
    Ok((config, None))
}
