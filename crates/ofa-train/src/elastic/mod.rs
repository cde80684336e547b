//! The elastic executor: runs any subnet of a supernet over the supernet's shared weights.
//!
//! | module | holds |
//! |---|---|
//! | [`supernet`] | [`Supernet`]: parameters and running statistics on a device, and how its subnets are run |
//! | [`parameters`] | the trainable tensors, by name |
//! | [`plan`] | a network as fused steps |
//! | [`executor`] | a plan with its weights sliced, ready to run |
//! | [`layer_ops`] | the layers as plain Burn operations |
//! | `operation` | blocks by the CPU kernels, as Burn operations (feature `flex`) |
//! | `sgd` | the optimizer's step by the CPU kernels (feature `flex`) |
//! | [`batch_norm`] | running statistics: training updates and recalibration |
//! | [`weight`] | the weights of a prepared operation |
//! | [`transfer`] | tensors and images between host and device |

pub mod batch_norm;
pub mod executor;
pub mod layer_ops;
#[cfg(feature = "flex")]
pub mod operation;
pub mod parameters;
pub mod plan;
#[cfg(feature = "flex")]
pub mod sgd;
pub mod supernet;
pub mod transfer;
pub mod weight;

pub use supernet::Supernet;
pub use transfer::to_host;
