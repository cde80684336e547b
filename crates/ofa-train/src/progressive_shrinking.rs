//! Progressive shrinking: one supernet trained phase by phase, from the max subnet to all of them.
//!
//! Each phase opens more choices (resolution, then kernel size, depth, expansion), samples subnets among them, and
//! trains them on the same batch with soft labels from the frozen max subnet. Before expansion opens, channels are
//! sorted by importance. (Paper, section 3.3; official loop: `train_one_epoch` in `progressive_shrinking.py`.)

use crate::checkpoint::Checkpoint;
use crate::config::{PhasePlan, TrainConfig};
use crate::data::{Dataset, SplitName, batches};
use crate::error::TrainError;
use crate::evaluation::{EvaluationSet, evaluate, recalibrate};
use crate::learning_rate::CosineSchedule;
use crate::optimizer::Optimizer;
use crate::sampler::smallest;
use crate::supernet::Supernet;
use crate::training_step::{StepInput, step};
use burn::tensor::Device;
use ofa_space::{Arch, ArchJson, Model, ModelBody, NetSpec, SearchSpace, Weights};
use ofa_space::{importance, initialisation, registry, supernet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Images in a batch of evaluation and recalibration.
pub const EVALUATION_BATCH: usize = 100;

/// Metrics of a run, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// One per logged step.
    pub steps: Vec<StepRecord>,
    /// One per finished phase.
    pub phases: Vec<PhaseRecord>,
}

/// Training metrics averaged over the steps since the record before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Name of the phase.
    pub phase: String,
    /// Steps done since training began, all phases counted.
    pub step: usize,
    /// Mean loss over subnets.
    pub loss: f32,
    /// Fraction of training images classified right.
    pub train_top1: f32,
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

/// Validation of a finished phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Name of the phase.
    pub name: String,
    /// Optimizer steps of the phase.
    pub steps: usize,
    /// Smallest, middle and largest opened subnet.
    pub subnets: Vec<SubnetRecord>,
}

/// Accuracy of one subnet on validation images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubnetRecord {
    /// `min`, `mid` or `max`.
    pub label: String,
    /// The subnet.
    pub arch: ArchJson,
    /// Top-1 accuracy after BN recalibration, a fraction.
    pub top1: f64,
}

/// What a training run tells while it works; every method may be left out.
pub trait Observer {
    /// Before the first step: the phases, and where to start (phase, step).
    fn on_start(&mut self, _phases: &[PhasePlan], _from: (usize, usize)) {}
    /// After every step: phase, steps done in it, mean loss over the step's subnets.
    fn on_step(&mut self, _phase: usize, _step: usize, _loss: f32) {}
    /// After the validation of a phase.
    fn on_phase(&mut self, _record: &PhaseRecord) {}
    /// Something the user should know.
    fn on_message(&mut self, _message: &str) {}
}

/// An observer that stays silent.
pub struct Silent;

impl Observer for Silent {}

/// A training run that is ready to start.
pub struct Trainer<'a> {
    config: &'a TrainConfig,
    dataset: &'a Dataset,
    space: Arc<dyn SearchSpace>,
    device: Device,
    phases: Vec<PhasePlan>,
}

/// A trained supernet.
pub struct Trained {
    /// The supernet as a model file.
    pub model: Model,
    /// Metrics.
    pub history: History,
}

/// Between two steps: everything that changes while training.
struct State {
    phase: usize,
    step: usize,
    supernet: Supernet,
    teacher: Option<Weights>,
    optimizer: Optimizer,
    history: History,
    window: Window,
}

/// Sums since the last logged step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    loss: f32,
    right: usize,
    answers: usize,
    steps: usize,
}

/// Steps between logged metrics.
const LOG_STEPS: usize = 20;

impl<'a> Trainer<'a> {
    /// Fits the space to the data (classes, image channels) and counts the steps.
    ///
    /// # Errors
    /// [`TrainError`] if the space is unknown or cannot take the data's classes.
    pub fn new(config: &'a TrainConfig, dataset: &'a Dataset, device: &Device) -> Result<Self, TrainError> {
        let mut space = config.space()?;
        let classes = dataset.class_names.len();
        if space.info().classes != classes {
            space = registry::with_classes(space.as_ref(), classes)?;
        }
        if space.info().input_channels != dataset.channels {
            space = registry::with_field(space.as_ref(), "input_channels", dataset.channels.into())?;
        }
        let phases = config.plan(dataset.train.len());
        Ok(Self { config, dataset, space, device: device.clone().autodiff(), phases })
    }

    /// The space, fitted to the data.
    pub fn space(&self) -> &Arc<dyn SearchSpace> {
        &self.space
    }

    /// The phases, with steps counted.
    pub fn phases(&self) -> &[PhasePlan] {
        &self.phases
    }

    /// Hash of everything that the result depends on besides the code: configuration, space and data.
    pub fn fingerprint(&self) -> String {
        let space = serde_json::to_string(self.space.as_ref()).unwrap_or_default();
        let config = serde_json::to_string(self.config).unwrap_or_default();
        let data = format!("{} {} {:?}", self.dataset.name, self.dataset.train.len(), self.dataset.input);
        let digest = Sha256::digest(format!("{space}\n{config}\n{data}"));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Trains all phases, from the checkpoint in `folder` if there is one, and saves checkpoints there.
    ///
    /// # Errors
    /// [`TrainError::Interrupted`] once `stop` is set (a checkpoint is saved first), [`TrainError::Diverged`] if the
    /// loss is not finite, or what data, backend and file system report.
    pub fn train(
        &self,
        folder: Option<&Path>,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Trained, TrainError> {
        let mut state = self.start_or_resume(folder, observer)?;
        observer.on_start(&self.phases, (state.phase, state.step));
        while let Some(plan) = self.phases.get(state.phase) {
            self.run_phase(plan, &mut state, folder, observer, stop)?;
            let record = self.validate(plan, &state)?;
            observer.on_phase(&record);
            state.history.phases.push(record);
            state.phase += 1;
            state.step = 0;
            state.optimizer = self.optimizer();
            self.save(&state, folder)?;
        }
        Ok(Trained { model: self.model(&state)?, history: state.history })
    }

    fn optimizer(&self) -> Optimizer {
        Optimizer::new(self.config.momentum, self.config.weight_decay)
    }

    fn start_or_resume(&self, folder: Option<&Path>, observer: &mut dyn Observer) -> Result<State, TrainError> {
        let defs = supernet::tensors(self.space.as_ref())?;
        let found = folder.map(Checkpoint::load_latest).transpose()?.flatten();
        let Some((checkpoint, message)) = found else {
            let weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(self.config.seed));
            return Ok(State {
                phase: 0,
                step: 0,
                supernet: Supernet::new(defs, &weights, &self.device)?,
                teacher: None,
                optimizer: self.optimizer(),
                history: History::default(),
                window: Window::default(),
            });
        };
        if let Some(message) = message {
            observer.on_message(&message);
        }
        if checkpoint.fingerprint != self.fingerprint() {
            return Err(TrainError::Checkpoint {
                path: folder.map(Checkpoint::path).unwrap_or_default(),
                problem: "belongs to another configuration or data set; use another --out folder, or remove it".into(),
            });
        }
        let optimizer = match checkpoint.optimizer.is_empty() {
            true => self.optimizer(),
            false => self.optimizer().with_state(checkpoint.optimizer)?,
        };
        Ok(State {
            phase: checkpoint.phase,
            step: checkpoint.step,
            supernet: Supernet::new(defs, &checkpoint.weights, &self.device)?,
            teacher: checkpoint.teacher,
            optimizer,
            history: checkpoint.history,
            window: checkpoint.window,
        })
    }

    fn save(&self, state: &State, folder: Option<&Path>) -> Result<(), TrainError> {
        let Some(folder) = folder else { return Ok(()) };
        let checkpoint = Checkpoint {
            fingerprint: self.fingerprint(),
            phase: state.phase,
            step: state.step,
            history: state.history.clone(),
            window: state.window,
            weights: state.supernet.weights()?,
            teacher: state.teacher.clone(),
            optimizer: if state.step == 0 { Vec::new() } else { state.optimizer.to_bytes()? },
        };
        checkpoint.save(folder)
    }

    fn run_phase(
        &self,
        plan: &PhasePlan,
        state: &mut State,
        folder: Option<&Path>,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<(), TrainError> {
        if plan.distil && state.teacher.is_none() {
            state.teacher = Some(state.supernet.weights()?);
        }
        if state.step == 0 && plan.sort_channels {
            let mut weights = state.supernet.weights()?;
            let channels = supernet::elastic_channels(self.space.as_ref())?;
            importance::sort_channels(&mut weights, &channels, usize::from(plan.opened_before.expansion))?;
            state.supernet = Supernet::new(state.supernet.defs.clone(), &weights, &self.device)?;
        }
        let teacher = match (&state.teacher, plan.distil) {
            (Some(weights), true) => {
                Some(Supernet::new(state.supernet.defs.clone(), weights, &self.device.clone().inner())?)
            }
            _ => None,
        };
        let schedule = CosineSchedule {
            initial: plan.learning_rate,
            warmup_start: 0.0,
            warmup_steps: plan.warmup_steps,
            steps: plan.steps,
        };
        let done_before: usize = self.phases[..state.phase].iter().map(PhasePlan::total_steps).sum();
        let mut epoch = EpochOrder::new(self.dataset.train.len(), self.config.batch_size, self.config.seed);
        while state.step < schedule.total_steps() {
            let rate = schedule.rate(state.step);
            let global_step = done_before + state.step;
            let loss = self.step(plan, state, teacher.as_ref(), &mut epoch, global_step, rate)?;
            state.step += 1;
            observer.on_step(state.phase, state.step, loss);
            let finished = state.step == schedule.total_steps();
            if state.step.is_multiple_of(LOG_STEPS) || finished {
                log(state, plan, done_before, rate);
            }
            let stopping = stop.load(Ordering::Relaxed);
            if !finished && (stopping || state.step.is_multiple_of(self.config.checkpoint_steps)) {
                self.save(state, folder)?;
            }
            if stopping && !finished {
                return Err(TrainError::Interrupted);
            }
        }
        Ok(())
    }

    /// One step; its randomness depends on the seed and the global step only, so a resumed run repeats it.
    fn step(
        &self,
        plan: &PhasePlan,
        state: &mut State,
        teacher: Option<&Supernet>,
        epoch: &mut EpochOrder,
        global_step: usize,
        rate: f64,
    ) -> Result<f32, TrainError> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed);
        rng.set_stream(global_step as u64 + 1);
        let resolutions = &self.space.info().resolutions;
        let resolution = resolutions[rng.random_range(0..resolutions.len())];
        let archs = self.config.sampler.sample(self.space.as_ref(), &plan.opened, plan.subnets_per_step, &mut rng);
        let subnets = archs
            .iter()
            .map(|arch| Ok(self.space.resolve(&arch.with_resolution(resolution))?))
            .collect::<Result<Vec<NetSpec>, TrainError>>()?;
        let (number, indices) = epoch.batch(global_step);
        let augmentation = &self.config.augmentation;
        let (images, labels) = self.dataset.train_batch(indices, resolution, augmentation, self.config.seed, number)?;
        let teacher_logits = match teacher {
            Some(teacher) => {
                let max = self.space.resolve(&self.space.max_arch().with_resolution(resolution))?;
                Some(teacher.forward_batch_statistics(&max, &images).logits)
            }
            None => None,
        };
        let input = StepInput {
            images: &images,
            labels: &labels,
            subnets: &subnets,
            teacher_logits,
            distillation: self.config.distillation,
            label_smoothing: self.config.label_smoothing,
            bn_momentum: self.config.bn_momentum as f32,
        };
        let report = step(&mut state.supernet, &mut state.optimizer, rate, &input)?;
        let loss = report.losses.iter().sum::<f32>() / report.losses.len().max(1) as f32;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { loss, step: state.step, phase: plan.name.clone() });
        }
        state.window.loss += loss;
        state.window.right += report.correct.iter().sum::<usize>();
        state.window.answers += report.correct.len() * labels.len();
        state.window.steps += 1;
        Ok(loss)
    }

    /// The smallest, middle and largest opened subnet on validation images.
    fn validate(&self, plan: &PhasePlan, state: &State) -> Result<PhaseRecord, TrainError> {
        let calibration: Vec<usize> = (0..self.config.calibration_images.min(self.dataset.train.len())).collect();
        let validation: Vec<usize> = (0..self.dataset.validation.len()).collect();
        let mut calibration = EvaluationSet::new(self.dataset, SplitName::Train, calibration, EVALUATION_BATCH);
        let mut validation = EvaluationSet::new(self.dataset, SplitName::Validation, validation, EVALUATION_BATCH);
        let middle = self.middle(plan)?;
        let named =
            [("min", smallest(self.space.as_ref(), &plan.opened)), ("mid", middle), ("max", self.space.max_arch())];
        let mut subnets = Vec::with_capacity(named.len());
        for (label, arch) in named {
            let net = self.space.resolve(&arch)?;
            let running = recalibrate(&state.supernet, &net, &mut calibration)?;
            let top1 = evaluate(&state.supernet, &net, &running, &mut validation)?.top1;
            subnets.push(SubnetRecord { label: label.to_owned(), arch: self.space.format(&arch), top1 });
        }
        Ok(PhaseRecord { name: plan.name.clone(), steps: plan.total_steps(), subnets })
    }

    /// The middle of the open choices of every gene, at the middle resolution.
    fn middle(&self, plan: &PhasePlan) -> Result<Arch, TrainError> {
        let info = self.space.info();
        let middle = |gene: &ofa_space::Gene| {
            let open: Vec<u8> = gene.open_choices(&plan.opened).collect();
            open.get(open.len() / 2).copied().unwrap_or((gene.choices.len() - 1) as u8)
        };
        let choices = info.genes.iter().map(middle).collect();
        Ok(self.space.arch(choices, info.resolutions.get(info.resolutions.len() / 2).copied())?)
    }

    fn model(&self, state: &State) -> Result<Model, TrainError> {
        let provenance = BTreeMap::from([
            ("data".to_owned(), self.dataset.name.clone()),
            ("split".to_owned(), self.dataset.split_note.clone()),
            ("seed".to_owned(), self.config.seed.to_string()),
            ("split_seed".to_owned(), self.config.seed.to_string()),
            ("validation_images".to_owned(), self.config.validation_images.to_string()),
            ("training".to_owned(), self.fingerprint()),
        ]);
        Ok(Model {
            body: ModelBody::Supernet { space: self.space.clone() },
            class_names: self.dataset.class_names.clone(),
            input: self.dataset.input.clone(),
            provenance,
            weights: state.supernet.weights()?,
        })
    }
}

fn log(state: &mut State, plan: &PhasePlan, done_before: usize, learning_rate: f64) {
    let Window { loss, right, answers, steps } = std::mem::take(&mut state.window);
    state.history.steps.push(StepRecord {
        phase: plan.name.clone(),
        step: done_before + state.step,
        loss: loss / steps.max(1) as f32,
        train_top1: right as f32 / answers.max(1) as f32,
        learning_rate,
    });
}

/// Which images a step trains on: a new shuffle per epoch, the incomplete batch at its end left out.
struct EpochOrder {
    images: usize,
    batch_size: usize,
    seed: u64,
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl EpochOrder {
    fn new(images: usize, batch_size: usize, seed: u64) -> Self {
        Self { images, batch_size: batch_size.min(images.max(1)), seed, epoch: None, order: Vec::new() }
    }

    /// The epoch of a global step, and the images of its batch.
    fn batch(&mut self, global_step: usize) -> (u64, &[usize]) {
        let batches = (self.images / self.batch_size).max(1);
        let epoch = (global_step / batches) as u64;
        if self.epoch != Some(epoch) {
            self.order = batches::epoch_order(self.images, self.seed, epoch);
            self.epoch = Some(epoch);
        }
        let start = (global_step % batches) * self.batch_size;
        (epoch, &self.order[start..start + self.batch_size])
    }
}
