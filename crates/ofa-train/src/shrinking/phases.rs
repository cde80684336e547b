//! The phases of progressive shrinking: as they are configured, and with their steps counted.

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
/// | `learning_rate` | | at the start of the cosine |
/// | `subnets_per_step` | 1 | gradients are summed over them |
/// | `distil` | true, but for the first phase (with a sampler whose largest subnet teaches: true) | learn from the max subnet as it was after the first phase, or from the teacher that the sampler chooses |
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
    /// Learning rate.
    pub learning_rate: f64,
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

impl Settings for PhaseConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("epochs", self.epochs, (Bound::Excluded(0.0), Bound::Excluded(1e6)))?;
        settings::number("warmup_epochs", self.warmup_epochs, 0.0..1e6)?;
        settings::number("learning_rate", self.learning_rate, (Bound::Excluded(0.0), Bound::Excluded(100.0)))?;
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
}
