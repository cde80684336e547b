//! Gaussian-process regression with a linear and a Gaussian kernel, by Cholesky factorisation; predicts its own
//! uncertainty.
//!
//! The factorisation is linfa's (`linfa-linalg`), one thread and no blocking: 0.67 s for 2,000 pairs, where `faer` takes
//! 0.05 s with twenty crates more and a blocked loop of our own took 0.14 s; of a fit of 2,000 pairs it is about half.
//!
//! Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006): algorithm 2.1 for the fit, equation
//! 5.8 for the marginal likelihood.

use crate::encoding::sparse::SparseRows;
use crate::error::PredictorError;
use crate::estimators::{Effort, Estimator, EstimatorEntry, at_least};
use crate::inference::Predictor;
use crate::standardise::{Moments, columns};
use linfa_linalg::cholesky::CholeskyInplace;
use linfa_linalg::triangular::{SolveTriangularInplace, UPLO};
use ndarray::{Array2, ArrayView2, Axis};
use ofa_space::settings::{self, InvalidSetting, Settings};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

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

/// Widths and noises tried.
const WIDTHS: [f64; 4] = [0.01, 0.03, 0.1, 0.3];
const NOISES: [f64; 6] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3];
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
    /// Squared lengths of the standardised vectors.
    lengths: Vec<f64>,
    factor: OnceLock<Factor>,
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
        let mut lengths = vec![0.0; count];
        let mut weights = vec![0.0; n];
        let mut offset = 0.0;
        for (index, (vector, alpha)) in stored.vectors.iter().zip(&stored.coefficients).enumerate() {
            for (feature, (value, moments)) in vector.iter().zip(&stored.features).enumerate() {
                let value = f64::from(*value);
                let over_variance = value / (moments.deviation * moments.deviation);
                scaled[feature * count + index] = over_variance as f32;
                squares[index] += value * over_variance;
                lengths[index] += moments.standardise(value).powi(2);
                let weight = stored.linear / n as f64 * alpha * moments.standardise(value) / moments.deviation;
                weights[feature] += weight;
                offset -= weight * moments.mean;
            }
        }
        Self { stored, weights, offset, scaled, squares, lengths, factor: OnceLock::new() }
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

    fn factor(&self) -> &Factor {
        self.factor.get_or_init(|| {
            let rows: Vec<Vec<f64>> = self.stored.vectors.iter().map(|v| self.standardised(v)).collect();
            // The fit succeeded with the same matrix; if rounding has spoilt it, the prior remains.
            matrix(&rows)
                .and_then(|rows| Factor::of(self.kernel().gram(&rows, self.stored.noise)))
                .unwrap_or_else(|_| Factor { transposed: Array2::zeros((0, 0)) })
        })
    }

    /// Standard deviation of the function (without noise) at a row.
    fn deviation(&self, row: &[f32]) -> f64 {
        let x = self.standardised(row);
        let kernel = self.kernel();
        let entries: Vec<(u32, f32)> =
            row.iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(feature, v)| (feature as u32, *v)).collect();
        let own: f64 = x.iter().map(|v| v * v).sum();
        let n = x.len().max(1) as f64;
        // Distances and lengths of standardised vectors give their inner products: |x|² + |v|² − 2 x·v = d².
        let lengths = self.lengths.iter().zip(self.distances(&entries));
        let with_all = lengths.map(|(length, distance)| {
            kernel.linear * (own + length - n * distance) / (2.0 * n) + (-kernel.width * distance).exp()
        });
        let half = self.factor().solve_lower(with_all.collect());
        let variance = kernel.linear * own / n + 1.0 - half.iter().map(|v| v * v).sum::<f64>();
        (variance.max(0.0) * self.stored.scale).sqrt() * self.stored.target.deviation
    }
}

/// The lower triangular factor `L` of `A = L Lᵀ`, kept transposed so that its columns lie together.
#[derive(Clone, Debug)]
struct Factor {
    transposed: Array2<f64>,
}

impl Factor {
    /// Factorises a symmetric matrix.
    fn of(mut matrix: Array2<f64>) -> Result<Self, PredictorError> {
        matrix.cholesky_inplace_dirty().map_err(not_positive)?;
        Ok(Self { transposed: matrix.reversed_axes().as_standard_layout().into_owned() })
    }

    /// `x` of `L x = b`; nothing if there is no factor.
    fn solve_lower(&self, b: Vec<f64>) -> Vec<f64> {
        let solved = Array2::from_shape_vec((b.len(), 1), b)
            .ok()
            .and_then(|mut x| self.transposed.t().solve_triangular_inplace(&mut x, UPLO::Lower).is_ok().then_some(x));
        solved.map_or_else(Vec::new, |x| x.into_raw_vec_and_offset().0)
    }

    /// `x` of `A x = b`.
    fn solve(&self, b: &[f64]) -> Result<Vec<f64>, PredictorError> {
        let x = self.solve_lower(b.to_vec());
        let mut x = Array2::from_shape_vec((x.len(), 1), x).map_err(not_positive)?;
        self.transposed.solve_triangular_inplace(&mut x, UPLO::Upper).map_err(not_positive)?;
        Ok(x.into_raw_vec_and_offset().0)
    }

    /// Half of the logarithm of the determinant of `A`.
    fn half_log_determinant(&self) -> f64 {
        self.transposed.diag().iter().map(|v| v.ln()).sum()
    }
}

/// Rows of equal length as a matrix.
fn matrix(rows: &[Vec<f64>]) -> Result<Array2<f64>, PredictorError> {
    Array2::from_shape_vec((rows.len(), rows.first().map_or(0, Vec::len)), rows.concat()).map_err(not_positive)
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
    /// The kernel of every row with every row, with the noise on the diagonal.
    fn gram(&self, rows: &Array2<f64>, noise: f64) -> Array2<f64> {
        self.of_products(rows.dot(&rows.t()).view(), rows.ncols(), noise)
    }

    /// The same from the inner products of all rows.
    fn of_products(&self, products: ArrayView2<'_, f64>, features: usize, noise: f64) -> Array2<f64> {
        let n = features.max(1) as f64;
        let squares = products.diag().to_vec();
        let mut gram = products.to_owned();
        let mut lines: Vec<_> = gram.axis_iter_mut(Axis(0)).collect();
        lines.par_iter_mut().enumerate().for_each(|(i, line)| {
            for (j, value) in line.iter_mut().enumerate() {
                let distance = (squares[i] + squares[j] - 2.0 * *value).max(0.0);
                *value = self.linear * *value / n + (-self.width * distance / n).exp();
            }
            line[i] += noise;
        });
        gram
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
        at_least(FEWEST, features.len(), "gaussian-process")?;
        let moments = columns(features);
        let target = Moments::of(targets.iter().copied());
        let rows = crate::standardise::standardised(features, &moments);
        let values: Vec<f64> = targets.iter().map(|t| target.standardise(*t)).collect();
        let (width, noise) = self.choose(&rows, &values, seed)?;
        let kernel = Kernel { linear: self.linear, width };
        let coefficients = Factor::of(kernel.gram(&matrix(&rows)?, noise))?.solve(&values)?;
        let fit: f64 = values.iter().zip(&coefficients).map(|(y, alpha)| y * alpha).sum();
        let scale = (fit / rows.len() as f64).max(f64::MIN_POSITIVE);
        let vectors = features.to_vec();
        let stored =
            Stored { linear: self.linear, width, noise, scale, features: moments, target, vectors, coefficients };
        Ok(Process::from(stored))
    }

    /// Width and noise of the largest marginal likelihood, the variance of the process being the likeliest for each.
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
        let rows = matrix(&rows)?;
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

    fn between(kernel: Kernel, x: &[f64], y: &[f64]) -> f64 {
        let n = x.len() as f64;
        let product: f64 = x.iter().zip(y).map(|(a, b)| a * b).sum();
        let distance: f64 = x.iter().zip(y).map(|(a, b)| (a - b) * (a - b)).sum();
        kernel.linear * product / n + (-kernel.width * distance / n).exp()
    }

    #[test]
    fn the_factor_solves() {
        let (features, targets) = data(40);
        let rows = crate::standardise::standardised(&features, &columns(&features));
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
        let process = GaussianProcess::default().fit_process(&features, &targets, 0).unwrap();
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
