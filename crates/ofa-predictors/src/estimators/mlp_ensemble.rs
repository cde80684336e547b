//! Several MLPs fitted from different starts on resampled pairs: their mean predicts, their spread is the uncertainty.

use crate::encoding::sparse::SparseRows;
use crate::error::PredictorError;
use crate::estimators::mlp::MlpEstimator;
use crate::estimators::{Effort, Estimator, EstimatorEntry};
use crate::inference::Predictor;
use ofa_space::settings::{self, InvalidSetting, Settings};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// An ensemble of MLPs.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `members` | 5 | MLPs | 2–100 |
/// | `mlp` | [`MlpEstimator`]'s | hyper-parameters of each | |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpEnsemble {
    /// MLPs.
    pub members: usize,
    /// Hyper-parameters of each.
    pub mlp: MlpEstimator,
}

impl Default for MlpEnsemble {
    fn default() -> Self {
        Self { members: 5, mlp: MlpEstimator::default() }
    }
}

impl Settings for MlpEnsemble {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("members", self.members, 2..=100)?;
        self.mlp.check().map_err(|error| error.within("mlp"))
    }
}

/// The mean of some predictors.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ensemble {
    members: Vec<Box<dyn Predictor>>,
}

impl Ensemble {
    /// Mean and standard deviation over the members.
    fn moments(&self, rows: &SparseRows) -> Vec<(f64, f64)> {
        let all: Vec<Vec<f64>> = self.members.iter().map(|member| member.predict_sparse(rows)).collect();
        let n = self.members.len().max(1) as f64;
        (0..rows.len())
            .map(|row| {
                let mean = all.iter().map(|values| values[row]).sum::<f64>() / n;
                let variance = all.iter().map(|values| (values[row] - mean).powi(2)).sum::<f64>() / n;
                (mean, variance.sqrt())
            })
            .collect()
    }
}

#[typetag::serde(name = "ensemble")]
impl Predictor for Ensemble {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("members", self.members.len(), 1..=1000)?;
        self.members.iter().try_for_each(|member| member.check().map_err(|invalid| invalid.within("members")))?;
        match self.members.iter().all(|member| member.width() == self.width()) {
            true => Ok(()),
            false => Err(InvalidSetting::new("members", "have different numbers of features")),
        }
    }

    fn width(&self) -> Option<usize> {
        self.members.first().and_then(|member| member.width())
    }

    fn predict(&self, features: &[Vec<f32>]) -> Vec<f64> {
        self.predict_sparse(&SparseRows::of(features))
    }

    fn predict_sparse(&self, rows: &SparseRows) -> Vec<f64> {
        self.moments(rows).into_iter().map(|(mean, _)| mean).collect()
    }

    fn gradients(&self, rows: &SparseRows, gradients: &mut Vec<f32>) -> bool {
        gradients.clear();
        gradients.resize(rows.len() * rows.width(), 0.0);
        let mut of_member = Vec::new();
        let share = 1.0 / self.members.len().max(1) as f32;
        self.members.iter().all(|member| {
            let has = member.gradients(rows, &mut of_member);
            gradients.iter_mut().zip(&of_member).for_each(|(sum, gradient)| *sum += share * gradient);
            has
        })
    }

    fn deviations(&self, features: &[Vec<f32>]) -> Option<Vec<f64>> {
        Some(self.moments(&SparseRows::of(features)).into_iter().map(|(_, deviation)| deviation).collect())
    }
}

#[typetag::serde(name = "mlp-ensemble")]
impl Estimator for MlpEnsemble {
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Box<dyn Predictor>, PredictorError> {
        // Each member holds back another tenth for its early stopping.
        let member = |index: usize| self.mlp.fit(features, targets, seed.wrapping_mul(1000).wrapping_add(index as u64));
        let members: Result<_, _> = (0..self.members).into_par_iter().map(member).collect();
        Ok(Box::new(Ensemble { members: members? }))
    }
}

inventory::submit! {
    EstimatorEntry {
        name: "mlp-ensemble",
        about: "five MLPs from different starts (Burn); predicts its own uncertainty",
        effort: Effort::Slow,
        build: || Box::new(MlpEnsemble::default()),
    }
}
