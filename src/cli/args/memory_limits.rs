//! Limits of `ofa search` beside latency and exact costs: memory under a stated schedule, and energy.

use super::Failure;
use clap::{Args, ValueEnum};
use ofa_hw::HardwareBackend;
use ofa_hw::memory::{Depthwise, Schedule, peak_activation_bytes, weight_bytes};
use ofa_space::FnObjective;
use ofa_space::{Arch, Objective, SearchSpace};
use std::sync::Arc;

/// Limits on memory and energy.
#[derive(Args, Debug)]
pub struct MemoryLimits {
    /// Limits on activation memory in kB of 1,024 bytes, at --precision; depthwise convolutions work in place.
    #[arg(long, value_delimiter = ',')]
    max_sram_kb: Vec<f64>,
    /// Limits on weights in kB of 1,024 bytes, at --precision.
    #[arg(long, value_delimiter = ',')]
    max_flash_kb: Vec<f64>,
    /// Arithmetic that memory limits are for.
    #[arg(long, value_enum, default_value = "int8")]
    precision: Precision,
    /// Limits on energy per image in millijoules, for a device that knows it.
    #[arg(long, value_delimiter = ',', requires = "device")]
    max_energy_mj: Vec<f64>,
}

/// Width of weights and activations.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Precision {
    /// One byte.
    Int8,
    /// Two bytes.
    F16,
    /// Four bytes.
    F32,
}

impl Precision {
    fn bytes(self) -> usize {
        match self {
            Precision::Int8 => 1,
            Precision::F16 => 2,
            Precision::F32 => 4,
        }
    }
}

const KB: f64 = 1024.0;

/// What is limited, and its limits.
type Limited<'a> = (Arc<dyn Objective>, &'a [f64]);

impl MemoryLimits {
    /// Every objective that is limited, with its limits.
    pub fn objectives(
        &self,
        space: &Arc<dyn SearchSpace>,
        device: Option<&Arc<dyn HardwareBackend>>,
    ) -> Result<Vec<Limited<'_>>, Failure> {
        let bytes = self.precision.bytes();
        let mut found: Vec<Limited<'_>> = Vec::new();
        if !self.max_sram_kb.is_empty() {
            let schedule = Schedule { bytes_per_element: bytes, depthwise: Depthwise::InPlace };
            let space = space.clone();
            let objective = FnObjective::new("sram_kb", move |arch: &Arch| {
                Ok(peak_activation_bytes(&space.resolve(arch)?, schedule) as f64 / KB)
            });
            found.push((Arc::new(objective), &self.max_sram_kb));
        }
        if !self.max_flash_kb.is_empty() {
            let space = space.clone();
            let objective = FnObjective::new("flash_kb", move |arch: &Arch| {
                Ok(weight_bytes(&space.resolve(arch)?, bytes) as f64 / KB)
            });
            found.push((Arc::new(objective), &self.max_flash_kb));
        }
        if let (false, Some(device)) = (self.max_energy_mj.is_empty(), device) {
            if device.energy_mj(&space.resolve(&space.min_arch())?).is_none() {
                return Err(Failure::Input(
                    "--max-energy-mj: the device knows no energy; its profile needs `pj_per_mac`, `pj_per_byte` and \
                     `energy_source`"
                        .into(),
                ));
            }
            let (space, device) = (space.clone(), device.clone());
            let objective = FnObjective::new("energy_mj", move |arch: &Arch| {
                Ok(device.energy_mj(&space.resolve(arch)?).unwrap_or(f64::INFINITY))
            });
            found.push((Arc::new(objective), &self.max_energy_mj));
        }
        Ok(found)
    }
}
