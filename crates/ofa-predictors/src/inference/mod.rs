//! A fitted model.

pub mod gaussian_process;
pub mod linear;
pub mod mlp;
pub mod official;

use crate::encoding::sparse::SparseRows;
use ofa_space::settings::{self, InvalidSetting};
use std::fmt::Debug;

/// The largest number in a model: squares and sums of it stay finite.
const LARGEST: f64 = 1e30;

/// Refuses numbers that are infinite, NaN or beyond any use.
pub(crate) fn finite(field: &str, values: impl IntoIterator<Item = f64>) -> Result<(), InvalidSetting> {
    values.into_iter().try_for_each(|value| settings::number(field, value, -LARGEST..=LARGEST))
}

/// Refuses a list of another length.
pub(crate) fn length(field: &str, found: usize, expected: usize) -> Result<(), InvalidSetting> {
    match found == expected {
        true => Ok(()),
        false => Err(InvalidSetting::new(field, format!("has {found} entries, expected {expected}"))),
    }
}

/// A fitted model: features in, one number each out. Serialised under its `kind`.
#[typetag::serde(tag = "kind")]
pub trait Predictor: Debug + Send + Sync {
    /// Refuses values that no fit gives: lists of lengths that do not belong together, numbers that are not finite. Called once,
    /// when a file is read.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the field.
    fn check(&self) -> Result<(), InvalidSetting> {
        Ok(())
    }

    /// The number of features of a row; `None` if the model takes any.
    fn width(&self) -> Option<usize> {
        None
    }

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
