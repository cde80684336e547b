//! The predictor in the loop: search, measure subnets of the front, fit again.
//!
//! Random pairs hold little about the best subnets, and a search goes exactly where a predictor is too optimistic. So the
//! subnets that the search proposes are measured and become pairs of the next fit.
//!
//! Source: LINAS, Cummings et al., "A Hardware-Aware Framework for Accelerating Neural Architecture Search Across
//! Modalities" (DyNAS-T, 2022), with measured accuracies and latencies of a device's model.

use super::Progress;
use crate::failure::Failure;
use ofa_predictors::{
    EstimatorChoice, Fit, FittedPredictor, Pair, PairsFile, PredictedObjective, Target, metrics, pairs,
};
use ofa_search::LimitList;
use ofa_search::{Budget, Search, pareto, strategy};
use ofa_search::{Candidate, Silent};
use ofa_space::{Arch, Objective, SearchSpace};
use ofa_train::evaluation::Evaluator;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A space to search, and the quantity that accuracy is traded against.
pub type Searched = (Arc<dyn SearchSpace>, Arc<dyn Objective>);

/// Everything that the rounds depend on besides the pairs.
pub struct Refinement<'a> {
    /// Space of the supernet.
    pub space: &'a dyn SearchSpace,
    /// What to search with a predictor: the resolutions that it accepts, and latency or MACs.
    pub searched: &'a dyn Fn(&FittedPredictor) -> Result<Searched, Failure>,
    /// What is fitted.
    pub predictor: &'a EstimatorChoice,
    /// How many times to search and measure.
    pub rounds: usize,
    /// Subnets to measure in each round.
    pub per_round: usize,
    /// Name of the search strategy.
    pub strategy: &'a str,
    /// Evaluations of the predictor in each round's search.
    pub evaluations: usize,
    /// Seed of every random choice.
    pub seed: u64,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
}

/// What a round found.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// From 1.
    pub round: usize,
    /// Pairs after the round.
    pub pairs: usize,
    /// Subnets measured in it.
    pub measured: usize,
    /// Mean absolute error on them of the predictor that proposed them, which had not seen them.
    pub mae: f64,
    /// Kendall's tau-b on them of that predictor; NaN (`null`) if either side is constant.
    pub kendall_tau: f64,
    /// Highest accuracy measured so far.
    pub best: f64,
}

/// The pairs that a refinement starts from, and the file in which they grow.
pub struct GrowingPairs {
    from: PathBuf,
    to: PathBuf,
    given: Vec<Pair>,
    /// Open from the first new pair on.
    file: Option<PairsFile>,
    measured: HashSet<Arch>,
}

impl GrowingPairs {
    /// Reads the pairs of `from`, to grow in the file `to`, which is written from the first new pair on; their lines stay
    /// as they are. If both are one file, it grows in place.
    ///
    /// # Errors
    /// [`Failure`] if a file cannot be read or written, is in use, or holds something else.
    pub fn open(from: &Path, to: &Path, space: &dyn SearchSpace) -> Result<Self, Failure> {
        let (given, file) = match to.exists() {
            true => (Vec::new(), Some(PairsFile::copy(from, to, space, Target::Accuracy)?)),
            false => (pairs::read(from, space, Target::Accuracy)?, None),
        };
        let mut growing = Self { from: from.to_owned(), to: to.to_owned(), given, file, measured: HashSet::new() };
        growing.measured = growing.pairs().iter().map(|pair| pair.arch.clone()).collect();
        Ok(growing)
    }

    /// The pairs so far.
    pub fn pairs(&self) -> &[Pair] {
        self.file.as_ref().map_or(&self.given, PairsFile::pairs)
    }

    fn push(&mut self, space: &dyn SearchSpace, arch: &Arch, top1: f64) -> Result<(), Failure> {
        self.file(space)?.push(space, arch, top1)?;
        self.measured.insert(arch.clone());
        Ok(())
    }

    /// The file, which holds all pairs.
    fn file(&mut self, space: &dyn SearchSpace) -> Result<&mut PairsFile, Failure> {
        let file = match self.file.take() {
            Some(file) => file,
            None => PairsFile::copy(&self.from, &self.to, space, Target::Accuracy)?,
        };
        Ok(self.file.insert(file))
    }

    /// Writes what there is; how to go on.
    fn interrupted(&mut self, space: &dyn SearchSpace) -> Failure {
        if let Err(failure) = self.file(space) {
            return failure;
        }
        let path = self.to.display();
        Failure::Interrupted(format!(
            "interrupted, {} pairs are saved: go on with `--pairs {path}`, and fewer --rounds",
            self.pairs().len()
        ))
    }
}

/// Runs the rounds, measuring with `evaluator`, and returns the predictor that is fitted on all pairs at the end. The search and the choice of a
/// round are seeded with the number of pairs before it too, so that a round depends on the pairs and not on how many
/// rounds this call has done before.
///
/// # Errors
/// [`Failure`] of the fit, the search or the evaluation; [`Failure::Interrupted`] with the pairs saved.
pub fn run(
    refinement: &Refinement<'_>,
    evaluator: &mut Evaluator<'_>,
    growing: &mut GrowingPairs,
    progress: &mut dyn Progress,
    mut on_round: impl FnMut(&Round) -> Result<(), Failure>,
) -> Result<FittedPredictor, Failure> {
    let Refinement { space, stop, .. } = *refinement;
    for round in 1..=refinement.rounds {
        let predictor = Arc::new(fit(refinement, growing.pairs(), progress)?);
        let archs = proposed(refinement, &predictor, growing)?;
        if stop.load(Ordering::Relaxed) {
            return Err(growing.interrupted(space));
        }
        if archs.is_empty() {
            progress.note("every subnet that the predictor can propose is measured: no further rounds");
            break;
        }
        let before = growing.pairs().len();
        progress.begin(&format!("round {round}"), archs.len());
        let kept = evaluator.collect(&archs, stop, |arch, top1| -> Result<(), Failure> {
            let written = growing.push(space, arch, top1);
            progress.advance(growing.pairs().len() - before, &format!("{:.2} %", 100.0 * top1));
            written
        });
        progress.end();
        kept?;
        let measured: Vec<f64> = growing.pairs()[before..].iter().map(|pair| pair.value).collect();
        if measured.len() < archs.len() {
            return Err(growing.interrupted(space));
        }
        let predicted = predictor.predict(space, &archs)?;
        on_round(&Round {
            round,
            pairs: growing.pairs().len(),
            measured: measured.len(),
            mae: metrics::mae(&measured, &predicted),
            kendall_tau: metrics::kendall_tau(&measured, &predicted),
            best: growing.pairs().iter().map(|pair| pair.value).fold(0.0, f64::max),
        })?;
    }
    growing.file(space)?;
    fit(refinement, growing.pairs(), progress)
}

fn fit(refinement: &Refinement<'_>, pairs: &[Pair], progress: &mut dyn Progress) -> Result<FittedPredictor, Failure> {
    let fit = Fit { seed: refinement.seed, ..Fit::with(refinement.predictor.clone()) };
    let fitted = fit.run(refinement.space, pairs, &[])?;
    for warning in &fitted.report.warnings {
        progress.note(&format!("warning: {warning}"));
    }
    Ok(fitted)
}

/// Chance that a gene is redrawn where the front has too few subnets that are not measured yet.
const MUTATION: f64 = 0.1;
/// Fruitless mutants in a row after which all neighbours count as measured.
const FRUITLESS: usize = 10_000;

/// The subnets to measure next: of the predicted front, spread along it, then mutants of it. Those of one resolution
/// come together, since they are measured together.
fn proposed(
    refinement: &Refinement<'_>,
    predictor: &Arc<FittedPredictor>,
    growing: &GrowingPairs,
) -> Result<Vec<Arch>, Failure> {
    let (space, quantity) = (refinement.searched)(predictor)?;
    let seed = refinement.seed.wrapping_add(growing.pairs().len() as u64);
    let accuracy = PredictedObjective::new(space.clone(), predictor.clone(), Target::Accuracy)?;
    let list = LimitList { objective: quantity, limits: vec![f64::INFINITY] };
    let (strategy, budget) = (strategy::named(refinement.strategy)?, Budget::evaluations(refinement.evaluations));
    let search = Search { strategy, budget, seed };
    let subnets = ofa_search::Target { genes: space.as_ref(), lists: &[list] };
    let outcomes = search.run_grid(&accuracy, subnets, &mut Silent, refinement.stop)?;
    let mut front = pareto::front(&outcomes.into_iter().flat_map(|outcome| outcome.front).collect::<Vec<_>>());
    front.sort_by(|a, b| a.values[0].total_cmp(&b.values[0]).then_with(|| a.arch.cmp(&b.arch)));
    let unmeasured: Vec<&Candidate> = front.iter().filter(|found| !growing.measured.contains(&found.arch)).collect();
    let mut archs: Vec<Arch> =
        spread(unmeasured.len(), refinement.per_round).map(|index| unmeasured[index].arch.clone()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut fruitless = 0;
    for parent in front.iter().cycle() {
        if archs.len() >= refinement.per_round || fruitless >= FRUITLESS {
            break;
        }
        let mutant = space.mutate(&parent.arch, MUTATION, &mut rng);
        let is_new = !growing.measured.contains(&mutant) && !archs.contains(&mutant);
        if is_new && predictor.predict(space.as_ref(), std::slice::from_ref(&mutant)).is_ok() {
            archs.push(mutant);
            fruitless = 0;
        } else {
            fruitless += 1;
        }
    }
    archs.sort_by(|a, b| a.resolution().cmp(&b.resolution()).then_with(|| a.cmp(b)));
    Ok(archs)
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
