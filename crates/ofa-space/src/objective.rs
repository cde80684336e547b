//! What a search optimises: a number for each arch.

use crate::Arch;

/// An error of whatever computes an objective.
pub type ObjectiveError = Box<dyn std::error::Error + Send + Sync>;

/// A quantity of an arch: predicted accuracy, latency on a device, MACs, …
///
/// Predictors, hardware backends and exact costs implement it, which is how a search needs to know none of them.
pub trait Objective: Send + Sync {
    /// Short name with its unit, such as `accuracy`, `latency_ms`, `macs`.
    fn name(&self) -> &str;

    /// One value per arch, in order.
    ///
    /// # Errors
    /// Whatever the evaluator could not compute, such as a block that a lookup table lacks.
    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError>;
}

/// An objective made of a plain function over one arch.
pub struct FnObjective<F> {
    name: String,
    function: F,
}

impl<F> FnObjective<F>
where
    F: Fn(&Arch) -> Result<f64, ObjectiveError> + Send + Sync,
{
    /// Wraps `function` under a name.
    pub fn new(name: impl Into<String>, function: F) -> Self {
        Self { name: name.into(), function }
    }
}

impl<F> Objective for FnObjective<F>
where
    F: Fn(&Arch) -> Result<f64, ObjectiveError> + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        archs.iter().map(&self.function).collect()
    }
}
