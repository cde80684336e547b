#![doc = include_str!("../README.md")]

pub mod checkpoint;
pub mod collection;
pub mod config;
#[cfg(feature = "flex")]
pub mod cpu_kernels;
pub mod data;
pub mod device;
pub mod elastic;
pub mod error;
pub mod evaluation;
pub mod history;
pub mod images;
pub mod learning_rate;
pub mod loss;
mod metrics_file;
pub mod optimizer;
pub mod progressive_shrinking;
pub mod rehearsal;
pub mod sampler;
pub mod starting_point;
mod tensorboard;
pub mod training_step;
mod validation;
mod weight_average;

pub use elastic::{batch_norm, executor, layer_ops, parameters, plan, supernet};
pub use error::TrainError;
