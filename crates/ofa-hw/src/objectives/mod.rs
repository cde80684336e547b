//! What a search minimises or limits: latency, memory and energy of a space's subnets on a device.

pub mod energy;
pub mod latency;
pub mod memory;
