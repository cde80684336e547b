//! Linear functions of the features, with or without an uncertainty of their weights.

use crate::encoding::sparse::SparseRows;
use crate::inference::{Predictor, finite, length};
use crate::standardise::Moments;
use ofa_space::settings::InvalidSetting;
use serde::{Deserialize, Serialize};

/// A linear function of the features.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Linear {
    /// One weight per feature.
    pub weights: Vec<f64>,
    /// Value where all features are 0.
    pub intercept: f64,
}

impl Linear {
    /// A linear function of standardised features and target as one of the raw ones.
    pub(crate) fn restored(weights: impl IntoIterator<Item = f64>, features: &[Moments], target: Moments) -> Self {
        let mut intercept = target.mean;
        let weights = weights
            .into_iter()
            .zip(features)
            .map(|(weight, moments)| {
                let weight = weight * target.deviation / moments.deviation;
                intercept -= weight * moments.mean;
                weight
            })
            .collect();
        Self { weights, intercept }
    }
}

#[typetag::serde(name = "linear")]
impl Predictor for Linear {
    fn check(&self) -> Result<(), InvalidSetting> {
        finite("weights", self.weights.iter().copied())?;
        finite("intercept", [self.intercept])
    }

    fn width(&self) -> Option<usize> {
        Some(self.weights.len())
    }

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

/// A linear function whose weights are known up to a covariance, as Bayesian linear regression gives it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct UncertainLinear {
    /// The mean.
    pub(crate) line: Linear,
    /// How features are standardised before `covariance` applies.
    pub(crate) features: Vec<Moments>,
    /// Covariance of the weights of standardised features, in squares of the target's unit: the lower triangle, row
    /// after row.
    pub(crate) covariance: Vec<f32>,
    /// Variance of the mean of all pairs, in squares of the target's unit.
    pub(crate) offset_variance: f64,
}

impl UncertainLinear {
    fn deviation(&self, row: &[f32]) -> f64 {
        assert_eq!(row.len(), self.features.len(), "features of another encoding");
        let z: Vec<f64> = row.iter().zip(&self.features).map(|(v, m)| m.standardise(f64::from(*v))).collect();
        let mut variance = self.offset_variance;
        let mut rest = self.covariance.as_slice();
        for (index, value) in z.iter().enumerate() {
            let (own, after) = rest.split_at(index + 1);
            rest = after;
            let others: f64 = own[..index].iter().zip(&z).map(|(c, other)| f64::from(*c) * other).sum();
            variance += value * (2.0 * others + f64::from(own[index]) * value);
        }
        variance.max(0.0).sqrt()
    }
}

#[typetag::serde(name = "uncertain-linear")]
impl Predictor for UncertainLinear {
    fn check(&self) -> Result<(), InvalidSetting> {
        self.line.check().map_err(|invalid| invalid.within("line"))?;
        let features = self.line.weights.len();
        length("features", self.features.len(), features)?;
        self.features.iter().try_for_each(|moments| moments.check().map_err(|invalid| invalid.within("features")))?;
        length("covariance", self.covariance.len(), features * (features + 1) / 2)?;
        finite("covariance", self.covariance.iter().map(|value| f64::from(*value)))?;
        finite("offset_variance", [self.offset_variance])
    }

    fn width(&self) -> Option<usize> {
        self.line.width()
    }

    fn predict(&self, features: &[Vec<f32>]) -> Vec<f64> {
        self.line.predict(features)
    }

    fn predict_sparse(&self, rows: &SparseRows) -> Vec<f64> {
        self.line.predict_sparse(rows)
    }

    fn linear(&self) -> Option<(&[f64], f64)> {
        self.line.linear()
    }

    fn gradients(&self, rows: &SparseRows, gradients: &mut Vec<f32>) -> bool {
        self.line.gradients(rows, gradients)
    }

    fn deviations(&self, features: &[Vec<f32>]) -> Option<Vec<f64>> {
        Some(features.iter().map(|row| self.deviation(row)).collect())
    }
}
