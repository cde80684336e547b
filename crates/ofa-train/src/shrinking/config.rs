//! The training configuration: a plan of shrinking phases, read from TOML and checked once.

use crate::data::Augmentation;
use crate::error::TrainError;
use crate::loss::{DistillationLoss, SoftCrossEntropy};
use crate::sampler::{Sampler, Teaching, Uniform};
use ofa_space::{Opened, SearchSpace, registry};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A training run.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `space` | the model's of `init` | registered name, or a table as in a space file | |
/// | `init` | fresh weights | a supernet to start from, see [`InitConfig`] | |
/// | `data` | `bundled` | data set | see the CLI's DATA |
/// | `seed` | 0 | of initial weights, sampling and augmentation | |
/// | `batch_size` | 64 | images a step | 1–65536 |
/// | `momentum` | 0.9 | of Nesterov SGD | 0–1 |
/// | `weight_decay` | 3e-5 | none on batch norm and biases | ≥ 0 |
/// | `label_smoothing` | 0.1 | | 0–1 |
/// | `bn_momentum` | 0.1 | of running statistics | 0–1 |
/// | `distillation` | 1.0 | weight of the teacher's term | ≥ 0 |
/// | `validation_images` | 2000 | kept out of training, for predictor pairs and phase reports | ≥ 1 |
/// | `calibration_images` | 512 | training images for BN recalibration in phase reports | ≥ 1 |
/// | `validation_epochs` | 0 | epochs between validations within a phase; each phase ends with one anyway | 0 = none, ≥ 0 |
/// | `ema_decay` | none | validate and deliver a moving average of the weights, with this decay a step; it starts afresh in each phase | 0–1 |
/// | `checkpoint_steps` | 200 | steps between checkpoints | ≥ 1 |
/// | `keep` | 2 | newest checkpoints kept | 1–100 |
/// | `tensorboard` | false | write a TensorBoard event file beside `metrics.jsonl` | |
/// | `prefetch` | 2 | batches prepared while a step computes | 0–64 |
/// | `sampler` | `uniform` | which subnets a step trains | a table with `kind`, see [`crate::sampler`] |
/// | `loss` | `soft_cross_entropy` | how subnets are compared with their teacher | a table with `kind`, see [`crate::loss`] |
/// | `augmentation` | shift 2, no flip | | |
/// | `phases` | | see [`PhaseConfig`] | at least one |
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The search space; the one of `init`, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<SpaceChoice>,
    /// A supernet to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitConfig>,
    /// Data set.
    #[serde(default = "default_data")]
    pub data: String,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Images a step.
    #[serde(default = "default_batch_size")]
    pub batch_size: usize,
    /// Momentum of Nesterov SGD.
    #[serde(default = "default_momentum")]
    pub momentum: f64,
    /// Weight decay.
    #[serde(default = "default_weight_decay")]
    pub weight_decay: f64,
    /// Label smoothing.
    #[serde(default = "default_label_smoothing")]
    pub label_smoothing: f64,
    /// Momentum of running statistics.
    #[serde(default = "default_bn_momentum")]
    pub bn_momentum: f64,
    /// Weight of the distillation term.
    #[serde(default = "default_distillation")]
    pub distillation: f64,
    /// Images kept out of training.
    #[serde(default = "default_validation_images")]
    pub validation_images: usize,
    /// Training images for BN recalibration in phase reports.
    #[serde(default = "default_calibration_images")]
    pub calibration_images: usize,
    /// Epochs between validations within a phase.
    #[serde(default)]
    pub validation_epochs: f64,
    /// Decay of the moving average of weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// Steps between checkpoints.
    #[serde(default = "default_checkpoint_steps")]
    pub checkpoint_steps: usize,
    /// Newest checkpoints kept.
    #[serde(default = "two")]
    pub keep: usize,
    /// Whether to write a TensorBoard event file.
    #[serde(default)]
    pub tensorboard: bool,
    /// Batches prepared ahead.
    #[serde(default = "two")]
    pub prefetch: usize,
    /// Which subnets a step trains.
    #[serde(default = "default_sampler")]
    pub sampler: Box<dyn Sampler>,
    /// How subnets are compared with their teacher.
    #[serde(default = "default_loss")]
    pub loss: Box<dyn DistillationLoss>,
    /// How training images are varied.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// The shrinking phases, in order.
    pub phases: Vec<PhaseConfig>,
}

/// A registered name, or a space's own table.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SpaceChoice {
    /// A registered name or a TOML file.
    Named(String),
    /// A table with `kind`.
    Table(Arc<dyn SearchSpace>),
}

/// A supernet to start from, instead of fresh weights. Images are normalised as it expects, and channels are not sorted
/// again unless a phase says so.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `model` | | model file of a supernet, such as `ofa import supernet` writes |
/// | `new_head` | false | draw the classifier afresh, for other classes |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitConfig {
    /// Model file.
    pub model: PathBuf,
    /// Whether the classifier is drawn afresh.
    #[serde(default)]
    pub new_head: bool,
}

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
/// | `distil` | true, but for the first phase (with a sampler whose largest subnet teaches: true) | learn from the max subnet as it was after the first phase, or from whom the sampler says |
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

fn default_data() -> String {
    "bundled".into()
}
fn default_batch_size() -> usize {
    64
}
fn default_momentum() -> f64 {
    0.9
}
fn default_weight_decay() -> f64 {
    3e-5
}
fn default_label_smoothing() -> f64 {
    0.1
}
fn default_bn_momentum() -> f64 {
    0.1
}
fn default_distillation() -> f64 {
    1.0
}
fn default_validation_images() -> usize {
    2000
}
fn default_calibration_images() -> usize {
    512
}
fn default_checkpoint_steps() -> usize {
    200
}
fn default_sampler() -> Box<dyn Sampler> {
    Box::new(Uniform {})
}
fn default_loss() -> Box<dyn DistillationLoss> {
    Box::new(SoftCrossEntropy {})
}
fn one() -> usize {
    1
}
fn two() -> usize {
    2
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

impl TrainConfig {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`TrainError`] naming the file and field.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(|source| TrainError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads TOML text; `origin` is for messages.
    ///
    /// # Errors
    /// [`TrainError`] naming the origin and field.
    pub fn parse(text: &str, origin: &str) -> Result<Self, TrainError> {
        let config: Self = toml::from_str(text).map_err(|e| TrainError::Config {
            file: origin.to_owned(),
            field: "TOML".to_owned(),
            problem: format!("cannot be read: {e}"),
        })?;
        config.check(origin)?;
        Ok(config)
    }

    /// Refuses impossible values; `origin` is for messages.
    ///
    /// # Errors
    /// [`TrainError::Config`] naming the field.
    pub fn check(&self, origin: &str) -> Result<(), TrainError> {
        let fail = |field: &str, problem: String| {
            Err(TrainError::Config { file: origin.to_owned(), field: field.to_owned(), problem })
        };
        let unit = 0.0..=1.0;
        if !(1..=65_536).contains(&self.batch_size) {
            return fail("batch_size", format!("is {}, expected 1 to 65536", self.batch_size));
        }
        let in_unit =
            [("momentum", self.momentum), ("label_smoothing", self.label_smoothing), ("bn_momentum", self.bn_momentum)];
        for (field, value) in in_unit {
            if !unit.contains(&value) {
                return fail(field, format!("is {value}, expected 0 to 1"));
            }
        }
        for (field, value) in [("weight_decay", self.weight_decay), ("distillation", self.distillation)] {
            if !(value >= 0.0 && value.is_finite()) {
                return fail(field, format!("is {value}, expected 0 or more"));
            }
        }
        if !(0.0..1e6).contains(&self.validation_epochs) {
            return fail("validation_epochs", format!("is {}, expected 0 or more", self.validation_epochs));
        }
        if let Some(decay) = self.ema_decay.filter(|decay| !(0.0..1.0).contains(decay)) {
            return fail("ema_decay", format!("is {decay}, expected 0 or more and less than 1"));
        }
        if !(1..=100).contains(&self.keep) {
            return fail("keep", format!("is {}, expected 1 to 100", self.keep));
        }
        if self.prefetch > 64 {
            return fail("prefetch", format!("is {}, expected 0 to 64", self.prefetch));
        }
        if self.space.is_none() && self.init.is_none() {
            return fail("space", "is missing: give a space, or a model to start from with [init]".into());
        }
        for (field, value) in [
            ("validation_images", self.validation_images),
            ("calibration_images", self.calibration_images),
            ("checkpoint_steps", self.checkpoint_steps),
        ] {
            if value == 0 {
                return fail(field, "is 0, expected at least 1".into());
            }
        }
        if let Err((field, problem)) = self.sampler.check() {
            return fail(&format!("sampler.{field}"), problem);
        }
        if let Err((field, problem)) = self.loss.check() {
            return fail(&format!("loss.{field}"), problem);
        }
        if let Err((field, problem)) = self.augmentation.check() {
            return fail(&format!("augmentation.{field}"), problem);
        }
        if self.phases.is_empty() {
            return fail("phases", "is empty, expected at least one [[phases]] table".into());
        }
        for (index, phase) in self.phases.iter().enumerate() {
            let field = |name: &str| format!("phases[{index}].{name}");
            if !(phase.epochs > 0.0 && phase.epochs < 1e6) {
                return fail(&field("epochs"), format!("is {}, expected more than 0", phase.epochs));
            }
            if !(0.0..1e6).contains(&phase.warmup_epochs) {
                return fail(&field("warmup_epochs"), format!("is {}, expected 0 or more", phase.warmup_epochs));
            }
            if !(phase.learning_rate > 0.0 && phase.learning_rate < 100.0) {
                return fail(&field("learning_rate"), format!("is {}, expected 0 to 100", phase.learning_rate));
            }
            if !(1..=64).contains(&phase.subnets_per_step) {
                return fail(&field("subnets_per_step"), format!("is {}, expected 1 to 64", phase.subnets_per_step));
            }
        }
        Ok(())
    }

    /// The search space.
    ///
    /// # Errors
    /// [`TrainError::Space`] if the name is unknown, [`TrainError::Model`] if the space is that of a model which cannot
    /// be read.
    pub fn space(&self) -> Result<Arc<dyn SearchSpace>, TrainError> {
        match (&self.space, &self.init) {
            (Some(SpaceChoice::Named(name)), _) => Ok(registry::load(name)?),
            (Some(SpaceChoice::Table(space)), _) => Ok(space.clone()),
            (None, Some(init)) => Ok(init.load()?.space),
            (None, None) => Err(TrainError::Config {
                file: "the training configuration".into(),
                field: "space".into(),
                problem: "is missing: give a space, or a model to start from with [init]".into(),
            }),
        }
    }

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
                // A teacher that counts for nothing is not asked.
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
