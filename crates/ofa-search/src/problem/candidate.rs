//! Constraints, and the archs that are measured against them.

use ofa_space::{Arch, Objective};
use std::sync::Arc;

/// A quantity that must not exceed a limit.
#[derive(Clone)]
pub struct Constraint {
    /// The quantity.
    pub objective: Arc<dyn Objective>,
    /// Its largest allowed value; infinity asks for the value without limiting it.
    pub limit: f64,
}

impl Constraint {
    /// At most `limit` of a quantity.
    pub fn at_most(objective: impl Objective + 'static, limit: f64) -> Self {
        Self { objective: Arc::new(objective), limit }
    }
}

/// An evaluated arch.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// The arch.
    pub arch: Arch,
    /// Value of the maximised objective.
    pub score: f64,
    /// Values of the limited quantities, one per constraint.
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
pub(super) fn excess(values: &[f64], constraints: &[Constraint]) -> f64 {
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
