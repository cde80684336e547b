//! A Gaussian process for few and noisy pairs: what a network costs weighs more than which blocks it has, and the noise
//! may be larger than everything that is learnt.
//!
//! Forty pairs do not decide between a hundred choices, but they mostly agree on size and depth. The kernel, the
//! likelihood and the fitted form are those of [`GaussianProcess`].

use crate::error::PredictorError;
use crate::estimators::gaussian_process::{FEWEST, GaussianProcess, Tried};
use crate::estimators::{Effort, Estimator, EstimatorEntry, MOST_SQUARED, at_least};
use crate::inference::Predictor;
use crate::standardise::columns;
use ofa_space::settings::{self, InvalidSetting, Settings};
use serde::{Deserialize, Serialize};

/// A Gaussian process over standardised features, of which those that are no one-hot columns (logarithms and inverses of
/// costs) count more. Width and noise are chosen by the marginal likelihood.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `cost_weight` | 3 | standard deviation of a column of costs, where a one-hot column has 1 | > 0 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CostProcess {
    /// Standard deviation of a column of costs.
    pub cost_weight: f64,
}

impl Default for CostProcess {
    fn default() -> Self {
        Self { cost_weight: 3.0 }
    }
}

impl Settings for CostProcess {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::positive("cost_weight", self.cost_weight)
    }
}

/// The linear part is no heavier than the smooth one, and the noise up to fifteen times both.
const LINEAR: f64 = 1.0;
const TRIED: Tried = Tried { widths: &[0.03, 0.1, 0.3, 1.0], noises: &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0] };

#[typetag::serde(name = "cost-process")]
impl Estimator for CostProcess {
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Box<dyn Predictor>, PredictorError> {
        at_least(FEWEST, features.len(), "cost-process")?;
        let mut moments = columns(features);
        let one_hot = |column: usize| features.iter().all(|row| row[column] == 0.0 || row[column] == 1.0);
        let weight = |column: usize| if one_hot(column) { 1.0 } else { self.cost_weight };
        let weights: Vec<f64> = (0..moments.len()).map(weight).collect();
        // The mean square of the weights is 1, so that the kernel's parameters keep their meaning.
        let scale = (weights.iter().map(|w| w * w).sum::<f64>() / weights.len().max(1) as f64).sqrt();
        moments.iter_mut().zip(&weights).for_each(|(moments, weight)| moments.deviation *= scale / weight);
        let process = GaussianProcess { linear: LINEAR, width: None, noise: None };
        Ok(Box::new(process.fit_process(features, targets, moments, TRIED, seed)?))
    }

    fn is_for_few(&self) -> bool {
        true
    }

    fn most_pairs(&self) -> Option<usize> {
        Some(MOST_SQUARED)
    }
}

inventory::submit! {
    EstimatorEntry {
        name: "cost-process",
        about: "Gaussian process in which costs count more than choices: for few, noisy pairs; predicts its own uncertainty",
        effort: Effort::Fast,
        build: || Box::new(CostProcess::default()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::evaluation::cross_validation::out_of_fold;
    use crate::evaluation::metrics::kendall_tau;

    /// Forty choices that matter little, and a cost that matters more than they do, under noise.
    fn data(count: usize) -> (Vec<Vec<f32>>, Vec<f64>) {
        let bits = |i: usize, j: usize| ((i * 7919 + j * 104_729 + i * j * 31) >> 3) & 1;
        let row = |i: usize| -> Vec<f32> {
            let choices: Vec<f32> = (0..40).map(|j| bits(i, j) as f32).collect();
            let cost = 15.0 + 0.02 * choices.iter().sum::<f32>() + 0.1 * (i % 7) as f32;
            choices.into_iter().chain([cost]).collect()
        };
        let features: Vec<Vec<f32>> = (0..count).map(row).collect();
        let noise = |i: usize| ((i * i * 31 + i * 7919) % 1009) as f64 / 1009.0 - 0.5;
        let targets =
            features.iter().enumerate().map(|(i, row)| 0.1 * f64::from(row[40] - 15.0) + 0.08 * noise(i)).collect();
        (features, targets)
    }

    #[test]
    fn few_noisy_pairs_are_ranked_by_cost() {
        let (features, targets) = data(40);
        let tau = |estimator: &dyn Estimator| {
            kendall_tau(&targets, &out_of_fold(estimator, &features, &targets, 5, 0).unwrap().predictions)
        };
        let (ours, plain) = (tau(&CostProcess::default()), tau(&GaussianProcess::default()));
        assert!(ours > plain && ours > 0.3, "{ours} {plain}");
    }

    #[test]
    fn it_repeats_and_is_less_certain_of_what_it_has_not_seen() {
        let (features, targets) = data(40);
        let fit = || CostProcess::default().fit(&features, &targets, 1).unwrap();
        let far: Vec<f32> = features[0].iter().map(|v| 3.0 * v).collect();
        let rows = [features[3].clone(), far];
        assert_eq!(fit().predict(&rows), fit().predict(&rows));
        let deviations = fit().deviations(&rows).unwrap();
        assert!(deviations[1] > deviations[0], "{deviations:?}");
    }
}
