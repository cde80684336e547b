//! The phases of progressive shrinking: as they are configured, and with their steps counted.

use crate::training::learning_rate::CosineSchedule;
use crate::training::step::Trains;
use ofa_space::{InvalidSetting, Opened, Settings, settings};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// One phase of progressive shrinking.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `name` | | in reports |
/// | `opens` | nothing | highest open choice phase per dimension, cumulative over phases |
/// | `epochs` | | cosine epochs, fractions allowed |
/// | `warmup_epochs` | 0 | linear warm-up before them |
/// | `learning_rate` | that of the run's `schedule` | at the start of a cosine of the phase's own |
/// | `subnets_per_step` | 1 | gradients are summed over them |
/// | `distil` | true, but for the first phase (with a `teacher` of its own, or a sampler whose largest subnet teaches: true) | learn from the max subnet as it was when the first phase that distils began, from the teacher of [`Distillation`](super::Distillation), or from the one that the sampler chooses |
/// | `trains` | `everything` | `head`: only the classifier learns |
/// | `resolutions` | those of the space | which of them the phase trains at |
/// | `sort_channels` | true where expansion opens further, but false with `init` | sort channels by importance first |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseConfig {
    /// Name in reports.
    pub name: String,
    /// What this phase opens.
    #[serde(default)]
    pub opens: Opened,
    /// Epochs of cosine decay.
    pub epochs: f64,
    /// Epochs of warm-up.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// Highest learning rate of a schedule of the phase's own; `None` = the phase takes part in the run's schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// What learns.
    #[serde(default, skip_serializing_if = "is_default")]
    pub trains: Trains,
    /// Resolutions to train at; `None` = all of the space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolutions: Option<Vec<u32>>,
    /// Subnets a step.
    #[serde(default = "one")]
    pub subnets_per_step: usize,
    /// Whether to distil; `None` = all but the first phase.
    #[serde(default)]
    pub distil: Option<bool>,
    /// Whether to sort channels first; `None` = where expansion opens further.
    #[serde(default)]
    pub sort_channels: Option<bool>,
}

fn one() -> usize {
    1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One schedule for the phases that have no learning rate of their own: a linear warm-up, then one cosine to 0, with one
/// optimizer and one moving average throughout.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `learning_rate` | | the highest | more than 0, below 100 |
/// | `warmup_epochs` | 0 | epochs in which it rises | ≥ 0 |
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Epochs of warm-up.
    #[serde(default)]
    pub warmup_epochs: f64,
}

impl Settings for ScheduleConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("learning_rate", self.learning_rate, RATE)?;
        settings::number("warmup_epochs", self.warmup_epochs, 0.0..1e6)
    }
}

const RATE: (Bound<f64>, Bound<f64>) = (Bound::Excluded(0.0), Bound::Excluded(100.0));

impl Settings for PhaseConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("epochs", self.epochs, (Bound::Excluded(0.0), Bound::Excluded(1e6)))?;
        settings::number("warmup_epochs", self.warmup_epochs, 0.0..1e6)?;
        if let Some(rate) = self.learning_rate {
            settings::number("learning_rate", rate, RATE)?;
        }
        if let Some(resolutions) = &self.resolutions {
            let pixels: Vec<f64> = resolutions.iter().map(|r| f64::from(*r)).collect();
            settings::ascending("resolutions", &pixels, 4.0..=4096.0)?;
        }
        settings::count("subnets_per_step", self.subnets_per_step, 1..=64)
    }
}

/// A phase with everything decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhasePlan {
    /// Name in reports.
    pub name: String,
    /// Choices open in this phase.
    pub opened: Opened,
    /// Choices open before it.
    pub opened_before: Opened,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// Steps of cosine decay.
    pub steps: usize,
    /// Learning rate at the start of the cosine.
    pub learning_rate: f64,
    /// The schedule that the phase is part of.
    pub schedule: CosineSchedule,
    /// Steps of that schedule that earlier phases did; 0 begins a schedule, with a fresh optimizer and moving average.
    pub schedule_offset: usize,
    /// What learns.
    pub trains: Trains,
    /// Resolutions to train at; `None` = all of the space.
    pub resolutions: Option<Vec<u32>>,
    /// Images a step.
    pub batch_size: usize,
    /// Subnets a step.
    pub subnets_per_step: usize,
    /// Whether it distils.
    pub distil: bool,
    /// Whether channels are sorted first.
    pub sort_channels: bool,
}

impl PhasePlan {
    /// Optimizer steps of the phase.
    pub fn total_steps(&self) -> usize {
        self.warmup_steps + self.steps
    }

    /// Learning rate at a step of the phase.
    pub fn rate(&self, step: usize) -> f64 {
        self.schedule.rate(self.schedule_offset + step)
    }
}
