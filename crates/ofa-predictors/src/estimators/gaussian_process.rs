//! Gaussian-process regression with a linear and a Gaussian kernel, by Cholesky factorisation; it predicts its own
//! uncertainty.
//!
//! Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006): algorithm 2.1 for the fit, equation
//! 5.8 for the marginal likelihood.

use crate::cholesky::Factor;
use crate::error::PredictorError;
use crate::estimators::{Effort, Estimator, EstimatorEntry, MOST_SQUARED, at_least};
use crate::inference::Predictor;
use crate::inference::gaussian_process::{Kernel, Process, Stored, matrix};
use crate::standardise::{Moments, columns, standardised};
use ofa_space::settings::{self, InvalidSetting, Settings};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A Gaussian process with the kernel `linear · x·x'/n + exp(−width · |x − x'|²/n)` over `n` standardised features, and
/// independent noise. What is not given is chosen by the marginal likelihood of at most 600 pairs.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `linear` | 10 | weight of the linear part against the smooth part | ≥ 0 |
/// | `width` | chosen | inverse width of the smooth part | > 0 |
/// | `noise` | chosen | variance of the noise, in units of the smooth part | > 0 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GaussianProcess {
    /// Weight of the linear part.
    pub linear: f64,
    /// Inverse width of the smooth part; `None` chooses it.
    pub width: Option<f64>,
    /// Variance of the noise; `None` chooses it.
    pub noise: Option<f64>,
}

impl Default for GaussianProcess {
    fn default() -> Self {
        Self { linear: 10.0, width: None, noise: None }
    }
}

impl Settings for GaussianProcess {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("linear", self.linear, 0.0..f64::INFINITY)?;
        self.width.map_or(Ok(()), |width| settings::positive("width", width))?;
        self.noise.map_or(Ok(()), |noise| settings::positive("noise", noise))
    }
}

/// Widths and noises that are tried where none is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    pub(super) widths: &'static [f64],
    pub(super) noises: &'static [f64],
}

const TRIED: Tried = Tried { widths: &[0.01, 0.03, 0.1, 0.3], noises: &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3] };
/// Pairs on which they are chosen.
const MOST_CHOOSING: usize = 600;
pub(super) const FEWEST: usize = 8;

#[typetag::serde(name = "gaussian-process")]
impl Estimator for GaussianProcess {
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Box<dyn Predictor>, PredictorError> {
        at_least(FEWEST, features.len(), "gaussian-process")?;
        Ok(Box::new(self.fit_process(features, targets, columns(features), TRIED, seed)?))
    }

    fn most_pairs(&self) -> Option<usize> {
        Some(MOST_SQUARED)
    }
}

impl GaussianProcess {
    /// Fits to at least one pair; `moments` bring the features to the units of the kernel.
    pub(super) fn fit_process(
        &self,
        features: &[Vec<f32>],
        targets: &[f64],
        moments: Vec<Moments>,
        tried: Tried,
        seed: u64,
    ) -> Result<Process, PredictorError> {
        let target = Moments::of(targets.iter().copied());
        let rows = standardised(features, &moments);
        let values: Vec<f64> = targets.iter().map(|t| target.standardise(*t)).collect();
        let (width, noise) = self.choose(&rows, &values, tried, seed)?;
        let kernel = Kernel { linear: self.linear, width };
        let coefficients = Factor::of(kernel.gram(&matrix(&rows).map_err(not_positive)?, noise))
            .and_then(|factor| factor.solve(&values))
            .map_err(not_positive)?;
        let fit: f64 = values.iter().zip(&coefficients).map(|(y, alpha)| y * alpha).sum();
        let scale = (fit / rows.len() as f64).max(f64::MIN_POSITIVE);
        let vectors = features.to_vec();
        let stored =
            Stored { linear: self.linear, width, noise, scale, features: moments, target, vectors, coefficients };
        Ok(Process::of(stored))
    }

    /// Width and noise of the largest marginal likelihood, the variance of the process being the likeliest for each.
    fn choose(&self, rows: &[Vec<f64>], values: &[f64], tried: Tried, seed: u64) -> Result<(f64, f64), PredictorError> {
        let widths = self.width.map_or(tried.widths.to_vec(), |width| vec![width]);
        let noises = self.noise.map_or(tried.noises.to_vec(), |noise| vec![noise]);
        if widths.len() * noises.len() == 1 {
            return Ok((widths[0], noises[0]));
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        order.truncate(MOST_CHOOSING);
        let rows: Vec<Vec<f64>> = order.iter().map(|i| rows[*i].clone()).collect();
        let values: Vec<f64> = order.iter().map(|i| values[*i]).collect();
        let rows = matrix(&rows).map_err(not_positive)?;
        let products = rows.dot(&rows.t());
        let mut tried: Vec<(f64, f64)> = Vec::new();
        widths.iter().for_each(|width| tried.extend(noises.iter().map(|noise| (*width, *noise))));
        let likelihood = |(width, noise): &(f64, f64)| -> Option<f64> {
            let kernel = Kernel { linear: self.linear, width: *width };
            let factor = Factor::of(kernel.of_products(products.view(), rows.ncols(), *noise)).ok()?;
            let half = factor.solve_lower(values.clone());
            let fit = half.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
            // Values that are all the same leave nothing to explain.
            let fit = fit.max(f64::MIN_POSITIVE);
            Some(-0.5 * values.len() as f64 * fit.ln() - factor.half_log_determinant()).filter(|l| l.is_finite())
        };
        let likelihoods: Vec<Option<f64>> = tried.par_iter().map(likelihood).collect();
        let known = tried.iter().zip(likelihoods).filter_map(|(at, likelihood)| Some((*at, likelihood?)));
        let best = known.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at);
        best.ok_or_else(|| not_positive("no width and noise give a positive definite matrix"))
    }
}

fn not_positive(why: impl std::fmt::Display) -> PredictorError {
    let problem = format!("the kernel matrix cannot be factorised ({why}); raise `noise`");
    PredictorError::Fit { estimator: "gaussian-process", problem }
}

inventory::submit! {
    EstimatorEntry {
        name: "gaussian-process",
        about: "Gaussian process with a linear and a smooth part; predicts its own uncertainty",
        effort: Effort::Fast,
        build: || Box::new(GaussianProcess::default()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::encoding::sparse::SparseRows;
    use ndarray::Array2;

    fn data(count: usize) -> (Vec<Vec<f32>>, Vec<f64>) {
        let features: Vec<Vec<f32>> =
            (0..count).map(|i| vec![(i % 7) as f32, (i % 5) as f32, ((i * 3) % 11) as f32 * 0.5]).collect();
        let targets = features.iter().map(|f| f64::from(f[0] - 0.5 * f[1]) + f64::from(f[2]).sin()).collect();
        (features, targets)
    }

    fn between(kernel: Kernel, x: &[f64], y: &[f64]) -> f64 {
        let n = x.len() as f64;
        let product: f64 = x.iter().zip(y).map(|(a, b)| a * b).sum();
        let distance: f64 = x.iter().zip(y).map(|(a, b)| (a - b) * (a - b)).sum();
        kernel.linear * product / n + (-kernel.width * distance / n).exp()
    }

    #[test]
    fn the_factor_solves() {
        let (features, targets) = data(40);
        let rows = standardised(&features, &columns(&features));
        let kernel = Kernel { linear: 2.0, width: 0.5 };
        let gram = kernel.gram(&matrix(&rows).unwrap(), 0.05);
        for (i, j) in [(0, 0), (3, 17), (39, 2)] {
            let expected = between(kernel, &rows[i], &rows[j]) + if i == j { 0.05 } else { 0.0 };
            assert!((gram[[i, j]] - expected).abs() < 1e-10);
        }
        let x = Factor::of(gram.clone()).unwrap().solve(&targets).unwrap();
        for (row, target) in gram.rows().into_iter().zip(&targets) {
            let product: f64 = row.iter().zip(&x).map(|(a, x)| a * x).sum();
            assert!((product - target).abs() < 1e-8, "{product} {target}");
        }
        assert!(Factor::of(Array2::from_elem((2, 2), 1.0) - Array2::<f64>::eye(2)).is_err());
    }

    #[test]
    fn the_deviation_is_the_posterior_one() {
        let (features, targets) = data(40);
        let process =
            GaussianProcess::default().fit_process(&features, &targets, columns(&features), TRIED, 0).unwrap();
        let kernel = process.kernel();
        let rows: Vec<Vec<f64>> = features.iter().map(|row| process.standardised(row)).collect();
        let fresh = vec![2.5f32, 1.0, 3.25];
        let x = process.standardised(&fresh);
        let with_all: Vec<f64> = rows.iter().map(|row| between(kernel, &x, row)).collect();
        let solved =
            Factor::of(kernel.gram(&matrix(&rows).unwrap(), process.stored.noise)).unwrap().solve(&with_all).unwrap();
        let explained: f64 = with_all.iter().zip(&solved).map(|(k, s)| k * s).sum();
        let expected =
            ((between(kernel, &x, &x) - explained) * process.stored.scale).sqrt() * process.stored.target.deviation;
        let ours = process.deviations(&[fresh]).unwrap()[0];
        assert!((ours - expected).abs() < 1e-3 * expected, "{ours} {expected}");
    }

    #[test]
    fn the_stored_form_is_the_process() {
        let (features, targets) = data(60);
        let process =
            GaussianProcess::default().fit_process(&features, &targets, columns(&features), TRIED, 0).unwrap();
        let kernel = process.kernel();
        let fresh = vec![vec![2.5, 1.0, 3.25], vec![9.0, -3.0, 0.0]];
        for (row, ours) in fresh.iter().zip(process.predict(&fresh)) {
            let x = process.standardised(row);
            let sum: f64 = process
                .stored
                .vectors
                .iter()
                .zip(&process.stored.coefficients)
                .map(|(v, alpha)| alpha * between(kernel, &x, &process.standardised(v)))
                .sum();
            let expected = process.stored.target.restore(sum);
            assert!((ours - expected).abs() < 1e-4, "{ours} {expected}");
        }
        let deviations = process.deviations(&[features[0].clone(), fresh[1].clone()]).unwrap();
        assert!(deviations[1] > 3.0 * deviations[0], "far from the data it is less sure: {deviations:?}");
        let mut gradients = Vec::new();
        assert!(process.gradients(&SparseRows::of(&fresh), &mut gradients));
        for feature in 0..3 {
            let mut moved = fresh.clone();
            moved.iter_mut().for_each(|row| row[feature] += 1e-2);
            for (index, (after, before)) in process.predict(&moved).iter().zip(process.predict(&fresh)).enumerate() {
                let difference = (after - before) / 1e-2;
                let ours = f64::from(gradients[index * 3 + feature]);
                assert!((ours - difference).abs() < 0.05, "{ours} {difference}");
            }
        }
    }
}
