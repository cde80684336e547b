//! Training steps: gradients of several subnets on one batch, whole or in shards, what comes out of them, Nesterov SGD, and the
//! learning-rate schedule.

mod clipping;
pub(crate) mod epochs;
pub(crate) mod frozen;
pub mod learning_rate;
pub mod optimizer;
pub mod outcome;
pub mod shards;
pub mod step;
