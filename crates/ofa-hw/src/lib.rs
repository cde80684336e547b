#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod backend;
pub mod error;
pub mod host;
pub mod lut;
pub mod lut_keys;
pub mod objective;
pub mod registry;
pub mod roofline;

pub use backend::{Blockwise, HardwareBackend, LatencySource};
pub use error::HwError;
pub use objective::LatencyObjective;
pub use registry::{DeviceEntry, entries, load, named};
