//! The smallest value of a limited quantity, exactly, and the arch that has it.

use crate::error::SearchError;
use crate::problem;
use ofa_space::{Arch, Genes, Objective};

/// The smallest value of a quantity over all archs.
#[derive(Clone, PartialEq, Debug)]
pub struct Minimum {
    /// An arch that has it.
    pub arch: Arch,
    /// The value.
    pub value: f64,
}

impl Minimum {
    /// The smallest value of `objective` over all archs of these genes, at any resolution; `None` where it is not known,
    /// because the objective is no sum or maximum over blocks, or because no arch has a value.
    ///
    /// ```
    /// use ofa_search::Minimum;
    /// use ofa_space::{BlockObjective, cost, registry};
    ///
    /// let space = registry::named("tiny-28")?;
    /// let macs = BlockObjective::cost("macs", space.clone(), cost::block_macs);
    /// let least = Minimum::of(&macs, space.as_ref())?.ok_or("MACs are a sum over blocks")?;
    /// assert_eq!(least.value, cost::macs(&space.resolve(&space.min_arch())?) as f64);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SearchError`] if the objective fails for the arch found.
    pub fn of(objective: &dyn Objective, genes: &dyn Genes) -> Result<Option<Self>, SearchError> {
        let mut least: Option<Self> = None;
        for resolution in problem::resolutions(genes) {
            let Some(over_blocks) = objective.over_blocks(resolution) else { return Ok(None) };
            let Ok(choices) = over_blocks.minimum(genes.genes()) else { return Ok(None) };
            let Some(choices) = choices else { continue };
            let arch = genes.arch(choices, resolution)?;
            let values = objective
                .evaluate(std::slice::from_ref(&arch))
                .map_err(|source| SearchError::Objective { objective: objective.name().to_owned(), source })?;
            let value = values.first().copied().unwrap_or(f64::NAN);
            if least.as_ref().is_none_or(|known| value < known.value) {
                least = Some(Self { arch, value });
            }
        }
        Ok(least)
    }
}
