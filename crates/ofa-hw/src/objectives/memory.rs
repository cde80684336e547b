//! Memory as search objectives, in kB of 1,024 bytes, as data sheets of microcontrollers count it.

use crate::objectives::objective_of_field;
use ofa_space::memory::{Schedule, block_peak_bytes, block_weight_bytes};
use ofa_space::{BlockObjective, SearchSpace};
use std::sync::Arc;

const KB: f64 = 1024.0;

/// Peak activation memory of a space's subnets (SRAM of a microcontroller), in kB, under the name `sram_kb`: that of the
/// block which needs most.
pub struct SramObjective(BlockObjective);

impl SramObjective {
    /// The memory that activations of subnets of `space` take under `schedule`, for one image.
    pub fn new(space: Arc<dyn SearchSpace>, schedule: Schedule) -> Self {
        Self(BlockObjective::maximum("sram_kb", space, move |net, block| {
            Ok(block_peak_bytes(&net.blocks[block], schedule) as f64 / KB)
        }))
    }
}

objective_of_field!(SramObjective, 0);

/// Memory of the weights of a space's subnets (flash of a microcontroller), in kB, under the name `flash_kb`. Batch norms
/// are folded; see [`weight_bytes`](ofa_space::memory::weight_bytes).
pub struct FlashObjective(BlockObjective);

impl FlashObjective {
    /// The memory that weights of subnets of `space` take at `bytes_per_weight`: 1 in int8, 2 in f16, 4 in f32.
    pub fn new(space: Arc<dyn SearchSpace>, bytes_per_weight: usize) -> Self {
        Self(BlockObjective::new("flash_kb", space, move |net, block| {
            Ok(block_weight_bytes(&net.blocks[block], bytes_per_weight) as f64 / KB)
        }))
    }
}

objective_of_field!(FlashObjective, 0);

#[cfg(test)]
mod tests {
    use super::*;
    use ofa_space::memory::peak_activation_bytes;
    use ofa_space::{Objective, ObjectiveError};

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
