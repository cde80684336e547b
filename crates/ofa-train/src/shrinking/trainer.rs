//! A training run: what it works on, what changes while it works, and what it saves and delivers.

use crate::checkpoint::Checkpoint;
use crate::communication::{Communicator, Single};
use crate::data::{Dataset, SplitName, SplitRecord, TrainedOn};
use crate::elastic::Supernet;
use crate::elastic::parameters::Parameters;
use crate::error::TrainError;
use crate::pretrained;
use crate::shrinking::config::{TrainConfig, check_shards};
use crate::shrinking::history::{History, Observer, SubnetRecord, Window};
use crate::shrinking::metrics_file::MetricsFile;
use crate::shrinking::phases::{PhaseConfig, PhasePlan};
use crate::shrinking::starting_point::StartingPoint;
use crate::shrinking::validation::Validation;
use crate::training::frozen::FrozenNetwork;
use crate::training::optimizer::Optimizer;
use crate::training::outcome::{self, Unread};
use crate::training::shards::Shards;
use burn::tensor::Device;
use ofa_space::registry;
use ofa_space::{Checked, InvalidSetting, Model, ModelBody, SearchSpace, Weights};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The model of the best validation of the latest phase, in a run's folder.
pub const BEST_MODEL: &str = "best.safetensors";

/// A training run that is ready to start.
pub struct Trainer<'a> {
    pub(super) config: &'a TrainConfig,
    pub(super) dataset: &'a Dataset,
    pub(super) space: Arc<dyn SearchSpace>,
    pub(super) device: Device,
    pub(super) phases: Vec<PhasePlan>,
    pub(super) start: Option<Arc<StartingPoint>>,
    /// The teacher of the configuration, if it is not the supernet's own largest subnet.
    pub(super) teacher: Option<FrozenNetwork>,
    /// Training and validation images by content.
    pub(super) images: [String; 2],
    /// Parts of a batch, and the ranks that share them.
    pub(super) shards: Shards<'a>,
    /// Steps between reads of what comes out of them.
    pub(super) read_steps: usize,
}

/// A trained supernet.
pub struct Trained {
    /// The supernet as a model file.
    pub model: Model,
    /// Metrics.
    pub history: History,
    /// The supernet as it was when its largest subnet became the frozen teacher, if there was one.
    pub teacher: Option<Model>,
}

/// Between two steps: everything that changes while training.
pub(super) struct State {
    pub phase: usize,
    pub step: usize,
    pub supernet: Supernet,
    pub teacher: Option<Weights>,
    /// The moving average, without gradients.
    pub average: Option<Supernet>,
    pub optimizer: Optimizer,
    /// Steps whose outcome the host has not read yet; none when the state is saved, validated or delivered.
    pub unread: Vec<Unread>,
    /// Mean loss of the latest step that was read.
    pub loss: f32,
    pub history: History,
    pub window: Window,
}

/// Where a run reports its progress and keeps its files, and the request to stop.
pub(super) struct Outside<'a> {
    pub folder: Option<&'a Path>,
    pub observer: &'a mut dyn Observer,
    pub stop: &'a AtomicBool,
    pub metrics: MetricsFile,
    pub validation: Validation<'a>,
}

impl<'a> Trainer<'a> {
    /// Fits the space to the data (classes, image channels) and counts the steps.
    ///
    /// # Errors
    /// [`TrainError`] if the space is unknown or cannot take the data's classes, or if there are no validation images.
    pub fn new(config: &'a Checked<TrainConfig>, dataset: &'a Dataset, device: &Device) -> Result<Self, TrainError> {
        dataset.require(SplitName::Validation)?;
        let start = config.init.as_ref().map(|init| init.load()).transpose()?;
        if let (Some(init), Some(start)) = (&config.init, &start) {
            init.check_classes(start, dataset)?;
        }
        let mut space = config.space()?;
        let classes = dataset.class_names.len();
        if space.info().classes != classes {
            space = registry::with_classes(space.as_ref(), classes)?;
        }
        if space.info().input_channels != dataset.channels {
            space = registry::with_field(space.as_ref(), "input_channels", dataset.channels.into())?;
        }
        let known = &space.info().resolutions;
        let foreign = |(index, phase): (usize, &PhaseConfig)| {
            let wrong = phase.resolutions.iter().flatten().find(|size| !known.contains(size))?;
            let problem = format!("holds {wrong}, expected some of {known:?}");
            Some(InvalidSetting::new(format!("phases[{index}].resolutions"), problem))
        };
        if let Some(invalid) = config.phases.iter().enumerate().find_map(foreign) {
            return Err(invalid.into());
        }
        config.precision.check(device)?;
        let phases = config.plan(dataset.train.len());
        check_shards(config.shards, config.batch_size.min(dataset.train.len()), "the training images of a batch")?;
        let shards = Shards::new(&Single, config.shards)?;
        let teacher = config.distillation.load(dataset, device, config.precision)?;
        let images = [dataset.train.content()?, dataset.validation.content()?];
        let read_steps = outcome::read_steps(device);
        let device = device.clone().autodiff();
        Ok(Self { config, dataset, space, device, phases, start, teacher, images, shards, read_steps })
    }

    /// The same on several ranks, all of which call what this has in the same order; rank 0 alone writes to the run's folder.
    /// The result has the same bytes as that of one process with as many [`TrainConfig::shards`].
    ///
    /// # Errors
    /// [`TrainError::Communication`] if the ranks cannot share the shards.
    pub fn on(self, ranks: &'a dyn Communicator) -> Result<Self, TrainError> {
        Ok(Self { shards: Shards::new(ranks, self.config.shards)?, ..self })
    }

    /// Reads losses and statistics from the device every so many steps, and when they are needed. A read waits for all queued
    /// work; it does not change the result. Default: every step where tensors are in the host's memory, every 20 on a GPU.
    #[must_use]
    pub fn reading_every(self, steps: usize) -> Self {
        Self { read_steps: steps.max(1), ..self }
    }

    /// The space, fitted to the data.
    pub fn space(&self) -> &Arc<dyn SearchSpace> {
        &self.space
    }

    /// The phases, with steps counted.
    pub fn phases(&self) -> &[PhasePlan] {
        &self.phases
    }

    /// Optimizer steps of all phases before this one.
    pub(super) fn steps_before(&self, phase: usize) -> usize {
        self.phases[..phase].iter().map(PhasePlan::total_steps).sum()
    }

    /// A warning if the model to start from was trained on the same data with another split.
    pub(super) fn seen_validation_images(&self) -> Result<Option<String>, TrainError> {
        let Some(start) = &self.start else { return Ok(None) };
        let same_data = start.model.provenance.get("data") == Some(&self.dataset.name);
        let trained = TrainedOn::of(&start.model)?.split.filter(|split| !self.dataset.is_divided_by(split));
        Ok(trained.filter(|_| same_data).map(|SplitRecord { seed, validation_images, .. }| {
            format!(
                "warning: the model to start from was trained on {} with another split (seed {seed}, \
                 {validation_images} validation images): it has seen some of the validation images",
                self.dataset.name
            )
        }))
    }

    pub(super) fn optimizer(&self, parameters: &Parameters) -> Optimizer {
        Optimizer::new(self.config.momentum, self.config.weight_decay).with_head_rate(self.config.head_rate, parameters)
    }

    /// Whether the phase at this position goes on with the optimizer of the one before.
    pub(super) fn continues(&self, phase: usize) -> bool {
        self.phases.get(phase).is_some_and(|plan| plan.schedule_offset > 0)
    }

    /// Validates what would be delivered now, and keeps it if it is the best of its phase.
    pub(super) fn validate(
        &self,
        plan: &PhasePlan,
        state: &mut State,
        outside: &mut Outside<'_>,
    ) -> Result<Vec<SubnetRecord>, TrainError> {
        let supernet = state.average.as_ref().unwrap_or(&state.supernet);
        let subnets = outside.validation.run(plan, self.space.as_ref(), supernet, self.shards.ranks())?;
        let step = self.steps_before(state.phase) + state.step;
        if state.history.is_best(&plan.name, step, &subnets)
            && let Some(folder) = outside.folder
        {
            self.model(state)?.save(&folder.join(BEST_MODEL))?;
        }
        Ok(subnets)
    }

    pub(super) fn save(&self, state: &State, folder: Option<&Path>) -> Result<(), TrainError> {
        match folder {
            Some(folder) => self.checkpoint(state)?.save(folder, self.config.keep),
            None => Ok(()),
        }
    }

    pub(super) fn checkpoint(&self, state: &State) -> Result<Checkpoint, TrainError> {
        Ok(Checkpoint {
            fingerprint: self.fingerprint(),
            phase: state.phase,
            step: state.step,
            history: state.history.clone(),
            window: state.window,
            weights: state.supernet.weights()?,
            teacher: state.teacher.clone(),
            average: state.average.as_ref().map(Supernet::weights).transpose()?,
            optimizer: match state.step == 0 && !self.continues(state.phase) {
                true => Vec::new(),
                false => state.optimizer.to_bytes()?,
            },
        })
    }

    /// The weights that a run delivers: the moving average, if one is kept.
    pub(super) fn delivered(&self, state: &State) -> Result<Weights, TrainError> {
        state.average.as_ref().unwrap_or(&state.supernet).weights()
    }

    pub(super) fn model(&self, state: &State) -> Result<Model, TrainError> {
        self.model_of(self.delivered(state)?)
    }

    pub(super) fn model_of(&self, weights: Weights) -> Result<Model, TrainError> {
        let mut provenance = BTreeMap::from([
            ("data".to_owned(), self.dataset.name.clone()),
            ("split".to_owned(), self.dataset.split_note.clone()),
            ("seed".to_owned(), self.config.seed.to_string()),
            ("training".to_owned(), self.fingerprint()),
        ]);
        self.dataset.record(&mut provenance);
        if let Some(start) = &self.start {
            provenance.insert("started_from".to_owned(), format!("sha256 {}", start.hash));
            // Authors and licence of pretrained weights go with everything that is made of them.
            if let Some(source) = start.model.provenance.get(pretrained::SOURCE) {
                provenance.insert(pretrained::SOURCE.to_owned(), source.clone());
            }
        }
        Ok(Model {
            body: ModelBody::Supernet { space: self.space.clone() },
            class_names: self.dataset.class_names.clone(),
            input: self.dataset.input.clone(),
            provenance,
            weights,
        })
    }
}
