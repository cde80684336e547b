//! The one driver of every strategy: seed, budget, grids of limits.

use crate::error::SearchError;
use crate::problem::{Allowance, Candidate, Constraint, Legacy, Observer, Problem, Silent};
use crate::strategy::Strategy;
use ofa_space::{Objective, SearchSpace};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// When a search stops at the latest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Budget {
    /// Evaluations of distinct archs, per case.
    pub evaluations: usize,
    /// Wall time per case, in seconds. With it, results depend on the machine's speed.
    pub seconds: Option<f64>,
}

impl Budget {
    /// A number of evaluations.
    pub fn evaluations(evaluations: usize) -> Self {
        Self { evaluations, seconds: None }
    }

    /// A wall time, whatever the number of evaluations.
    pub fn seconds(seconds: f64) -> Self {
        Self { evaluations: usize::MAX, seconds: Some(seconds) }
    }

    fn allowance(&self) -> Allowance {
        // A time beyond all clocks is none.
        let span = self.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let deadline = span.and_then(|span| Instant::now().checked_add(span));
        Allowance { evaluations: self.evaluations, deadline }
    }
}

/// A strategy, a budget and a seed: everything that a result depends on besides the problem.
#[derive(Debug)]
pub struct Search {
    /// How to search.
    pub strategy: Box<dyn Strategy>,
    /// When to stop.
    pub budget: Budget,
    /// Seed of every random choice.
    pub seed: u64,
}

/// What a search found.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The limits it was found under, in the order of the constraints.
    pub limits: Vec<f64>,
    /// Best feasible candidate.
    pub best: Option<Candidate>,
    /// Infeasible candidate nearest to the limits.
    pub closest: Option<Candidate>,
    /// Whether the best is proven to be the optimum.
    pub proven: bool,
    /// Pareto front of everything evaluated in this case.
    pub front: Vec<Candidate>,
    /// Evaluations done in this case.
    pub evaluations: usize,
}

/// A quantity with the limits to search under, one case each.
#[derive(Clone)]
pub struct LimitList {
    /// The quantity.
    pub objective: Arc<dyn Objective>,
    /// Its limits.
    pub limits: Vec<f64>,
}

impl Search {
    /// Searches one case.
    ///
    /// # Errors
    /// [`SearchError`] of an objective or a hyper-parameter.
    pub fn run(
        &self,
        space: &dyn SearchSpace,
        accuracy: &dyn Objective,
        constraints: &[Constraint],
    ) -> Result<Outcome, SearchError> {
        let never = AtomicBool::new(false);
        let (outcome, _) = self.run_case(space, accuracy, constraints, Legacy::default(), &mut Silent, &never)?;
        Ok(outcome)
    }

    /// Searches every combination of the limits, the last list varying fastest. Evaluations are shared: what one case
    /// has computed costs the next nothing, and a net found for a tighter limit is never lost to a looser one.
    ///
    /// # Errors
    /// [`SearchError`] of an objective or a hyper-parameter.
    pub fn run_grid(
        &self,
        space: &dyn SearchSpace,
        accuracy: &dyn Objective,
        lists: &[LimitList],
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Vec<Outcome>, SearchError> {
        let mut legacy = Legacy::default();
        let mut outcomes: Vec<Outcome> = Vec::new();
        for limits in combinations(lists) {
            let constraints: Vec<Constraint> = lists
                .iter()
                .zip(&limits)
                .map(|(list, limit)| Constraint { objective: list.objective.clone(), limit: *limit })
                .collect();
            let (mut outcome, left) = self.run_case(space, accuracy, &constraints, legacy, observer, stop)?;
            legacy = left;
            adopt_better(&mut outcome, &outcomes, &constraints);
            outcomes.push(outcome);
        }
        // Looser cases may have come first.
        for index in 0..outcomes.len() {
            let constraints: Vec<Constraint> = lists
                .iter()
                .zip(&outcomes[index].limits)
                .map(|(list, limit)| Constraint { objective: list.objective.clone(), limit: *limit })
                .collect();
            let mut outcome = outcomes[index].clone();
            adopt_better(&mut outcome, &outcomes, &constraints);
            outcomes[index] = outcome;
        }
        Ok(outcomes)
    }

    fn run_case(
        &self,
        space: &dyn SearchSpace,
        accuracy: &dyn Objective,
        constraints: &[Constraint],
        legacy: Legacy,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<(Outcome, Legacy), SearchError> {
        let allowance = self.budget.allowance();
        let mut problem = Problem::new(space, accuracy, constraints, allowance, legacy, observer, stop)?;
        // A second case that finds everything in memory must not run for ever; strategies end by their own counts.
        self.strategy.search(&mut problem, &mut ChaCha8Rng::seed_from_u64(self.seed))?;
        let finished = problem.finish();
        let outcome = Outcome {
            limits: constraints.iter().map(|c| c.limit).collect(),
            best: finished.best,
            closest: finished.closest,
            proven: finished.proven,
            front: finished.front,
            evaluations: finished.evaluations,
        };
        Ok((outcome, finished.legacy))
    }
}

/// Takes over the best of another case if it is feasible here and better.
fn adopt_better(outcome: &mut Outcome, others: &[Outcome], constraints: &[Constraint]) {
    for candidate in others.iter().filter_map(|other| other.best.as_ref()) {
        let better = outcome.best.as_ref().is_none_or(|best| candidate.accuracy > best.accuracy);
        if better && candidate.is_feasible(constraints) {
            outcome.best = Some(candidate.clone());
        }
    }
}

/// Every combination of limits, the last list varying fastest.
fn combinations(lists: &[LimitList]) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = vec![Vec::new()];
    for list in lists {
        all = all
            .into_iter()
            .flat_map(|head| {
                list.limits.iter().map(move |limit| {
                    let mut limits = head.clone();
                    limits.push(*limit);
                    limits
                })
            })
            .collect();
    }
    all
}
