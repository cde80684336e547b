//! Linear regression with elastic-net penalty, by linfa.

use crate::error::PredictorError;
use crate::estimators::{Effort, Estimator, EstimatorEntry, at_least};
use crate::evaluation::cross_validation::folds;
use crate::evaluation::metrics;
use crate::inference::Predictor;
use crate::inference::linear::Linear;
use crate::standardise::{Moments, columns, standardised};
use linfa::prelude::*;
use linfa_elasticnet::ElasticNet as LinfaElasticNet;
use ndarray::{Array1, Array2};
use ofa_space::settings::{self, InvalidSetting, Settings};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Elastic net over standardised features.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `penalty` | chosen by cross-validation | strength of the penalty, targets in deviations | ≥ 0 |
/// | `l1_ratio` | 0.1 | share of the L1 penalty (0 = ridge, 1 = lasso) | 0–1 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ElasticNet {
    /// Strength of the penalty; `None` chooses by cross-validation.
    pub penalty: Option<f64>,
    /// Share of the L1 penalty.
    pub l1_ratio: f64,
}

impl Default for ElasticNet {
    fn default() -> Self {
        Self { penalty: None, l1_ratio: 0.1 }
    }
}

impl Settings for ElasticNet {
    fn check(&self) -> Result<(), InvalidSetting> {
        self.penalty.map_or(Ok(()), |penalty| settings::number("penalty", penalty, 0.0..f64::INFINITY))?;
        settings::number("l1_ratio", self.l1_ratio, 0.0..=1.0)
    }
}

/// Penalties tried, in units of the standardised target.
const PENALTIES: [f64; 5] = [0.001, 0.003, 0.01, 0.03, 0.1];
const FOLDS: usize = 4;

#[typetag::serde(name = "elastic-net")]
impl Estimator for ElasticNet {
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Box<dyn Predictor>, PredictorError> {
        at_least(2 * FOLDS, features.len(), "elastic-net")?;
        let penalty = match self.penalty {
            Some(penalty) => penalty,
            None => self.choose_penalty(features, targets, seed)?,
        };
        Ok(Box::new(self.fit_with(penalty, features, targets)?))
    }

    fn freedom(&self) -> u8 {
        1
    }
}

impl ElasticNet {
    fn choose_penalty(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<f64, PredictorError> {
        let folds = folds(targets.len(), FOLDS, seed);
        // Coordinate descent takes its time at small penalties: every fit has a thread to itself.
        let mut fits: Vec<(usize, usize)> = Vec::new();
        (0..PENALTIES.len()).for_each(|penalty| fits.extend((0..FOLDS).map(|fold| (penalty, fold))));
        let errors = fits.par_iter().map(|(penalty, fold)| -> Result<f64, PredictorError> {
            let (train, test) = &folds[*fold];
            let rows = |indices: &[usize]| indices.iter().map(|i| features[*i].clone()).collect::<Vec<_>>();
            let values = |indices: &[usize]| indices.iter().map(|i| targets[*i]).collect::<Vec<_>>();
            let model = self.fit_with(PENALTIES[*penalty], &rows(train), &values(train))?;
            Ok(metrics::rmse(&values(test), &model.predict(&rows(test))).powi(2) * test.len() as f64)
        });
        let errors: Vec<f64> = errors.collect::<Result<_, _>>()?;
        let sums = errors.chunks(FOLDS).map(|folds| folds.iter().sum::<f64>());
        let best = sums.zip(PENALTIES).min_by(|a, b| a.0.total_cmp(&b.0));
        Ok(best.map_or(PENALTIES[0], |(_, penalty)| penalty))
    }

    fn fit_with(&self, penalty: f64, features: &[Vec<f32>], targets: &[f64]) -> Result<Linear, PredictorError> {
        let moments = columns(features);
        let target_moments = Moments::of(targets.iter().copied());
        let rows = standardised(features, &moments);
        let values: Vec<f64> = targets.iter().map(|t| target_moments.standardise(*t)).collect();
        let descent = CoordinateDescent { penalty, l1_ratio: self.l1_ratio, ..CoordinateDescent::default() };
        let weights = descent.solve(&rows, &values)?.weights;
        Ok(Linear::restored(weights, &moments, target_moments))
    }
}

/// Coordinate descent (linfa's) for a linear function with elastic-net penalty, on rows as they are: the caller scales
/// them. It minimises `|y − X w − b|² / 2n + penalty · (l1_ratio · |w|₁ + (1 − l1_ratio) · |w|² / 2)` over `n` rows.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `penalty` | 1e-3 | strength of the penalty | ≥ 0 |
/// | `l1_ratio` | 0.1 | share of the L1 penalty (0 = ridge, 1 = lasso) | 0–1 |
/// | `intercept` | fitted | whether there is a `b` | |
/// | `max_iterations` | 5000 | passes over the columns at most | ≥ 1 |
/// | `tolerance` | 1e-4 | relative change of a weight at which it stops | > 0 |
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CoordinateDescent {
    /// Strength of the penalty.
    pub penalty: f64,
    /// Share of the L1 penalty.
    pub l1_ratio: f64,
    /// Whether there is an intercept.
    pub intercept: Intercept,
    /// Passes over the columns at most.
    pub max_iterations: u32,
    /// Relative change of a weight at which it stops.
    pub tolerance: f64,
}

/// Whether a linear function has an intercept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intercept {
    /// Fitted, without penalty.
    Fitted,
    /// 0.
    Zero,
}

impl Default for CoordinateDescent {
    fn default() -> Self {
        Self { penalty: 1e-3, l1_ratio: 0.1, intercept: Intercept::Fitted, max_iterations: 5_000, tolerance: 1e-4 }
    }
}

impl Settings for CoordinateDescent {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("penalty", self.penalty, 0.0..f64::INFINITY)?;
        settings::number("l1_ratio", self.l1_ratio, 0.0..=1.0)?;
        settings::count("max_iterations", self.max_iterations as usize, 1..=usize::MAX)?;
        settings::positive("tolerance", self.tolerance)
    }
}

impl CoordinateDescent {
    /// The linear function of `rows` that is nearest to `targets`.
    ///
    /// # Errors
    /// [`PredictorError::Setting`]; [`PredictorError::Fit`] without rows, for rows of different lengths or another number
    /// of targets, or if linfa fails.
    pub fn solve(&self, rows: &[Vec<f64>], targets: &[f64]) -> Result<Linear, PredictorError> {
        const NAME: &str = "elastic-net";
        self.check().map_err(|invalid| PredictorError::Setting { estimator: NAME, invalid })?;
        let failed = |problem: String| PredictorError::Fit { estimator: NAME, problem };
        if rows.len() != targets.len() || rows.is_empty() {
            return Err(failed(format!("{} rows and {} targets", rows.len(), targets.len())));
        }
        let x =
            Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).map_err(|e| failed(e.to_string()))?;
        let y = Array1::from_iter(targets.iter().copied());
        let model = LinfaElasticNet::params()
            .penalty(self.penalty)
            .l1_ratio(self.l1_ratio)
            .with_intercept(self.intercept == Intercept::Fitted)
            .max_iterations(self.max_iterations)
            .tolerance(self.tolerance)
            .fit(&Dataset::new(x, y))
            .map_err(|e| failed(e.to_string()))?;
        Ok(Linear { weights: model.hyperplane().to_vec(), intercept: model.intercept() })
    }
}

inventory::submit! {
    EstimatorEntry {
        name: "elastic-net",
        about: "linear regression with elastic-net penalty (linfa), penalty by cross-validation",
        // `ridge` predicts as well or better on every set of pairs measured, and takes a hundredth of the time.
        effort: Effort::Slow,
        build: || Box::new(ElasticNet::default()),
    }
}
