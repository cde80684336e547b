//! Limits of `ofa search` beside latency and exact costs: memory under a stated schedule, and energy.

use super::Failure;
use clap::{Args, ValueEnum};
use ofa_hw::memory::{Depthwise, Schedule};
use ofa_hw::{EnergyObjective, FlashObjective, HardwareBackend, HwError, SramObjective};
use ofa_search::Limit;
use ofa_space::{Objective, SearchSpace};
use std::sync::Arc;

/// Limits on memory and energy.
#[derive(Args, Debug)]
pub struct MemoryLimits {
    /// Limits on activation memory in kB of 1,024 bytes, at --precision; depthwise convolutions work in place.
    #[arg(long, value_delimiter = ',', value_name = "KB|%")]
    max_sram_kb: Vec<Limit>,
    /// Limits on weights in kB of 1,024 bytes, at --precision.
    #[arg(long, value_delimiter = ',', value_name = "KB|%")]
    max_flash_kb: Vec<Limit>,
    /// Width of weights and activations for the memory limits.
    #[arg(long, value_enum, default_value = "int8")]
    precision: Precision,
    /// Limits on energy per image in millijoules, for a device whose profile gives it.
    #[arg(long, value_delimiter = ',', requires = "device", value_name = "MJ|%")]
    max_energy_mj: Vec<Limit>,
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

/// What is limited, and its limits.
type Limited<'a> = (Arc<dyn Objective>, &'a [Limit]);

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
            found.push((Arc::new(SramObjective::new(space.clone(), schedule)), &self.max_sram_kb));
        }
        if !self.max_flash_kb.is_empty() {
            found.push((Arc::new(FlashObjective::new(space.clone(), bytes)), &self.max_flash_kb));
        }
        if let (false, Some(device)) = (self.max_energy_mj.is_empty(), device) {
            let energy = EnergyObjective::new(space.clone(), device.clone()).map_err(|error| match error {
                HwError::NoEnergy => Failure::Input(format!("--max-energy-mj: {error}")),
                other => other.into(),
            })?;
            found.push((Arc::new(energy), &self.max_energy_mj));
        }
        Ok(found)
    }
}
