#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod dense;
pub mod encoding;
pub mod error;
pub mod estimators;
pub mod evaluation;
pub mod fitted;
pub mod inference;
pub mod objective;
pub mod pairs;
pub mod standardise;
pub mod target;

pub use encoding::Encoder;
pub use encoding::code::Code;
pub use encoding::sparse::SparseRows;
pub use error::PredictorError;
pub use estimators::{Estimator, EstimatorEntry};
pub use evaluation::metrics;
pub use fitted::{CurvePoint, FitReport, FittedPredictor, Prediction, fit, fit_encoded, learning_curve};
pub use inference::Predictor;
pub use objective::AccuracyObjective;
pub use pairs::{Pair, PairsFile};
pub use target::Target;
