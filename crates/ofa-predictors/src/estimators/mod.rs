//! What can be fitted, and its registry.

pub mod cost_prior;
#[cfg(feature = "linfa")]
pub mod elastic_net;
pub mod gaussian_process;
#[cfg(feature = "mlp")]
pub mod mlp;
#[cfg(feature = "mlp")]
pub mod mlp_ensemble;
pub mod ridge;
#[cfg(feature = "linfa")]
pub mod svr;

use crate::error::PredictorError;
use crate::inference::Predictor;
use std::fmt::Debug;

/// Hyper-parameters that can be fitted to pairs. Configured by `kind`; plugins submit an [`EstimatorEntry`].
#[typetag::serde(tag = "kind")]
pub trait Estimator: Debug + Send + Sync {
    /// Fits rows of features to targets; the same seed gives the same predictor.
    ///
    /// # Errors
    /// [`PredictorError`] for an impossible hyper-parameter or too few rows.
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Box<dyn Predictor>, PredictorError>;

    /// How freely the model can bend: 0 for hardly more than the mean, 1 for lines, 2 for anything else. Of two that
    /// predict about equally well, `auto` takes the less free one.
    fn freedom(&self) -> u8 {
        2
    }
}

/// Whether `auto` considers an estimator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effort {
    /// Fits in seconds: considered.
    Fast,
    /// Only when asked for by name.
    Slow,
}

/// A registered estimator.
#[derive(Debug)]
pub struct EstimatorEntry {
    /// Value of `kind`.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
    /// Whether `auto` considers it.
    pub effort: Effort,
    /// The estimator with its default hyper-parameters.
    pub build: fn() -> Box<dyn Estimator>,
}

inventory::collect!(EstimatorEntry);

/// Every registered estimator, by name.
pub fn entries() -> Vec<&'static EstimatorEntry> {
    let mut all: Vec<&EstimatorEntry> = inventory::iter::<EstimatorEntry>.into_iter().collect();
    all.sort_by_key(|entry| entry.name);
    all
}

/// The entry registered under `name`.
///
/// # Errors
/// [`PredictorError::UnknownEstimator`] with the nearest name and all names.
pub fn named(name: &str) -> Result<&'static EstimatorEntry, PredictorError> {
    entries().into_iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<String> = entries().iter().map(|entry| entry.name.to_owned()).collect();
        let closest = ofa_space::registry::closest(name, &known);
        PredictorError::UnknownEstimator { name: name.to_owned(), closest, known }
    })
}
