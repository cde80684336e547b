//! A quantity as a sum or a maximum over blocks.

use crate::genotype::gene::Gene;
use crate::objectives::block_plan::{BlockMaximum, BlockSum, Combination};
use crate::objectives::minimum::{TooWide, minimum};
use std::sync::Arc;

/// A quantity of an arch over its blocks, at one resolution.
#[derive(Clone, PartialEq, Debug)]
pub enum OverBlocks {
    /// The sum of its blocks' values: MACs, parameters, flash, latency by table.
    Sum(Arc<BlockSum>),
    /// The largest of its blocks' values: memory of activations.
    Maximum(Arc<BlockMaximum>),
}

impl OverBlocks {
    /// The value for these choices (in canonical form); NaN where the source has no value for a block.
    pub fn value(&self, choices: &[u8]) -> f64 {
        match self {
            Self::Sum(sum) => sum.value(choices),
            Self::Maximum(maximum) => maximum.value(choices),
        }
    }

    /// Choices of the arch with the smallest value, exactly; `None` if no arch has a value, because each has a block that
    /// the source lacks.
    ///
    /// # Errors
    /// [`TooWide`] if too many genes depend on each other.
    pub fn minimum(&self, genes: &[Gene]) -> Result<Option<Vec<u8>>, TooWide> {
        match self {
            Self::Sum(sum) => minimum(sum, Combination::Sum, genes),
            Self::Maximum(maximum) => minimum(maximum.table(), Combination::Maximum, genes),
        }
    }
}
