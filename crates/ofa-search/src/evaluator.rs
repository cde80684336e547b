//! Evaluating from any thread: what strategies use that keep their own account.

use crate::error::SearchError;
use crate::problem::Constraint;
use ofa_space::{Arch, Objective, Population, SearchSpace};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The objectives of a problem, without its account: evaluations are neither counted nor remembered.
#[derive(Clone, Copy)]
pub struct Evaluator<'a> {
    pub(crate) space: &'a dyn SearchSpace,
    pub(crate) accuracy: &'a dyn Objective,
    pub(crate) constraints: &'a [Constraint],
    pub(crate) deadline: Option<Instant>,
    pub(crate) stop: &'a AtomicBool,
}

impl<'a> Evaluator<'a> {
    /// Whether time is up or the user asked to stop.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The space searched.
    pub fn space(&self) -> &'a dyn SearchSpace {
        self.space
    }

    /// The constraints.
    pub fn constraints(&self) -> &'a [Constraint] {
        self.constraints
    }

    /// The maximised objective of every row.
    ///
    /// # Errors
    /// [`SearchError::Objective`] or [`SearchError::NotFinite`].
    pub fn accuracy(&self, rows: &Population, values: &mut Vec<f64>) -> Result<(), SearchError> {
        self.rows(self.accuracy, rows, values)
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
        let name = || self.accuracy.name().to_owned();
        self.accuracy.slopes(rows, slopes).map_err(|source| SearchError::Objective { objective: name(), source })
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
                arch: self.space.format(&arch(at)).to_string(),
            }),
            None => Ok(()),
        }
    }
}
