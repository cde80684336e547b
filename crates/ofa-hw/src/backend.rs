//! The trait of a device.

use crate::error::HwError;
use ofa_space::NetSpec;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Debug};

/// Where a latency comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LatencySource {
    /// A sum over a lookup table.
    Table,
    /// A formula.
    Analytic,
    /// A stopwatch; does not repeat bit for bit.
    Measured,
}

impl fmt::Display for LatencySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LatencySource::Table => "table",
            LatencySource::Analytic => "analytic",
            LatencySource::Measured => "measured",
        })
    }
}

/// A device: how long a network takes on it. Configured by `kind` in a profile; plugins submit a
/// [`crate::DeviceEntry`].
#[typetag::serde(tag = "kind")]
pub trait HardwareBackend: Debug + Send + Sync {
    /// Latency of one image, in milliseconds.
    ///
    /// # Errors
    /// [`HwError`], such as a block that a table lacks.
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError>;

    /// Where the latency comes from.
    fn source(&self) -> LatencySource;

    /// Energy of one image in millijoules, where the device knows it.
    fn energy_mj(&self, _net: &NetSpec) -> Option<f64> {
        None
    }

    /// The device as a sum over blocks, where its latency is one: a search then needs no network resolved.
    fn blockwise(&self) -> Option<&dyn Blockwise> {
        None
    }
}

/// A device whose latency is the sum over a network's blocks.
pub trait Blockwise {
    /// Latency of one block of a network, in milliseconds.
    ///
    /// # Errors
    /// As [`HardwareBackend::latency_ms`].
    fn block_ms(&self, net: &NetSpec, block: usize) -> Result<f64, HwError>;
}
