//! Networks: the static network of an arch, the blocks it is built from, its exact costs and its memory.

pub mod block_builder;
pub mod bottleneck;
pub mod channels;
pub mod cost;
pub mod fusion;
pub(crate) mod head;
pub mod inverted_residual;
pub mod memory;
pub mod net_spec;
pub mod operation;
mod resolution;
mod soundness;
