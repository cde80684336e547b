//! The searching step: the best network for every device and combination of limits, by the predictor, and by measured candidates
//! where the plan asks for them.

mod candidates;
mod found;
pub mod limits;

use crate::failure::Failure;
use crate::limits::{Bounds, Unfound};
use crate::pipeline::Progress;
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::folder::RunFolder;
use crate::pipeline::steps::{Subject, fit, profile, refine};
use crate::prediction::Shown;
use crate::report::Front;
use candidates::Choice;
use found::LATENCY;
pub use found::{Found, FoundCase};
use ofa_predictors::{FittedPredictor, PredictedObjective, Target};
use ofa_search::{Budget, Candidate, Observer, Search, pareto};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The predictor that networks are chosen by.
pub fn predictor_of(config: &PipelineConfig) -> &'static str {
    if config.search.refine.is_some() { refine::PREDICTOR } else { fit::PREDICTOR }
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
pub fn run(
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
        let backend = profile::device(wanted, folder)?;
        let lists = limits::of_device(wanted, space, backend.as_ref(), config.train.seed)?;
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
