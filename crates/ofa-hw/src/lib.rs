#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod backend;
pub mod block_key;
pub mod devices;
pub mod error;
pub mod objectives;
pub mod profiling;

pub use backend::{Arithmetic, HardwareBackend, LatencySource};
pub use devices::command::{CommandDevice, CommandProfile};
pub use devices::content;
pub use devices::host::{Host, HostSettings};
#[cfg(feature = "predictor")]
pub use devices::predictor::{PredictorDevice, PredictorProfile};
pub use devices::profile::DeviceProfile;
pub use devices::registry::{self, DeviceEntry, entries, load, named};
pub use error::HwError;
pub use objectives::energy::EnergyObjective;
pub use objectives::latency::LatencyObjective;
pub use objectives::memory::{FlashObjective, SramObjective};
pub use profiling::measurable::MeasurableDevice;
pub use profiling::measurements::Measurements;
pub use profiling::profiler::{Measured, ProfileOptions, Profiler, random_archs};

// What the interface of this crate is made of.
pub use ofa_space::memory;
pub use ofa_space::{self as space, Arch, Objective, SearchSpace};
