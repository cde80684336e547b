//! The trait of a device.

use crate::error::HwError;
use ofa_space::{Arch, NetSpec, Objective, SearchSpace};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Debug};
use std::path::Path;
use std::sync::Arc;

/// Where a latency comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LatencySource {
    /// A sum over a lookup table.
    Table,
    /// A formula, or a model fitted to measurements.
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
/// [`DeviceEntry`](crate::DeviceEntry).
#[typetag::serde(tag = "kind")]
pub trait HardwareBackend: Debug + Send + Sync {
    /// Latency of one image, in milliseconds.
    ///
    /// # Errors
    /// [`HwError`], such as a block that a table lacks.
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError>;

    /// Where the latency comes from.
    fn source(&self) -> LatencySource;

    /// Latency of one image by a subnet of `space`, in milliseconds: that of the resolved network, unless the device
    /// reads archs themselves.
    ///
    /// # Errors
    /// As [`latency_ms`](Self::latency_ms); [`HwError::Space`] for an arch of another space.
    fn subnet_latency_ms(&self, space: &dyn SearchSpace, arch: &Arch) -> Result<f64, HwError> {
        self.latency_ms(&space.resolve(arch)?)
    }

    /// Energy of one image in millijoules; `None` where the device gives none.
    fn energy_mj(&self, _net: &NetSpec) -> Option<f64> {
        None
    }

    /// The device as a sum over blocks, where its latency is one: a search then needs no network resolved.
    fn blockwise(&self) -> Option<&dyn Blockwise> {
        None
    }

    /// The latency of subnets of `space` as an objective in milliseconds, where the device has a faster one than asking
    /// for [`subnet_latency_ms`](Self::subnet_latency_ms) of each. `None` also for a space that it refuses; asking for a
    /// subnet of it then gives the reason.
    fn latency_objective(&self, _space: &Arc<dyn SearchSpace>) -> Option<Box<dyn Objective>> {
        None
    }

    /// Reads the files that the profile names, found from the profile's folder. Called once, after a profile is read.
    ///
    /// # Errors
    /// [`HwError`] for a file that cannot be read or does not suit the device.
    fn open(&mut self, _folder: &Path) -> Result<(), HwError> {
        Ok(())
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
