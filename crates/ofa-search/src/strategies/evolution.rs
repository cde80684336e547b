//! The paper's evolutionary search.
//!
//! Source: `EvolutionFinder` of the authors' tutorial: a population of feasible archs; each generation keeps the best
//! quarter as parents, and fills up with mutated parents and crossovers; constraints by rejection.

use crate::error::SearchError;
use crate::problem::Problem;
use crate::problem::candidate::Priced;
use crate::strategy::{Strategy, StrategyEntry};
use ofa_space::settings::{self, InvalidSetting, Settings};
use ofa_space::{Arch, Opened};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The paper's evolutionary search.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `population` | 100 | archs per generation | 2–100000 |
/// | `generations` | 500 | generations, if the budget lasts | ≥ 0 |
/// | `parent_ratio` | 0.25 | best share kept as parents | 0–1 |
/// | `mutation_probability` | 0.1 | chance that a gene is redrawn | 0–1 |
/// | `mutation_ratio` | 0.5 | share of mutated parents; the rest are crossovers | 0–1 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evolution {
    /// Archs per generation.
    pub population: usize,
    /// Generations.
    pub generations: usize,
    /// Best share kept as parents.
    pub parent_ratio: f64,
    /// Chance that a gene is redrawn.
    pub mutation_probability: f64,
    /// Share of mutated parents among the new archs.
    pub mutation_ratio: f64,
}

impl Default for Evolution {
    fn default() -> Self {
        Self { population: 100, generations: 500, parent_ratio: 0.25, mutation_probability: 0.1, mutation_ratio: 0.5 }
    }
}

impl Settings for Evolution {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("population", self.population, 2..=100_000)?;
        settings::number("parent_ratio", self.parent_ratio, 0.0..=1.0)?;
        settings::number("mutation_probability", self.mutation_probability, 0.0..=1.0)?;
        settings::number("mutation_ratio", self.mutation_ratio, 0.0..=1.0)
    }
}

/// Batches of proposals in a row without a feasible arch before giving up on more: an infeasible limit must end.
const MAX_IN_VAIN: usize = 50;

#[typetag::serde(name = "evolution")]
impl Strategy for Evolution {
    fn search(&self, problem: &mut Problem<'_>, rng: &mut ChaCha8Rng) -> Result<(), SearchError> {
        let genes = problem.genes();
        let first = feasible(problem, self.population, rng, |rng| genes.sample(&Opened::EVERYTHING, rng))?;
        let mut population = problem.evaluate_priced(first)?;
        let mutated = (self.population as f64 * self.mutation_ratio).round() as usize;
        let parents = ((self.population as f64 * self.parent_ratio).round() as usize).max(1);
        for _ in 0..self.generations {
            if problem.remaining() == 0 || population.is_empty() {
                break;
            }
            population.sort_by(|a, b| b.score.total_cmp(&a.score));
            population.truncate(parents);
            let mut children = feasible(problem, mutated, rng, |rng| {
                let parent = &population[rng.random_range(0..population.len())];
                genes.mutate(&parent.arch, self.mutation_probability, rng)
            })?;
            children.extend(feasible(problem, self.population - mutated, rng, |rng| {
                let (one, other) = (rng.random_range(0..population.len()), rng.random_range(0..population.len()));
                genes.crossover(&population[one].arch, &population[other].arch, rng)
            })?);
            population.extend(problem.evaluate_priced(children)?);
        }
        Ok(())
    }

    fn learns_from_cases(&self) -> bool {
        false
    }
}

/// Proposes archs until `count` feasible ones are found, the search is over, or too many batches in a row had none.
fn feasible(
    problem: &mut Problem<'_>,
    count: usize,
    rng: &mut ChaCha8Rng,
    mut propose: impl FnMut(&mut ChaCha8Rng) -> Arch,
) -> Result<Vec<Priced>, SearchError> {
    let mut found = Vec::with_capacity(count);
    let mut in_vain = 0;
    while found.len() < count && problem.remaining() > 0 && in_vain < MAX_IN_VAIN {
        let batch: Vec<Arch> = (0..count - found.len()).map(|_| propose(rng)).collect();
        let kept = problem.feasible(batch)?;
        in_vain = if kept.is_empty() { in_vain + 1 } else { 0 };
        found.extend(kept);
    }
    Ok(found)
}

inventory::submit! {
    StrategyEntry {
        name: "evolution",
        about: "the paper's evolutionary search (population 100, 500 generations)",
        build: || Box::new(Evolution::default()),
    }
}
