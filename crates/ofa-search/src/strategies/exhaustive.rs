//! Exhaustive search: every subnet of a small space, hence the true optimum.

use crate::error::SearchError;
use crate::problem::Problem;
use crate::strategy::{Strategy, StrategyEntry};
use ofa_space::{Arch, SearchSpace};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Every subnet at every resolution; an error if the budget does not cover them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exhaustive {}

/// Archs evaluated together.
const BATCH: usize = 4096;

#[typetag::serde(name = "exhaustive")]
impl Strategy for Exhaustive {
    fn search(&self, problem: &mut Problem<'_>, _rng: &mut ChaCha8Rng) -> Result<(), SearchError> {
        let space = problem.space();
        let resolutions = space.info().resolutions.len().max(1);
        let subnets = space.subnets() * resolutions;
        if usize::try_from(&subnets).map_or(true, |n| n > problem.remaining()) {
            return Err(SearchError::TooLarge { subnets: subnets.to_string(), budget: problem.remaining() });
        }
        evaluate_all(problem)
    }
}

/// Evaluates every arch of the space, as far as the budget goes.
pub(crate) fn evaluate_all(problem: &mut Problem<'_>) -> Result<(), SearchError> {
    let space = problem.space();
    let mut batch = Vec::with_capacity(BATCH);
    let mut result = Ok(());
    for_each_arch(space, &mut |arch| {
        batch.push(arch);
        if batch.len() == BATCH {
            result = problem.evaluate(&batch).map(|_| ());
            batch.clear();
        }
        result.is_ok() && problem.remaining() > 0
    });
    result?;
    let last = batch.len();
    if problem.evaluate(&batch)?.len() == last && problem.best().is_some() {
        problem.prove();
    }
    Ok(())
}

/// Hands every distinct arch to `visit` until it returns false.
pub fn for_each_arch(space: &dyn SearchSpace, visit: &mut dyn FnMut(Arch) -> bool) {
    let info = space.info();
    let genes = &info.genes;
    // Depth genes first, so that a gene's activity is known when its turn comes.
    let mut order: Vec<usize> = (0..genes.len()).collect();
    order.sort_by_key(|index| genes[*index].active_when.is_some());
    let mut choices = vec![0u8; genes.len()];
    descend(space, &order, &mut choices, visit);
}

fn descend(
    space: &dyn SearchSpace,
    order: &[usize],
    choices: &mut Vec<u8>,
    visit: &mut dyn FnMut(Arch) -> bool,
) -> bool {
    let info = space.info();
    let Some((gene, rest)) = order.split_first() else {
        let resolutions: Vec<Option<u32>> = match info.resolutions.is_empty() {
            true => vec![None],
            false => info.resolutions.iter().copied().map(Some).collect(),
        };
        return resolutions
            .into_iter()
            .filter_map(|resolution| space.arch(choices.clone(), resolution).ok())
            .all(visit);
    };
    let active = info.genes[*gene].is_active(&info.genes, choices);
    let count = if active { info.genes[*gene].choices.len() as u8 } else { 1 };
    for choice in 0..count {
        choices[*gene] = choice;
        if !descend(space, rest, choices, visit) {
            return false;
        }
    }
    choices[*gene] = 0;
    true
}

inventory::submit! {
    StrategyEntry {
        name: "exhaustive",
        about: "every subnet of a small space: the true optimum",
        build: || Box::new(Exhaustive {}),
    }
}
