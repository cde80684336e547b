//! The one driver of every strategy: seed, budget, grids of limits.

use crate::error::SearchError;
use crate::pareto;
use crate::problem::{Allowance, Candidate, Constraint, Legacy, Observer, Problem, Silent};
use crate::strategy::Strategy;
use ofa_space::{Objective, SearchSpace};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
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

    /// One of so many equal parts.
    fn part(&self, parts: usize) -> Self {
        Self { evaluations: self.evaluations / parts, seconds: self.seconds.map(|seconds| seconds / parts as f64) }
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

/// One space with the limits to search it under: a device, say.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The space; targets may differ in its resolutions, not in its genes.
    pub space: &'a dyn SearchSpace,
    /// The limits, which cross to a grid.
    pub lists: &'a [LimitList],
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
        let mut silent = Silent;
        let legacy = Legacy::default();
        let problem = Problem::new(space, accuracy, constraints, self.budget.allowance(), legacy, &mut silent, &never)?;
        let (outcome, _) = self.run_case(problem, ChaCha8Rng::seed_from_u64(self.seed))?;
        Ok(outcome)
    }

    /// Searches every combination of the limits, the last list varying fastest. Cases share what they find: good archs
    /// of one start the next, and a net found for a tighter limit is never lost to a looser one. A strategy that learns
    /// nothing from other cases runs them side by side.
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
        let mut outcomes = self.run_targets(accuracy, &[Target { space, lists }], observer, stop)?;
        Ok(outcomes.pop().unwrap_or_default())
    }

    /// Searches the grid of every target. `accuracy` must be able to value the archs of every target's space.
    ///
    /// # Errors
    /// [`SearchError`] of an objective or a hyper-parameter.
    pub fn run_targets(
        &self,
        accuracy: &dyn Objective,
        targets: &[Target<'_>],
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Vec<Vec<Outcome>>, SearchError> {
        let mut cases: Vec<(usize, Vec<Constraint>)> = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            cases.extend(combinations(target.lists).into_iter().map(|constraints| (index, constraints)));
        }
        let tally = Tally::new(observer, cases.len());
        let mut outcomes: Vec<Vec<Outcome>> = targets.iter().map(|_| Vec::new()).collect();
        // Cases side by side would share the time of a timed search between them in no fixed way.
        if self.strategy.learns_from_cases() || self.budget.seconds.is_some() {
            let new = || Legacy { targets: targets.len(), ..Legacy::default() };
            let mut legacies: Vec<Legacy> = targets.iter().map(|_| new()).collect();
            let mut elites = Vec::new();
            let turns = self.strategy.turns(targets.len()).max(1);
            let allowance = |budget: &Budget| budget.part(turns).allowance();
            let mut found: Vec<Option<Outcome>> = vec![None; cases.len()];
            for turn in 0..turns {
                for (case, (index, constraints)) in cases.iter().enumerate() {
                    let legacy = Legacy { elites, ..std::mem::replace(&mut legacies[*index], new()) };
                    let before = found[case].as_ref().map_or(0, |outcome| outcome.evaluations);
                    let mut observer = CaseObserver { tally: &tally, case, before };
                    let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                    rng.set_stream(turn as u64);
                    let space = targets[*index].space;
                    let problem = Problem::new(
                        space,
                        accuracy,
                        constraints,
                        allowance(&self.budget),
                        legacy,
                        &mut observer,
                        stop,
                    )?;
                    let (outcome, mut left) = self.run_case(problem, rng)?;
                    elites = std::mem::take(&mut left.elites);
                    legacies[*index] = left;
                    found[case] = Some(match found[case].take() {
                        Some(known) => joined(known, outcome, constraints),
                        None => outcome,
                    });
                }
            }
            for ((index, _), outcome) in cases.iter().zip(found) {
                outcomes[*index].extend(outcome);
            }
        } else {
            let alone = |(case, (index, constraints)): (usize, &(usize, Vec<Constraint>))| {
                let mut observer = CaseObserver { tally: &tally, case, before: 0 };
                let (space, allowance) = (targets[*index].space, self.budget.allowance());
                let legacy = Legacy::default();
                let problem = Problem::new(space, accuracy, constraints, allowance, legacy, &mut observer, stop)?;
                let (outcome, _) = self.run_case(problem, ChaCha8Rng::seed_from_u64(self.seed))?;
                Ok((*index, outcome))
            };
            let all: Result<Vec<_>, SearchError> = cases.par_iter().enumerate().map(alone).collect();
            all?.into_iter().for_each(|(index, outcome)| outcomes[index].push(outcome));
        }
        // Looser cases may have come first.
        let mut place = vec![0; targets.len()];
        for (index, constraints) in &cases {
            let mut outcome = outcomes[*index][place[*index]].clone();
            adopt_better(&mut outcome, &outcomes[*index], constraints);
            outcomes[*index][place[*index]] = outcome;
            place[*index] += 1;
        }
        Ok(outcomes)
    }

    fn run_case(&self, mut problem: Problem<'_>, mut rng: ChaCha8Rng) -> Result<(Outcome, Legacy), SearchError> {
        let limits = problem.constraints().iter().map(|c| c.limit).collect();
        // A second case that finds everything in memory must not run for ever; strategies end by their own counts.
        self.strategy.search(&mut problem, &mut rng)?;
        problem.look_at_nearest()?;
        let finished = problem.finish();
        let outcome = Outcome {
            limits,
            best: finished.best,
            closest: finished.closest,
            proven: finished.proven,
            front: finished.front,
            evaluations: finished.evaluations,
        };
        Ok((outcome, finished.legacy))
    }
}

/// What two turns of one case found.
fn joined(one: Outcome, other: Outcome, constraints: &[Constraint]) -> Outcome {
    let accuracy = |best: &Option<Candidate>| best.as_ref().map_or(f64::NEG_INFINITY, |best| best.accuracy);
    let excess = |closest: &Option<Candidate>| closest.as_ref().map_or(f64::INFINITY, |c| c.violation(constraints));
    let evaluations = one.evaluations + other.evaluations;
    let front = pareto::front(&[one.front, other.front].concat());
    Outcome {
        limits: one.limits,
        best: if accuracy(&other.best) > accuracy(&one.best) { other.best } else { one.best },
        closest: if excess(&other.closest) < excess(&one.closest) { other.closest } else { one.closest },
        proven: one.proven || other.proven,
        front,
        evaluations,
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
fn combinations(lists: &[LimitList]) -> Vec<Vec<Constraint>> {
    let mut all: Vec<Vec<Constraint>> = vec![Vec::new()];
    for list in lists {
        all = all
            .into_iter()
            .flat_map(|head| {
                list.limits.iter().map(move |limit| {
                    let mut constraints = head.clone();
                    constraints.push(Constraint { objective: list.objective.clone(), limit: *limit });
                    constraints
                })
            })
            .collect();
    }
    all
}

/// Adds up what cases report, side by side or one after another, for the one observer.
struct Tally<'a> {
    inner: Mutex<(&'a mut dyn Observer, Vec<usize>)>,
}

struct CaseObserver<'t, 'a> {
    tally: &'t Tally<'a>,
    case: usize,
    /// Evaluations of the case's turns before this one.
    before: usize,
}

impl<'a> Tally<'a> {
    fn new(observer: &'a mut dyn Observer, cases: usize) -> Self {
        Self { inner: Mutex::new((observer, vec![0; cases])) }
    }
}

impl Observer for CaseObserver<'_, '_> {
    fn on_progress(&mut self, evaluations: usize, best: Option<&Candidate>) {
        let mut inner = self.tally.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (observer, counts) = &mut *inner;
        counts[self.case] = self.before + evaluations;
        observer.on_progress(counts.iter().sum(), best);
    }

    fn on_improvement(&mut self, best: &Candidate) {
        let mut inner = self.tally.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0.on_improvement(best);
    }
}
