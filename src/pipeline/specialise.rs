//! Fitting the predictor, and searching every device × limit.

use super::config::{DeviceConfig, PipelineConfig};
use super::record::RunFolder;
use super::{Progress, Subject};
use crate::failure::Failure;
use crate::report::{Front, PredictorResults};
use ofa_hw::{HardwareBackend, LatencyObjective, LatencySource};
use ofa_predictors::{Fit, FittedPredictor, Pair, PredictedObjective, Target, pairs};
use ofa_search::LimitList;
use ofa_search::{Budget, Search, pareto};
use ofa_search::{Candidate, Observer};
use ofa_space::{ArchJson, Objective, Opened, SearchSpace};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One device × limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FoundCase {
    /// The device.
    pub device: String,
    /// The latency limit.
    pub max_latency_ms: f64,
    /// The best subnet; `None` if none is fast enough.
    pub arch: Option<ArchJson>,
    /// Predicted accuracy.
    pub predicted_accuracy: f64,
    /// Latency of the best, or of the fastest found if none is fast enough.
    pub latency_ms: f64,
}

/// Everything that the search found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Cases in order.
    pub cases: Vec<FoundCase>,
    /// Front of every device.
    pub fronts: Vec<Front>,
    /// Distinct archs evaluated.
    pub evaluations: usize,
}

/// Refuses, before anything is trained, devices, tables and limits that could only fail afterwards; returns warnings.
pub fn check(space: &dyn SearchSpace, config: &PipelineConfig) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    let mut hopeless = 0;
    for wanted in &config.search.devices {
        let backend = ofa_hw::load(&wanted.device)?;
        if backend.source() == LatencySource::Measured {
            warnings.push(format!(
                "{}: measured latencies do not repeat exactly, so neither will the search",
                wanted.device
            ));
            continue;
        }
        // A table may lack resolutions or blocks.
        backend.subnet_latency_ms(space, &space.max_arch())?;
        let fastest = backend.subnet_latency_ms(space, &space.min_arch())?;
        let too_fast = wanted.max_latency_ms.iter().filter(|limit| **limit < HOPELESS * fastest);
        let too_fast: Vec<String> = too_fast.map(f64::to_string).collect();
        if !too_fast.is_empty() {
            warnings.push(format!(
                "{}: {} ms asked for, but even the smallest subnet takes {fastest:.4} ms",
                wanted.device,
                too_fast.join(", ")
            ));
        }
        if !wanted.max_latency_ms.is_empty() && too_fast.len() == wanted.max_latency_ms.len() {
            hopeless += 1;
        }
    }
    if hopeless == config.search.devices.len() {
        return Err(Failure::Input(format!(
            "no latency limit can be kept ({}); raise `search.devices.max_latency_ms`",
            warnings.join("; ")
        )));
    }
    Ok(warnings)
}

/// The smallest subnet need not be the fastest on a table, but twice as fast as it none will be.
const HOPELESS: f64 = 0.5;

/// Fits the predictor on most pairs and scores it on the rest.
pub fn fit(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    folder: &RunFolder,
    progress: &mut dyn Progress,
) -> Result<PredictorResults, Failure> {
    let space = subject.space.as_ref();
    let all = pairs::read(folder.path("pairs.jsonl"), space, Target::Accuracy)?;
    let seed = config.train.seed;
    let (train, test) = pairs::hold_out(&all, config.fit.holdout, seed);
    let fit = Fit { seed, ..Fit::with(config.fit.predictor.clone()) };
    let fitted = fit.run(space, &train, &test)?;
    fitted.save(&folder.path("predictor.json"))?;
    let report = &fitted.report;
    for warning in &report.warnings {
        progress.note(&format!("warning: {warning}"));
    }
    // A test pair with choices that no training pair has cannot be predicted, and is not scored.
    let predict = |pair: &Pair| Some((pair.value, fitted.predict(space, std::slice::from_ref(&pair.arch)).ok()?[0]));
    Ok(PredictorResults {
        kind: report.predictor.clone(),
        n_train: report.n_train,
        n_test: report.n_test,
        rmse: report.rmse,
        mae: report.mae,
        kendall_tau: report.kendall_tau,
        held_out: test.iter().filter_map(predict).collect(),
    })
}

struct Cases<'a> {
    progress: &'a mut dyn Progress,
    device: String,
}

impl Observer for Cases<'_> {
    fn on_progress(&mut self, evaluations: usize, best: Option<&Candidate>) {
        let accuracy = best.map_or_else(|| "–".to_owned(), |b| format!("{:.2} %", 100.0 * b.score));
        self.progress.advance(evaluations, &format!("{}: {accuracy}", self.device));
    }
}

/// Searches every device × limit.
pub fn search(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    folder: &RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Found, Failure> {
    let predictor = Arc::new(FittedPredictor::load_for(&folder.path("predictor.json"), Target::Accuracy)?);
    let space = &predictor.narrowed(subject.space.clone())?;
    let accuracy = PredictedObjective::new(space.clone(), predictor, Target::Accuracy)?;
    let mut found = Found { cases: Vec::new(), fronts: Vec::new(), evaluations: 0 };
    for wanted in &config.search.devices {
        let backend = ofa_hw::load(&wanted.device)?;
        let latency: Arc<dyn Objective> = Arc::new(LatencyObjective::new(space.clone(), backend.clone()));
        let limits = limits(wanted, space.as_ref(), backend.as_ref(), config.train.seed)?;
        let list = LimitList { objective: latency, limits: limits.clone() };
        // The configuration owns the strategy; a copy through its serialised form is what a plugin can offer too.
        let strategy = serde_json::to_value(&config.search.strategy)
            .and_then(serde_json::from_value)
            .map_err(|e| Failure::Input(format!("search.strategy: {e}")))?;
        let budget = Budget::evaluations(config.search.evaluations);
        let search = Search { strategy, budget, seed: config.train.seed };
        progress.begin("search", config.search.evaluations * limits.len());
        let mut observer = Cases { progress: &mut *progress, device: wanted.device.clone() };
        let subnets = ofa_search::Target { genes: space.as_ref(), lists: &[list] };
        let outcomes = search.run_grid(&accuracy, subnets, &mut observer, stop)?;
        progress.end();
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted("interrupted: run the same command with --resume".into()));
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        for (limit, outcome) in limits.iter().zip(outcomes) {
            found.evaluations += outcome.evaluations;
            candidates.extend(outcome.front);
            let shown = outcome.best.as_ref().or(outcome.closest.as_ref());
            found.cases.push(FoundCase {
                device: wanted.device.clone(),
                max_latency_ms: *limit,
                arch: outcome.best.as_ref().map(|best| space.format(&best.arch)),
                predicted_accuracy: shown.map_or(0.0, |c| c.score),
                latency_ms: shown.map_or(0.0, |c| c.values[0]),
            });
            if outcome.best.is_none() {
                progress.note(&format!("{}: no subnet runs in {limit} ms", wanted.device));
            }
        }
        let points = pareto::front(&candidates).iter().map(|c| (c.values[0], c.score)).collect();
        found.fronts.push(Front { device: wanted.device.clone(), source: backend.source().to_string(), points });
    }
    if found.cases.iter().all(|case| case.arch.is_none()) {
        let closest = found.cases.iter().map(|case| {
            format!(
                "{}: {} ms asked for, the fastest subnet takes {:.4} ms",
                case.device, case.max_latency_ms, case.latency_ms
            )
        });
        return Err(Failure::Running(format!(
            "no subnet is fast enough for any limit ({}); raise `max_latency_ms` in the configuration",
            closest.collect::<Vec<_>>().join("; ")
        )));
    }
    Ok(found)
}

/// The limits given, or quantiles of the latency of random subnets, rounded to three digits.
fn limits(
    wanted: &DeviceConfig,
    space: &dyn SearchSpace,
    device: &dyn HardwareBackend,
    seed: u64,
) -> Result<Vec<f64>, Failure> {
    const SAMPLES: usize = 300;
    if !wanted.max_latency_ms.is_empty() {
        return Ok(wanted.max_latency_ms.clone());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut latencies = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let arch = space.sample(&Opened::EVERYTHING, &mut rng);
        latencies.push(device.subnet_latency_ms(space, &arch)?);
    }
    latencies.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let value = latencies[((SAMPLES - 1) as f64 * share).round() as usize];
        // Through decimal digits, so that 0.236 is 0.236 in file names and tables too.
        let digits = (2.0 - value.log10().floor()).max(0.0) as usize;
        format!("{value:.digits$}").parse().unwrap_or(value)
    };
    // From nearly the fastest to about the middle: beyond it, accuracy hardly grows.
    let n = wanted.limits;
    Ok((0..n).map(|i| quantile(0.05 + 0.55 * i as f64 / (n.max(2) - 1) as f64)).collect())
}
