//! A fitted Gaussian process: its mean as a linear part and a sum over the training pairs, its deviation by the factor of
//! the kernel matrix.
//!
//! Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1.

use crate::cholesky::Factor;
use crate::encoding::sparse::SparseRows;
use crate::inference::{Predictor, finite, length};
use crate::standardise::Moments;
use ndarray::{Array2, ArrayView2, Axis, ShapeError};
use ofa_space::settings::{self, InvalidSetting};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// What is stored of a fitted process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub linear: f64,
    pub width: f64,
    pub noise: f64,
    /// Variance of the whole process, in units of the standardised target.
    pub scale: f64,
    pub features: Vec<Moments>,
    pub target: Moments,
    pub vectors: Vec<Vec<f32>>,
    pub coefficients: Vec<f64>,
}

/// A fitted process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Process {
    pub(crate) stored: Stored,
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

impl TryFrom<Stored> for Process {
    type Error = InvalidSetting;

    fn try_from(stored: Stored) -> Result<Self, InvalidSetting> {
        stored.check()?;
        Ok(Self::of(stored))
    }
}

impl Stored {
    fn check(&self) -> Result<(), InvalidSetting> {
        finite("linear", [self.linear, self.width, self.noise, self.scale])?;
        settings::count("features", self.features.len(), 1..=usize::MAX)?;
        length("coefficients", self.coefficients.len(), self.vectors.len())?;
        finite("coefficients", self.coefficients.iter().copied())?;
        let moments = self.features.iter().map(|moments| ("features", moments)).chain([("target", &self.target)]);
        moments
            .into_iter()
            .try_for_each(|(field, moments)| moments.check().map_err(|invalid| invalid.within(field)))?;
        self.vectors.iter().try_for_each(|vector| {
            length("vectors", vector.len(), self.features.len())?;
            finite("vectors", vector.iter().map(|value| f64::from(*value)))
        })
    }
}

impl Process {
    /// A fitted process, ready to predict.
    pub(crate) fn of(stored: Stored) -> Self {
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

    pub(crate) fn standardised(&self, row: &[f32]) -> Vec<f64> {
        row.iter().zip(&self.stored.features).map(|(v, m)| m.standardise(f64::from(*v))).collect()
    }

    pub(crate) fn kernel(&self) -> Kernel {
        Kernel { linear: self.stored.linear, width: self.stored.width }
    }

    fn factor(&self) -> &Factor {
        self.factor.get_or_init(|| {
            let rows: Vec<Vec<f64>> = self.stored.vectors.iter().map(|v| self.standardised(v)).collect();
            // The fit succeeded with the same matrix; if rounding has spoilt it, the prior remains.
            let rows = matrix(&rows).ok();
            let factor = rows.and_then(|rows| Factor::of(self.kernel().gram(&rows, self.stored.noise)).ok());
            factor.unwrap_or_else(Factor::none)
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

#[typetag::serde(name = "gaussian-process")]
impl Predictor for Process {
    fn width(&self) -> Option<usize> {
        Some(self.weights.len())
    }

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

/// `linear · x·x'/n + exp(−width · |x − x'|²/n)` over `n` standardised features.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    pub linear: f64,
    pub width: f64,
}

impl Kernel {
    /// The kernel of every row with every row, with the noise on the diagonal.
    pub fn gram(&self, rows: &Array2<f64>, noise: f64) -> Array2<f64> {
        self.of_products(rows.dot(&rows.t()).view(), rows.ncols(), noise)
    }

    /// The same from the inner products of all rows.
    pub fn of_products(&self, products: ArrayView2<'_, f64>, features: usize, noise: f64) -> Array2<f64> {
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

/// Rows of equal length as a matrix.
pub(crate) fn matrix(rows: &[Vec<f64>]) -> Result<Array2<f64>, ShapeError> {
    Array2::from_shape_vec((rows.len(), rows.first().map_or(0, Vec::len)), rows.concat())
}
