//! A predictor in the loop: search with a model of what is slow to measure, measure some of the front, fit the model again,
//! and repeat.
//!
//! Random samples teach a model little about the best archs, and a search goes exactly where the model is too optimistic. So
//! the archs that a search proposes are measured, and the next fit learns from them.
//!
//! Source: LINAS, Cummings et al., "A Hardware-Aware Framework for Accelerating Neural Architecture Search Across
//! Modalities" (DyNAS-T, 2022), with the measured value of every proposed arch.
//!
//! ```
//! use ofa_search::refinement::{Measurement, Refinement, Surrogate};
//! use ofa_search::{Arch, FnObjective, Gene, Genes, Objective, SearchError};
//! use std::sync::Arc;
//!
//! /// Predicts the value of the measured arch that has the most choices in common.
//! struct Nearest(Vec<Gene>, Vec<Measurement>);
//!
//! impl Objective for Nearest {
//!     fn name(&self) -> &str {
//!         "predicted"
//!     }
//!     fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ofa_search::ObjectiveError> {
//!         let common = |a: &Arch, b: &Arch| a.choices().iter().zip(b.choices()).filter(|(a, b)| a == b).count();
//!         let nearest = |arch: &Arch| self.1.iter().max_by_key(|known| common(&known.arch, arch)).map_or(0.0, |m| m.value);
//!         Ok(archs.iter().map(nearest).collect())
//!     }
//! }
//!
//! impl Surrogate for Nearest {
//!     fn genes(&self) -> &dyn Genes {
//!         &self.0
//!     }
//!     fn score(&self) -> &dyn Objective {
//!         self
//!     }
//!     fn quantities(&self) -> Vec<Arc<dyn Objective>> {
//!         vec![Arc::new(FnObjective::new("size", |arch: &Arch| Ok(f64::from(arch.choices()[0]))))]
//!     }
//! }
//!
//! let genes = vec![Gene::new("layers", [1, 2, 3, 4]), Gene::new("units", [8, 16, 32, 64])];
//! let mut known = vec![Measurement { arch: genes.min_arch(), value: 0.0 }];
//! Refinement { rounds: 2, per_round: 3, ..Refinement::default() }.run(
//!     &mut known,
//!     |known| Ok::<_, SearchError>(Nearest(genes.clone(), known.to_vec())),
//!     |archs| Ok(archs.iter().map(|arch| arch.choices().iter().map(|c| f64::from(*c)).sum()).collect()),
//!     |round| Ok(println!("round {}: {:?}", round.round, round.measured)),
//! )?;
//! assert_eq!(known.len(), 7);
//! # Ok::<(), SearchError>(())
//! ```

use crate::driver::Search;
use crate::driver::budget::Budget;
use crate::driver::grid::{LimitList, Target};
use crate::error::SearchError;
use crate::pareto;
use crate::problem::NEVER;
use crate::problem::candidate::Candidate;
use crate::problem::observer::Silent;
use crate::strategies::nsga2::Nsga2;
use ofa_space::{Arch, Genes, Objective};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A model of what is measured, fitted on the measurements so far.
pub trait Surrogate {
    /// What to search.
    fn genes(&self) -> &dyn Genes;

    /// The predicted value, which is maximised.
    fn score(&self) -> &dyn Objective;

    /// What the value is traded against: the archs to measure are taken from the front of all.
    fn quantities(&self) -> Vec<Arc<dyn Objective>>;

    /// Whether an arch may be proposed, though no search found it; by default, if the model has a value for it.
    fn admits(&self, arch: &Arch) -> bool {
        self.score().evaluate(std::slice::from_ref(arch)).is_ok()
    }
}

/// A measured arch.
#[derive(Clone, PartialEq, Debug)]
pub struct Measurement {
    /// The arch.
    pub arch: Arch,
    /// Its measured value; more is better.
    pub value: f64,
}

/// Searches, measures and fits in rounds.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `search` | NSGA-II, 5000 evaluations, seed 0 | how to search with the model | |
/// | `rounds` | 3 | times to search and measure | any |
/// | `per_round` | 10 | archs to measure in a round | any |
/// | `stop` | never set | ends the loop from outside | |
#[derive(Debug)]
pub struct Refinement<'a> {
    /// How to search with the model; its budget is that of one round.
    pub search: Search,
    /// How many times to search and measure.
    pub rounds: usize,
    /// Archs to measure in each round.
    pub per_round: usize,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
}

impl Default for Refinement<'_> {
    fn default() -> Self {
        let search = Search { budget: Budget::evaluations(5000), ..Search::new(Nsga2::default()) };
        Self { search, rounds: 3, per_round: 10, stop: &NEVER }
    }
}

/// What a round found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Round<'a, S> {
    /// From 1.
    pub round: usize,
    /// The model that proposed the archs and had not seen them.
    pub surrogate: &'a S,
    /// What was measured in it.
    pub measured: &'a [Measurement],
    /// Everything measured so far.
    pub known: &'a [Measurement],
}

/// Why a refinement ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All rounds are done.
    Finished,
    /// Every arch that could be proposed is measured.
    Exhausted,
    /// The flag was set, or fewer archs were measured than asked for.
    Stopped,
}

/// Chance that a gene is redrawn where the front has too few archs that are not measured yet.
const MUTATION: f64 = 0.1;
/// Fruitless mutants in a row after which all neighbours count as measured.
const FRUITLESS: usize = 10_000;

impl Refinement<'_> {
    /// Runs the rounds: `fit` makes a model of everything known, a search with it proposes archs, `measure` returns one
    /// value for each of them in order, and both go to `known`. `measure` may return fewer values to end the loop early;
    /// the model of the last measurements is the caller's to fit.
    ///
    /// The search of a round is seeded with the number of measurements before it too, so that a round depends on the
    /// measurements and not on how many rounds this call has done before.
    ///
    /// # Errors
    /// Those of `fit`, `measure` and `on_round`, and [`SearchError`] of the search; `known` keeps what was measured in the
    /// rounds before.
    pub fn run<S: Surrogate, E: From<SearchError>>(
        &self,
        known: &mut Vec<Measurement>,
        mut fit: impl FnMut(&[Measurement]) -> Result<S, E>,
        mut measure: impl FnMut(&[Arch]) -> Result<Vec<f64>, E>,
        mut on_round: impl FnMut(&Round<'_, S>) -> Result<(), E>,
    ) -> Result<Ended, E> {
        for round in 1..=self.rounds {
            let surrogate = fit(known)?;
            let archs = self.propose(&surrogate, known)?;
            if self.stop.load(Ordering::Relaxed) {
                return Ok(Ended::Stopped);
            }
            if archs.is_empty() {
                return Ok(Ended::Exhausted);
            }
            let before = known.len();
            let (values, wanted) = (measure(&archs)?, archs.len());
            known.extend(archs.into_iter().zip(values).map(|(arch, value)| Measurement { arch, value }));
            if known.len() - before < wanted {
                return Ok(Ended::Stopped);
            }
            on_round(&Round { round, surrogate: &surrogate, measured: &known[before..], known: &*known })?;
        }
        Ok(Ended::Finished)
    }

    /// The archs to measure next: of the predicted front, spread along it, then mutants of it. Those of one resolution
    /// come together.
    ///
    /// # Errors
    /// [`SearchError`] of the model, a quantity or a setting of the strategy.
    pub fn propose(&self, surrogate: &impl Surrogate, known: &[Measurement]) -> Result<Vec<Arch>, SearchError> {
        let seed = self.search.seed.wrapping_add(known.len() as u64);
        let known: HashSet<&Arch> = known.iter().map(|measurement| &measurement.arch).collect();
        let front = self.front(surrogate, seed)?;
        let unknown: Vec<&Candidate> = front.iter().filter(|found| !known.contains(&found.arch)).collect();
        let mut archs: Vec<Arch> =
            spread(unknown.len(), self.per_round).map(|index| unknown[index].arch.clone()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut fruitless = 0;
        for parent in front.iter().cycle() {
            if archs.len() >= self.per_round || fruitless >= FRUITLESS {
                break;
            }
            let mutant = surrogate.genes().mutate(&parent.arch, MUTATION, &mut rng);
            if !known.contains(&mutant) && !archs.contains(&mutant) && surrogate.admits(&mutant) {
                archs.push(mutant);
                fruitless = 0;
            } else {
                fruitless += 1;
            }
        }
        archs.sort_by(|a, b| a.resolution().cmp(&b.resolution()).then_with(|| a.cmp(b)));
        Ok(archs)
    }

    /// The predicted front, by rising first quantity.
    fn front(&self, surrogate: &impl Surrogate, seed: u64) -> Result<Vec<Candidate>, SearchError> {
        let unlimited = |objective| LimitList { objective, limits: vec![f64::INFINITY] };
        let lists: Vec<LimitList> = surrogate.quantities().into_iter().map(unlimited).collect();
        let target = Target { genes: surrogate.genes(), lists: &lists };
        let outcomes = self.search.run_targets_seeded(seed, surrogate.score(), &[target], &mut Silent, self.stop)?;
        let found: Vec<Candidate> = outcomes.into_iter().flatten().flat_map(|outcome| outcome.front).collect();
        let mut front = pareto::front(&found);
        let first = |candidate: &Candidate| candidate.values.first().copied().unwrap_or(candidate.score);
        front.sort_by(|a, b| first(a).total_cmp(&first(b)).then_with(|| a.arch.cmp(&b.arch)));
        Ok(front)
    }
}

/// At most `wanted` distinct indices below `count`, evenly spaced from the first to the last; a single one is the last.
fn spread(count: usize, wanted: usize) -> impl Iterator<Item = usize> {
    let taken = wanted.min(count);
    (0..taken).map(move |i| match taken {
        1 => count - 1,
        _ => (i * (count - 1) + (taken - 1) / 2) / (taken - 1),
    })
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn indices_are_distinct_and_reach_both_ends() {
        for count in 0..40 {
            for wanted in 0..50 {
                let taken: Vec<usize> = spread(count, wanted).collect();
                assert_eq!(taken.len(), wanted.min(count));
                assert!(taken.windows(2).all(|two| two[0] < two[1]), "{wanted} of {count}: {taken:?}");
                assert!(taken.last().is_none_or(|last| *last == count - 1));
                assert!(taken.len() < 2 || taken[0] == 0);
            }
        }
    }
}
