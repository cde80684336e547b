//! What a search optimises: a number for each arch.

use crate::Arch;
use crate::genotype::population::Population;
use crate::objectives::block_plan::BlockSum;
use crate::objectives::over_blocks::OverBlocks;
use std::sync::Arc;

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

    /// The same for rows in flat arrays, into `values`, whose old content goes. Called from several threads at once.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    fn evaluate_rows(&self, rows: &Population, values: &mut Vec<f64>) -> Result<(), ObjectiveError> {
        *values = self.evaluate(&rows.archs())?;
        Ok(())
    }

    /// First-order effect of every choice of every gene: `slopes` holds, row after row, one number per choice of each
    /// gene in order, such that changing active genes changes the value by about the difference of their numbers (an
    /// inactive gene stands for 0). Returns false where the objective has no such thing.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    fn slopes(&self, _rows: &Population, _slopes: &mut Vec<f32>) -> Result<bool, ObjectiveError> {
        Ok(false)
    }

    /// The objective as a sum over blocks at this resolution, where it is one.
    fn block_sum(&self, _resolution: Option<u32>) -> Option<Arc<BlockSum>> {
        None
    }

    /// The objective as a sum or a maximum over blocks at this resolution, where it is one: its smallest value is then known
    /// exactly.
    fn over_blocks(&self, resolution: Option<u32>) -> Option<OverBlocks> {
        self.block_sum(resolution).map(OverBlocks::Sum)
    }
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
