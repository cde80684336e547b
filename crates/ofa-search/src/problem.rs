//! A search problem: counts evaluations, remembers them, keeps the best.

use crate::error::SearchError;
use ofa_space::{Arch, Objective, SearchSpace};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Values of every arch evaluated so far, shared between the cases of a grid.
pub type Memory = HashMap<Arch, (f64, Vec<f64>)>;

/// What a strategy works on.
pub struct Problem<'a> {
    space: &'a dyn SearchSpace,
    accuracy: &'a dyn Objective,
    constraints: &'a [Constraint],
    budget: usize,
    evaluations: usize,
    memory: Memory,
    /// In the order of evaluation, for fronts.
    visited: Vec<Arch>,
    best: Option<Candidate>,
    closest: Option<Candidate>,
    observer: &'a mut dyn Observer,
    stop: &'a AtomicBool,
}

impl<'a> Problem<'a> {
    /// A problem with a budget of evaluations; `memory` may hold evaluations of earlier cases.
    ///
    /// # Errors
    /// [`SearchError::Limit`] if a limit is NaN.
    pub fn new(
        space: &'a dyn SearchSpace,
        accuracy: &'a dyn Objective,
        constraints: &'a [Constraint],
        budget: usize,
        memory: Memory,
        observer: &'a mut dyn Observer,
        stop: &'a AtomicBool,
    ) -> Result<Self, SearchError> {
        if let Some(bad) = constraints.iter().find(|c| c.limit.is_nan()) {
            return Err(SearchError::Limit { objective: bad.objective.name().to_owned(), limit: bad.limit });
        }
        Ok(Self {
            space,
            accuracy,
            constraints,
            budget,
            evaluations: 0,
            memory,
            visited: Vec::new(),
            best: None,
            closest: None,
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

    /// Evaluations still allowed; 0 once the user asked to stop.
    pub fn remaining(&self) -> usize {
        if self.stop.load(Ordering::Relaxed) { 0 } else { self.budget.saturating_sub(self.evaluations) }
    }

    /// Evaluations done, repeats of a known arch not counted.
    pub fn evaluations(&self) -> usize {
        self.evaluations
    }

    /// The best feasible candidate so far.
    pub fn best(&self) -> Option<&Candidate> {
        self.best.as_ref()
    }

    /// Evaluates archs in order, a known arch free of charge; stops where the budget ends, so the result may be
    /// shorter than `archs`.
    ///
    /// # Errors
    /// [`SearchError::Objective`] or [`SearchError::NotFinite`].
    pub fn evaluate(&mut self, archs: &[Arch]) -> Result<Vec<Candidate>, SearchError> {
        let mut fresh: Vec<Arch> = Vec::new();
        let mut queued: HashMap<&Arch, ()> = HashMap::new();
        let mut affordable = archs.len();
        for (index, arch) in archs.iter().enumerate() {
            if self.memory.contains_key(arch) || queued.contains_key(arch) {
                continue;
            }
            if fresh.len() == self.remaining() {
                affordable = index;
                break;
            }
            queued.insert(arch, ());
            fresh.push(arch.clone());
        }
        self.compute(&fresh)?;
        let mut candidates = Vec::with_capacity(affordable);
        for arch in &archs[..affordable] {
            let (accuracy, values) = &self.memory[arch];
            let candidate = Candidate { arch: arch.clone(), accuracy: *accuracy, values: values.clone() };
            self.consider(&candidate);
            candidates.push(candidate);
        }
        self.visited.extend(fresh);
        self.observer.on_progress(self.evaluations, self.best.as_ref());
        Ok(candidates)
    }

    fn compute(&mut self, archs: &[Arch]) -> Result<(), SearchError> {
        if archs.is_empty() {
            return Ok(());
        }
        let accuracy = self.values_of(self.accuracy, archs)?;
        let mut values: Vec<Vec<f64>> = vec![Vec::with_capacity(self.constraints.len()); archs.len()];
        for constraint in self.constraints {
            for (row, value) in values.iter_mut().zip(self.values_of(constraint.objective.as_ref(), archs)?) {
                row.push(value);
            }
        }
        self.evaluations += archs.len();
        for ((arch, accuracy), values) in archs.iter().zip(accuracy).zip(values) {
            self.memory.insert(arch.clone(), (accuracy, values));
        }
        Ok(())
    }

    fn values_of(&self, objective: &dyn Objective, archs: &[Arch]) -> Result<Vec<f64>, SearchError> {
        let name = || objective.name().to_owned();
        let values =
            objective.evaluate(archs).map_err(|source| SearchError::Objective { objective: name(), source })?;
        if values.len() != archs.len() {
            let source = format!("returned {} values for {} archs", values.len(), archs.len()).into();
            return Err(SearchError::Objective { objective: name(), source });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(SearchError::NotFinite {
                objective: name(),
                value: values[at],
                arch: self.space.format(&archs[at]).to_string(),
            }),
            None => Ok(values),
        }
    }

    /// Keeps the candidate if it is the best feasible or the closest infeasible one; of equals, the first stays.
    fn consider(&mut self, candidate: &Candidate) {
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

    /// What the search leaves: best, closest, every candidate visited in this case, evaluations, and the memory.
    pub fn finish(self) -> Finished {
        let visited = self
            .visited
            .iter()
            .map(|arch| {
                let (accuracy, values) = &self.memory[arch];
                Candidate { arch: arch.clone(), accuracy: *accuracy, values: values.clone() }
            })
            .collect();
        Finished { best: self.best, closest: self.closest, visited, evaluations: self.evaluations, memory: self.memory }
    }
}

/// What a finished problem leaves.
pub struct Finished {
    /// Best feasible candidate.
    pub best: Option<Candidate>,
    /// Infeasible candidate nearest to the limits.
    pub closest: Option<Candidate>,
    /// Every candidate evaluated in this case, in order.
    pub visited: Vec<Candidate>,
    /// Evaluations done.
    pub evaluations: usize,
    /// Values of every arch known.
    pub memory: Memory,
}
