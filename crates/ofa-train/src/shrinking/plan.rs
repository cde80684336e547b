//! From a configuration to phases with their steps counted.

use crate::sampler::Teaching;
use crate::shrinking::config::TrainConfig;
use crate::shrinking::phases::PhasePlan;
use ofa_space::Opened;

impl TrainConfig {
    /// Batches of an epoch over this many training images.
    pub fn batches(&self, training_images: usize) -> usize {
        (training_images / self.batch_size).max(1)
    }

    /// The phases with steps counted for this many training images.
    pub fn plan(&self, training_images: usize) -> Vec<PhasePlan> {
        let batches = self.batches(training_images) as f64;
        let mut opened = Opened::NOTHING;
        let mut plans = Vec::with_capacity(self.phases.len());
        for (index, phase) in self.phases.iter().enumerate() {
            let before = opened;
            opened = Opened {
                kernel_size: before.kernel_size.max(phase.opens.kernel_size),
                depth: before.depth.max(phase.opens.depth),
                expansion: before.expansion.max(phase.opens.expansion),
                width: before.width.max(phase.opens.width),
            };
            plans.push(PhasePlan {
                name: phase.name.clone(),
                opened,
                opened_before: before,
                warmup_steps: (phase.warmup_epochs * batches).round() as usize,
                steps: ((phase.epochs * batches).round() as usize).max(1),
                learning_rate: phase.learning_rate,
                batch_size: self.batch_size.min(training_images.max(1)),
                subnets_per_step: phase.subnets_per_step,
                // With weight 0 the teacher need not be run.
                distil: self.distillation > 0.0
                    && phase.distil.unwrap_or(index > 0 || self.sampler.teaching() == Teaching::InPlace),
                sort_channels: phase
                    .sort_channels
                    .unwrap_or(opened.expansion > before.expansion && self.init.is_none()),
            });
        }
        plans
    }
}
