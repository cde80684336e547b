//! Limits of `ofa search` beside latency and exact costs: memory under a stated schedule, and energy.

use super::Failure;
use crate::limits::{Limited, MemoryAndEnergy, MemoryPrecision};
use crate::pipeline::config::DeviceConfig;
use clap::Args;
use ofa_hw::HardwareBackend;
use ofa_search::Limit;
use ofa_space::SearchSpace;
use std::sync::Arc;

/// Limits on memory and energy.
#[derive(Args, Debug)]
pub struct MemoryLimits {
    /// Limits on activation memory in kB of 1,024 bytes, at --precision, with depthwise convolutions in place.
    #[arg(long, value_delimiter = ',', value_name = "KB|%")]
    max_sram_kb: Vec<Limit>,
    /// Limits on weights in kB of 1,024 bytes, at --precision.
    #[arg(long, value_delimiter = ',', value_name = "KB|%")]
    max_flash_kb: Vec<Limit>,
    /// Number format of weights and activations for the memory limits.
    #[arg(long, value_enum, default_value = "int8")]
    precision: MemoryPrecision,
    /// Limits on energy per image in millijoules, for devices whose profile includes energy.
    #[arg(long, value_delimiter = ',', requires = "device", value_name = "MJ|%")]
    max_energy_mj: Vec<Limit>,
}

impl MemoryLimits {
    /// Every objective that is limited, with its limits.
    pub fn objectives(
        &self,
        space: &Arc<dyn SearchSpace>,
        device: Option<&Arc<dyn HardwareBackend>>,
    ) -> Result<Vec<Limited<'_>>, Failure> {
        let limits = MemoryAndEnergy {
            max_sram_kb: &self.max_sram_kb,
            max_flash_kb: &self.max_flash_kb,
            max_energy_mj: &self.max_energy_mj,
            precision: self.precision,
        };
        limits.objectives(space, device)
    }

    /// The same limits in a run's plan.
    pub fn within(&self, device: DeviceConfig) -> DeviceConfig {
        DeviceConfig {
            max_sram_kb: self.max_sram_kb.clone(),
            max_flash_kb: self.max_flash_kb.clone(),
            max_energy_mj: self.max_energy_mj.clone(),
            precision: self.precision,
            ..device
        }
    }
}
