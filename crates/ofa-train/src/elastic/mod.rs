//! The elastic executor: runs any subnet of a supernet over the supernet's shared weights.
//!
//! | module | holds |
//! |---|---|
//! | [`supernet`] | [`Supernet`]: parameters and running statistics on a device, and how its subnets are run |
//! | [`parameters`] | the trainable tensors, by name |
//! | [`precision`] | the numbers that products multiply |
//! | [`plan`] | a network as fused steps |
//! | [`executor`] | a plan with its weights sliced, ready to run |
//! | [`layer_ops`] | the layers as plain Burn operations |
//! | `operation` | blocks by the CPU kernels, as Burn operations (feature `flex`) |
//! | `torch` | blocks by LibTorch's own operations and gradients (feature `tch`) |
//! | `sgd` | the optimizer's step by the CPU kernels (feature `flex`) |
//! | [`batch_norm`] | running statistics: training updates and recalibration |
//! | [`weight`] | the weights of a prepared operation |
//! | [`transfer`] | tensors and images between host and device |

pub mod batch_norm;
pub mod executor;
#[cfg(any(feature = "flex", feature = "tch"))]
mod kernel_switch;
pub mod layer_ops;
#[cfg(any(feature = "flex", feature = "tch"))]
mod node_count;
#[cfg(feature = "flex")]
pub mod operation;
pub mod parameters;
pub mod plan;
pub mod precision;
#[cfg(feature = "flex")]
pub mod sgd;
pub mod supernet;
#[cfg(feature = "tch")]
mod torch;
pub mod transfer;
pub mod weight;

pub use supernet::Supernet;
pub use transfer::to_host;
