//! From a configuration to phases with their steps counted.

use crate::sampler::Teaching;
use crate::shrinking::config::TrainConfig;
use crate::shrinking::phases::{PhaseConfig, PhasePlan};
use crate::training::learning_rate::CosineSchedule;
use ofa_space::Opened;

/// Share of earlier batch-norm statistics below which they no longer count.
const FORGOTTEN: f64 = 0.01;

impl TrainConfig {
    /// Batches of an epoch over this many training images.
    pub fn batches(&self, training_images: usize) -> usize {
        (training_images / self.batch_size).max(1)
    }

    /// The phases with steps counted for this many training images.
    pub fn plan(&self, training_images: usize) -> Vec<PhasePlan> {
        self.plan_of(&self.phases, training_images)
    }

    /// The plan of some phases, as if there were no others.
    pub(crate) fn plan_of(&self, phases: &[PhaseConfig], training_images: usize) -> Vec<PhasePlan> {
        let batches = self.batches(training_images) as f64;
        let counted = |epochs: f64| (epochs * batches).round() as usize;
        let shared = self.shared_schedule(phases, &counted);
        let mut opened = Opened::NOTHING;
        let mut plans = Vec::with_capacity(phases.len());
        let mut done = 0;
        let taught_at_once = self.sampler.teaching() == Teaching::InPlace || self.distillation.teacher.is_some();
        for (index, phase) in phases.iter().enumerate() {
            let before = opened;
            opened = Opened {
                kernel_size: before.kernel_size.max(phase.opens.kernel_size),
                depth: before.depth.max(phase.opens.depth),
                expansion: before.expansion.max(phase.opens.expansion),
                width: before.width.max(phase.opens.width),
            };
            let (warmup_steps, steps) = (counted(phase.warmup_epochs), counted(phase.epochs).max(1));
            let (schedule, schedule_offset) = match phase.learning_rate {
                Some(initial) => (CosineSchedule { initial, warmup_start: 0.0, warmup_steps, steps }, 0),
                None => (shared, done),
            };
            if phase.learning_rate.is_none() {
                done += warmup_steps + steps;
            }
            plans.push(PhasePlan {
                name: phase.name.clone(),
                opened,
                opened_before: before,
                warmup_steps,
                steps,
                learning_rate: schedule.initial,
                schedule,
                schedule_offset,
                trains: phase.trains,
                resolutions: phase.resolutions.clone(),
                batch_size: self.batch_size.min(training_images.max(1)),
                subnets_per_step: phase.subnets_per_step,
                // With weight 0 the teacher need not be run.
                distil: self.distillation.weight > 0.0 && phase.distil.unwrap_or(index > 0 || taught_at_once),
                sort_channels: phase
                    .sort_channels
                    .unwrap_or(opened.expansion > before.expansion && self.init.is_none()),
            });
        }
        plans
    }

    /// Whether the largest subnet, as the frozen teacher, has running statistics that are its own at this resolution: the phase
    /// that ends when it is frozen trains at no other, for long enough. BN recalibration would only replace them by those of
    /// fewer images.
    pub fn teacher_has_own_statistics(&self, resolution: u32, training_images: usize) -> bool {
        let plans = self.plan(training_images);
        let before = plans.iter().position(|phase| phase.distil).and_then(|first| first.checked_sub(1));
        // What is left of the statistics before the phase.
        let rest = |phase: &PhasePlan| (1.0 - self.bn_momentum).powf(phase.total_steps() as f64);
        before.is_some_and(|last| {
            plans[last].resolutions.as_deref() == Some(&[resolution][..]) && rest(&plans[last]) < FORGOTTEN
        })
    }

    /// The schedule of all phases without a learning rate of their own.
    fn shared_schedule(&self, phases: &[PhaseConfig], counted: &dyn Fn(f64) -> usize) -> CosineSchedule {
        let sharing = phases.iter().filter(|phase| phase.learning_rate.is_none());
        let total: usize = sharing.map(|phase| counted(phase.warmup_epochs) + counted(phase.epochs).max(1)).sum();
        let (initial, warmup) = self.schedule.map_or((0.0, 0.0), |s| (s.learning_rate, s.warmup_epochs));
        let warmup_steps = counted(warmup).min(total);
        CosineSchedule { initial, warmup_start: 0.0, warmup_steps, steps: total - warmup_steps }
    }
}
