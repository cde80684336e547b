//! Candidates of each limit, measured: where the predictor cannot tell subnets apart, some of them are scored on validation
//! images before one is chosen.

use crate::failure::Failure;
use crate::pipeline::Progress;
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::processes::ranks;
use crate::pipeline::steps::{Subject, collect};
use ofa_predictors::FittedPredictor;
use ofa_search::{Alternatives, Candidate, Constraint, LimitList, Outcome};
use ofa_space::{Arch, Objective, SearchSpace};
use ofa_train::evaluation::Evaluator;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// How far a predictor of unknown error may be wrong.
const UNKNOWN_ERROR: f64 = 0.02;

/// How to choose among candidates that are predicted alike.
pub(crate) struct Choice<'a> {
    pub subject: &'a Subject<'a>,
    pub config: &'a PipelineConfig,
    pub predictor: &'a FittedPredictor,
    /// The space that was searched.
    pub space: &'a dyn SearchSpace,
    /// What it was searched with.
    pub accuracy: &'a dyn Objective,
    pub stop: &'a AtomicBool,
}

impl Choice<'_> {
    /// Measures candidates for every limit of a device and puts the best measured one in the place of the best predicted.
    /// Returns its accuracy on validation images, not fine-tuned, for every outcome; nothing where there was no choice. The
    /// candidates are shared evenly between the limits.
    pub fn make(
        &self,
        outcomes: &mut [Outcome],
        lists: &[LimitList],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Option<f64>>, Failure> {
        let Subject { dataset, device, model, .. } = *self.subject;
        let count = self.config.search.candidates / outcomes.len().max(1);
        if count < 2 {
            return Ok(vec![None; outcomes.len()]);
        }
        let candidates: Vec<Vec<Candidate>> =
            outcomes.iter().map(|outcome| self.candidates(outcome, lists, count)).collect::<Result<_, _>>()?;
        let mut archs: Vec<Arch> = candidates.iter().flatten().map(|candidate| candidate.arch.clone()).collect();
        // Images are read once a size.
        archs.sort_by(|a, b| a.resolution().cmp(&b.resolution()).then_with(|| a.cmp(b)));
        archs.dedup();
        let mut measured: BTreeMap<Arch, f64> = BTreeMap::new();
        let mut evaluator = Evaluator::new(model, dataset, device, &collect::evaluation(self.config))?;
        progress.begin("measure candidates", archs.len());
        let kept = ranks::measure(self.subject, &mut evaluator, &archs, self.stop, |arch, top1| {
            measured.insert(arch.clone(), top1);
            progress.advance(measured.len(), &format!("{:.2} %", 100.0 * top1));
            Ok(())
        });
        progress.end();
        kept?;
        if self.stop.load(Ordering::Relaxed) {
            return Ok(vec![None; outcomes.len()]);
        }
        let mut accuracies = Vec::with_capacity(outcomes.len());
        for (outcome, candidates) in outcomes.iter_mut().zip(candidates) {
            let accuracy = |candidate: &Candidate| measured.get(&candidate.arch).copied().unwrap_or(0.0);
            // Of equal ones, the one that was predicted best comes first.
            let chosen = candidates.into_iter().reduce(|best, other| match accuracy(&other) > accuracy(&best) {
                true => other,
                false => best,
            });
            accuracies.push(chosen.as_ref().map(accuracy));
            outcome.best = chosen.or(outcome.best.take());
        }
        Ok(accuracies)
    }

    /// Subnets for the limits of an outcome that are predicted as good as its best.
    fn candidates(&self, outcome: &Outcome, lists: &[LimitList], count: usize) -> Result<Vec<Candidate>, Failure> {
        let Some(best) = &outcome.best else { return Ok(Vec::new()) };
        let constraints: Vec<Constraint> = lists
            .iter()
            .zip(&outcome.limits)
            .map(|(list, limit)| Constraint { objective: list.objective.clone(), limit: *limit })
            .collect();
        let error = self.predictor.report.rmse;
        let tolerance = if error.is_finite() { error } else { UNKNOWN_ERROR };
        let alternatives = Alternatives { tolerance, count, seed: self.config.train.seed, ..Alternatives::default() };
        Ok(alternatives.of(self.space, self.accuracy, &constraints, best)?)
    }
}
