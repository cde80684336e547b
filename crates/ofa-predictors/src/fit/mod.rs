//! Fitting a predictor to pairs, and scoring it on others.

mod learning_curve;
mod report;

pub use learning_curve::CurvePoint;
pub use report::FitReport;

use crate::encoding::Encoder;
use crate::encoding::code::Code;
use crate::encoding::seen::{self, Seen};
use crate::encoding::sparse::SparseRows;
use crate::error::PredictorError;
use crate::estimators::{Effort, Estimator, EstimatorChoice};
use crate::evaluation::cross_validation::{self, FOLDS, OutOfFold};
use crate::fitted::FittedPredictor;
use crate::pairs::Pair;
use crate::target::Target;
use ofa_space::settings::{InvalidSetting, Settings};
use ofa_space::{Population, SearchSpace};
use std::sync::Arc;
use std::time::Instant;

/// How to fit a predictor.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `estimator` | `auto` | what is fitted: a kind with or without settings, or the best by cross-validation | [`crate::estimators`] |
/// | `encoder` | `stages` | how archs become features | [`Encoder`] |
/// | `target` | `accuracy` | what the pairs hold | [`Target`] |
/// | `seed` | 0 | of every random choice: the same seed gives the same predictor | |
///
/// ```
/// use ofa_predictors::{Fit, Target, estimators::Ridge};
///
/// let fit = Fit { target: Target::Latency, seed: 1, ..Fit::with(Ridge { penalty: Some(10.0) }) };
/// assert_eq!(fit.estimator.to_string(), "ridge");
/// ```
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Fit {
    /// What is fitted.
    pub estimator: EstimatorChoice,
    /// How archs become features.
    pub encoder: Encoder,
    /// What the pairs hold.
    pub target: Target,
    /// Seed of every random choice.
    pub seed: u64,
}

impl Settings for Fit {
    fn check(&self) -> Result<(), InvalidSetting> {
        self.estimator.check().map_err(|error| error.within("estimator"))
    }
}

/// Test pairs from which the noise of a slow estimator is taken.
const FEWEST_FOR_NOISE: usize = 20;

impl Fit {
    /// The default with another estimator: one with settings, such as `Ridge { penalty: Some(1.0) }`, or
    /// [`EstimatorChoice::named`].
    pub fn with(estimator: impl Into<EstimatorChoice>) -> Self {
        Self { estimator: estimator.into(), ..Self::default() }
    }

    /// Fits a predictor to the pairs `train` of `space`, and scores it on the pairs `test`, of which there may be none.
    ///
    /// # Errors
    /// [`PredictorError::Setting`] or [`PredictorError::Unknown`] for the estimator, [`PredictorError::TooFewPairs`],
    /// [`PredictorError::Space`] for an encoding of another family, [`PredictorError::Fit`] if the fit fails.
    pub fn run(
        &self,
        space: &dyn SearchSpace,
        train: &[Pair],
        test: &[Pair],
    ) -> Result<FittedPredictor, PredictorError> {
        let started = Instant::now();
        if let Some(estimator) = self.estimator.estimator()? {
            estimator.check_pairs(train.len())?;
        }
        let targets: Vec<f64> = train.iter().map(|p| p.value).collect();
        let (resolutions, seen) = (seen::resolutions(train), Seen::of(space, train));
        let code =
            Code::new(self.encoder, space, Some(&resolutions))?.with_seen(&seen.unseen, &resolutions, self.target);
        let features = rows(&code, space, train)?.dense();
        let mut warnings = Vec::new();
        let (estimator, out_of_fold) = self.chosen(&features, &targets, &mut warnings)?;
        let predictor = estimator.fit(&features, &targets, self.seed)?;
        let known = |pair: &&Pair| {
            pair.arch.resolution().is_none_or(|r| code.has_resolution(r)) && code.count_unseen(pair.arch.choices()) == 0
        };
        let test_known: Vec<Pair> = test.iter().filter(known).cloned().collect();
        warnings.extend(report::not_scored(test.len() - test_known.len()));
        let truth: Vec<f64> = test_known.iter().map(|p| p.value).collect();
        let test_features = rows(&code, space, &test_known)?.dense();
        let predicted = predictor.predict(&test_features);
        let noise = match out_of_fold {
            Some(out_of_fold) => Some(noise(&targets, &out_of_fold)),
            None if truth.len() >= FEWEST_FOR_NOISE => {
                let deviations = predictor.deviations(&test_features);
                Some(noise(&truth, &OutOfFold { predictions: predicted.clone(), deviations }))
            }
            None => None,
        };
        warnings.extend(report::unseen(&seen.names(space)));
        let mut report = FitReport::of(estimator.kind(), train.len(), &truth, &predicted);
        report.warnings = warnings;
        report.fit_seconds = started.elapsed().as_secs_f64();
        Ok(FittedPredictor {
            format: FittedPredictor::format(self.target),
            target: self.target,
            space: Some(space.name().to_owned()),
            encoder: self.encoder,
            resolutions,
            seen,
            columns: code.width(),
            noise,
            report,
            predictor,
        })
    }

    /// The estimator to fit, and what it predicts of every row when it is fitted without the row's fold, where that takes
    /// seconds.
    fn chosen(
        &self,
        features: &[Vec<f32>],
        targets: &[f64],
        warnings: &mut Vec<String>,
    ) -> Result<(Arc<dyn Estimator>, Option<OutOfFold>), PredictorError> {
        let Some(estimator) = self.estimator.estimator()? else {
            let choice = cross_validation::choose(features, targets, self.seed)?;
            if !choice.beats_mean {
                let columns = features.first().map_or(0, Vec::len);
                warnings.push(report::nothing_learnt(choice.entry.name, self.target, targets, columns));
            }
            return Ok((Arc::from((choice.entry.build)()), Some(choice.out_of_fold)));
        };
        estimator.check_settings()?;
        let out_of_fold = match estimator.effort() {
            Effort::Fast if targets.len() >= 2 * FOLDS => {
                Some(cross_validation::out_of_fold(estimator.as_ref(), features, targets, FOLDS, self.seed)?)
            }
            _ => None,
        };
        Ok((estimator, out_of_fold))
    }
}

fn rows(code: &Code, space: &dyn SearchSpace, pairs: &[Pair]) -> Result<SparseRows, PredictorError> {
    code.rows(space, &Population::of(&pairs.iter().map(|p| p.arch.clone()).collect::<Vec<_>>()))
}

/// Standard deviation of what is measured around what the model predicts: what is left of the squared errors on pairs that
/// it was not fitted to, after its own variance.
fn noise(truth: &[f64], out_of_fold: &OutOfFold) -> f64 {
    let own = |row: usize| out_of_fold.deviations.as_ref().map_or(0.0, |deviations| deviations[row].powi(2));
    let excess = |(row, (t, p)): (usize, (&f64, &f64))| (t - p) * (t - p) - own(row);
    let sum: f64 = truth.iter().zip(&out_of_fold.predictions).enumerate().map(excess).sum();
    (sum / truth.len().max(1) as f64).max(0.0).sqrt()
}
