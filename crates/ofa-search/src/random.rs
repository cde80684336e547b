//! Random search: the baseline that every other strategy must beat.

use crate::error::SearchError;
use crate::problem::Problem;
use crate::strategy::{Strategy, StrategyEntry};
use ofa_space::{Opened, sampling};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Uniform over genes, until the budget is used up.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {}

/// Archs evaluated together.
const BATCH: usize = 256;

#[typetag::serde(name = "random")]
impl Strategy for Random {
    fn search(&self, problem: &mut Problem<'_>, rng: &mut ChaCha8Rng) -> Result<(), SearchError> {
        // What earlier cases have evaluated costs nothing, and a small space holds fewer archs than the budget: so many
        // draws must do.
        let budget = problem.remaining();
        let mut drawn = 0;
        while problem.remaining() > 0 && drawn < budget {
            let count = BATCH.min(budget - drawn);
            let batch: Vec<_> =
                (0..count).map(|_| sampling::sample(problem.space(), &Opened::EVERYTHING, rng)).collect();
            problem.evaluate(&batch)?;
            drawn += count;
        }
        Ok(())
    }
}

inventory::submit! {
    StrategyEntry { name: "random", about: "uniform over genes", build: || Box::new(Random {}) }
}
