//! Objectives: a number for each arch, and sums and maxima over the blocks of a network.

pub mod block_objective;
pub mod block_plan;
pub mod minimum;
pub mod objective;
pub mod over_blocks;
