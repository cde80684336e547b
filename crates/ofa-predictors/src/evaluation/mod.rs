//! How well a predictor does on pairs that it was not fitted to.

pub mod cross_validation;
pub mod metrics;
