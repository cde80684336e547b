//! Random search: the baseline that every other strategy must beat.

use crate::error::SearchError;
use crate::problem::Problem;
use crate::strategy::{Strategy, StrategyEntry};
use ofa_space::Opened;
use ofa_space::settings::{InvalidSetting, Settings};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Uniform over genes, until the budget is used up.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {}

impl Settings for Random {
    fn check(&self) -> Result<(), InvalidSetting> {
        Ok(())
    }
}

/// Archs evaluated together.
const BATCH: usize = 256;
/// Batches without a single new arch after which a small space counts as seen.
const STALE_BATCHES: usize = 20;

#[typetag::serde(name = "random")]
impl Strategy for Random {
    fn search(&self, problem: &mut Problem<'_>, rng: &mut ChaCha8Rng) -> Result<(), SearchError> {
        let budget = problem.remaining();
        let (mut drawn, mut stale) = (0, 0);
        // What earlier cases have evaluated costs nothing: with nothing new, as many draws as the budget must do.
        while problem.remaining() > 0 && (drawn < budget || (problem.evaluations() > 0 && stale < STALE_BATCHES)) {
            let before = problem.evaluations();
            // Up to the budget in whole batches and a rest, so that every case draws the same archs.
            let count = if drawn < budget { BATCH.min(budget - drawn) } else { BATCH };
            let batch: Vec<_> = (0..count).map(|_| problem.genes().sample(&Opened::EVERYTHING, rng)).collect();
            problem.evaluate(&batch)?;
            drawn += count;
            stale = if problem.evaluations() == before { stale + 1 } else { 0 };
        }
        Ok(())
    }
}

inventory::submit! {
    StrategyEntry { name: "random", about: "uniform over genes", build: || Box::new(Random {}) }
}
