//! Support-vector regression with a Gaussian kernel, by linfa.

use crate::error::PredictorError;
use crate::estimators::{Effort, Estimator, EstimatorEntry, MOST_SQUARED, at_least};
use crate::inference::{Predictor, finite, length};
use crate::standardise::Moments;
use linfa::prelude::*;
use linfa_svm::Svm;
use ndarray::{Array1, Array2};
use ofa_space::settings::{self, InvalidSetting, Settings};
use serde::{Deserialize, Serialize};

/// Support-vector regression with the kernel `exp(−|x − x'|² / width)`.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `width` | 4 × the mean squared distance of the features from their mean | of the kernel | > 0 |
/// | `c` | 10 | weight of errors against smoothness | > 0 |
/// | `tube` | 0.05 | errors below this many deviations of the target are free | ≥ 0 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Svr {
    /// Width of the kernel; `None` takes it from the data.
    pub width: Option<f64>,
    /// Weight of errors.
    pub c: f64,
    /// Free error, in deviations of the target.
    pub tube: f64,
}

impl Default for Svr {
    fn default() -> Self {
        Self { width: None, c: 10.0, tube: 0.05 }
    }
}

impl Settings for Svr {
    fn check(&self) -> Result<(), InvalidSetting> {
        self.width.map_or(Ok(()), |width| settings::positive("width", width))?;
        settings::positive("c", self.c)?;
        settings::number("tube", self.tube, 0.0..f64::INFINITY)
    }
}

/// A sum of Gaussian bumps around support vectors.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SupportVectors {
    width: f64,
    offset: f64,
    target: Moments,
    vectors: Vec<Vec<f32>>,
    coefficients: Vec<f64>,
}

impl SupportVectors {
    fn predict_one(&self, row: &[f32]) -> f64 {
        let bump = |vector: &Vec<f32>| {
            assert_eq!(row.len(), vector.len(), "features of another encoding");
            let squared: f64 = row.iter().zip(vector).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum();
            (-squared / self.width).exp()
        };
        let sum: f64 = self.vectors.iter().zip(&self.coefficients).map(|(v, c)| bump(v) * c).sum();
        self.target.restore(sum - self.offset)
    }
}

#[typetag::serde(name = "support-vectors")]
impl Predictor for SupportVectors {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::positive("width", self.width)?;
        finite("offset", [self.offset])?;
        self.target.check().map_err(|invalid| invalid.within("target"))?;
        length("coefficients", self.coefficients.len(), self.vectors.len())?;
        finite("coefficients", self.coefficients.iter().copied())?;
        let width = self.vectors.first().map_or(0, Vec::len);
        self.vectors.iter().try_for_each(|vector| {
            length("vectors", vector.len(), width)?;
            finite("vectors", vector.iter().map(|value| f64::from(*value)))
        })
    }

    fn width(&self) -> Option<usize> {
        self.vectors.first().map(Vec::len)
    }

    fn predict(&self, features: &[Vec<f32>]) -> Vec<f64> {
        features.iter().map(|row| self.predict_one(row)).collect()
    }
}

#[typetag::serde(name = "svr")]
impl Estimator for Svr {
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], _seed: u64) -> Result<Box<dyn Predictor>, PredictorError> {
        Ok(Box::new(self.fit_vectors(features, targets)?.0))
    }

    fn most_pairs(&self) -> Option<usize> {
        Some(MOST_SQUARED)
    }
}

impl Svr {
    /// The fitted vectors, and linfa's own predictions for the training rows.
    fn fit_vectors(
        &self,
        features: &[Vec<f32>],
        targets: &[f64],
    ) -> Result<(SupportVectors, Vec<f64>), PredictorError> {
        const FEWEST: usize = 8;
        at_least(FEWEST, features.len(), "svr")?;
        let failed = |problem: String| PredictorError::Fit { estimator: "svr", problem };
        let target = Moments::of(targets.iter().copied());
        let width = self.width.unwrap_or_else(|| default_width(features));
        let columns = features[0].len();
        let flat: Vec<f64> = features.iter().flatten().map(|v| f64::from(*v)).collect();
        let x = Array2::from_shape_vec((features.len(), columns), flat).map_err(|e| failed(e.to_string()))?;
        let y = Array1::from_iter(targets.iter().map(|t| target.standardise(*t)));
        let dataset = Dataset::new(x, y);
        let model = Svm::<f64, f64>::params()
            .c_svr(self.c, Some(self.tube))
            .eps(1e-3)
            .gaussian_kernel(width)
            .fit(&dataset)
            .map_err(|e| failed(e.to_string()))?;
        let (vectors, coefficients) = features
            .iter()
            .zip(&model.alpha)
            .filter(|(_, alpha)| alpha.abs() > 100.0 * f64::EPSILON)
            .map(|(row, alpha)| (row.clone(), *alpha))
            .unzip();
        let fitted = SupportVectors { width, offset: model.rho, target, vectors, coefficients };
        let theirs = model.predict(dataset.records()).iter().map(|v| target.restore(*v)).collect();
        Ok((fitted, theirs))
    }
}

/// Four times the mean squared distance of the rows from their mean.
fn default_width(features: &[Vec<f32>]) -> f64 {
    let moments = crate::standardise::columns(features);
    let total: f64 = features
        .iter()
        .map(|row| row.iter().zip(&moments).map(|(v, m)| (f64::from(*v) - m.mean).powi(2)).sum::<f64>())
        .sum();
    (4.0 * total / features.len() as f64).max(f64::MIN_POSITIVE)
}

inventory::submit! {
    EstimatorEntry {
        name: "svr",
        about: "support-vector regression with a Gaussian kernel (linfa)",
        effort: Effort::Fast,
        build: || Box::new(Svr::default()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_stored_form_predicts_as_linfa_does() {
        let features: Vec<Vec<f32>> = (0..60).map(|i| vec![(i % 7) as f32, (i % 5) as f32]).collect();
        let targets: Vec<f64> = features.iter().map(|f| f64::from(f[0] * f[1]).sin()).collect();
        let (ours, theirs) = Svr::default().fit_vectors(&features, &targets).unwrap();
        for (a, b) in ours.predict(&features).iter().zip(theirs) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }
}
