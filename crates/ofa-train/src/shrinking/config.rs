//! The training configuration: a plan of shrinking phases, read from TOML and checked once.

use crate::data::{self, Augmentation, Dataset, LoadOptions, OnCorrupt, SplitRecord, SplitRule};
use crate::elastic::precision::Precision;
use crate::error::TrainError;
use crate::loss::{DistillationLoss, SoftCrossEntropy};
use crate::sampler::{Sampler, Uniform};
use crate::shrinking::distillation::Distillation;
use crate::shrinking::phases::{PhaseConfig, ScheduleConfig};
use crate::shrinking::starting_point::InitConfig;
use ofa_space::file_digest::KnownFiles;
use ofa_space::{Checked, InvalidSetting, SearchSpace, Settings, input_file, registry, settings};
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use std::path::Path;
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
/// | `shards` | 1 | the batch is cut into this many, which several processes can compute; each has batch-norm statistics of its own | a power of two that divides the batch |
/// | `balanced` | false | show every class equally often, however many images it has | |
/// | `momentum` | 0.9 | of Nesterov SGD | 0–1 |
/// | `weight_decay` | 3e-5 | none on batch norm and biases | ≥ 0 |
/// | `label_smoothing` | 0.1 | | 0–1 |
/// | `bn_momentum` | 0.1 | of running statistics | 0–1 |
/// | `head_rate` | 1.0 | learning rate of the classifier, as a share of that of everything else; where it learns alone, the phase's own rate is its rate | more than 0, up to 100 |
/// | `gradient_clip` | none | largest norm of a step's gradients, all parameters together | more than 0 |
/// | `precision` | f32 | numbers that convolutions and linear layers multiply, see [`Precision`] | `f32`, `bf16` |
/// | `schedule` | one for each phase | one schedule for all phases without a learning rate of their own, see [`ScheduleConfig`] | |
/// | `distillation` | 1.0 | weight of the teacher's term, or a table with the `teacher` too, see [`Distillation`] | ≥ 0 |
/// | `photo_detail` | 1.0 | photos are kept at this multiple of the largest resolution; 1.7 gives the smallest crops of the default augmentation real detail, at more memory and time | 1–16 |
/// | `validation_images` | 2000 | kept out of training, for predictor pairs and phase reports | ≥ 1 |
/// | `on_corrupt` | error | `skip` leaves images out that cannot be decoded | |
/// | `drop_duplicates` | false | leave images out of training that are validation or test images too | |
/// | `calibration_images` | 512 | training images for BN recalibration in phase reports | ≥ 1 |
/// | `validation_epochs` | 0 | epochs between validations within a phase; each phase ends with one anyway | 0 = none, ≥ 0 |
/// | `ema_decay` | none | validate and deliver a moving average of the weights, with this decay a step; it starts afresh in each schedule | 0–1 |
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
    /// Parts of a batch, each with batch-norm statistics of its own.
    #[serde(default = "one_shard", skip_serializing_if = "is_one_shard")]
    pub shards: usize,
    /// Whether every class is shown equally often.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub balanced: bool,
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
    /// Learning rate of the classifier, as a share of that of everything else.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub head_rate: f64,
    /// Largest norm of a step's gradients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_clip: Option<f64>,
    /// Numbers that products multiply.
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// One schedule for all phases without a learning rate of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleConfig>,
    /// Learning from a teacher.
    #[serde(default)]
    pub distillation: Distillation,
    /// Photos are kept at this multiple of the largest resolution.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub photo_detail: f64,
    /// Images kept out of training.
    #[serde(default = "default_validation_images")]
    pub validation_images: usize,
    /// What to do about images that cannot be decoded.
    #[serde(default, skip_serializing_if = "OnCorrupt::is_error")]
    pub on_corrupt: OnCorrupt,
    /// Whether images of more than one part of the data are kept out of the earlier part.
    #[serde(default, skip_serializing_if = "is_no")]
    pub drop_duplicates: bool,
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
fn two() -> usize {
    2
}
fn one() -> f64 {
    1.0
}
fn one_shard() -> usize {
    1
}
fn is_one_shard(value: &usize) -> bool {
    *value == 1
}
fn is_no(value: &bool) -> bool {
    !*value
}
fn is_one(value: &f64) -> bool {
    *value == 1.0
}

impl TrainConfig {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`TrainError`] naming the file and field.
    pub fn load(path: &Path) -> Result<Checked<Self>, TrainError> {
        let text = input_file::read_text(path, input_file::LARGEST_TEXT).map_err(|source| TrainError::Io {
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
    pub fn parse(text: &str, origin: &str) -> Result<Checked<Self>, TrainError> {
        let config: Self = toml::from_str(text).map_err(|e| TrainError::Config {
            file: origin.to_owned(),
            field: "TOML".to_owned(),
            problem: format!("cannot be read: {e}"),
        })?;
        config.checked().map_err(|invalid| TrainError::in_file(origin, invalid))
    }

    /// How the data set is divided by this configuration.
    pub fn split_record(&self) -> SplitRecord {
        SplitRecord {
            seed: self.seed,
            validation_images: self.validation_images,
            rule: SplitRule::Content,
            drop_duplicates: self.drop_duplicates,
        }
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
            (None, Some(init)) => Ok(init.load()?.space.clone()),
            (None, None) => Err(no_space().into()),
        }
    }

    /// The resolution that photos are kept for, where the largest in use is this one.
    pub fn kept_resolution(&self, largest: u32) -> u32 {
        (f64::from(largest) * self.photo_detail).ceil() as u32
    }

    /// The data set, cut for the space, and normalised as the model of `init` expects if there is one.
    ///
    /// # Errors
    /// [`TrainError::Data`], or what reading the model reports.
    pub fn load_data(&self) -> Result<Dataset, TrainError> {
        self.load_known_data(&KnownFiles::default())
    }

    /// [`load_data`](Self::load_data), trusting digests of files that were kept from before, see [`data::load_known`].
    ///
    /// # Errors
    /// As [`load_data`](Self::load_data).
    pub fn load_known_data(&self, known: &KnownFiles) -> Result<Dataset, TrainError> {
        let space = self.space()?;
        let options = LoadOptions {
            seed: self.seed,
            max_resolution: self.kept_resolution(space.info().resolutions.last().copied().unwrap_or(224)),
            validation: self.validation_images,
            on_corrupt: self.on_corrupt,
            rule: SplitRule::Content,
            drop_duplicates: self.drop_duplicates,
        };
        let mut dataset = data::load_known(&self.data, &options, data::DEFAULT_MEMORY_BYTES, known)?;
        if let Some(init) = &self.init {
            dataset.input = init.load()?.model.input.clone();
            dataset.channels = dataset.input.mean.len();
        }
        Ok(dataset)
    }
}

fn no_space() -> InvalidSetting {
    InvalidSetting::new("space", "is missing: give a space, or a model to start from with [init]")
}

/// Refuses to cut batches of `images` into so many shards, unless they come out equal.
pub(super) fn check_shards(shards: usize, images: usize, of: &str) -> Result<(), InvalidSetting> {
    let problem = match shards.is_power_of_two() {
        false => format!("is {shards}, expected a power of two"),
        true if !images.is_multiple_of(shards) => format!("is {shards}, which does not divide {of} ({images})"),
        true => return Ok(()),
    };
    Err(InvalidSetting::new("shards", problem))
}

impl Settings for TrainConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        if self.space.is_none() && self.init.is_none() {
            return Err(no_space());
        }
        settings::count("batch_size", self.batch_size, 1..=65_536)?;
        settings::count("shards", self.shards, 1..=65_536)?;
        check_shards(self.shards, self.batch_size, "batch_size")?;
        settings::number("momentum", self.momentum, 0.0..=1.0)?;
        settings::number("weight_decay", self.weight_decay, 0.0..f64::INFINITY)?;
        settings::number("label_smoothing", self.label_smoothing, 0.0..=1.0)?;
        settings::number("bn_momentum", self.bn_momentum, 0.0..=1.0)?;
        self.distillation.check().map_err(|invalid| invalid.within("distillation"))?;
        settings::number("head_rate", self.head_rate, (Bound::Excluded(0.0), Bound::Included(100.0)))?;
        if let Some(norm) = self.gradient_clip {
            settings::positive("gradient_clip", norm)?;
        }
        if let Some(schedule) = &self.schedule {
            schedule.check().map_err(|invalid| invalid.within("schedule"))?;
        }
        settings::number("photo_detail", self.photo_detail, 1.0..=16.0)?;
        settings::count("validation_images", self.validation_images, 1..=usize::MAX)?;
        settings::count("calibration_images", self.calibration_images, 1..=usize::MAX)?;
        settings::number("validation_epochs", self.validation_epochs, 0.0..1e6)?;
        if let Some(decay) = self.ema_decay {
            settings::number("ema_decay", decay, 0.0..1.0)?;
        }
        settings::count("checkpoint_steps", self.checkpoint_steps, 1..=usize::MAX)?;
        settings::count("keep", self.keep, 1..=100)?;
        settings::count("prefetch", self.prefetch, 0..=64)?;
        self.sampler.check().map_err(|invalid| invalid.within("sampler"))?;
        self.loss.check().map_err(|invalid| invalid.within("loss"))?;
        self.augmentation.check().map_err(|invalid| invalid.within("augmentation"))?;
        if self.phases.is_empty() {
            return Err(InvalidSetting::new("phases", "is empty, expected at least one [[phases]] table"));
        }
        for (index, phase) in self.phases.iter().enumerate() {
            let within = |invalid: InvalidSetting| invalid.within(&format!("phases[{index}]"));
            phase.check().map_err(within)?;
            if phase.learning_rate.is_none() && self.schedule.is_none() {
                let problem = "is missing: give one, or a [schedule] for all phases";
                return Err(within(InvalidSetting::new("learning_rate", problem)));
            }
        }
        Ok(())
    }
}
