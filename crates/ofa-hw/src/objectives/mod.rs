//! What a search minimises or limits: quantities of a subnet on a device.

pub mod latency;
