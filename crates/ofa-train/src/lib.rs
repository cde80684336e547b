#![doc = include_str!("../README.md")]

pub mod batch_norm;
pub mod checkpoint;
pub mod collection;
pub mod config;
#[cfg(feature = "flex")]
pub mod cpu_kernels;
pub mod data;
pub mod device;
pub mod error;
pub mod evaluation;
pub mod executor;
pub mod layer_ops;
pub mod learning_rate;
pub mod loss;
pub mod optimizer;
pub mod parameters;
pub mod plan;
pub mod progressive_shrinking;
pub mod sampler;
pub mod supernet;
pub mod training_step;

pub use error::TrainError;
