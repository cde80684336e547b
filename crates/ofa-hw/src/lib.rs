#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod backend;
pub mod block_key;
pub mod devices;
pub mod error;
pub mod memory;
pub mod objectives;
pub mod profiling;

pub use backend::{Blockwise, HardwareBackend, LatencySource};
pub use devices::registry::{self, DeviceEntry, entries, load, named};
pub use error::HwError;
pub use objectives::latency::LatencyObjective;
