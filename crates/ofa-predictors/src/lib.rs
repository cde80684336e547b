#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod code;
pub mod cross_validation;
pub mod dense;
#[cfg(feature = "linfa")]
pub mod elastic_net;
pub mod encoder;
pub mod error;
pub mod estimator;
pub mod fitted;
pub mod metrics;
pub mod mlp;
#[cfg(feature = "mlp")]
pub mod mlp_fit;
pub mod objective;
pub mod official;
pub mod pairs;
pub mod predictor;
pub mod sparse;
pub mod standardise;
#[cfg(feature = "linfa")]
pub mod svr;

pub use code::Code;
pub use encoder::Encoder;
pub use error::PredictorError;
pub use estimator::{Estimator, EstimatorEntry};
pub use fitted::{FitReport, FittedPredictor, fit};
pub use objective::AccuracyObjective;
pub use pairs::Pair;
pub use predictor::Predictor;
pub use sparse::SparseRows;
