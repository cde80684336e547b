//! A fitted model.

use std::fmt::Debug;

/// A fitted model: features in, one number each out. Serialised under its `kind`.
#[typetag::serde(tag = "kind")]
pub trait Predictor: Debug + Send + Sync {
    /// One prediction per row of features.
    ///
    /// # Panics
    /// If a row has another length than the model was fitted with.
    fn predict(&self, features: &[Vec<f32>]) -> Vec<f64>;
}
