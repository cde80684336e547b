//! A search problem: counts evaluations, remembers them, keeps the best.

pub mod candidate;
pub mod evaluator;
pub mod legacy;
pub mod memory;
pub mod observer;

use crate::error::SearchError;
use crate::minimum::Minimum;
use crate::pareto::Front;
use crate::problem::candidate::{Candidate, Constraint, Priced, excess};
use crate::problem::evaluator::Evaluator;
use crate::problem::legacy::{Allowance, Elite, Legacy};
use crate::problem::observer::Observer;
use ofa_space::{Arch, Genes, Objective, Population};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// The flag of searches that nothing stops.
pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);

/// What a strategy works on.
pub struct Problem<'a> {
    genes: &'a dyn Genes,
    score: &'a dyn Objective,
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
    observer: Option<&'a mut dyn Observer>,
    stop: &'a AtomicBool,
}

impl<'a> Problem<'a> {
    /// The problem of maximising `score` over archs of these genes that keep the constraints. It has no end, no past and
    /// no observer until one is given.
    ///
    /// # Errors
    /// [`SearchError::Genes`] if the genes form no archs, [`SearchError::Limit`] if a limit is NaN.
    pub fn new(
        genes: &'a dyn Genes,
        score: &'a dyn Objective,
        constraints: &'a [Constraint],
    ) -> Result<Self, SearchError> {
        genes.check_genes()?;
        if let Some(bad) = constraints.iter().find(|c| c.limit.is_nan()) {
            return Err(SearchError::Limit { objective: bad.objective.name().to_owned(), limit: bad.limit });
        }
        Ok(Self {
            genes,
            score,
            constraints,
            allowance: Allowance::default(),
            evaluations: 0,
            legacy: Legacy::default(),
            front: Front::default(),
            best: None,
            closest: None,
            nearest: None,
            proven: false,
            observer: None,
            stop: &NEVER,
        })
    }

    /// The same problem, with an end.
    #[must_use]
    pub fn with_allowance(self, allowance: Allowance) -> Self {
        Self { allowance, ..self }
    }

    /// The same problem, with what earlier cases of a grid left.
    #[must_use]
    pub fn with_legacy(self, legacy: Legacy) -> Self {
        Self { legacy, ..self }
    }

    /// The same problem, watched.
    #[must_use]
    pub fn with_observer(self, observer: &'a mut dyn Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// The same problem, over as soon as `stop` is set from outside.
    #[must_use]
    pub fn with_stop(self, stop: &'a AtomicBool) -> Self {
        Self { stop, ..self }
    }

    /// The genes searched.
    pub fn genes(&self) -> &'a dyn Genes {
        self.genes
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

    /// Records a proof that nothing feasible is better than the present best.
    pub fn prove(&mut self) {
        self.proven = true;
    }

    /// Evaluates without counting or remembering, from any thread; report with [`record`](Self::record).
    pub fn evaluator(&self) -> Evaluator<'a> {
        Evaluator {
            genes: self.genes,
            score: self.score,
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
        self.report_progress();
    }

    /// Those of the archs that keep every limit, in order. Nothing is predicted and nothing counts as an evaluation,
    /// so a strategy that rejects what is infeasible rejects it cheaply; evaluate the rest with
    /// [`evaluate_priced`](Self::evaluate_priced).
    ///
    /// # Errors
    /// [`SearchError::Objective`] or [`SearchError::NotFinite`].
    pub fn feasible(&mut self, archs: Vec<Arch>) -> Result<Vec<Priced>, SearchError> {
        let stride = self.constraints.len();
        let mut unknown = Population::new(self.genes.genes().len());
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
        let scores = self.evaluator().checked(self.score, archs)?;
        self.evaluations += archs.len();
        let stride = self.constraints.len();
        let mut values = Vec::with_capacity(1 + stride);
        for (row, (arch, score)) in archs.iter().zip(scores).enumerate() {
            values.clear();
            values.push(score);
            values.extend(&prices[row * stride..(row + 1) * stride]);
            self.legacy.memory.insert(arch, &values);
        }
        Ok(())
    }

    /// Known archs as candidates, each considered.
    fn recall(&mut self, archs: &[Arch]) -> Vec<Candidate> {
        let mut candidates = Vec::with_capacity(archs.len());
        for arch in archs {
            let Some([score, values @ ..]) = self.legacy.memory.get(arch) else { continue };
            let candidate = Candidate { arch: arch.clone(), score: *score, values: values.to_vec() };
            self.consider(&candidate);
            candidates.push(candidate);
        }
        self.report_progress();
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

    /// If nothing feasible was found, evaluates the smallest arch, and the arch with the smallest value of each limited
    /// quantity, where that is known: a strategy that draws at random may have met none of them. They come on top of the
    /// budget.
    ///
    /// # Errors
    /// [`SearchError::Genes`] if the genes form no archs.
    pub fn look_at_smallest(&mut self) -> Result<(), SearchError> {
        if self.best.is_some() || self.allowance.evaluations == 0 || self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut archs = vec![self.genes.min_arch()];
        for constraint in self.constraints {
            // What a device or a predictor cannot value is no result: the search goes without it.
            let least = Minimum::of(constraint.objective.as_ref(), self.genes).unwrap_or_default();
            archs.extend(least.map(|least| least.arch));
        }
        for arch in archs {
            if self.legacy.memory.get(&arch).is_none() {
                let one = std::slice::from_ref(&arch);
                let Ok(prices) = self.prices(one) else { continue };
                if self.compute(one, &prices).is_err() {
                    continue;
                }
            }
            self.recall(&[arch]);
        }
        Ok(())
    }

    /// Keeps the candidate if it is the best feasible or the closest infeasible one; of equals, the first stays.
    fn consider(&mut self, candidate: &Candidate) {
        self.front.insert(candidate);
        if candidate.is_feasible(self.constraints) {
            if self.best.as_ref().is_none_or(|best| candidate.score > best.score) {
                self.best = Some(candidate.clone());
                if let Some(observer) = &mut self.observer {
                    observer.on_improvement(candidate);
                }
            }
        } else {
            let violation = candidate.violation(self.constraints);
            if self.closest.as_ref().is_none_or(|closest| violation < closest.violation(self.constraints)) {
                self.closest = Some(candidate.clone());
            }
        }
    }

    fn report_progress(&mut self) {
        if let Some(observer) = &mut self.observer {
            observer.on_progress(self.evaluations, self.best.as_ref());
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

/// The resolutions to search, or none where nothing has a resolution.
pub(crate) fn resolutions(genes: &dyn Genes) -> Vec<Option<u32>> {
    match genes.resolutions() {
        [] => vec![None],
        listed => listed.iter().copied().map(Some).collect(),
    }
}
