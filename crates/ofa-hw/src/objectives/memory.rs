//! Memory as search objectives, in kB of 1,024 bytes, as data sheets of microcontrollers count it.

use ofa_space::memory::{Schedule, block_peak_bytes, block_weight_bytes, peak_activation_bytes, weight_bytes};
use ofa_space::objectives::block_objective::BlockTables;
use ofa_space::{Arch, NetSpec, Objective, ObjectiveError, OverBlocks, SearchSpace};
use std::sync::Arc;

const KB: f64 = 1024.0;

/// Peak activation memory of a space's subnets (SRAM of a microcontroller), in kB, under the name `sram_kb`.
pub struct SramObjective {
    space: Arc<dyn SearchSpace>,
    schedule: Schedule,
    tables: BlockTables,
}

impl SramObjective {
    /// The memory that activations of subnets of `space` take under `schedule`, for one image.
    pub fn new(space: Arc<dyn SearchSpace>, schedule: Schedule) -> Self {
        Self { space, schedule, tables: BlockTables::default() }
    }
}

impl Objective for SramObjective {
    fn name(&self) -> &str {
        "sram_kb"
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        let kb = |arch| Ok(peak_activation_bytes(&self.space.resolve(arch)?, self.schedule) as f64 / KB);
        archs.iter().map(kb).collect()
    }

    fn over_blocks(&self, resolution: Option<u32>) -> Option<OverBlocks> {
        let schedule = self.schedule;
        let kb = move |net: &NetSpec, block: usize| Ok(block_peak_bytes(&net.blocks[block], schedule) as f64 / KB);
        self.tables.maximum_at(self.space.as_ref(), resolution, &kb).map(OverBlocks::Maximum)
    }
}

/// Memory of the weights of a space's subnets (flash of a microcontroller), in kB, under the name `flash_kb`. Batch norms
/// are folded; see [`weight_bytes`].
pub struct FlashObjective {
    space: Arc<dyn SearchSpace>,
    bytes_per_weight: usize,
    tables: BlockTables,
}

impl FlashObjective {
    /// The memory that weights of subnets of `space` take at `bytes_per_weight`: 1 in int8, 2 in f16, 4 in f32.
    pub fn new(space: Arc<dyn SearchSpace>, bytes_per_weight: usize) -> Self {
        Self { space, bytes_per_weight, tables: BlockTables::default() }
    }
}

impl Objective for FlashObjective {
    fn name(&self) -> &str {
        "flash_kb"
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        let kb = |arch| Ok(weight_bytes(&self.space.resolve(arch)?, self.bytes_per_weight) as f64 / KB);
        archs.iter().map(kb).collect()
    }

    fn over_blocks(&self, resolution: Option<u32>) -> Option<OverBlocks> {
        let width = self.bytes_per_weight;
        let kb = move |net: &NetSpec, block: usize| Ok(block_weight_bytes(&net.blocks[block], width) as f64 / KB);
        self.tables.sum_at(self.space.as_ref(), resolution, &kb).map(OverBlocks::Sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_of_activations_and_weights() -> Result<(), ObjectiveError> {
        let space = ofa_space::registry::named("tiny-28")?;
        let arch = space.max_arch();
        let net = space.resolve(&arch)?;
        let archs = [arch];
        let sram = SramObjective::new(space.clone(), Schedule::MICROCONTROLLER).evaluate(&archs)?;
        assert_eq!(sram, [peak_activation_bytes(&net, Schedule::MICROCONTROLLER) as f64 / 1024.0]);
        let int8 = FlashObjective::new(space.clone(), 1).evaluate(&archs)?[0];
        let f16 = FlashObjective::new(space.clone(), 2).evaluate(&archs)?[0];
        let f32 = FlashObjective::new(space, 4).evaluate(&archs)?[0];
        assert!(int8 < f16 && f32 == 2.0 * f16);
        Ok(())
    }
}
