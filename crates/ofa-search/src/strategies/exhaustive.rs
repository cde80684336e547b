//! Exhaustive search: every arch of a small space, hence the true optimum.

use crate::error::SearchError;
use crate::problem::{self, Problem};
use crate::strategy::{Strategy, StrategyEntry};
use ofa_space::settings::{InvalidSetting, Settings};
use ofa_space::{Arch, Genes};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Every subnet at every resolution; an error if the budget does not cover them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exhaustive {}

impl Settings for Exhaustive {
    fn check(&self) -> Result<(), InvalidSetting> {
        Ok(())
    }
}

/// Archs evaluated together.
const BATCH: usize = 4096;

#[typetag::serde(name = "exhaustive")]
impl Strategy for Exhaustive {
    fn search(&self, problem: &mut Problem<'_>, _rng: &mut ChaCha8Rng) -> Result<(), SearchError> {
        let genes = problem.genes();
        let resolutions = genes.resolutions().len().max(1);
        let subnets = genes.subnets() * resolutions;
        if usize::try_from(&subnets).map_or(true, |n| n > problem.remaining()) {
            return Err(SearchError::TooLarge { subnets: subnets.to_string(), budget: problem.remaining() });
        }
        evaluate_all(problem)
    }
}

/// Evaluates every arch of the space, as far as the budget goes.
pub(crate) fn evaluate_all(problem: &mut Problem<'_>) -> Result<(), SearchError> {
    let genes = problem.genes();
    let mut batch = Vec::with_capacity(BATCH);
    let mut result = Ok(());
    for_each_arch(genes, &mut |arch| {
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
pub fn for_each_arch(genes: &dyn Genes, visit: &mut dyn FnMut(Arch) -> bool) {
    let listed = genes.genes();
    // Depth genes first, so that a gene's activity is known when its turn comes.
    let mut order: Vec<usize> = (0..listed.len()).collect();
    order.sort_by_key(|index| listed[*index].active_when.is_some());
    let mut choices = vec![0u8; listed.len()];
    descend(genes, &order, &mut choices, visit);
}

fn descend(genes: &dyn Genes, order: &[usize], choices: &mut Vec<u8>, visit: &mut dyn FnMut(Arch) -> bool) -> bool {
    let Some((gene, rest)) = order.split_first() else {
        return problem::resolutions(genes)
            .into_iter()
            .filter_map(|resolution| genes.arch(choices.clone(), resolution).ok())
            .all(visit);
    };
    let listed = genes.genes();
    let active = listed[*gene].is_active(listed, choices);
    let count = if active { listed[*gene].choices.len() as u8 } else { 1 };
    for choice in 0..count {
        choices[*gene] = choice;
        if !descend(genes, rest, choices, visit) {
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
