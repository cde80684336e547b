//! Linear regression with elastic-net penalty, by linfa.

use crate::error::PredictorError;
use crate::estimators::{Effort, Estimator, EstimatorEntry};
use crate::evaluation::cross_validation::folds;
use crate::evaluation::metrics;
use crate::inference::Predictor;
use crate::inference::linear::Linear;
use crate::standardise::{Moments, columns, standardised};
use linfa::prelude::*;
use linfa_elasticnet::ElasticNet as LinfaElasticNet;
use ndarray::{Array1, Array2};
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

/// Penalties tried, in units of the standardised target.
const PENALTIES: [f64; 5] = [0.001, 0.003, 0.01, 0.03, 0.1];
const FOLDS: usize = 4;

#[typetag::serde(name = "elastic-net")]
impl Estimator for ElasticNet {
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Box<dyn Predictor>, PredictorError> {
        self.check(features.len())?;
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
    fn check(&self, rows: usize) -> Result<(), PredictorError> {
        let fail = |field, problem| Err(PredictorError::Config { estimator: "elastic-net", field, problem });
        if !(0.0..=1.0).contains(&self.l1_ratio) {
            return fail("l1_ratio", format!("is {}, expected 0 to 1", self.l1_ratio));
        }
        if self.penalty.is_some_and(|p| !(p >= 0.0 && p.is_finite())) {
            return fail("penalty", format!("is {:?}, expected 0 or more", self.penalty));
        }
        if rows < 2 * FOLDS {
            let purpose = "elastic-net".to_owned();
            return Err(PredictorError::TooFewPairs { found: rows, needed: 2 * FOLDS, purpose });
        }
        Ok(())
    }

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
        let failed = |problem: String| PredictorError::Fit { estimator: "elastic-net", problem };
        let moments = columns(features);
        let target_moments = Moments::of(targets.iter().copied());
        let rows = standardised(features, &moments);
        let x =
            Array2::from_shape_vec((rows.len(), moments.len()), rows.concat()).map_err(|e| failed(e.to_string()))?;
        let y = Array1::from_iter(targets.iter().map(|t| target_moments.standardise(*t)));
        let model = LinfaElasticNet::params()
            .penalty(penalty)
            .l1_ratio(self.l1_ratio)
            .max_iterations(5_000)
            .tolerance(1e-4)
            .fit(&Dataset::new(x, y))
            .map_err(|e| failed(e.to_string()))?;
        Ok(Linear::restored(model.hyperplane().iter().copied(), &moments, target_moments))
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
