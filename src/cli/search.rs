//! `ofa search`: the best subnet for every combination of limits, or the Pareto front.

use super::memory_limits::MemoryLimits;
use super::output::{short_count, table};
use super::progress::Progress;
use super::{Context, Failure, info};
use crate::report::search_plot;
use clap::Args;
use ofa_hw::{HardwareBackend, LatencyObjective};
use ofa_predictors::{AccuracyObjective, FittedPredictor};
use ofa_search::driver::LimitList;
use ofa_search::problem::{Candidate, Observer};
use ofa_search::{Budget, Outcome, Search, pareto, strategy};
use ofa_space::{ArchJson, BlockObjective, Objective, SearchSpace, cost};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Arguments of `ofa search`.
#[derive(Args, Debug)]
pub struct SearchArgs {
    /// Registered name or TOML file.
    #[arg(long)]
    space: String,
    /// Predictor file of ours, or an official `.pth`.
    #[arg(long)]
    accuracy: PathBuf,
    /// Device that latency limits are for.
    #[arg(long)]
    device: Option<String>,
    /// Latency limits in milliseconds.
    #[arg(long, value_delimiter = ',', requires = "device")]
    max_latency_ms: Vec<f64>,
    /// Limits on multiply-accumulates.
    #[arg(long, value_delimiter = ',')]
    max_macs: Vec<f64>,
    /// Limits on parameters.
    #[arg(long, value_delimiter = ',')]
    max_params: Vec<f64>,
    #[command(flatten)]
    memory: MemoryLimits,
    /// Return the front of everything evaluated instead of one net per limit.
    #[arg(long)]
    pareto: bool,
    /// How to search.
    #[arg(long, default_value = strategy::DEFAULT)]
    strategy: String,
    /// Budget of evaluations per case [default: the strategy's own].
    #[arg(long)]
    evaluations: Option<usize>,
    /// Wall time for all cases together in seconds, whatever the number of evaluations. The result then depends on the
    /// machine's speed.
    #[arg(long, conflicts_with = "evaluations")]
    seconds: Option<f64>,
    /// Maximise the prediction less this many of its standard deviations, so that the search does not favour what the
    /// predictor knows least about.
    #[arg(long, default_value_t = 0.0)]
    caution: f64,
    /// Draw the front, the chosen networks and the limits into this SVG file.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

#[derive(Serialize)]
struct SearchReport {
    strategy: String,
    evaluations: usize,
    seconds: f64,
    /// Resolutions searched: those that space, predictor and device all support.
    resolutions: Vec<u32>,
    results: Vec<CaseReport>,
}

#[derive(Serialize)]
struct CaseReport {
    constraint: serde_json::Map<String, serde_json::Value>,
    arch: Option<ArchJson>,
    accuracy: Option<f64>,
    latency_ms: Option<f64>,
    macs: Option<u64>,
    params: Option<u64>,
    /// Present where the strategy has proven that nothing feasible is better.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    optimal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    closest: Option<serde_json::Map<String, serde_json::Value>>,
}

pub(super) fn run(args: &SearchArgs, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let device = args.device.as_deref().map(ofa_hw::load).transpose()?;
    let predictor = Arc::new(FittedPredictor::load(&args.accuracy)?);
    let space = supported(info::space(&args.space, None)?, &predictor, device.as_deref())?;
    let latency: Option<Arc<dyn Objective>> = device
        .as_ref()
        .map(|device| Arc::new(LatencyObjective::new(space.clone(), device.clone())) as Arc<dyn Objective>);
    let mut lists: Vec<LimitList> = Vec::new();
    let mut add = |objective: Arc<dyn Objective>, limits: &[f64]| match limits {
        [] if !args.pareto => {}
        [] => lists.push(LimitList { objective, limits: vec![f64::INFINITY] }),
        limits => lists.push(LimitList { objective, limits: limits.to_vec() }),
    };
    if let Some(latency) = &latency {
        add(latency.clone(), &args.max_latency_ms);
    }
    if latency.is_none() || !args.max_macs.is_empty() {
        add(Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs)), &args.max_macs);
    }
    if !args.max_params.is_empty() {
        add(Arc::new(BlockObjective::cost("params", space.clone(), cost::block_params)), &args.max_params);
    }
    for (objective, limits) in args.memory.objectives(&space, device.as_ref())? {
        add(objective, limits);
    }
    if lists.is_empty() {
        return Err(Failure::Input(
            "nothing limits the search: give --device with --max-latency-ms, --max-macs or --max-params, or --pareto"
                .into(),
        ));
    }
    let accuracy = AccuracyObjective::new(space.clone(), predictor).cautious(args.caution)?;
    let strategy = strategy::named(&args.strategy)?;
    let evaluations = args.evaluations.unwrap_or_else(|| strategy.default_evaluations());
    let budget = match args.seconds {
        None => Budget::evaluations(evaluations),
        Some(seconds) if seconds > 0.0 && seconds.is_finite() => {
            let cases: usize = lists.iter().map(|list| list.limits.len()).product();
            Budget::seconds(seconds / cases.max(1) as f64)
        }
        Some(seconds) => return Err(Failure::Input(format!("--seconds is {seconds}, expected more than 0"))),
    };
    let search = Search { strategy, budget, seed: context.common.seed };
    let mut observer = Bar(Progress::new("search", evaluations as u64, context.output));
    let outcomes =
        search.run_grid(space.as_ref(), &accuracy, &lists, &mut observer, &context.stop).map_err(|error| {
            // A device that was measuring when the user interrupted has failed for that reason.
            match context.stop.load(Ordering::SeqCst) {
                true => Failure::Interrupted("interrupted while a device was measuring".into()),
                false => error.into(),
            }
        })?;
    observer.0.finish();
    let names: Vec<String> = lists.iter().map(|list| list.objective.name().to_owned()).collect();
    let describe = |candidate: &Candidate, constraint| -> Result<CaseReport, Failure> {
        let net = space.resolve(&candidate.arch)?;
        let latency_ms = device.as_ref().map(|d| d.latency_ms(&net)).transpose()?;
        Ok(CaseReport {
            constraint,
            arch: Some(space.format(&candidate.arch)),
            accuracy: Some(candidate.accuracy),
            latency_ms,
            macs: Some(cost::macs(&net)),
            params: Some(cost::params(&net)),
            optimal: false,
            closest: None,
        })
    };
    let mut results = Vec::new();
    if args.pareto {
        let all: Vec<Candidate> = outcomes.iter().flat_map(|outcome| outcome.front.clone()).collect();
        for candidate in pareto::front(&all) {
            results.push(describe(&candidate, serde_json::Map::new())?);
        }
    } else {
        for outcome in &outcomes {
            let constraint = limits(&names, &outcome.limits);
            results.push(match &outcome.best {
                Some(best) => CaseReport { optimal: outcome.proven, ..describe(best, constraint)? },
                None => infeasible(constraint, &names, outcome),
            });
        }
    }
    if let Some(path) = &args.plot {
        plot(path, &names, &outcomes)?;
    }
    let feasible = results.iter().any(|case| case.arch.is_some());
    let report = SearchReport {
        strategy: args.strategy.clone(),
        evaluations: outcomes.iter().map(|o| o.evaluations).sum(),
        seconds: started.elapsed().as_secs_f64(),
        resolutions: space.info().resolutions.clone(),
        results,
    };
    context.output.result(&report, || text(&report))?;
    match feasible {
        true => Ok(()),
        false => Err(Failure::Running("no case is feasible: the closest values found are shown".into())),
    }
}

/// The space, narrowed to the resolutions that the predictor and the device both support.
fn supported(
    space: Arc<dyn SearchSpace>,
    predictor: &FittedPredictor,
    device: Option<&dyn HardwareBackend>,
) -> Result<Arc<dyn SearchSpace>, Failure> {
    let mut problem = String::new();
    let mut works = |resolution: u32| {
        let arch = space.min_arch().with_resolution(resolution);
        let predicted = predictor.predict(space.as_ref(), std::slice::from_ref(&arch)).map_err(|e| e.to_string());
        let timed = match (device, space.resolve(&arch)) {
            (Some(device), Ok(net)) if device.source() != ofa_hw::LatencySource::Measured => {
                device.latency_ms(&net).map_err(|e| e.to_string())
            }
            _ => Ok(0.0),
        };
        match (predicted, timed) {
            (Ok(_), Ok(_)) => true,
            (Err(why), _) | (_, Err(why)) => {
                problem = why;
                false
            }
        }
    };
    let listed = space.info().resolutions.clone();
    let kept: Vec<u32> = listed.iter().copied().filter(|r| works(*r)).collect();
    if kept.is_empty() {
        return Err(Failure::Input(format!(
            "no resolution of `{}` is supported by predictor and device: {problem}",
            space.name()
        )));
    }
    if kept.len() == listed.len() {
        return Ok(space);
    }
    eprintln!("searching the resolutions that space, predictor and device all support: {kept:?}");
    Ok(ofa_space::registry::with_field(space.as_ref(), "resolutions", serde_json::json!(kept))?)
}

/// Writes what was found over the first limited quantity as an SVG file.
fn plot(path: &Path, names: &[String], outcomes: &[Outcome]) -> Result<(), Failure> {
    let point = |candidate: &Candidate| Some((*candidate.values.first()?, candidate.accuracy));
    let all: Vec<Candidate> = outcomes.iter().flat_map(|outcome| outcome.front.clone()).collect();
    let front: Vec<(f64, f64)> = pareto::front(&all).iter().filter_map(point).collect();
    let chosen: Vec<(f64, f64)> = outcomes.iter().filter_map(|outcome| point(outcome.best.as_ref()?)).collect();
    let limits: Vec<f64> =
        outcomes.iter().filter_map(|outcome| outcome.limits.first().copied()).filter(|l| l.is_finite()).collect();
    let quantity = match names.first().map(String::as_str) {
        Some("latency_ms") => "latency (ms)",
        Some(other) => other,
        None => "",
    };
    let text = search_plot(quantity, &front, &chosen, &limits)
        .ok_or_else(|| Failure::Running(format!("nothing was found to draw into {}", path.display())))?;
    let written = ofa_space::atomic_file::write(path, text.as_bytes());
    written.map_err(|e| Failure::Running(format!("cannot write {}: {e}", path.display())))
}

fn limits(names: &[String], limits: &[f64]) -> serde_json::Map<String, serde_json::Value> {
    names.iter().cloned().zip(limits.iter().map(|limit| serde_json::json!(limit))).collect()
}

fn infeasible(
    constraint: serde_json::Map<String, serde_json::Value>,
    names: &[String],
    outcome: &Outcome,
) -> CaseReport {
    let closest = outcome.closest.as_ref().map(|closest| limits(names, &closest.values));
    CaseReport {
        constraint,
        arch: None,
        accuracy: None,
        latency_ms: None,
        macs: None,
        params: None,
        optimal: false,
        closest,
    }
}

fn text(report: &SearchReport) -> String {
    let rows: Vec<Vec<String>> = report
        .results
        .iter()
        .map(|case| {
            let limit: Vec<String> = case.constraint.iter().map(|(name, value)| format!("{name} ≤ {value}")).collect();
            let arch = match (&case.arch, &case.closest) {
                (Some(arch), _) => arch.to_string(),
                (None, closest) => format!("infeasible; closest {}", serde_json::json!(closest)),
            };
            vec![
                limit.join(", "),
                case.accuracy.map_or_else(String::new, |a| format!("{:.3} %", 100.0 * a)),
                case.latency_ms.map_or_else(String::new, |ms| format!("{ms:.3} ms")),
                case.macs.map_or_else(String::new, short_count),
                case.params.map_or_else(String::new, short_count),
                arch,
            ]
        })
        .collect();
    format!(
        "{}\n{} evaluations by {} in {:.2} s",
        table(&["limit", "accuracy", "latency", "MACs", "params", "arch"], &rows),
        report.evaluations,
        report.strategy,
        report.seconds
    )
}

struct Bar(Progress);

impl Observer for Bar {
    fn on_progress(&mut self, evaluations: usize, best: Option<&Candidate>) {
        let accuracy = best.map_or_else(|| "–".to_owned(), |b| format!("{:.3} %", 100.0 * b.accuracy));
        self.0.update(evaluations as u64, &accuracy);
    }
}
