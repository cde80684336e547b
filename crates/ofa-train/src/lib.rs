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
pub mod history;
pub mod layer_ops;
pub mod learning_rate;
pub mod loss;
mod metrics_file;
pub mod optimizer;
pub mod parameters;
pub mod plan;
pub mod progressive_shrinking;
pub mod rehearsal;
pub mod sampler;
pub mod starting_point;
pub mod supernet;
mod tensorboard;
pub mod training_step;
mod validation;
mod weight_average;

pub use error::TrainError;
