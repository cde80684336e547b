//! Convolutions: pointwise, depthwise and dense.

pub mod convolution;
pub mod depthwise;
pub mod winograd;
