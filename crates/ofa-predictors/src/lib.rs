#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod code;
pub mod cost_prior;
pub mod cross_validation;
pub mod dense;
#[cfg(feature = "linfa")]
pub mod elastic_net;
pub mod encoder;
#[cfg(feature = "mlp")]
pub mod ensemble;
pub mod error;
pub mod estimator;
pub mod fitted;
pub mod gaussian_process;
pub mod linear;
pub mod metrics;
pub mod mlp;
#[cfg(feature = "mlp")]
pub mod mlp_fit;
pub mod objective;
pub mod official;
pub mod pairs;
pub mod predictor;
pub mod ridge;
mod seen;
pub mod sparse;
pub mod standardise;
#[cfg(feature = "linfa")]
pub mod svr;

pub use code::Code;
pub use encoder::Encoder;
pub use error::PredictorError;
pub use estimator::{Estimator, EstimatorEntry};
pub use fitted::{CurvePoint, FitReport, FittedPredictor, Prediction, fit, fit_encoded, learning_curve};
pub use objective::AccuracyObjective;
pub use pairs::Pair;
pub use predictor::Predictor;
pub use sparse::SparseRows;
