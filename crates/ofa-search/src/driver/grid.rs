//! Grids of limits: their cases, and what cases learn from each other.

use crate::driver::Outcome;
use crate::pareto;
use crate::problem::candidate::{Candidate, Constraint};
use crate::problem::observer::Observer;
use ofa_space::{Genes, Objective};
use std::sync::{Arc, Mutex, PoisonError};

/// A quantity with the limits to search under, one case each.
#[derive(Clone)]
pub struct LimitList {
    /// The quantity.
    pub objective: Arc<dyn Objective>,
    /// Its limits.
    pub limits: Vec<f64>,
}

/// Genes with the limits to search them under: a device, say.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The genes; targets may differ in resolutions, not in genes.
    pub genes: &'a dyn Genes,
    /// The limits, which cross to a grid.
    pub lists: &'a [LimitList],
}

/// Every combination of limits, the last list varying fastest.
pub(super) fn combinations(lists: &[LimitList]) -> Vec<Vec<Constraint>> {
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

/// What two turns of one case found.
pub(super) fn joined(one: Outcome, other: Outcome, constraints: &[Constraint]) -> Outcome {
    let score = |best: &Option<Candidate>| best.as_ref().map_or(f64::NEG_INFINITY, |best| best.score);
    let excess = |closest: &Option<Candidate>| closest.as_ref().map_or(f64::INFINITY, |c| c.violation(constraints));
    let evaluations = one.evaluations + other.evaluations;
    let front = pareto::front(&[one.front, other.front].concat());
    Outcome {
        limits: one.limits,
        best: if score(&other.best) > score(&one.best) { other.best } else { one.best },
        closest: if excess(&other.closest) < excess(&one.closest) { other.closest } else { one.closest },
        proven: one.proven || other.proven,
        front,
        evaluations,
    }
}

/// Takes over the best of another case if it is feasible here and better.
pub(super) fn adopt_better(outcome: &mut Outcome, others: &[Outcome], constraints: &[Constraint]) {
    for candidate in others.iter().filter_map(|other| other.best.as_ref()) {
        let better = outcome.best.as_ref().is_none_or(|best| candidate.score > best.score);
        if better && candidate.is_feasible(constraints) {
            outcome.best = Some(candidate.clone());
        }
    }
}

/// Adds up what cases report, side by side or one after another, for the one observer.
pub(super) struct Tally<'a> {
    inner: Mutex<(&'a mut dyn Observer, Vec<usize>)>,
}

/// The observer of one turn of one case.
pub(super) struct CaseObserver<'t, 'a> {
    tally: &'t Tally<'a>,
    case: usize,
    /// Evaluations of the case's turns before this one.
    before: usize,
}

impl<'a> Tally<'a> {
    pub(super) fn new(observer: &'a mut dyn Observer, cases: usize) -> Self {
        Self { inner: Mutex::new((observer, vec![0; cases])) }
    }

    /// The observer of a case of which `before` evaluations are done.
    pub(super) fn case(&self, case: usize, before: usize) -> CaseObserver<'_, 'a> {
        CaseObserver { tally: self, case, before }
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
