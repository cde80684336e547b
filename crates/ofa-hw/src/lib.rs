#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod backend;
pub mod block_key;
pub mod block_table;
pub mod calibrate;
pub mod command;
pub mod error;
pub mod host;
pub mod lut;
pub mod lut_keys;
pub mod measurement_cache;
pub mod memory;
pub mod objective;
pub mod official_layout;
pub mod profile_text;
pub mod profiler;
pub mod reachable;
pub mod registry;
#[cfg(feature = "regression")]
pub mod regression;
pub mod roofline;
pub mod stopwatch;
mod subprocess;
pub mod timing;
pub mod whole_net;

pub use backend::{Blockwise, HardwareBackend, LatencySource};
pub use error::HwError;
pub use objective::LatencyObjective;
pub use registry::{DeviceEntry, entries, load, named};
