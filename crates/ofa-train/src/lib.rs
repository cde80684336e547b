#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod collection;
pub mod communication;
pub mod data;
pub mod device;
pub mod elastic;
pub mod error;
pub mod evaluation;
pub mod fine_tuning;
pub mod images;
pub mod loss;
pub mod pretrained;
pub mod sampler;
pub mod shrinking;
pub mod training;
pub mod unfolding;

pub use elastic::{Supernet, to_host};
pub use error::TrainError;
pub use evaluation::{Accuracy, EvaluationSettings, Evaluator};
pub use fine_tuning::{FineTuned, FineTuner, FineTuning};
pub use images::Images;
/// The crate of spaces and models whose types appear in this one's.
pub use ofa_space as space;
pub use shrinking::{Silent, TrainConfig, Trained, Trainer};
