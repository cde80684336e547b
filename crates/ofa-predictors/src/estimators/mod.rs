//! What can be fitted: the trait of estimators, their registry, and one module for each.

pub mod cost_prior;
pub mod cost_process;
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

mod choice;

pub use choice::EstimatorChoice;
pub use cost_prior::CostPrior;
pub use cost_process::CostProcess;
#[cfg(feature = "linfa")]
pub use elastic_net::ElasticNet;
pub use gaussian_process::GaussianProcess;
#[cfg(feature = "mlp")]
pub use mlp::MlpEstimator;
#[cfg(feature = "mlp")]
pub use mlp_ensemble::MlpEnsemble;
pub use ridge::Ridge;
#[cfg(feature = "linfa")]
pub use svr::Svr;

use crate::error::PredictorError;
use crate::inference::Predictor;
use ofa_space::Settings;
use ofa_space::plugin::{self, Entry, UnknownName};
use std::fmt::Debug;

/// Hyper-parameters that can be fitted to pairs. Configured by `kind`; plugins submit an [`EstimatorEntry`].
#[typetag::serde(tag = "kind")]
pub trait Estimator: Settings + Debug + Send + Sync {
    /// Fits rows of features to targets; the same seed gives the same predictor. Reached through [`crate::Fit`], which
    /// checks the settings first.
    ///
    /// # Errors
    /// [`PredictorError::TooFewPairs`], or [`PredictorError::Fit`] if the rows cannot be fitted.
    ///
    /// # Panics
    /// May panic with settings that [`Settings::check`] refuses.
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Box<dyn Predictor>, PredictorError>;

    /// How freely the model can bend: 0 for hardly more than the mean, 1 for lines, 2 for anything else. Of two that
    /// predict about equally well, `auto` takes the less free one.
    fn freedom(&self) -> u8 {
        2
    }

    /// Whether it is made for few and noisy pairs. Of several that rank few pairs about equally well, `auto` takes this one;
    /// where pairs are many, it leaves it out.
    fn is_for_few(&self) -> bool {
        false
    }

    /// The most pairs that it takes, where memory and time grow with their square or worse.
    fn most_pairs(&self) -> Option<usize> {
        None
    }
}

/// The most pairs of an estimator that keeps a number for every two of them: 800 MB in all.
pub(crate) const MOST_SQUARED: usize = 10_000;

impl dyn Estimator + '_ {
    /// Its `kind`.
    pub fn kind(&self) -> &'static str {
        self.typetag_name()
    }

    /// How long fitting takes; [`Effort::Slow`] for a kind that is not registered.
    pub(crate) fn effort(&self) -> Effort {
        plugin::find::<EstimatorEntry>(self.kind()).map_or(Effort::Slow, |entry| entry.effort)
    }

    /// Refuses impossible settings.
    ///
    /// # Errors
    /// [`PredictorError::Setting`].
    pub(crate) fn check_settings(&self) -> Result<(), PredictorError> {
        self.check().map_err(|invalid| PredictorError::Setting { estimator: self.kind(), invalid })
    }

    /// Refuses more pairs than it takes.
    ///
    /// # Errors
    /// [`PredictorError::TooManyPairs`].
    pub(crate) fn check_pairs(&self, found: usize) -> Result<(), PredictorError> {
        match self.most_pairs() {
            Some(most) if found > most => Err(PredictorError::TooManyPairs { estimator: self.kind(), found, most }),
            _ => Ok(()),
        }
    }
}

/// Refuses to fit fewer than `needed` pairs.
fn at_least(needed: usize, rows: usize, estimator: &str) -> Result<(), PredictorError> {
    match rows >= needed {
        true => Ok(()),
        false => Err(PredictorError::TooFewPairs { found: rows, needed, purpose: estimator.to_owned() }),
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

impl Entry for EstimatorEntry {
    const WHAT: &'static str = "predictor";

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }
}

/// Every registered estimator, by name.
pub fn entries() -> Vec<&'static EstimatorEntry> {
    plugin::entries()
}

/// The entry registered under `name`.
///
/// # Errors
/// [`UnknownName`] with the nearest name and all names, among them `auto`.
pub fn named(name: &str) -> Result<&'static EstimatorEntry, UnknownName> {
    plugin::find(name).map_err(|UnknownName { what, name, mut known, .. }| {
        known.push(choice::AUTO.to_owned());
        UnknownName::new(what, &name, known)
    })
}
