#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cholesky;
pub mod encoding;
pub mod error;
pub mod estimators;
pub mod evaluation;
pub mod fit;
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
pub use estimators::{Estimator, EstimatorChoice, EstimatorEntry};
pub use evaluation::metrics;
pub use fit::{CurvePoint, Fit, FitReport};
pub use fitted::{FittedPredictor, Prediction};
pub use inference::Predictor;
pub use objective::PredictedObjective;
pub use pairs::{Pair, PairsFile};
pub use target::Target;

// Archs and the spaces that they are of.
pub use ofa_space::{Arch, SearchSpace, SpaceError, registry};

/// The guide's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/adding-a-predictor.md")]
struct AddingAPredictor;
