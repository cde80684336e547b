//! Evaluating from any thread, for strategies that count evaluations themselves.

use crate::error::SearchError;
use crate::problem::candidate::Constraint;
use ofa_space::{Arch, Genes, Objective, Population};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The objectives of a problem; evaluations are neither counted nor remembered.
#[derive(Clone, Copy)]
pub struct Evaluator<'a> {
    pub(crate) genes: &'a dyn Genes,
    pub(crate) score: &'a dyn Objective,
    pub(crate) constraints: &'a [Constraint],
    pub(crate) deadline: Option<Instant>,
    pub(crate) stop: &'a AtomicBool,
}

impl<'a> Evaluator<'a> {
    /// Whether time is up or the user asked to stop.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The genes searched.
    pub fn genes(&self) -> &'a dyn Genes {
        self.genes
    }

    /// The constraints.
    pub fn constraints(&self) -> &'a [Constraint] {
        self.constraints
    }

    /// The maximised objective of every row.
    ///
    /// # Errors
    /// [`SearchError::Objective`] or [`SearchError::NotFinite`].
    pub fn score(&self, rows: &Population, values: &mut Vec<f64>) -> Result<(), SearchError> {
        self.rows(self.score, rows, values)
    }

    /// The quantity of a constraint for every row.
    ///
    /// # Errors
    /// [`SearchError::Objective`] or [`SearchError::NotFinite`].
    pub fn quantity(&self, constraint: usize, rows: &Population, values: &mut Vec<f64>) -> Result<(), SearchError> {
        self.rows(self.constraints[constraint].objective.as_ref(), rows, values)
    }

    /// First-order effects on the maximised objective (see [`Objective::slopes`]); false if it has none.
    ///
    /// # Errors
    /// [`SearchError::Objective`].
    pub fn slopes(&self, rows: &Population, slopes: &mut Vec<f32>) -> Result<bool, SearchError> {
        let name = || self.score.name().to_owned();
        self.score.slopes(rows, slopes).map_err(|source| SearchError::Objective { objective: name(), source })
    }

    fn rows(&self, objective: &dyn Objective, rows: &Population, values: &mut Vec<f64>) -> Result<(), SearchError> {
        let name = || objective.name().to_owned();
        objective.evaluate_rows(rows, values).map_err(|source| SearchError::Objective { objective: name(), source })?;
        self.check(objective, values, rows.len(), |row| rows.arch(row))
    }

    /// Values of an objective, one finite number for each arch.
    pub(crate) fn checked(&self, objective: &dyn Objective, archs: &[Arch]) -> Result<Vec<f64>, SearchError> {
        let name = || objective.name().to_owned();
        let values =
            objective.evaluate(archs).map_err(|source| SearchError::Objective { objective: name(), source })?;
        self.check(objective, &values, archs.len(), |row| archs[row].clone())?;
        Ok(values)
    }

    fn check(
        &self,
        objective: &dyn Objective,
        values: &[f64],
        expected: usize,
        arch: impl Fn(usize) -> Arch,
    ) -> Result<(), SearchError> {
        let name = objective.name();
        if values.len() != expected {
            let source = format!("returned {} values for {expected} archs", values.len()).into();
            return Err(SearchError::Objective { objective: name.to_owned(), source });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(SearchError::NotFinite {
                objective: name.to_owned(),
                value: values[at],
                arch: self.genes.format(&arch(at)).to_string(),
            }),
            None => Ok(()),
        }
    }
}
