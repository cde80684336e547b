//! The learning-rate schedule: linear warm-up, then cosine, per step.

use serde::Serialize;
use std::f64::consts::PI;

/// Cosine decay with linear warm-up, as the authors' `run_config.py` computes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CosineSchedule {
    /// Rate at the end of warm-up.
    pub initial: f64,
    /// Rate at the start of warm-up.
    pub warmup_start: f64,
    /// Steps of warm-up, before the `steps` of cosine.
    pub warmup_steps: usize,
    /// Steps of cosine decay.
    pub steps: usize,
}

impl CosineSchedule {
    /// The rate at a step, warm-up included.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            let progress = (step + 1) as f64 / self.warmup_steps as f64;
            return progress * (self.initial - self.warmup_start) + self.warmup_start;
        }
        let progress = (step - self.warmup_steps) as f64 / self.steps.max(1) as f64;
        0.5 * self.initial * (1.0 + (PI * progress).cos())
    }

    /// Warm-up and cosine together.
    pub fn total_steps(&self) -> usize {
        self.warmup_steps + self.steps
    }
}
