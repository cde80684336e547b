//! Gaussian-process regression with a linear and a Gaussian kernel, by Cholesky factorisation; predicts its own
//! uncertainty.
//!
//! Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006): algorithm 2.1 for the fit,
//! equations 5.12 and 5.13 for leaving one out.

use crate::cholesky::Cholesky;
use crate::error::PredictorError;
use crate::estimator::{Effort, Estimator, EstimatorEntry};
use crate::predictor::Predictor;
use crate::sparse::SparseRows;
use crate::standardise::{Moments, columns};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// A Gaussian process with the kernel `linear · x·x'/n + exp(−width · |x − x'|²/n)` over `n` standardised features, and
/// independent noise. What is not given is chosen by leaving one out on at most 600 pairs.
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

/// Widths and noises tried.
const WIDTHS: [f64; 3] = [0.01, 0.03, 0.1];
const NOISES: [f64; 4] = [0.001, 0.003, 0.01, 0.03];
/// Pairs on which they are chosen.
const MOST_CHOOSING: usize = 600;
const FEWEST: usize = 8;

/// What is stored of a fitted process.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    linear: f64,
    width: f64,
    noise: f64,
    /// Variance of the whole process, in units of the standardised target.
    scale: f64,
    features: Vec<Moments>,
    target: Moments,
    vectors: Vec<Vec<f32>>,
    coefficients: Vec<f64>,
}

/// A fitted process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Process {
    stored: Stored,
    /// The linear part as plain weights over raw features, and its value where all are 0.
    weights: Vec<f64>,
    offset: f64,
    /// `[feature, vector]`: features over the square of their deviation, so that the inner products of a sparse row
    /// with every vector are sums of a few rows.
    scaled: Vec<f32>,
    squares: Vec<f64>,
    factor: OnceLock<Cholesky>,
}

impl From<Process> for Stored {
    fn from(process: Process) -> Self {
        process.stored
    }
}

impl From<Stored> for Process {
    fn from(stored: Stored) -> Self {
        let (n, count) = (stored.features.len(), stored.vectors.len());
        let mut scaled = vec![0.0; n * count];
        let mut squares = vec![0.0; count];
        let mut weights = vec![0.0; n];
        let mut offset = 0.0;
        for (index, (vector, alpha)) in stored.vectors.iter().zip(&stored.coefficients).enumerate() {
            for (feature, (value, moments)) in vector.iter().zip(&stored.features).enumerate() {
                let value = f64::from(*value);
                let over_variance = value / (moments.deviation * moments.deviation);
                scaled[feature * count + index] = over_variance as f32;
                squares[index] += value * over_variance;
                let weight = stored.linear / n as f64 * alpha * moments.standardise(value) / moments.deviation;
                weights[feature] += weight;
                offset -= weight * moments.mean;
            }
        }
        Self { stored, weights, offset, scaled, squares, factor: OnceLock::new() }
    }
}

impl Process {
    /// Squared distances of a sparse row from every vector, over the number of features.
    fn distances(&self, row: &[(u32, f32)]) -> Vec<f64> {
        let count = self.squares.len();
        let mut products = vec![0.0f32; count];
        let mut square = 0.0;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (feature, value) in row {
                    let at = *feature as usize * count;
                    for (product, scaled) in products.iter_mut().zip(&self.scaled[at..at + count]) {
                        *product += value * scaled;
                    }
                }
            },
        );
        for (feature, value) in row {
            let deviation = self.stored.features[*feature as usize].deviation;
            square += f64::from(*value) * f64::from(*value) / (deviation * deviation);
        }
        let n = self.stored.features.len().max(1) as f64;
        let distance = |(product, own): (&f32, &f64)| ((square + own - 2.0 * f64::from(*product)) / n).max(0.0);
        products.iter().zip(&self.squares).map(distance).collect()
    }

    fn predict_one(&self, row: &[(u32, f32)]) -> f64 {
        let linear: f64 = row.iter().map(|(feature, x)| f64::from(*x) * self.weights[*feature as usize]).sum();
        let smooth: f64 = self
            .distances(row)
            .iter()
            .zip(&self.stored.coefficients)
            .map(|(distance, alpha)| alpha * (-self.stored.width * distance).exp())
            .sum();
        self.stored.target.restore(self.offset + linear + smooth)
    }

    fn standardised(&self, row: &[f32]) -> Vec<f64> {
        row.iter().zip(&self.stored.features).map(|(v, m)| m.standardise(f64::from(*v))).collect()
    }

    fn kernel(&self) -> Kernel {
        Kernel { linear: self.stored.linear, width: self.stored.width }
    }

    fn factor(&self) -> &Cholesky {
        self.factor.get_or_init(|| {
            let rows: Vec<Vec<f64>> = self.stored.vectors.iter().map(|v| self.standardised(v)).collect();
            // The fit succeeded with the same matrix; if rounding has spoilt it, the prior remains.
            Cholesky::new(self.kernel().gram(&rows, self.stored.noise)).unwrap_or_default()
        })
    }

    /// Standard deviation of the function (without noise) at a row.
    fn deviation(&self, row: &[f32]) -> f64 {
        let x = self.standardised(row);
        let kernel = self.kernel();
        let with_all: Vec<f64> =
            self.stored.vectors.iter().map(|vector| kernel.between(&x, &self.standardised(vector))).collect();
        let half = self.factor().solve_lower(&with_all);
        let variance = kernel.between(&x, &x) - half.iter().map(|v| v * v).sum::<f64>();
        (variance.max(0.0) * self.stored.scale).sqrt() * self.stored.target.deviation
    }
}

#[typetag::serde(name = "gaussian-process")]
impl Predictor for Process {
    fn predict(&self, features: &[Vec<f32>]) -> Vec<f64> {
        self.predict_sparse(&SparseRows::of(features))
    }

    fn predict_sparse(&self, rows: &SparseRows) -> Vec<f64> {
        assert!(rows.is_empty() || rows.width() == self.weights.len(), "features of another encoding");
        (0..rows.len()).map(|row| self.predict_one(rows.row(row))).collect()
    }

    fn gradients(&self, rows: &SparseRows, gradients: &mut Vec<f32>) -> bool {
        gradients.clear();
        let (n, count) = (self.weights.len(), self.squares.len());
        for row in 0..rows.len() {
            let row = rows.row(row);
            let pulls: Vec<f64> = self
                .distances(row)
                .iter()
                .zip(&self.stored.coefficients)
                .map(|(d, alpha)| 2.0 * self.stored.width / n as f64 * alpha * (-self.stored.width * d).exp())
                .collect();
            let total: f64 = pulls.iter().sum();
            let mut values = vec![0.0f64; n];
            row.iter().for_each(|(feature, value)| values[*feature as usize] = f64::from(*value));
            for (feature, value) in values.into_iter().enumerate() {
                let deviation = self.stored.features[feature].deviation;
                let towards: f64 = self.scaled[feature * count..(feature + 1) * count]
                    .iter()
                    .zip(&pulls)
                    .map(|(scaled, pull)| f64::from(*scaled) * pull)
                    .sum();
                let slope = self.weights[feature] + towards - total * value / (deviation * deviation);
                gradients.push((slope * self.stored.target.deviation) as f32);
            }
        }
        true
    }

    fn deviations(&self, features: &[Vec<f32>]) -> Option<Vec<f64>> {
        Some(features.iter().map(|row| self.deviation(row)).collect())
    }
}

#[derive(Clone, Copy, Debug)]
struct Kernel {
    linear: f64,
    width: f64,
}

impl Kernel {
    fn between(&self, x: &[f64], y: &[f64]) -> f64 {
        let (mut product, mut distance) = (0.0, 0.0);
        for (a, b) in x.iter().zip(y) {
            product += a * b;
            distance += (a - b) * (a - b);
        }
        let n = x.len().max(1) as f64;
        self.linear * product / n + (-self.width * distance / n).exp()
    }

    /// The lower triangle, row after row, with the noise on the diagonal.
    fn gram(&self, rows: &[Vec<f64>], noise: f64) -> Vec<Vec<f64>> {
        use rayon::prelude::*;
        let row = |i: usize| {
            let mut row: Vec<f64> = rows[..=i].iter().map(|other| self.between(&rows[i], other)).collect();
            row[i] += noise;
            row
        };
        (0..rows.len()).into_par_iter().map(row).collect()
    }
}

#[typetag::serde(name = "gaussian-process")]
impl Estimator for GaussianProcess {
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Box<dyn Predictor>, PredictorError> {
        Ok(Box::new(self.fit_process(features, targets, seed)?))
    }
}

impl GaussianProcess {
    fn fit_process(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Process, PredictorError> {
        self.check(features.len())?;
        let moments = columns(features);
        let target = Moments::of(targets.iter().copied());
        let rows = crate::standardise::standardised(features, &moments);
        let values: Vec<f64> = targets.iter().map(|t| target.standardise(*t)).collect();
        let (width, noise) = self.choose(&rows, &values, seed)?;
        let kernel = Kernel { linear: self.linear, width };
        let factor = Cholesky::new(kernel.gram(&rows, noise)).ok_or_else(not_positive)?;
        let coefficients = factor.solve(&values);
        let fit: f64 = values.iter().zip(&coefficients).map(|(y, alpha)| y * alpha).sum();
        let scale = (fit / rows.len() as f64).max(f64::MIN_POSITIVE);
        let vectors = features.to_vec();
        let stored =
            Stored { linear: self.linear, width, noise, scale, features: moments, target, vectors, coefficients };
        Ok(Process::from(stored))
    }

    /// Width and noise with the lowest error in leaving one out.
    fn choose(&self, rows: &[Vec<f64>], values: &[f64], seed: u64) -> Result<(f64, f64), PredictorError> {
        let widths = self.width.map_or(WIDTHS.to_vec(), |width| vec![width]);
        let noises = self.noise.map_or(NOISES.to_vec(), |noise| vec![noise]);
        if widths.len() * noises.len() == 1 {
            return Ok((widths[0], noises[0]));
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        order.truncate(MOST_CHOOSING);
        let rows: Vec<Vec<f64>> = order.iter().map(|i| rows[*i].clone()).collect();
        let values: Vec<f64> = order.iter().map(|i| values[*i]).collect();
        // With more pairs than were looked at, the same noise weighs less; the choice errs towards smoothness.
        let mut best: Option<(f64, f64, f64)> = None;
        for width in &widths {
            let clean = Kernel { linear: self.linear, width: *width }.gram(&rows, 0.0);
            for noise in &noises {
                let mut gram = clean.clone();
                gram.iter_mut().enumerate().for_each(|(i, row)| row[i] += noise);
                let Some(factor) = Cholesky::new(gram) else { continue };
                let coefficients = factor.solve(&values);
                let residuals = coefficients.iter().zip(factor.inverse_diagonal()).map(|(a, d)| (a / d) * (a / d));
                let error: f64 = residuals.sum();
                if best.is_none_or(|(_, _, lowest)| error < lowest) {
                    best = Some((*width, *noise, error));
                }
            }
        }
        best.map(|(width, noise, _)| (width, noise)).ok_or_else(not_positive)
    }

    fn check(&self, rows: usize) -> Result<(), PredictorError> {
        let fail = |field, problem| Err(PredictorError::Config { estimator: "gaussian-process", field, problem });
        if !(self.linear >= 0.0 && self.linear.is_finite()) {
            return fail("linear", format!("is {}, expected 0 or more", self.linear));
        }
        for (field, value) in [("width", self.width), ("noise", self.noise)] {
            if value.is_some_and(|v| !(v > 0.0 && v.is_finite())) {
                return fail(field, format!("is {value:?}, expected more than 0"));
            }
        }
        if rows < FEWEST {
            let purpose = "gaussian-process".to_owned();
            return Err(PredictorError::TooFewPairs { found: rows, needed: FEWEST, purpose });
        }
        Ok(())
    }
}

fn not_positive() -> PredictorError {
    let problem = "the kernel matrix is not positive definite; raise `noise`".to_owned();
    PredictorError::Fit { estimator: "gaussian-process", problem }
}

inventory::submit! {
    EstimatorEntry {
        name: "gaussian-process",
        about: "Gaussian process with a linear and a smooth part; knows its own uncertainty",
        effort: Effort::Fast,
        build: || Box::new(GaussianProcess::default()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn data(count: usize) -> (Vec<Vec<f32>>, Vec<f64>) {
        let features: Vec<Vec<f32>> =
            (0..count).map(|i| vec![(i % 7) as f32, (i % 5) as f32, ((i * 3) % 11) as f32 * 0.5]).collect();
        let targets = features.iter().map(|f| f64::from(f[0] - 0.5 * f[1]) + f64::from(f[2]).sin()).collect();
        (features, targets)
    }

    #[test]
    fn leaving_one_out_is_what_it_says() {
        let (features, targets) = data(40);
        let moments = columns(&features);
        let rows = crate::standardise::standardised(&features, &moments);
        let kernel = Kernel { linear: 2.0, width: 0.5 };
        let factor = Cholesky::new(kernel.gram(&rows, 0.05)).unwrap();
        let coefficients = factor.solve(&targets);
        let inverse = factor.inverse_diagonal();
        for left in [0, 17, 39] {
            let without = |values: &[f64]| -> Vec<f64> {
                values.iter().enumerate().filter(|(i, _)| *i != left).map(|(_, v)| *v).collect()
            };
            let others: Vec<Vec<f64>> =
                rows.iter().enumerate().filter(|(i, _)| *i != left).map(|(_, r)| r.clone()).collect();
            let alpha = Cholesky::new(kernel.gram(&others, 0.05)).unwrap().solve(&without(&targets));
            let predicted: f64 = others.iter().zip(&alpha).map(|(r, a)| kernel.between(&rows[left], r) * a).sum();
            let shortcut = targets[left] - coefficients[left] / inverse[left];
            assert!((predicted - shortcut).abs() < 1e-9, "{predicted} {shortcut}");
        }
    }

    #[test]
    fn the_stored_form_is_the_process() {
        let (features, targets) = data(60);
        let process = GaussianProcess::default().fit_process(&features, &targets, 0).unwrap();
        let kernel = process.kernel();
        let fresh = vec![vec![2.5, 1.0, 3.25], vec![9.0, -3.0, 0.0]];
        for (row, ours) in fresh.iter().zip(process.predict(&fresh)) {
            let x = process.standardised(row);
            let sum: f64 = process
                .stored
                .vectors
                .iter()
                .zip(&process.stored.coefficients)
                .map(|(v, alpha)| alpha * kernel.between(&x, &process.standardised(v)))
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
