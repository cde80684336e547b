//! The driver of every strategy: seed, budget, grids of limits.

pub mod budget;
pub mod grid;
pub mod limit;

use crate::driver::budget::Budget;
use crate::driver::grid::{Tally, Target, adopt_better, combinations, joined};
use crate::error::SearchError;
use crate::problem::Problem;
use crate::problem::candidate::{Candidate, Constraint};
use crate::problem::legacy::Legacy;
use crate::problem::observer::Observer;
use crate::strategies::memetic::Memetic;
use crate::strategy::Strategy;
use ofa_space::{Genes, Objective};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::sync::atomic::AtomicBool;

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

impl Default for Search {
    /// Memetic search with its own budget, seed 0.
    fn default() -> Self {
        Self::new(Memetic::default())
    }
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

impl Search {
    /// A search by this strategy with the strategy's own budget, seed 0.
    pub fn new(strategy: impl Strategy + 'static) -> Self {
        let budget = Budget::evaluations(strategy.default_evaluations());
        Self { strategy: Box::new(strategy), budget, seed: 0 }
    }

    /// Maximises `score` over archs that keep the constraints.
    ///
    /// # Errors
    /// [`SearchError`] of the genes, an objective or a setting of the strategy.
    pub fn run(
        &self,
        genes: &dyn Genes,
        score: &dyn Objective,
        constraints: &[Constraint],
    ) -> Result<Outcome, SearchError> {
        self.solve(Problem::new(genes, score, constraints)?)
    }

    /// Solves one problem, which may have an observer and a flag to stop it:
    /// `search.solve(Problem::new(&genes, &score, &limits)?.with_observer(&mut bar).with_stop(&flag))`. Its allowance is
    /// that of this search's budget.
    ///
    /// # Errors
    /// [`SearchError`] of an objective or a setting of the strategy.
    pub fn solve(&self, problem: Problem<'_>) -> Result<Outcome, SearchError> {
        let problem = problem.with_allowance(self.budget.allowance());
        let (outcome, _) = self.run_case(problem, ChaCha8Rng::seed_from_u64(self.seed))?;
        Ok(outcome)
    }

    /// Searches every combination of the target's limits, the last list varying fastest. Cases share what they find: good
    /// archs of one start the next, and an arch found for a tighter limit is never lost to a looser one. A strategy that
    /// learns nothing from other cases runs them side by side.
    ///
    /// # Errors
    /// [`SearchError`] of the genes, an objective or a setting of the strategy.
    pub fn run_grid(
        &self,
        score: &dyn Objective,
        target: Target<'_>,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Vec<Outcome>, SearchError> {
        let mut outcomes = self.run_targets(score, &[target], observer, stop)?;
        Ok(outcomes.pop().unwrap_or_default())
    }

    /// Searches the grid of every target. `score` must be able to value the archs of every target.
    ///
    /// # Errors
    /// [`SearchError`] of the genes, an objective or a setting of the strategy.
    pub fn run_targets(
        &self,
        score: &dyn Objective,
        targets: &[Target<'_>],
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Vec<Vec<Outcome>>, SearchError> {
        self.run_targets_seeded(self.seed, score, targets, observer, stop)
    }

    /// [`run_targets`](Self::run_targets) with another seed.
    pub(crate) fn run_targets_seeded(
        &self,
        seed: u64,
        score: &dyn Objective,
        targets: &[Target<'_>],
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Vec<Vec<Outcome>>, SearchError> {
        let mut cases: Vec<(usize, Vec<Constraint>)> = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            cases.extend(combinations(target.lists).into_iter().map(|constraints| (index, constraints)));
        }
        let tally = Tally::new(observer, cases.len());
        let grid = Grid { search: self, seed, score, targets, cases: &cases, tally: &tally, stop };
        // Cases side by side would share the time of a timed search between them in no fixed way.
        let found = match self.strategy.learns_from_cases() || self.budget.seconds.is_some() {
            true => grid.one_after_another()?,
            false => grid.side_by_side()?,
        };
        let mut outcomes: Vec<Vec<Outcome>> = targets.iter().map(|_| Vec::new()).collect();
        for ((index, _), outcome) in cases.iter().zip(found) {
            outcomes[*index].push(outcome);
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
        self.strategy.check().map_err(|invalid| SearchError::setting(self.strategy.as_ref(), invalid))?;
        // A second case that finds everything in memory must not run for ever; strategies end by their own counts.
        self.strategy.search(&mut problem, &mut rng)?;
        problem.look_at_nearest()?;
        problem.look_at_smallest()?;
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

/// The cases of all targets, to be searched in one way or the other.
struct Grid<'g, 'o> {
    search: &'g Search,
    seed: u64,
    score: &'g dyn Objective,
    targets: &'g [Target<'g>],
    /// Index of the target, and the limits.
    cases: &'g [(usize, Vec<Constraint>)],
    tally: &'g Tally<'o>,
    stop: &'g AtomicBool,
}

impl Grid<'_, '_> {
    /// Every case learns from those before it, in as many turns as the strategy asks for.
    fn one_after_another(&self) -> Result<Vec<Outcome>, SearchError> {
        let Self { search, targets, .. } = *self;
        let new = || Legacy { targets: targets.len(), ..Legacy::default() };
        let mut legacies: Vec<Legacy> = targets.iter().map(|_| new()).collect();
        let mut elites = Vec::new();
        let turns = search.strategy.turns(targets.len()).max(1);
        let budget = search.budget.part(turns);
        let mut found: Vec<Option<Outcome>> = vec![None; self.cases.len()];
        for turn in 0..turns {
            for (case, (index, constraints)) in self.cases.iter().enumerate() {
                let legacy = Legacy { elites, ..std::mem::replace(&mut legacies[*index], new()) };
                let before = found[case].as_ref().map_or(0, |outcome| outcome.evaluations);
                let mut observer = self.tally.case(case, before);
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                rng.set_stream(turn as u64);
                let problem = Problem::new(targets[*index].genes, self.score, constraints)?
                    .with_allowance(budget.allowance())
                    .with_legacy(legacy)
                    .with_observer(&mut observer)
                    .with_stop(self.stop);
                let (outcome, mut left) = search.run_case(problem, rng)?;
                elites = std::mem::take(&mut left.elites);
                legacies[*index] = left;
                found[case] = Some(match found[case].take() {
                    Some(known) => joined(known, outcome, constraints),
                    None => outcome,
                });
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Every case as if it were alone.
    fn side_by_side(&self) -> Result<Vec<Outcome>, SearchError> {
        let alone = |(case, (index, constraints)): (usize, &(usize, Vec<Constraint>))| {
            let mut observer = self.tally.case(case, 0);
            let problem = Problem::new(self.targets[*index].genes, self.score, constraints)?
                .with_allowance(self.search.budget.allowance())
                .with_observer(&mut observer)
                .with_stop(self.stop);
            let (outcome, _) = self.search.run_case(problem, ChaCha8Rng::seed_from_u64(self.seed))?;
            Ok(outcome)
        };
        self.cases.par_iter().enumerate().map(alone).collect()
    }
}
