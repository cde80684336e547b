//! The predictor in the loop: [`ofa_search::refinement`], with subnets that are measured on images and pairs that are kept
//! in a file.

use crate::failure::Failure;
use crate::pipeline::Progress;
use ofa_predictors::{
    EstimatorChoice, Fit, FittedPredictor, Pair, PairsFile, PredictedObjective, Target, metrics, pairs,
};
use ofa_search::refinement::{Ended, Measurement, Surrogate};
use ofa_search::{Budget, Search, strategy};
use ofa_space::{Arch, Genes, Objective, SearchSpace};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub round: usize,
    /// Pairs after the round.
    pub pairs: usize,
    /// Subnets measured in it.
    pub measured: usize,
    /// Mean absolute error on them of the predictor that proposed them, which had not seen them.
    #[serde(deserialize_with = "ofa_predictors::metrics::or_undefined")]
    pub mae: f64,
    /// Kendall's tau-b on them of that predictor; NaN (`null`) if either side is constant.
    #[serde(deserialize_with = "ofa_predictors::metrics::or_undefined")]
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
        Ok(Self { from: from.to_owned(), to: to.to_owned(), given, file })
    }

    /// The pairs so far.
    pub fn pairs(&self) -> &[Pair] {
        self.file.as_ref().map_or(&self.given, PairsFile::pairs)
    }

    fn push(&mut self, space: &dyn SearchSpace, arch: &Arch, top1: f64) -> Result<(), Failure> {
        Ok(self.file(space)?.push(space, arch, top1)?)
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

/// The predictor of one round, and what it searches.
struct Fitted {
    predictor: Arc<FittedPredictor>,
    space: Arc<dyn SearchSpace>,
    accuracy: PredictedObjective,
    quantity: Arc<dyn Objective>,
}

impl Surrogate for Fitted {
    fn genes(&self) -> &dyn Genes {
        self.space.as_ref()
    }

    fn score(&self) -> &dyn Objective {
        &self.accuracy
    }

    fn quantities(&self) -> Vec<Arc<dyn Objective>> {
        vec![self.quantity.clone()]
    }

    fn admits(&self, arch: &Arch) -> bool {
        self.predictor.predict(self.space.as_ref(), std::slice::from_ref(arch)).is_ok()
    }
}

/// Takes the accuracy of a subnet.
pub type OnPair<'a> = &'a mut dyn FnMut(&Arch, f64) -> Result<(), Failure>;

/// Runs the rounds and returns the predictor that is fitted on all pairs at the end. `measure` passes on the accuracy of subnets in
/// their order, as [`Evaluator::collect`](ofa_train::evaluation::Evaluator::collect) does.
///
/// # Errors
/// [`Failure`] of the fit, the search or the evaluation; [`Failure::Interrupted`] with the pairs saved.
pub fn run(
    refinement: &Refinement<'_>,
    mut measure: impl FnMut(&[Arch], OnPair<'_>) -> Result<usize, Failure>,
    growing: &mut GrowingPairs,
    progress: &mut dyn Progress,
    mut on_round: impl FnMut(&Round) -> Result<(), Failure>,
) -> Result<FittedPredictor, Failure> {
    let Refinement { space, stop, .. } = *refinement;
    let (strategy, budget) = (strategy::named(refinement.strategy)?, Budget::evaluations(refinement.evaluations));
    let rounds = ofa_search::refinement::Refinement {
        search: Search { strategy, budget, seed: refinement.seed },
        rounds: refinement.rounds,
        per_round: refinement.per_round,
        stop,
    };
    let measurement = |pair: &Pair| Measurement { arch: pair.arch.clone(), value: pair.value };
    let mut known: Vec<Measurement> = growing.pairs().iter().map(measurement).collect();
    // Both steps show their progress.
    let shown = RefCell::new(&mut *progress);
    let mut round = 0;
    let fit_round = |known: &[Measurement]| -> Result<Fitted, Failure> {
        let pair = |known: &Measurement| Pair { arch: known.arch.clone(), value: known.value };
        let pairs: Vec<Pair> = known.iter().map(pair).collect();
        let predictor = Arc::new(fit(refinement, &pairs, *shown.borrow_mut())?);
        let (space, quantity) = (refinement.searched)(&predictor)?;
        let accuracy = PredictedObjective::new(space.clone(), predictor.clone(), Target::Accuracy)?;
        Ok(Fitted { predictor, space, accuracy, quantity })
    };
    let measure_round = |archs: &[Arch]| -> Result<Vec<f64>, Failure> {
        round += 1;
        let mut values = Vec::with_capacity(archs.len());
        shown.borrow_mut().begin(&format!("round {round}"), archs.len());
        let kept = measure(archs, &mut |arch, top1| {
            let written = growing.push(space, arch, top1);
            values.push(top1);
            shown.borrow_mut().advance(values.len(), &format!("{:.2} %", 100.0 * top1));
            written
        });
        shown.borrow_mut().end();
        kept?;
        Ok(values)
    };
    let report = |found: &ofa_search::refinement::Round<'_, Fitted>| -> Result<(), Failure> {
        let (archs, measured): (Vec<Arch>, Vec<f64>) =
            found.measured.iter().map(|one| (one.arch.clone(), one.value)).unzip();
        let predicted = found.surrogate.predictor.predict(space, &archs)?;
        on_round(&Round {
            round: found.round,
            pairs: found.known.len(),
            measured: measured.len(),
            mae: metrics::mae(&measured, &predicted),
            kendall_tau: metrics::kendall_tau(&measured, &predicted),
            best: found.known.iter().map(|one| one.value).fold(0.0, f64::max),
        })
    };
    match rounds.run(&mut known, fit_round, measure_round, report)? {
        Ended::Stopped => return Err(growing.interrupted(space)),
        Ended::Exhausted => {
            progress.note("every subnet that the predictor can propose is measured: no further rounds");
        }
        Ended::Finished => {}
    }
    growing.file(space)?;
    fit(refinement, growing.pairs(), progress)
}

fn fit(refinement: &Refinement<'_>, pairs: &[Pair], progress: &mut dyn Progress) -> Result<FittedPredictor, Failure> {
    let fit = Fit { seed: refinement.seed, ..Fit::with(refinement.predictor.clone()) };
    let fitted = fit.run(refinement.space, pairs, &[])?;
    for warning in &fitted.report.warnings {
        progress.warn(warning);
    }
    Ok(fitted)
}
