//! Fitting the predictor, and searching every device × limit.

use super::candidates::Choice;
use super::config::{DeviceConfig, PipelineConfig};
use super::host_profile;
use super::record::RunFolder;
use super::refine_step;
use super::{Progress, Subject};
use crate::failure::Failure;
use crate::limits::{Bounds, MemoryAndEnergy, MemoryPrecision, Unfound, rounded_up};
use crate::prediction::{Shown, few_pairs};
use crate::report::{Front, PredictorResults};
use ofa_hw::{Arithmetic, HardwareBackend, LatencyObjective, LatencySource};
use ofa_predictors::{Fit, FittedPredictor, Pair, PredictedObjective, Target, pairs};
use ofa_search::{Budget, Search, pareto};
use ofa_search::{Candidate, Observer};
use ofa_search::{Limit, LimitList};
use ofa_space::{ArchJson, BlockObjective, Objective, Opened, SearchSpace, cost};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One combination of limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "WrittenCase")]
pub struct FoundCase {
    /// The device; `None` where no limit needs one.
    pub device: Option<String>,
    /// The limits by quantity, such as `latency_ms` and `macs`.
    pub constraint: BTreeMap<String, f64>,
    /// Of the limits on memory, where they are not for int8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<MemoryPrecision>,
    /// The best subnet; `None` if none keeps the limits.
    pub arch: Option<ArchJson>,
    /// Predicted accuracy.
    pub predicted_accuracy: f64,
    /// Whether the prediction was outside 0 to 1.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub extrapolated: bool,
    /// Top-1 on validation images, not fine-tuned, where candidates were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_accuracy: Option<f64>,
    /// Latency of the subnet, where there is a device.
    pub latency_ms: Option<f64>,
    /// Whether that is the estimate of a formula that was never compared with a measurement.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub latency_is_estimate: bool,
    /// The type of numbers that the device computes in.
    #[serde(skip_serializing_if = "Arithmetic::is_f32")]
    pub arithmetic: Arithmetic,
    /// What is limited, of the best, or of the closest found if none keeps the limits.
    pub values: BTreeMap<String, f64>,
    /// Why there is no subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfound: Option<Unfound>,
}

/// A case in `search.json`, where earlier versions wrote one limit of latency.
#[derive(Deserialize)]
struct WrittenCase {
    device: Option<String>,
    #[serde(default)]
    constraint: BTreeMap<String, f64>,
    #[serde(default)]
    precision: Option<MemoryPrecision>,
    max_latency_ms: Option<f64>,
    arch: Option<ArchJson>,
    predicted_accuracy: f64,
    #[serde(default)]
    extrapolated: bool,
    #[serde(default)]
    measured_accuracy: Option<f64>,
    latency_ms: Option<f64>,
    #[serde(default)]
    latency_is_estimate: bool,
    #[serde(default)]
    arithmetic: Arithmetic,
    #[serde(default)]
    values: BTreeMap<String, f64>,
    #[serde(default)]
    unfound: Option<Unfound>,
}

impl From<WrittenCase> for FoundCase {
    fn from(written: WrittenCase) -> Self {
        let WrittenCase { device, mut constraint, precision, max_latency_ms, arch, latency_ms, mut values, .. } =
            written;
        let WrittenCase { predicted_accuracy, extrapolated, measured_accuracy, unfound, .. } = written;
        let WrittenCase { latency_is_estimate, arithmetic, .. } = written;
        constraint.extend(max_latency_ms.map(|limit| (LATENCY.to_owned(), limit)));
        if max_latency_ms.is_some() {
            values.extend(latency_ms.map(|value| (LATENCY.to_owned(), value)));
        }
        Self {
            device,
            constraint,
            precision,
            arch,
            predicted_accuracy,
            extrapolated,
            measured_accuracy,
            latency_ms,
            latency_is_estimate,
            arithmetic,
            values,
            unfound,
        }
    }
}

/// Name of the latency objective.
const LATENCY: &str = "latency_ms";

/// The accuracy predictor, in a run's folder.
pub const PREDICTOR: &str = "predictor.json";

/// The predictor that networks are chosen by.
pub fn predictor_of(config: &PipelineConfig) -> &'static str {
    if config.search.refine.is_some() { refine_step::PREDICTOR } else { PREDICTOR }
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
pub fn check(space: &Arc<dyn SearchSpace>, config: &PipelineConfig) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    let mut hopeless = Vec::new();
    for (index, wanted) in config.search.devices.iter().enumerate() {
        // The profile of this machine may not be measured yet.
        if wanted.is_host() {
            continue;
        }
        let backend = wanted.device.as_deref().map(ofa_hw::load).transpose().map_err(|error| {
            Failure::Input(format!(
                "search.devices[{index}]: {error}; the path of a device's file is seen from the current folder: put the file \
                 there, or take the entry out of the plan"
            ))
        })?;
        let shown = wanted.device.as_deref().map_or_else(String::new, |name| format!("{name}: "));
        match &backend {
            Some(device) if device.source() == LatencySource::Measured => {
                warnings.push(format!("{shown}measured latencies do not repeat exactly, so neither will the search"));
                continue;
            }
            // A table may lack resolutions or blocks.
            Some(device) => drop(device.subnet_latency_ms(space.as_ref(), &space.max_arch())?),
            None => {}
        }
        let lists = limits(wanted, space, backend.as_ref(), config.train.seed)?;
        let mut is_hopeless = false;
        for (bound, list) in Bounds::of(&lists, space.as_ref())?.iter().zip(&lists) {
            let Some(minimum) = bound.minimum else { continue };
            let too_low: Vec<String> =
                list.limits.iter().filter(|limit| **limit < minimum).map(ToString::to_string).collect();
            if !too_low.is_empty() {
                let smallest = rounded_up(minimum);
                let low = too_low.join(", ");
                warnings
                    .push(format!("{shown}max_{} {low} asked for, but no subnet has less than {smallest}", bound.name));
                is_hopeless |= too_low.len() == list.limits.len();
            }
        }
        if is_hopeless {
            hopeless.extend(warnings.last().cloned());
        }
    }
    if hopeless.len() == config.search.devices.len() {
        return Err(Failure::Input(format!(
            "no limit can be kept ({}); raise the limits in `search.devices`",
            hopeless.join("; ")
        )));
    }
    Ok(warnings)
}

/// Fits the predictor on most pairs and scores it on the rest.
pub fn fit(
    subject: &Subject<'_>,
    config: &PipelineConfig,
    folder: &RunFolder,
    progress: &mut dyn Progress,
) -> Result<PredictorResults, Failure> {
    let space = subject.space.as_ref();
    let all = pairs::read(folder.path(super::collect::PAIRS), space, Target::Accuracy)?;
    let seed = config.train.seed;
    let (train, test) = pairs::hold_out(&all, config.fit.holdout, seed);
    let fit = Fit { seed, ..Fit::with(config.fit.predictor.clone()) };
    let fitted = fit.run(space, &train, &test)?;
    fitted.save(&folder.path(PREDICTOR))?;
    let report = &fitted.report;
    for warning in &report.warnings {
        progress.warn(warning);
    }
    if let Some(warning) = few_pairs(report.n_test) {
        progress.warn(&warning);
    }
    // A test pair with choices that no training pair has cannot be predicted, and is not scored.
    let predicted = |pair: &Pair| fitted.predict(space, std::slice::from_ref(&pair.arch)).ok()?.first().copied();
    let predict = |pair: &Pair| Some((pair.value, Shown::of(predicted(pair)?).accuracy));
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
        let accuracy = best.map_or_else(|| "–".to_owned(), |b| Shown::of(b.score).percent(2));
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
    let predictor = Arc::new(FittedPredictor::load_for(&folder.path(predictor_of(config)), Target::Accuracy)?);
    let space = &predictor.narrowed(subject.space.clone())?;
    let accuracy = PredictedObjective::new(space.clone(), predictor.clone(), Target::Accuracy)?;
    let choice = Choice { subject, config, predictor: &predictor, space: space.as_ref(), accuracy: &accuracy, stop };
    let mut found = Found { cases: Vec::new(), fronts: Vec::new(), evaluations: 0 };
    for wanted in &config.search.devices {
        let backend = host_profile::device(wanted, folder)?;
        let lists = limits(wanted, space, backend.as_ref(), config.train.seed)?;
        let cases: usize = lists.iter().map(|list| list.limits.len()).product();
        let names: Vec<&str> = lists.iter().map(|list| list.objective.name()).collect();
        let bounds = Bounds::of(&lists, space.as_ref())?;
        // The configuration owns the strategy; a copy through its serialised form is what a plugin can offer too.
        let strategy = serde_json::to_value(&config.search.strategy)
            .and_then(serde_json::from_value)
            .map_err(|e| Failure::Input(format!("search.strategy: {e}")))?;
        let budget = Budget::evaluations(config.search.evaluations);
        let search = Search { strategy, budget, seed: config.train.seed };
        progress.begin("search", config.search.evaluations * cases);
        let shown = wanted.device.clone().unwrap_or_else(|| names.join(", "));
        let minima = Bounds::minima_in_words(&bounds);
        for note in minima.into_iter().chain(Bounds::loose_limits(&bounds, &lists)) {
            progress.note(&format!("{shown}: {note}"));
        }
        let mut observer = Cases { progress: &mut *progress, device: shown.clone() };
        let subnets = ofa_search::Target { genes: space.as_ref(), lists: &lists };
        let mut outcomes = search.run_grid(&accuracy, subnets, &mut observer, stop)?;
        progress.end();
        let measured = choice.make(&mut outcomes, &lists, progress)?;
        if stop.load(Ordering::Relaxed) {
            return Err(folder.interrupted(""));
        }
        let by_name = |values: &[f64]| -> BTreeMap<String, f64> {
            names.iter().map(|name| (*name).to_owned()).zip(values.iter().copied()).collect()
        };
        let mut candidates: Vec<Candidate> = Vec::new();
        for (outcome, measured_accuracy) in outcomes.into_iter().zip(measured) {
            found.evaluations += outcome.evaluations;
            candidates.extend(outcome.front);
            let constraint = by_name(&outcome.limits);
            let unfound = match outcome.best {
                Some(_) => None,
                None => Some(Unfound::of(&bounds, &outcome.limits, outcome.evaluations)),
            };
            if let Some(unfound) = &unfound {
                let verdict = unfound.in_words(&constraint);
                progress.note(&format!("{shown}: {}: {verdict}", limits_in_words(&constraint)));
            }
            let known = outcome.best.as_ref().or(outcome.closest.as_ref());
            let latency = |candidate: &Candidate| -> Result<Option<f64>, Failure> {
                let searched = names.iter().position(|name| *name == LATENCY);
                match (searched, &backend) {
                    (Some(index), _) => Ok(Some(candidate.values[index])),
                    (None, Some(device)) => Ok(Some(device.subnet_latency_ms(space.as_ref(), &candidate.arch)?)),
                    (None, None) => Ok(None),
                }
            };
            let predicted = Shown::of(known.map_or(0.0, |c| c.score));
            let precision = wanted.memory_precision();
            // The same limit may be given as a number and as a share, or in two entries.
            let is_known = |case: &FoundCase| {
                (&case.device, &case.constraint, case.precision) == (&wanted.device, &constraint, precision)
            };
            if found.cases.iter().any(is_known) {
                continue;
            }
            found.cases.push(FoundCase {
                device: wanted.device.clone(),
                constraint,
                precision,
                arch: outcome.best.as_ref().map(|best| space.format(&best.arch)),
                predicted_accuracy: predicted.accuracy,
                extrapolated: predicted.extrapolated,
                measured_accuracy,
                latency_ms: known.map(latency).transpose()?.flatten(),
                latency_is_estimate: backend.as_ref().is_some_and(|device| device.is_estimate()),
                arithmetic: backend.as_ref().map(|device| device.arithmetic()).unwrap_or_default(),
                values: known.map(|c| by_name(&c.values)).unwrap_or_default(),
                unfound,
            });
        }
        let points = projected(pareto::front(&candidates).iter().map(|c| (c.values[0], Shown::of(c.score).accuracy)));
        found.fronts.push(Front {
            device: wanted.device.clone(),
            source: backend.as_ref().map(|device| device.source().to_string()),
            quantity: names[0].to_owned(),
            points,
        });
    }
    if found.cases.iter().all(|case| case.arch.is_none()) {
        let closest = found.cases.iter().map(|case| {
            let device = case.device.as_ref().map_or_else(String::new, |device| format!("{device}: "));
            let (limit, closest) = (limits_in_words(&case.constraint), values_in_words(&case.values));
            let verdict = case.unfound.clone().unwrap_or_default().in_words(&case.constraint);
            format!("{device}{limit} asked for, {verdict}; the closest subnet has {closest}")
        });
        return Err(Failure::Running(format!(
            "no subnet was found within any limit ({}); raise the limits in `search.devices`",
            closest.collect::<Vec<_>>().join("; ")
        )));
    }
    Ok(found)
}

/// The front over the first quantity alone: of several limited quantities, a network may lose on the first and win on another.
fn projected(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = points.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut best = f64::NEG_INFINITY;
    points.retain(|(_, accuracy)| {
        *accuracy > best && {
            best = *accuracy;
            true
        }
    });
    points
}

fn limits_in_words(limits: &BTreeMap<String, f64>) -> String {
    limits.iter().map(|(name, limit)| format!("{name} ≤ {limit}")).collect::<Vec<_>>().join(" and ")
}

fn values_in_words(values: &BTreeMap<String, f64>) -> String {
    values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", ")
}

/// Every quantity that is limited, with its limits; the device's latency comes first.
fn limits(
    wanted: &DeviceConfig,
    space: &Arc<dyn SearchSpace>,
    device: Option<&Arc<dyn HardwareBackend>>,
    seed: u64,
) -> Result<Vec<LimitList>, Failure> {
    let mut lists = Vec::new();
    let mut add = |objective: Arc<dyn Objective>, limits: &[Limit]| -> Result<(), Failure> {
        let mut values = Vec::with_capacity(limits.len());
        for limit in limits {
            let value = limit.value(objective.as_ref(), space.as_ref())?;
            // A share of the largest subnet is a number for tables and file names too.
            values.push(if matches!(limit, Limit::PerCent(_)) { in_four_digits(value) } else { value });
        }
        lists.push(LimitList { objective, limits: values });
        Ok(())
    };
    if let Some(device) = device {
        let latency = Arc::new(LatencyObjective::new(space.clone(), device.clone()));
        if wanted.spreads_latencies() {
            let spread = spread(wanted.limits, space.as_ref(), device.as_ref(), seed)?;
            add(latency, &spread.into_iter().map(Limit::Value).collect::<Vec<_>>())?;
        } else if !wanted.max_latency_ms.is_empty() {
            add(latency, &wanted.max_latency_ms)?;
        }
    }
    if !wanted.max_macs.is_empty() {
        add(Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs)), &wanted.max_macs)?;
    }
    if !wanted.max_params.is_empty() {
        add(Arc::new(BlockObjective::cost("params", space.clone(), cost::block_params)), &wanted.max_params)?;
    }
    let others = MemoryAndEnergy {
        max_sram_kb: &wanted.max_sram_kb,
        max_flash_kb: &wanted.max_flash_kb,
        max_energy_mj: &wanted.max_energy_mj,
        precision: wanted.precision,
    };
    for (objective, limits) in others.objectives(space, device)? {
        add(objective, limits)?;
    }
    Ok(lists)
}

/// A positive number in four decimal digits, not below it, so that 1.4549414999999999 becomes 1.455, 3784657.92 becomes
/// 3785000, and the largest subnet keeps a limit of 100 %.
fn in_four_digits(value: f64) -> f64 {
    let nearest: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    if nearest >= value || !value.is_finite() || value <= 0.0 {
        return nearest;
    }
    let unit = 10_f64.powf(value.log10().floor() - 3.0);
    format!("{:.3e}", nearest + unit).parse().unwrap_or(value)
}

/// Quantiles of the latency of random subnets, rounded to three digits.
fn spread(n: usize, space: &dyn SearchSpace, device: &dyn HardwareBackend, seed: u64) -> Result<Vec<f64>, Failure> {
    const SAMPLES: usize = 300;
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
    Ok((0..n).map(|i| quantile(0.05 + 0.55 * i as f64 / (n.max(2) - 1) as f64)).collect())
}
