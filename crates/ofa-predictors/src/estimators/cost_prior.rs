//! A fallback for pairs that show no difference between networks: larger ones tend to be more accurate, and slower.

use crate::error::PredictorError;
use crate::estimators::{Effort, Estimator, EstimatorEntry, at_least};
use crate::inference::Predictor;
use crate::inference::linear::Linear;
use crate::standardise::Moments;
use ofa_space::settings::{InvalidSetting, Settings};
use serde::{Deserialize, Serialize};

/// The mean of the pairs, and a slope along the first column that is no one-hot column (the logarithm of MACs in the
/// encodings that have costs). The slope is the least-squares one within 0.1 and 1 deviations of the target for each
/// deviation of the column, so that the larger of two networks is always preferred. Without such a column it is the
/// mean alone. It has no hyper-parameters.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CostPrior {}

impl Settings for CostPrior {
    fn check(&self) -> Result<(), InvalidSetting> {
        Ok(())
    }
}

/// Least slope, in deviations of the target for a deviation of the column.
const LEAST_SLOPE: f64 = 0.1;
/// Taken as the deviation of targets that are all the same: enough to prefer the larger network.
const SPREAD_OF_THE_ALIKE: f64 = 1e-4;
const FEWEST: usize = 2;

#[typetag::serde(name = "cost-prior")]
impl Estimator for CostPrior {
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], _seed: u64) -> Result<Box<dyn Predictor>, PredictorError> {
        at_least(FEWEST, features.len(), "cost-prior")?;
        let width = features[0].len();
        let target = Moments::of(targets.iter().copied());
        let mut line = Linear { weights: vec![0.0; width], intercept: target.mean };
        let one_hot = |column: usize| features.iter().all(|row| row[column] == 0.0 || row[column] == 1.0);
        if let Some(column) = (0..width).find(|column| !one_hot(*column)) {
            let moments = Moments::of(features.iter().map(|row| f64::from(row[column])));
            let product = |(row, value): (&Vec<f32>, &f64)| {
                moments.standardise(f64::from(row[column])) * target.standardise(*value)
            };
            let slope = features.iter().zip(targets).map(product).sum::<f64>() / targets.len() as f64;
            let alike = targets.windows(2).all(|pair| pair[0] == pair[1]);
            let spread = if alike { SPREAD_OF_THE_ALIKE } else { target.deviation };
            let slope = slope.clamp(LEAST_SLOPE, 1.0) * spread / moments.deviation;
            line.weights[column] = slope;
            line.intercept -= slope * moments.mean;
        }
        Ok(Box::new(line))
    }

    fn freedom(&self) -> u8 {
        0
    }
}

inventory::submit! {
    EstimatorEntry {
        name: "cost-prior",
        about: "the mean, and a small slope with network size: for pairs that show no difference",
        effort: Effort::Fast,
        build: || Box::new(CostPrior::default()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn larger_is_better_whatever_the_pairs_say() {
        let features: Vec<Vec<f32>> = (0..20).map(|i| vec![(i % 2) as f32, 10.0 + 0.1 * i as f32]).collect();
        for sign in [-1.0, 0.0, 1.0] {
            let targets: Vec<f64> =
                (0..20).map(|i| 0.5 + sign * 0.01 * f64::from(i) + 1e-3 * f64::from(i % 3)).collect();
            let line = CostPrior {}.fit(&features, &targets, 0).unwrap();
            let predicted = line.predict(&[vec![1.0, 10.0], vec![0.0, 10.0], vec![0.0, 12.0]]);
            assert_eq!(predicted[0], predicted[1]);
            assert!(predicted[2] > predicted[1], "{sign}: {predicted:?}");
        }
        let plain: Vec<Vec<f32>> = features.iter().map(|row| row[..1].to_vec()).collect();
        let line = CostPrior {}.fit(&plain, &[0.25; 20], 0).unwrap();
        assert_eq!(line.predict(&[vec![1.0]]), [0.25]);
    }
}
