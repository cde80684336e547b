#![doc = include_str!("../README.md")]

pub mod batch_norm;
pub mod device;
pub mod error;
pub mod executor;
pub mod layer_ops;
pub mod learning_rate;
pub mod loss;
pub mod optimizer;
pub mod parameters;
pub mod plan;
pub mod supernet;
pub mod training_step;

pub use error::TrainError;
