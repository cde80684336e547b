//! Settings of fine-tuning.

use crate::data::Augmentation;
use crate::elastic::precision::Precision;
use crate::training::learning_rate::CosineSchedule;
use crate::training::step::Trains;
use ofa_space::{InvalidSetting, Settings, settings};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// How a network is fine-tuned.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `epochs` | 5 | passes over the training images, fractions allowed | more than 0, up to 10,000 |
/// | `learning_rate` | 0.0075 | highest learning rate; it falls to 0 along a cosine | more than 0, up to 10 |
/// | `warmup` | 0.05 | share of the steps in which the learning rate rises | 0 to below 1 |
/// | `batch_size` | 64 | images a step | ≥ 1 |
/// | `balanced` | false | show every class equally often, however many images it has | |
/// | `label_smoothing` | 0.1 | | 0 to below 1 |
/// | `momentum` | 0.9 | of Nesterov SGD | 0–1 |
/// | `head_epochs` | 0 | passes before them in which the classifier alone learns, as a new one should first | 0 to 10,000 |
/// | `head_learning_rate` | 0.004 | highest learning rate of those; it falls to 0 along a cosine of its own | more than 0, up to 10 |
/// | `head_rate` | 1.0 | learning rate of the classifier afterwards, as a share of that of everything else | more than 0, up to 100 |
/// | `distillation` | 1.0 | weight of the teacher's term, where there is a teacher | ≥ 0 |
/// | `gradient_clip` | none | largest norm of a step's gradients, all parameters together | more than 0 |
/// | `precision` | f32 | numbers that convolutions and linear layers multiply, see [`Precision`] | `f32`, `bf16` |
/// | `weight_decay` | 3e-5 | none on batch norm and biases | ≥ 0 |
/// | `bn_momentum` | 0.1 | of running statistics | 0–1 |
/// | `seed` | 0 | of the order of images and of augmentation | any |
/// | `augmentation` | shift 2, photos flipped | how training images are varied | see [`Augmentation`] |
/// | `checkpoint_steps` | 200 | steps between checkpoints | ≥ 1 |
/// | `prefetch` | 2 | batches prepared while a step computes | 0–64 |
///
/// Momentum, weight decay and momentum of the statistics are those of the official fine-tuning runs (`momentum`,
/// `weight_decay`, `bn_momentum` of the authors' run configurations).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FineTuning {
    /// Passes over the training images.
    pub epochs: f64,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Share of the steps in which the learning rate rises.
    pub warmup: f64,
    /// Images a step.
    pub batch_size: usize,
    /// Whether every class is shown equally often.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub balanced: bool,
    /// Label smoothing.
    pub label_smoothing: f64,
    /// Momentum of Nesterov SGD.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Momentum of running statistics.
    pub bn_momentum: f64,
    /// Passes before the others in which the classifier alone learns.
    #[serde(skip_serializing_if = "is_zero")]
    pub head_epochs: f64,
    /// Highest learning rate of those passes.
    #[serde(skip_serializing_if = "is_default_head_learning_rate")]
    pub head_learning_rate: f64,
    /// Learning rate of the classifier afterwards, as a share of that of everything else.
    pub head_rate: f64,
    /// Weight of the teacher's term.
    pub distillation: f64,
    /// Largest norm of a step's gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_clip: Option<f64>,
    /// Numbers that products multiply.
    #[serde(skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Seed of the order of images and of augmentation.
    pub seed: u64,
    /// How training images are varied.
    pub augmentation: Augmentation,
    /// Steps between checkpoints.
    pub checkpoint_steps: usize,
    /// Batches prepared ahead.
    pub prefetch: usize,
}

impl Default for FineTuning {
    fn default() -> Self {
        Self {
            epochs: 5.0,
            learning_rate: 0.0075,
            warmup: 0.05,
            batch_size: 64,
            balanced: false,
            label_smoothing: 0.1,
            momentum: 0.9,
            weight_decay: 3e-5,
            bn_momentum: 0.1,
            head_epochs: 0.0,
            head_learning_rate: HEAD_LEARNING_RATE,
            head_rate: 1.0,
            distillation: 1.0,
            gradient_clip: None,
            precision: Precision::F32,
            seed: 0,
            augmentation: Augmentation::default(),
            checkpoint_steps: 200,
            prefetch: 2,
        }
    }
}

impl Settings for FineTuning {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("epochs", self.epochs, (Bound::Excluded(0.0), Bound::Included(1e4)))?;
        settings::number("learning_rate", self.learning_rate, (Bound::Excluded(0.0), Bound::Included(10.0)))?;
        settings::number("warmup", self.warmup, 0.0..1.0)?;
        settings::count("batch_size", self.batch_size, 1..=usize::MAX)?;
        settings::number("label_smoothing", self.label_smoothing, 0.0..1.0)?;
        settings::number("momentum", self.momentum, 0.0..=1.0)?;
        settings::number("weight_decay", self.weight_decay, 0.0..f64::INFINITY)?;
        settings::number("bn_momentum", self.bn_momentum, 0.0..=1.0)?;
        settings::number("head_epochs", self.head_epochs, 0.0..=1e4)?;
        let rates = (Bound::Excluded(0.0), Bound::Included(10.0));
        settings::number("head_learning_rate", self.head_learning_rate, rates)?;
        settings::number("head_rate", self.head_rate, (Bound::Excluded(0.0), Bound::Included(100.0)))?;
        settings::number("distillation", self.distillation, 0.0..f64::INFINITY)?;
        if let Some(norm) = self.gradient_clip {
            settings::positive("gradient_clip", norm)?;
        }
        self.augmentation.check().map_err(|invalid| invalid.within("augmentation"))?;
        settings::count("checkpoint_steps", self.checkpoint_steps, 1..=usize::MAX)?;
        settings::count("prefetch", self.prefetch, 0..=64)
    }
}

/// The rate at which a new classifier on a pretrained network learns first.
const HEAD_LEARNING_RATE: f64 = 0.004;

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn is_default_head_learning_rate(rate: &f64) -> bool {
    *rate == HEAD_LEARNING_RATE
}

/// What a step of a run does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct StepPlan {
    /// Learning rate of everything that learns at the common rate.
    pub rate: f64,
    /// What learns.
    pub trains: Trains,
}

/// The steps of a run: the classifier alone, then everything.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Schedule {
    head: CosineSchedule,
    body: CosineSchedule,
    /// What the optimizer multiplies the classifier's rate by.
    head_rate: f64,
}

impl Schedule {
    /// Steps in all.
    pub fn total_steps(&self) -> usize {
        self.head.total_steps() + self.body.total_steps()
    }

    /// What a step does.
    pub fn at(&self, step: usize) -> StepPlan {
        let head_steps = self.head.total_steps();
        let (rate, trains) = match step < head_steps {
            true => (self.head.rate(step), Trains::Head),
            false => (self.body.rate(step - head_steps), Trains::Everything),
        };
        StepPlan { rate: trains.common_rate(rate, self.head_rate), trains }
    }
}

impl FineTuning {
    /// The steps of a run on this many training images.
    pub(super) fn schedule(&self, images: usize) -> Schedule {
        let batches = (images / self.batch_size.min(images.max(1))).max(1) as f64;
        let body = ((self.epochs * batches).round() as usize).max(1);
        let warmup_steps = ((body as f64 * self.warmup).round() as usize).min(body - 1);
        let cosine = |initial: f64, warmup_steps: usize, steps: usize| CosineSchedule {
            initial,
            warmup_start: 0.0,
            warmup_steps,
            steps: steps - warmup_steps,
        };
        let head = match self.head_epochs {
            0.0 => 0,
            epochs => ((epochs * batches).round() as usize).max(1),
        };
        Schedule {
            head: cosine(self.head_learning_rate, 0, head),
            body: cosine(self.learning_rate, warmup_steps, body),
            head_rate: self.head_rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classifier_learns_alone_first_at_a_rate_of_its_own() {
        let settings = FineTuning {
            epochs: 2.0,
            head_epochs: 1.0,
            head_rate: 0.1,
            learning_rate: 0.03,
            warmup: 0.0,
            batch_size: 10,
            ..FineTuning::default()
        };
        let schedule = settings.schedule(45);
        assert_eq!(schedule.total_steps(), 4 + 8);
        let first = schedule.at(0);
        assert_eq!(first.trains, Trains::Head);
        assert!((first.rate * settings.head_rate - settings.head_learning_rate).abs() < 1e-12);
        assert_eq!(schedule.at(3).trains, Trains::Head);
        assert_eq!(schedule.at(4), StepPlan { rate: 0.03, trains: Trains::Everything });
        let without = FineTuning { head_epochs: 0.0, ..settings }.schedule(45);
        assert_eq!((without.total_steps(), without.at(0)), (8, schedule.at(4)));
    }
}
