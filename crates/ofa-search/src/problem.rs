//! A search problem: counts evaluations, remembers them, keeps the best.

use crate::error::SearchError;
use crate::evaluator::Evaluator;
use crate::memory::Memory;
use crate::pareto::Front;
use ofa_space::{Arch, Objective, SearchSpace};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A quantity that must not exceed a limit.
#[derive(Clone)]
pub struct Constraint {
    /// The quantity.
    pub objective: Arc<dyn Objective>,
    /// Its largest allowed value; infinity asks for the value without limiting it.
    pub limit: f64,
}

/// An evaluated arch.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// The arch.
    pub arch: Arch,
    /// The maximised objective.
    pub accuracy: f64,
    /// One value per constraint.
    pub values: Vec<f64>,
}

impl Candidate {
    /// How far the candidate is beyond the limits, as the largest relative excess; 0 if feasible.
    pub fn violation(&self, constraints: &[Constraint]) -> f64 {
        let excess = self.values.iter().zip(constraints).map(|(value, constraint)| {
            if *value <= constraint.limit {
                0.0
            } else {
                (value - constraint.limit) / constraint.limit.abs().max(f64::MIN_POSITIVE)
            }
        });
        excess.fold(0.0, f64::max)
    }

    /// Whether the candidate meets every limit.
    pub fn is_feasible(&self, constraints: &[Constraint]) -> bool {
        self.values.iter().zip(constraints).all(|(value, constraint)| *value <= constraint.limit)
    }
}

/// Watches a search; a strategy never touches I/O itself.
pub trait Observer {
    /// After every batch of evaluations: how many so far, and the best feasible candidate.
    fn on_progress(&mut self, _evaluations: usize, _best: Option<&Candidate>) {}
    /// When a better feasible candidate is found.
    fn on_improvement(&mut self, _best: &Candidate) {}
}

/// An observer that stays silent.
pub struct Silent;

impl Observer for Silent {}

/// When a case ends at the latest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Allowance {
    /// Evaluations of distinct archs.
    pub evaluations: usize,
    /// The moment after which nothing more is evaluated. What a search then returns depends on the machine's speed.
    pub deadline: Option<Instant>,
}

/// What one case leaves to the next.
#[derive(Clone, Debug, Default)]
pub struct Legacy {
    /// Values of every arch known.
    pub memory: Memory,
    /// Good archs of several kinds, to start from.
    pub elites: Vec<Arch>,
}

/// What a strategy works on.
pub struct Problem<'a> {
    space: &'a dyn SearchSpace,
    accuracy: &'a dyn Objective,
    constraints: &'a [Constraint],
    allowance: Allowance,
    evaluations: usize,
    legacy: Legacy,
    front: Front,
    best: Option<Candidate>,
    closest: Option<Candidate>,
    proven: bool,
    observer: &'a mut dyn Observer,
    stop: &'a AtomicBool,
}

impl<'a> Problem<'a> {
    /// A problem with an allowance; `legacy` may hold what earlier cases learnt.
    ///
    /// # Errors
    /// [`SearchError::Limit`] if a limit is NaN.
    pub fn new(
        space: &'a dyn SearchSpace,
        accuracy: &'a dyn Objective,
        constraints: &'a [Constraint],
        allowance: Allowance,
        legacy: Legacy,
        observer: &'a mut dyn Observer,
        stop: &'a AtomicBool,
    ) -> Result<Self, SearchError> {
        if let Some(bad) = constraints.iter().find(|c| c.limit.is_nan()) {
            return Err(SearchError::Limit { objective: bad.objective.name().to_owned(), limit: bad.limit });
        }
        let front = Front::default();
        let (evaluations, best, closest) = (0, None, None);
        Ok(Self {
            space,
            accuracy,
            constraints,
            allowance,
            evaluations,
            legacy,
            front,
            best,
            closest,
            proven: false,
            observer,
            stop,
        })
    }

    /// The space searched.
    pub fn space(&self) -> &'a dyn SearchSpace {
        self.space
    }

    /// The constraints.
    pub fn constraints(&self) -> &'a [Constraint] {
        self.constraints
    }

    /// Evaluations still allowed; 0 once time is up or the user asked to stop.
    pub fn remaining(&self) -> usize {
        match self.evaluator().is_over() {
            true => 0,
            false => self.allowance.evaluations.saturating_sub(self.evaluations),
        }
    }

    /// Whether the search is to use a time rather than a number of evaluations.
    pub fn is_timed(&self) -> bool {
        self.allowance.deadline.is_some()
    }

    /// Evaluations done, repeats of a known arch not counted.
    pub fn evaluations(&self) -> usize {
        self.evaluations
    }

    /// The best feasible candidate so far.
    pub fn best(&self) -> Option<&Candidate> {
        self.best.as_ref()
    }

    /// Good archs that earlier cases of a grid left; they need not be feasible here.
    pub fn elites(&self) -> &[Arch] {
        &self.legacy.elites
    }

    /// Leaves good archs to later cases of a grid.
    pub fn leave(&mut self, archs: impl IntoIterator<Item = Arch>) {
        self.legacy.elites.extend(archs);
    }

    /// States that nothing feasible is better than the present best.
    pub fn prove(&mut self) {
        self.proven = true;
    }

    /// Evaluates without counting or remembering, from any thread; report with [`record`](Self::record).
    pub fn evaluator(&self) -> Evaluator<'a> {
        Evaluator {
            space: self.space,
            accuracy: self.accuracy,
            constraints: self.constraints,
            deadline: self.allowance.deadline,
            stop: self.stop,
        }
    }

    /// Counts evaluations that were done through an [`evaluator`](Self::evaluator), and considers what they found: at
    /// least every candidate that was better than all before it.
    pub fn record(&mut self, evaluations: usize, candidates: impl IntoIterator<Item = Candidate>) {
        self.evaluations += evaluations;
        for candidate in candidates {
            self.consider(&candidate);
        }
        self.observer.on_progress(self.evaluations, self.best.as_ref());
    }

    /// Evaluates archs in order, a known arch free of charge; stops where the budget ends, so the result may be
    /// shorter than `archs`.
    ///
    /// # Errors
    /// [`SearchError::Objective`] or [`SearchError::NotFinite`].
    pub fn evaluate(&mut self, archs: &[Arch]) -> Result<Vec<Candidate>, SearchError> {
        let mut fresh: Vec<Arch> = Vec::new();
        let mut queued: HashSet<&Arch> = HashSet::new();
        let mut affordable = archs.len();
        let remaining = self.remaining();
        for (index, arch) in archs.iter().enumerate() {
            if self.legacy.memory.get(arch).is_some() || queued.contains(arch) {
                continue;
            }
            if fresh.len() == remaining {
                affordable = index;
                break;
            }
            queued.insert(arch);
            fresh.push(arch.clone());
        }
        self.compute(&fresh)?;
        let mut candidates = Vec::with_capacity(affordable);
        for arch in &archs[..affordable] {
            // `compute` has made every affordable arch known.
            let Some([accuracy, values @ ..]) = self.legacy.memory.get(arch) else { continue };
            let candidate = Candidate { arch: arch.clone(), accuracy: *accuracy, values: values.to_vec() };
            self.consider(&candidate);
            candidates.push(candidate);
        }
        self.observer.on_progress(self.evaluations, self.best.as_ref());
        Ok(candidates)
    }

    fn compute(&mut self, archs: &[Arch]) -> Result<(), SearchError> {
        if archs.is_empty() {
            return Ok(());
        }
        let evaluator = self.evaluator();
        let mut columns = vec![evaluator.checked(self.accuracy, archs)?];
        for constraint in self.constraints {
            columns.push(evaluator.checked(constraint.objective.as_ref(), archs)?);
        }
        self.evaluations += archs.len();
        let mut values = Vec::with_capacity(columns.len());
        for (row, arch) in archs.iter().enumerate() {
            values.clear();
            values.extend(columns.iter().map(|column| column[row]));
            self.legacy.memory.insert(arch, &values);
        }
        Ok(())
    }

    /// Keeps the candidate if it is the best feasible or the closest infeasible one; of equals, the first stays.
    fn consider(&mut self, candidate: &Candidate) {
        self.front.insert(candidate);
        if candidate.is_feasible(self.constraints) {
            if self.best.as_ref().is_none_or(|best| candidate.accuracy > best.accuracy) {
                self.best = Some(candidate.clone());
                self.observer.on_improvement(candidate);
            }
        } else {
            let violation = candidate.violation(self.constraints);
            if self.closest.as_ref().is_none_or(|closest| violation < closest.violation(self.constraints)) {
                self.closest = Some(candidate.clone());
            }
        }
    }

    /// What the search leaves.
    pub fn finish(self) -> Finished {
        Finished {
            best: self.best,
            closest: self.closest,
            proven: self.proven,
            front: self.front.into_members(),
            evaluations: self.evaluations,
            legacy: self.legacy,
        }
    }
}

/// What a finished problem leaves.
pub struct Finished {
    /// Best feasible candidate.
    pub best: Option<Candidate>,
    /// Infeasible candidate nearest to the limits.
    pub closest: Option<Candidate>,
    /// Whether the best is proven to be the optimum.
    pub proven: bool,
    /// Pareto front of everything considered in this case.
    pub front: Vec<Candidate>,
    /// Evaluations done.
    pub evaluations: usize,
    /// What the next case may use.
    pub legacy: Legacy,
}
