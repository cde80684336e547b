//! Linear regression with elastic-net penalty, by linfa.

use crate::cross_validation::folds;
use crate::error::PredictorError;
use crate::estimator::{Effort, Estimator, EstimatorEntry};
use crate::metrics;
use crate::predictor::Predictor;
use crate::sparse::SparseRows;
use crate::standardise::{Moments, columns, standardised};
use linfa::prelude::*;
use linfa_elasticnet::ElasticNet as LinfaElasticNet;
use ndarray::{Array1, Array2};
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

/// A linear function of the features.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Linear {
    /// One weight per feature.
    pub weights: Vec<f64>,
    /// Value where all features are 0.
    pub intercept: f64,
}

#[typetag::serde(name = "linear")]
impl Predictor for Linear {
    fn predict(&self, features: &[Vec<f32>]) -> Vec<f64> {
        features
            .iter()
            .map(|row| {
                assert_eq!(row.len(), self.weights.len(), "features of another encoding");
                self.intercept + row.iter().zip(&self.weights).map(|(x, w)| f64::from(*x) * w).sum::<f64>()
            })
            .collect()
    }

    fn predict_sparse(&self, rows: &SparseRows) -> Vec<f64> {
        assert!(rows.is_empty() || rows.width() == self.weights.len(), "features of another encoding");
        let value = |entries: &[(u32, f32)]| -> f64 {
            entries.iter().map(|(feature, x)| f64::from(*x) * self.weights[*feature as usize]).sum()
        };
        (0..rows.len()).map(|row| self.intercept + value(rows.row(row))).collect()
    }

    fn linear(&self) -> Option<(&[f64], f64)> {
        Some((&self.weights, self.intercept))
    }

    fn gradients(&self, rows: &SparseRows, gradients: &mut Vec<f32>) -> bool {
        gradients.clear();
        for _ in 0..rows.len() {
            gradients.extend(self.weights.iter().map(|weight| *weight as f32));
        }
        true
    }
}

/// Penalties tried, in units of the standardised target.
const PENALTIES: [f64; 6] = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1];
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
        let mut best = (PENALTIES[0], f64::INFINITY);
        for penalty in PENALTIES {
            let mut predictions = vec![0.0; targets.len()];
            for (train, test) in folds(targets.len(), FOLDS, seed) {
                let rows = |indices: &[usize]| indices.iter().map(|i| features[*i].clone()).collect::<Vec<_>>();
                let train_targets: Vec<f64> = train.iter().map(|i| targets[*i]).collect();
                let model = self.fit_with(penalty, &rows(&train), &train_targets)?;
                for (index, value) in test.iter().zip(model.predict(&rows(&test))) {
                    predictions[*index] = value;
                }
            }
            let rmse = metrics::rmse(targets, &predictions);
            if rmse < best.1 {
                best = (penalty, rmse);
            }
        }
        Ok(best.0)
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
            .tolerance(1e-6)
            .fit(&Dataset::new(x, y))
            .map_err(|e| failed(e.to_string()))?;
        // Fold both standardisations into plain weights.
        let mut intercept = target_moments.restore(model.intercept());
        let weights = model
            .hyperplane()
            .iter()
            .zip(&moments)
            .map(|(weight, moment)| {
                let weight = weight * target_moments.deviation / moment.deviation;
                intercept -= weight * moment.mean;
                weight
            })
            .collect();
        Ok(Linear { weights, intercept })
    }
}

inventory::submit! {
    EstimatorEntry {
        name: "elastic-net",
        about: "linear regression with elastic-net penalty (linfa), penalty by cross-validation",
        effort: Effort::Fast,
        build: || Box::new(ElasticNet::default()),
    }
}
