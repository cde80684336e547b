//! A search problem: counts evaluations, remembers them, keeps the best.

use crate::error::SearchError;
use crate::evaluator::Evaluator;
use crate::memory::Memory;
use crate::pareto::Front;
use ofa_space::{Arch, Objective, Population, SearchSpace};
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
        excess(&self.values, constraints)
    }

    /// Whether the candidate meets every limit.
    pub fn is_feasible(&self, constraints: &[Constraint]) -> bool {
        keeps(&self.values, constraints)
    }
}

/// Whether every value keeps its limit.
fn keeps(values: &[f64], constraints: &[Constraint]) -> bool {
    values.iter().zip(constraints).all(|(value, constraint)| *value <= constraint.limit)
}

/// The largest relative excess of the values over their limits.
fn excess(values: &[f64], constraints: &[Constraint]) -> f64 {
    let excess = values.iter().zip(constraints).map(|(value, constraint)| match *value <= constraint.limit {
        true => 0.0,
        false => (value - constraint.limit) / constraint.limit.abs().max(f64::MIN_POSITIVE),
    });
    excess.fold(0.0, f64::max)
}

/// An arch whose limited quantities are known, and nothing else yet.
#[derive(Clone, PartialEq, Debug)]
pub struct Priced {
    /// The arch.
    pub arch: Arch,
    /// One value per constraint.
    pub values: Vec<f64>,
}

/// Watches a search; a strategy never touches I/O itself.
pub trait Observer: Send {
    /// After every batch of evaluations: how many so far in all cases together, and the best feasible candidate of the
    /// case at work.
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
    pub elites: Vec<Elite>,
    /// Targets of the grid that this case belongs to. With several, every case gets a small budget, and most of what it
    /// needs is known from the others.
    pub targets: usize,
}

/// A good arch of some case.
#[derive(Clone, PartialEq, Debug)]
pub struct Elite {
    /// The arch.
    pub arch: Arch,
    /// The maximised objective.
    pub accuracy: f64,
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
    /// The refused arch nearest to the limits, with its excess, while nothing feasible is known.
    nearest: Option<(f64, Priced)>,
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
            nearest: None,
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
    pub fn elites(&self) -> &[Elite] {
        &self.legacy.elites
    }

    /// Targets (devices, say) of the grid that this case belongs to.
    pub fn targets(&self) -> usize {
        self.legacy.targets
    }

    /// Leaves good archs to later cases of a grid.
    pub fn leave(&mut self, elites: impl IntoIterator<Item = Elite>) {
        self.legacy.elites.extend(elites);
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

    /// Those of the archs that keep every limit, in order. Nothing is predicted and nothing counts as an evaluation,
    /// so a strategy that rejects what is infeasible rejects it cheaply; evaluate the rest with
    /// [`evaluate_priced`](Self::evaluate_priced).
    ///
    /// # Errors
    /// [`SearchError::Objective`] or [`SearchError::NotFinite`].
    pub fn feasible(&mut self, archs: Vec<Arch>) -> Result<Vec<Priced>, SearchError> {
        let stride = self.constraints.len();
        let mut unknown = Population::new(self.space.info().genes.len());
        archs.iter().filter(|arch| self.legacy.memory.get(arch).is_none()).for_each(|arch| unknown.push(arch));
        let (evaluator, mut column, mut prices) = (self.evaluator(), Vec::new(), vec![0.0; unknown.len() * stride]);
        for index in 0..stride {
            evaluator.quantity(index, &unknown, &mut column)?;
            column.iter().enumerate().for_each(|(row, value)| prices[row * stride + index] = *value);
        }
        let mut row = 0;
        let mut kept = Vec::with_capacity(archs.len());
        for arch in archs {
            let values = match self.legacy.memory.get(&arch) {
                Some(known) => known[1..].to_vec(),
                None => {
                    row += 1;
                    prices[(row - 1) * stride..row * stride].to_vec()
                }
            };
            let priced = Priced { arch, values };
            let excess = excess(&priced.values, self.constraints);
            if excess == 0.0 {
                kept.push(priced);
            } else if self.best.is_none() && self.nearest.as_ref().is_none_or(|(known, _)| excess < *known) {
                self.nearest = Some((excess, priced));
            }
        }
        Ok(kept)
    }

    /// Evaluates archs whose quantities are known, as [`evaluate`](Self::evaluate) does.
    ///
    /// # Errors
    /// [`SearchError::Objective`] or [`SearchError::NotFinite`].
    pub fn evaluate_priced(&mut self, priced: Vec<Priced>) -> Result<Vec<Candidate>, SearchError> {
        let (archs, values): (Vec<Arch>, Vec<Vec<f64>>) = priced.into_iter().map(|one| (one.arch, one.values)).unzip();
        let (fresh, affordable) = self.unknown(&archs);
        let prices: Vec<f64> = fresh.iter().flat_map(|place| values[*place].iter().copied()).collect();
        let chosen: Vec<Arch> = fresh.iter().map(|place| archs[*place].clone()).collect();
        self.compute(&chosen, &prices)?;
        Ok(self.recall(&archs[..affordable]))
    }

    /// Evaluates archs in order, a known arch free of charge; stops where the budget ends, so the result may be
    /// shorter than `archs`.
    ///
    /// # Errors
    /// [`SearchError::Objective`] or [`SearchError::NotFinite`].
    pub fn evaluate(&mut self, archs: &[Arch]) -> Result<Vec<Candidate>, SearchError> {
        let (fresh, affordable) = self.unknown(archs);
        let chosen: Vec<Arch> = fresh.iter().map(|place| archs[*place].clone()).collect();
        let prices = self.prices(&chosen)?;
        self.compute(&chosen, &prices)?;
        Ok(self.recall(&archs[..affordable]))
    }

    /// The constraints' quantities, arch after arch.
    fn prices(&self, archs: &[Arch]) -> Result<Vec<f64>, SearchError> {
        let evaluator = self.evaluator();
        let stride = self.constraints.len();
        let mut prices = vec![0.0; archs.len() * stride];
        for (index, constraint) in self.constraints.iter().enumerate() {
            let column = evaluator.checked(constraint.objective.as_ref(), archs)?;
            for (row, value) in column.into_iter().enumerate() {
                prices[row * stride + index] = value;
            }
        }
        Ok(prices)
    }

    /// Places of the archs that are new, each arch once, as far as the budget reaches; and how many of `archs` it
    /// reaches.
    fn unknown(&self, archs: &[Arch]) -> (Vec<usize>, usize) {
        let remaining = self.remaining();
        let mut fresh = Vec::new();
        let mut queued: HashSet<&Arch> = HashSet::new();
        for (place, arch) in archs.iter().enumerate() {
            if self.legacy.memory.get(arch).is_some() || queued.contains(arch) {
                continue;
            }
            if fresh.len() == remaining {
                return (fresh, place);
            }
            queued.insert(arch);
            fresh.push(place);
        }
        (fresh, archs.len())
    }

    /// Predicts archs that are new, and remembers them with their prices.
    fn compute(&mut self, archs: &[Arch], prices: &[f64]) -> Result<(), SearchError> {
        if archs.is_empty() {
            return Ok(());
        }
        let accuracies = self.evaluator().checked(self.accuracy, archs)?;
        self.evaluations += archs.len();
        let stride = self.constraints.len();
        let mut values = Vec::with_capacity(1 + stride);
        for (row, (arch, accuracy)) in archs.iter().zip(accuracies).enumerate() {
            values.clear();
            values.push(accuracy);
            values.extend(&prices[row * stride..(row + 1) * stride]);
            self.legacy.memory.insert(arch, &values);
        }
        Ok(())
    }

    /// Known archs as candidates, each considered.
    fn recall(&mut self, archs: &[Arch]) -> Vec<Candidate> {
        let mut candidates = Vec::with_capacity(archs.len());
        for arch in archs {
            let Some([accuracy, values @ ..]) = self.legacy.memory.get(arch) else { continue };
            let candidate = Candidate { arch: arch.clone(), accuracy: *accuracy, values: values.to_vec() };
            self.consider(&candidate);
            candidates.push(candidate);
        }
        self.observer.on_progress(self.evaluations, self.best.as_ref());
        candidates
    }

    /// Evaluates the nearest arch that [`feasible`](Self::feasible) refused, if nothing feasible was found: a search
    /// that ends without a result can then name it.
    ///
    /// # Errors
    /// [`SearchError::Objective`] or [`SearchError::NotFinite`].
    pub fn look_at_nearest(&mut self) -> Result<(), SearchError> {
        match self.nearest.take() {
            Some((_, priced)) if self.best.is_none() && self.remaining() > 0 => {
                self.evaluate_priced(vec![priced])?;
            }
            _ => {}
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
