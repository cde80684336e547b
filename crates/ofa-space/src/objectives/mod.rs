//! Objectives: a number for each arch, and sums over the blocks of a network.

pub mod block_objective;
pub mod block_plan;
pub mod objective;
