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

/// The type of numbers that a device computes in: networks are delivered for it in that type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers.
    Int8,
}

impl Arithmetic {
    /// Whether it is the one that networks are trained in.
    pub fn is_f32(&self) -> bool {
        *self == Arithmetic::F32
    }
}

/// A device: how long a network takes on it. Configured by `kind` in a profile; plugins submit a
/// [`DeviceEntry`](crate::DeviceEntry).
///
/// A device whose latency is a sum over blocks implements [`block_ms`](Self::block_ms), perhaps
/// [`block_mj`](Self::block_mj), and gets the rest: a search then tabulates it and needs no network resolved. Any other
/// device implements [`latency_ms`](Self::latency_ms).
#[typetag::serde(tag = "kind")]
pub trait HardwareBackend: Debug + Send + Sync {
    /// Where the latency comes from.
    fn source(&self) -> LatencySource;

    /// Whether the latency is a formula that was never compared with a measurement, and so an estimate: rankings may hold, times
    /// need not.
    fn is_estimate(&self) -> bool {
        false
    }

    /// The type of numbers that it computes in.
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::F32
    }

    /// Latency of one block of a network, in milliseconds; `None` where a network's latency is no sum over its blocks. It may
    /// depend on the block, and on those before it that no gene changes.
    ///
    /// # Errors
    /// As [`latency_ms`](Self::latency_ms).
    fn block_ms(&self, _net: &NetSpec, _block: usize) -> Result<Option<f64>, HwError> {
        Ok(None)
    }

    /// Milliseconds that every network takes beside its blocks.
    fn fixed_ms(&self) -> f64 {
        0.0
    }

    /// The least that a network takes, in milliseconds, whatever the sum of its blocks.
    fn least_ms(&self) -> f64 {
        0.0
    }

    /// Latency of one image, in milliseconds: the sum over blocks.
    ///
    /// # Errors
    /// [`HwError`], such as a block that a table lacks.
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError> {
        let mut sum = self.fixed_ms();
        for block in 0..net.blocks.len() {
            sum += self.block_ms(net, block)?.ok_or(HwError::NoLatency)?;
        }
        Ok(sum.max(self.least_ms()))
    }

    /// Energy of one block of a network, in millijoules; `None` where the device gives none.
    fn block_mj(&self, _net: &NetSpec, _block: usize) -> Option<f64> {
        None
    }

    /// Latency of one image by a subnet of `space`, in milliseconds: that of the resolved network, unless the device
    /// reads archs themselves.
    ///
    /// # Errors
    /// As [`latency_ms`](Self::latency_ms); [`HwError::Space`] for an arch of another space.
    fn subnet_latency_ms(&self, space: &dyn SearchSpace, arch: &Arch) -> Result<f64, HwError> {
        self.latency_ms(&space.resolve(arch)?)
    }

    /// Energy of one image in millijoules, the sum over blocks; `None` where the device gives none.
    fn energy_mj(&self, net: &NetSpec) -> Option<f64> {
        (0..net.blocks.len()).map(|block| self.block_mj(net, block)).sum()
    }

    /// The latency of subnets of `space` as an objective in milliseconds, where the device has a faster one than asking
    /// for [`subnet_latency_ms`](Self::subnet_latency_ms) of each. `None` also for a space that it refuses; asking for a
    /// subnet of it then gives the reason.
    fn latency_objective(&self, _space: &Arc<dyn SearchSpace>) -> Option<Box<dyn Objective>> {
        None
    }

    /// The program and arguments that measuring starts, if any.
    fn command(&self) -> Option<&[String]> {
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
