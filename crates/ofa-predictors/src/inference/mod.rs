//! A fitted model.

pub mod gaussian_process;
pub mod linear;
pub mod mlp;
pub mod official;

use crate::encoding::sparse::SparseRows;
use std::fmt::Debug;

/// A fitted model: features in, one number each out. Serialised under its `kind`.
#[typetag::serde(tag = "kind")]
pub trait Predictor: Debug + Send + Sync {
    /// One prediction per row of features.
    ///
    /// # Panics
    /// If a row has another length than the model was fitted with.
    fn predict(&self, features: &[Vec<f32>]) -> Vec<f64>;

    /// The same for sparse rows, with the same results.
    ///
    /// # Panics
    /// As [`predict`](Self::predict).
    fn predict_sparse(&self, rows: &SparseRows) -> Vec<f64> {
        self.predict(&rows.dense())
    }

    /// The derivative of every row's prediction by every feature, row after row; false if the model has none.
    fn gradients(&self, _rows: &SparseRows, _gradients: &mut Vec<f32>) -> bool {
        false
    }

    /// The model as a linear function, if it is one: a weight per feature, and the value where all features are 0.
    fn linear(&self) -> Option<(&[f64], f64)> {
        None
    }

    /// The standard deviation of every prediction as the model itself sees it; `None` if it has no notion of it.
    fn deviations(&self, _features: &[Vec<f32>]) -> Option<Vec<f64>> {
        None
    }
}
