//! Ridge regression by an eigendecomposition of linfa's linear algebra: every penalty costs one pass over the pairs, and
//! leaving one out needs no second fit. It predicts its own uncertainty.
//!
//! Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning (2009), equations 3.47 (ridge by
//! decomposition) and 7.64 (leaving one out of a linear fit); the covariance of the weights is that of Bayesian linear
//! regression with the same penalty.

use crate::error::PredictorError;
use crate::estimators::{Effort, Estimator, EstimatorEntry, at_least};
use crate::inference::Predictor;
use crate::inference::linear::{Linear, UncertainLinear};
use crate::standardise::{Moments, columns, standardised};
use linfa_linalg::eigh::EighInto;
use ndarray::{Array1, Array2, Axis};
use ofa_space::settings::{self, InvalidSetting, Settings};
use serde::{Deserialize, Serialize};

/// Ridge regression over standardised features.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `penalty` | chosen by leaving one out | weight of the squared weights against the sum of squared errors | > 0 |
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ridge {
    /// Weight of the squared weights; `None` chooses it.
    pub penalty: Option<f64>,
}

impl Settings for Ridge {
    fn check(&self) -> Result<(), InvalidSetting> {
        self.penalty.map_or(Ok(()), |penalty| settings::positive("penalty", penalty))
    }
}

const FEWEST: usize = 4;
/// Penalties tried: 10^(FIRST + i · STEP).
const FIRST: f64 = -1.0;
const STEP: f64 = 0.25;
const PENALTIES: usize = 25;

/// One penalty's fit in the basis of eigenvectors.
struct Solution {
    penalty: f64,
    weights: Array1<f64>,
    /// Sum of squared errors on the pairs fitted on.
    residual: f64,
    /// Sum of squared errors in leaving one out.
    left_out: f64,
}

#[typetag::serde(name = "ridge")]
impl Estimator for Ridge {
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], _seed: u64) -> Result<Box<dyn Predictor>, PredictorError> {
        Ok(Box::new(self.fit_line(features, targets)?))
    }

    fn freedom(&self) -> u8 {
        1
    }
}

impl Ridge {
    fn fit_line(&self, features: &[Vec<f32>], targets: &[f64]) -> Result<UncertainLinear, PredictorError> {
        at_least(FEWEST, features.len(), "ridge")?;
        let failed = |problem: String| PredictorError::Fit { estimator: "ridge", problem };
        let moments = columns(features);
        let target = Moments::of(targets.iter().copied());
        let n = features.len();
        let flat = standardised(features, &moments).concat();
        let x = Array2::from_shape_vec((n, moments.len()), flat).map_err(|e| failed(e.to_string()))?;
        let y = Array1::from_iter(targets.iter().map(|t| target.standardise(*t)));
        let (values, vectors) = x.t().dot(&x).eigh_into().map_err(|e| failed(e.to_string()))?;
        let values = values.mapv(|value| value.max(0.0));
        let rotated = x.dot(&vectors);
        let products = rotated.t().dot(&y);
        let squares = rotated.mapv(|value| value * value);
        let solve = |penalty: f64| {
            let shrunk = values.mapv(|value| 1.0 / (value + penalty));
            let weights = &products * &shrunk;
            let errors = &y - &rotated.dot(&weights);
            // The intercept takes 1/n of the leverage.
            let leverage = squares.dot(&shrunk) + 1.0 / n as f64;
            let left_out = errors.iter().zip(&leverage).map(|(e, h)| (e / (1.0 - h).max(1e-6)).powi(2)).sum();
            Solution { penalty, weights, residual: errors.dot(&errors), left_out }
        };
        let penalties: Vec<f64> = match self.penalty {
            Some(penalty) => vec![penalty],
            None => (0..PENALTIES).map(|i| 10f64.powf(FIRST + STEP * i as f64)).collect(),
        };
        let best = penalties.into_iter().map(solve).min_by(|a, b| a.left_out.total_cmp(&b.left_out));
        let best = best.ok_or_else(|| failed("no penalty to try".into()))?;
        let shrunk = values.mapv(|value| 1.0 / (value + best.penalty));
        let freedom = 1.0 + (&values * &shrunk).sum();
        let noise = best.residual / (n as f64 - freedom).max(1.0) * target.deviation * target.deviation;
        let covariance = (&vectors * &shrunk.insert_axis(Axis(0))).dot(&vectors.t());
        let triangle = (0..moments.len()).flat_map(|i| (0..=i).map(move |j| (i, j)));
        Ok(UncertainLinear {
            line: Linear::restored(vectors.dot(&best.weights), &moments, target),
            covariance: triangle.map(|at| (noise * covariance[at]) as f32).collect(),
            offset_variance: noise / n as f64,
            features: moments,
        })
    }
}

inventory::submit! {
    EstimatorEntry {
        name: "ridge",
        about: "ridge regression (linfa-linalg), penalty by leaving one out; predicts its own uncertainty",
        effort: Effort::Fast,
        build: || Box::new(Ridge::default()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// One-hot columns of two genes: singular, since each gene's columns sum to one.
    fn data(count: usize) -> (Vec<Vec<f32>>, Vec<f64>) {
        let row = |i: usize| {
            let mut row = vec![0.0; 7];
            row[i % 3] = 1.0;
            row[3 + i * i % 4] = 1.0;
            row
        };
        let features: Vec<Vec<f32>> = (0..count).map(row).collect();
        let noise = |i: usize| ((i * 7919) % 101) as f64 / 101.0 - 0.5;
        let targets = (0..count).map(|i| 0.7 + 0.01 * (i % 3) as f64 + 0.004 * noise(i)).collect();
        (features, targets)
    }

    #[test]
    fn the_fit_solves_the_normal_equations() {
        let (features, targets) = data(60);
        let penalty = 3.0;
        let fitted = Ridge { penalty: Some(penalty) }.fit_line(&features, &targets).unwrap();
        let moments = columns(&features);
        let predicted = fitted.predict(&features);
        // The gradient of the penalised squares by every standardised weight is 0.
        for (column, m) in moments.iter().enumerate() {
            let pull: f64 = features
                .iter()
                .zip(targets.iter().zip(&predicted))
                .map(|(row, (t, p))| m.standardise(f64::from(row[column])) * (t - p))
                .sum();
            let weight = fitted.line.weights[column] * m.deviation;
            assert!((pull - penalty * weight).abs() < 1e-9, "column {column}: {pull} {weight}");
        }
    }

    #[test]
    fn deviations_cover_the_true_line() {
        let (features, targets) = data(400);
        let fitted = Ridge::default().fit_line(&features, &targets).unwrap();
        let truth = |row: &Vec<f32>| 0.7 + 0.01 * f64::from(row[1]) + 0.02 * f64::from(row[2]);
        let deviations = fitted.deviations(&features).unwrap();
        for ((row, value), deviation) in features.iter().zip(fitted.predict(&features)).zip(&deviations) {
            assert!((value - truth(row)).abs() < 5.0 * deviation, "{value} {} {deviation}", truth(row));
            assert!(*deviation < 0.0005, "{deviation}");
        }
        let far: Vec<f32> = features[0].iter().map(|v| 5.0 * v - 2.0).collect();
        assert!(fitted.deviations(&[far]).unwrap()[0] > 3.0 * deviations[0]);
    }

    #[test]
    fn noise_is_shrunk_to_the_mean() {
        let (features, _) = data(60);
        let targets: Vec<f64> = (0..60).map(|i| ((i * 7919) % 101) as f64 / 101.0).collect();
        let predicted = Ridge::default().fit_line(&features, &targets).unwrap().predict(&features);
        let spread = |values: &[f64]| Moments::of(values.iter().copied()).deviation;
        assert!(spread(&predicted) < 0.3 * spread(&targets), "{}", spread(&predicted));
    }
}
